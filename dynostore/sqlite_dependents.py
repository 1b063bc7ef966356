"""Triggers and views of a SQLite file, out of the way while its tables are rebuilt."""

from __future__ import annotations

from typing import Any

CAPTURE_PREFIX = "dynostore_capture_"
"""The sync's local triggers begin so; a migration's own writes must not be captured by them."""

SEARCH_PREFIX = "dynostore_search"
"""All that a search keeps in a store begins so: its tables are no records."""


def quoted(name: str) -> str:
    """Give a name as SQL; somebody's own tables may have any."""
    return '"' + name.replace('"', '""') + '"'


def lift_dependents(db: Any) -> list[tuple[str, str, str]]:
    """Take all triggers and views away, and note their names, tables and SQL.

    A rebuild drops its table's triggers, and SQLite refuses it while a view or another table's
    trigger names that table. Nobody's triggers, the sync's least of all, are to see what a step
    writes.
    """
    rows = db.execute_sql(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') "
        "ORDER BY type"  # a view's triggers go with it
    ).fetchall()
    for kind, name, _, _ in rows:
        db.execute_sql(f"DROP {kind} IF EXISTS {quoted(name)}")
    return [(str(name), str(table), str(sql)) for _, name, table, sql in reversed(rows)]


def put_back_dependents(db: Any, dependents: list[tuple[str, str, str]]) -> None:
    """Make the noted views and triggers again, but for triggers whose table is gone.

    What the sync knows of such a table is forgotten: that a step drops it is no deletion of its
    rows, and where it comes back a pull fills it again. Nor are the search's made: they did not see
    what the steps wrote, and without them the next search makes its index anew.
    """
    gone: set[str] = set()
    for name, table, sql in dependents:
        if name.startswith(SEARCH_PREFIX):
            continue
        there = {*db.get_tables(), *(view.name for view in db.get_views())}
        if name == table or table in there:
            db.execute_sql(sql)
        elif name.startswith(CAPTURE_PREFIX):
            gone.add(table)
    for table in sorted(gone):
        db.execute_sql("DELETE FROM sync_table WHERE name = ?", (table,))
        for known in ("sync_base", "sync_log", "sync_reject", "sync_conflict"):
            db.execute_sql(f"DELETE FROM {known} WHERE tbl = ?", (table,))
