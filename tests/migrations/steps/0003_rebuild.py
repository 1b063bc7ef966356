"""The table of the parents, made anew: another type, and a column less."""

from typing import Any

from dynostore.fields import StringField, TextField


def up(migrator: Any, db: Any) -> None:
    migrator.migrate(
        migrator.alter_column_type(
            "runs", "input_filename", StringField(max_length=500, null=True)
        ),
        migrator.drop_index("runs", "runs_jetstream_id"),
        migrator.drop_column("runs", "jetstream_id"),
    )


def down(migrator: Any, db: Any) -> None:
    migrator.migrate(
        migrator.add_column("runs", "jetstream_id", StringField(null=True)),
        migrator.add_index("runs", ("jetstream_id",)),
        migrator.alter_column_type("runs", "input_filename", TextField(null=True)),
    )
