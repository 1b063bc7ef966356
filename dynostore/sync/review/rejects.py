"""Rows that one side cannot hold as they are: listed, tried again, or given up.

What a person asks for is written down beside the reject and carried out by the next pull, which has
the server's version of the row; see :mod:`dynostore.sync.pull.wishes`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import sqlite3
from collections.abc import Sequence
from typing import Any

from dynostore import errors
from dynostore.errors import quoted
from dynostore.migrator import step_names
from dynostore.repositories.base import Page, check_window
from dynostore.store import Store
from dynostore.sync.local.alone import alone
from dynostore.sync.local.changes import LocalFile, require_file
from dynostore.sync.local.reader import reading
from dynostore.sync.local.stored_keys import StoredKey, find_key, rows_below
from dynostore.sync.tables import Table, literal, tables_of

_COLUMNS = "tbl, key, column_name, value, message, sqlstate, tries, at, origin, wish"


@dataclasses.dataclass(frozen=True)
class RejectedRow:
    """A row that was set aside.

    :ivar column: the column at fault, where one is.
    :ivar value: what it holds, as text; what is no text in hexadecimal digits.
    :ivar tries: how often it was offered to the side that refused it.
    :ivar since: when it was set aside first.
    :ivar origin: ``file``: the server cannot hold this file's row, which waits here untouched;
        ``server``: the file cannot hold the server's.
    :ivar wish: ``retry`` or ``drop``: what the next pull does with it; None: nothing.
    """

    table: str
    key: str
    column: str | None
    value: str | None
    reason: str
    sqlstate: str
    tries: int
    since: dt.datetime
    origin: str
    wish: str | None

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys."""
        return dataclasses.asdict(self)


def list_rejects(store: Store, *, limit: int = 50, after: str | None = None) -> Page[Any]:
    """Give a page of the rows that were set aside, by table and key; asks no server.

    :param after: the ``next`` of the page before.
    :return: a page of :class:`RejectedRow`.
    :raises ConfigError: the store is not a SQLite file.
    :raises InvalidValue: the window is none.
    """
    check_window(limit)
    table, slash, key = (after or "").partition("/")
    if after is not None and not slash:
        raise errors.InvalidValue("after", f"{quoted(after)} is not a cursor of this list")
    with reading(store) as reader:
        rows = (
            []
            if reader is None
            else reader.execute(
                f"SELECT {_COLUMNS} FROM sync_reject WHERE (tbl, key) > (?, ?)"
                " ORDER BY tbl, key LIMIT ?",
                (table, key, limit + 1),
            ).fetchall()
        )
    found = [_row(row) for row in rows[:limit]]
    last = f"{found[-1].table}/{found[-1].key}" if len(rows) > limit else None
    return Page(found, last)


def get_reject(store: Store, table: str, key: str) -> RejectedRow:
    """Give one row that was set aside, by its table and the key or the key's beginning.

    :raises RejectNotFound: there is none.
    :raises AmbiguousId: several keys begin so.
    """
    with reading(store) as reader:
        rows = (
            []
            if reader is None
            else reader.execute(
                f"SELECT {_COLUMNS} FROM sync_reject WHERE tbl = ? AND substr(key, 1, ?) = ?"
                " ORDER BY key <> ?, key LIMIT 6",
                (table, len(key), key, key),
            ).fetchall()
        )
    found = [_row(row) for row in rows]
    if not found:
        raise errors.RejectNotFound(
            f"{table}: there is no reject {quoted(key)}", hint="dynostore sync rejects", id=key
        )
    if found[0].key != key and len(found) > 1:
        shown = ", ".join(row.key for row in found[:5]) + (", ..." if len(found) > 5 else "")
        raise errors.AmbiguousId(f"{table}: {quoted(key)} is the beginning of {shown}")
    return found[0]


def retry_rejects(store: Store, rows: Sequence[RejectedRow] | None = None) -> int:
    """Try rows again: the next push sends this file's, the next pull asks for the server's.

    :param rows: None: all of them.
    :return: how many that are.
    """
    return _each(store, rows, _retry)


def drop_rejects(store: Store, rows: Sequence[RejectedRow] | None = None) -> int:
    """Give up what was changed here in rows that the server cannot hold.

    The next pull brings the server's version of each back. A row that the server never had, or has
    deleted, is removed with the rows that refer to it. One that changes once more before that pull
    is not dropped.

    :param rows: None: all that are this file's.
    :return: how many that are.
    :raises InvalidValue: a row of the server's, of which nothing here can be given up.
    :raises SyncRunning: a sync of this file is running, which may be trying the rows again.
    """
    for row in rows or ():
        if row.origin != "file":
            raise errors.InvalidValue(
                "key", f"{row.table} {row.key} is the server's row; mend it there"
            )
    with alone(require_file(store)):
        return _each(store, rows, _drop)


