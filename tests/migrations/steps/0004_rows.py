"""Rows that nobody needs any more."""

from typing import Any

CHANGES_ROWS = ("imports",)


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("DELETE FROM imports WHERE status = 'skipped'")


def down(migrator: Any, db: Any) -> None:
    pass
