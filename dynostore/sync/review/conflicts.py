"""What this file lost to another writer, listed for people."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sqlite3
from typing import Any

from dynostore.errors import ConflictNotFound, InvalidValue, quoted
from dynostore.fields import time_text, utc_now
from dynostore.repositories.base import Page, check_window
from dynostore.store import Store
from dynostore.sync.local.images import image_here, values_of
from dynostore.sync.local.reader import reading
from dynostore.sync.tables import Table, tables_of

REASONS = {
    "lost": "another node changed the row first; the server kept theirs",
    "delete": "another node changed the row that was deleted here; the row stays",
    "children": "the row has children on the server that this node had not seen; it stays",
    "back": "another node had deleted the row that was changed here; it came back",
    "parent": "the row was deleted here, and a row that needs it came from the server",
}

_COLUMNS = "id, tbl, key, image, node, why, at"


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A change of this file's that met another node's.

    :ivar mine: what this file wrote, by column; None: it had deleted the row.
    :ivar server: what the file holds now, which follows the server; None: there is no such row.
    :ivar node: the name of the node that won; None where that is not known.
    """

    id: int
    table: str
    key: str
    mine: dict[str, Any] | None
    server: dict[str, Any] | None
    node: str | None
    why: str
    at: dt.datetime

    @property
    def differing(self) -> list[str]:
        """The columns whose values differ, in the table's order; all, where one side has none."""
        mine, server = self.mine or {}, self.server or {}
        names = [*(server or mine), *(name for name in mine if server and name not in server)]
        return [n for n in names if n not in mine or n not in server or mine[n] != server[n]]

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys."""
        return {**dataclasses.asdict(self), "differing": self.differing}


def note_conflict(
    writer: sqlite3.Connection,
    table: Table,
    key: str,
    why: str,
    revision: int | None,
    *,
    node: str | None = None,
    image: str | None = None,
) -> None:
    """Add a conflict to the list, inside the caller's transaction.

    :param why: one of ``REASONS``.
    :param revision: of what the server kept.
    :param node: the name of the node that wrote that.
    :param image: what this file wrote; None: it had deleted the row. A deletion is listed once,
        however many rows stood against it.
    """
    if image is None:
        writer.execute(
            "DELETE FROM sync_conflict WHERE tbl = ? AND key = ? AND image IS NULL",
            (table.name, key),
        )
    writer.execute(
        "INSERT INTO sync_conflict (tbl, key, image, revision, node, why, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (table.name, key, image, revision, node, REASONS[why], time_text(utc_now())),
    )


def list_conflicts(store: Store, *, limit: int = 50, after: str | None = None) -> Page[Any]:
    """Give a page of the open conflicts, newest first; asks no server.

    :param after: the ``next`` of the page before.
    :return: a page of :class:`Conflict`.
    :raises ConfigError: the store is not a SQLite file.
    :raises InvalidValue: the window is none.
    """
    check_window(limit)
    if after is not None and not after.isdecimal():
        raise InvalidValue("after", f"{quoted(after)} is not a cursor of this list")
    with reading(store) as reader:
        rows = [] if reader is None else _rows(reader, limit + 1, after)
        found = [] if reader is None else _read(store, reader, rows[:limit])
    return Page(found, str(found[-1].id) if len(rows) > limit else None)


def get_conflict(store: Store, conflict_id: int) -> Conflict:
    """Give one open conflict; asks no server.

    :raises ConflictNotFound: there is none of this id, or it was resolved.
    """
    with reading(store) as reader:
        rows = (
            []
            if reader is None
            else reader.execute(
                f"SELECT {_COLUMNS} FROM sync_conflict WHERE id = ?", (conflict_id,)
            ).fetchall()
        )
        if reader is None or not rows:
            raise ConflictNotFound.of(conflict_id)
        return _read(store, reader, rows)[0]


def _rows(reader: sqlite3.Connection, limit: int, after: str | None) -> list[Any]:
    where = "" if after is None else f" WHERE id < {int(after)}"
    return reader.execute(
        f"SELECT {_COLUMNS} FROM sync_conflict{where} ORDER BY id DESC LIMIT {limit}"
    ).fetchall()


def _read(store: Store, reader: sqlite3.Connection, rows: list[Any]) -> list[Conflict]:
    tables = tables_of(store)
    found = []
    for number, name, key, image, node, why, at in rows:
        table = tables.get(name)
        here = None if table is None else image_here(reader, table, key)
        found.append(
            Conflict(
                number,
                name,
                key,
                values_of(table, image),
                values_of(table, here),
                node,
                why,
                dt.datetime.fromisoformat(at),
            )
        )
    return found