def rows_in_danger(store: Store, rows: Sequence[RejectedRow] | None = None) -> dict[str, int]:
    """Count, by table, the rows that :func:`drop_rejects` may remove; asks no server.

    Those are the rows themselves, and all that refer to them.
    """
    tables = tables_of(store)
    found: dict[str, set[StoredKey]] = {}
    with reading(store) as reader:
        if reader is None:
            return {}
        wanted = _wanted(reader, rows, "origin = 'file'")
        for name, key in wanted:
            if name in tables:
                for table, below in _with_rows_below(reader, tables, tables[name], key):
                    found.setdefault(table.name, set()).add(below)
    return {name: len(found[name]) for name in tables if name in found}


def _with_rows_below(
    reader: sqlite3.Connection, tables: dict[str, Table], table: Table, key: str
) -> list[tuple[Table, StoredKey]]:
    there = find_key(reader, table, key)
    return [] if there is None else rows_below(reader, tables, table, there)


def retry_after_upgrade(local: LocalFile) -> None:
    """Try the rows again that were set aside under an earlier version of the schema.

    Columns may take more since. What still does not fit is set aside once more.
    """
    current = step_names()[-1]
    which = f"schema_version IS NOT {literal(current)}"
    if not _wanted(local.writer, None, which):
        return
    with local.writing() as writer:
        for name, key in _wanted(writer, None, which):
            if name in local.tables:
                _retry(writer, local.tables[name], key)
        writer.execute("UPDATE sync_reject SET schema_version = ?", (current,))


def _row(values: tuple[Any, ...]) -> RejectedRow:
    table, key, column, value, message, sqlstate, tries, at, origin, wish = values
    since = dt.datetime.fromisoformat(at)
    return RejectedRow(table, key, column, value, message, sqlstate, tries, since, origin, wish)


def _wanted(
    connection: sqlite3.Connection, rows: Sequence[RejectedRow] | None, which: str = "true"
) -> list[tuple[str, str]]:
    if rows is not None:
        return [(row.table, row.key) for row in rows]
    found = connection.execute(f"SELECT tbl, key FROM sync_reject WHERE {which} ORDER BY tbl, key")
    return found.fetchall()


def _each(store: Store, rows: Sequence[RejectedRow] | None, act: Any) -> int:
    """Do something with each of some rejects, in one transaction; give their number."""
    with reading(store) as reader:
        if reader is None:
            return 0
    which = "origin = 'file'" if act is _drop else "true"
    tables = tables_of(store)
    with store.transaction():
        writer: sqlite3.Connection = store.database.connection()
        wanted = _wanted(writer, rows, which)
        for name, key in wanted:
            if name not in tables:
                raise errors.ConfigError(f"{name}: this program does not know the table")
            act(writer, tables[name], key)
    return len(wanted)


def _retry(writer: sqlite3.Connection, table: Table, key: str) -> None:
    of_the_server = writer.execute(
        "UPDATE sync_reject SET wish = 'retry' WHERE tbl = ? AND key = ? AND origin = 'server'",
        (table.name, key),
    )
    if of_the_server.rowcount:
        return
    writer.execute(
        "UPDATE sync_reject SET wish = NULL WHERE tbl = ? AND key = ?", (table.name, key)
    )
    there = find_key(writer, table, key)
    if there is not None:
        writer.execute(
            f"INSERT INTO sync_log (tbl, key, op) VALUES (?, {there.sql}, 'p')",
            (table.name, there.value),
        )


def _drop(writer: sqlite3.Connection, table: Table, key: str) -> None:
    # What a retry has logged, or a change before the decision, would be sent before the next pull,
    # and set aside anew without the wish. A reject counts as changed without an entry.
    there = find_key(writer, table, key)
    if there is not None:
        writer.execute(
            f"DELETE FROM sync_log WHERE tbl = ? AND key = {there.sql}", (table.name, there.value)
        )
    # What is logged from here on was changed after the decision, which then does not hold.
    writer.execute(
        "UPDATE sync_reject SET wish = 'drop',"
        " wish_seq = max((SELECT marker FROM sync_meta),"
        " coalesce((SELECT max(seq) FROM sync_log), 0)) WHERE tbl = ? AND key = ?",
        (table.name, key),
    )
