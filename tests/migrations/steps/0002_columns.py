"""A column that may be empty, and one that may not, in a table with rows."""

from typing import Any

from dynostore.fields import TextField, WholeNumberField


def up(migrator: Any, db: Any) -> None:
    migrator.migrate(
        migrator.add_column("runs", "note", TextField(null=True)),
        migrator.add_column("run_files", "rating", WholeNumberField(default=3)),
    )


def down(migrator: Any, db: Any) -> None:
    migrator.migrate(
        migrator.drop_column("run_files", "rating"),
        migrator.drop_column("runs", "note"),
    )
