"""Rows that one side cannot hold as they are: kept with the reason until it can."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence

from dynostore.fields import time_text, utc_now
from dynostore.migrator import step_names
from dynostore.sync.local.changes import LocalFile
from dynostore.sync.tables import Table, literal, quoted

MISSING_PARENT = "23503"
"""SQLSTATE of a foreign key's violation."""


@dataclasses.dataclass(frozen=True)
class Reject:
    """A row that one side has and the other one cannot hold as it is."""

    key: str
    column: str | None
    value: str | None
    sqlstate: str
    message: str


def set_aside(
    writer: sqlite3.Connection, table: str, rejects: Sequence[Reject], *, origin: str = "file"
) -> None:
    """Keep rows that the other side cannot hold, with the reason, in the caller's transaction.

    :param origin: ``file``: the server cannot hold the file's row, which counts as changed here
        for as long as it is kept, and is tried again when it changes. ``server``: the file
        cannot hold the server's.
    """
    writer.executemany(
        "INSERT INTO sync_reject"
        " (tbl, key, column_name, value, sqlstate, message, tries, at, origin, schema_version)"
        f" VALUES (?, ?, ?, ?, ?, ?, 1, ?, {literal(origin)}, {literal(step_names()[-1])})"
        " ON CONFLICT (tbl, key) DO UPDATE SET"
        " column_name = excluded.column_name, value = excluded.value, origin = excluded.origin,"
        " sqlstate = excluded.sqlstate, message = excluded.message,"
        " tries = tries + 1, wish = NULL, schema_version = excluded.schema_version",
        [
            (table, r.key, r.column, r.value, r.sqlstate, r.message, time_text(utc_now()))
            for r in rejects
        ],
    )


def keys_set_aside(writer: sqlite3.Connection, table: str, *, origin: str) -> list[str]:
    """Give the keys of a table's rows that were set aside."""
    rows = writer.execute(
        "SELECT key FROM sync_reject WHERE tbl = ? AND origin = ? ORDER BY key", (table, origin)
    )
    return [key for (key,) in rows]


def readmit(writer: sqlite3.Connection, table: str, keys: Sequence[str]) -> None:
    """Forget that rows were set aside, since the server has them now."""
    if writer.execute("SELECT 1 FROM sync_reject LIMIT 1").fetchone():
        writer.executemany(
            "DELETE FROM sync_reject WHERE tbl = ? AND key = ?", [(table, k) for k in keys]
        )


def wake_children(
    local: LocalFile, writer: sqlite3.Connection, table: Table, keys: set[str]
) -> int:
    """Log the children again that were set aside for want of parents that are now there."""
    woken = 0
    for name, column in table.children:
        child = local.tables[name]
        waiting = writer.execute(
            f"SELECT r.key, c.{quoted(column)} FROM sync_reject r JOIN {child.quoted} c"
            f" ON c.{child.key.quoted} = r.key WHERE r.tbl = ? AND r.sqlstate = ?",
            (name, MISSING_PARENT),
        ).fetchall()
        children = [key for key, parent in waiting if parent in keys]
        local.log(writer, name, children, "p")
        woken += len(children)
    return woken
