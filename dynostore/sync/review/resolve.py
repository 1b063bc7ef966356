"""Settles conflicts: what a person decided becomes an ordinary change, which the next sync sends.

On top of the server's version, which this file has seen by now, it is applied without a new
conflict; where the server has moved on meanwhile, it is judged like any other change.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from typing import Literal, get_args

from dynostore import errors
from dynostore.errors import quoted
from dynostore.store import Store
from dynostore.sync.local.images import stored
from dynostore.sync.local.reader import reading
from dynostore.sync.review.conflicts import Conflict, get_conflict
from dynostore.sync.tables import Column, Table, tables_of

Keep = Literal["mine", "server"]


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A conflict that stays open, and why."""

    id: int
    table: str
    key: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Resolutions:
    """What became of all conflicts.

    :ivar resolved: how many left the list.
    :ivar refused: those that stay.
    """

    resolved: int
    refused: list[Refusal]


def resolve_conflict(store: Store, conflict_id: int, *, keep: Keep) -> Conflict:
    """Settle one conflict, in one transaction; asks no server.

    ``server`` leaves all rows as they are. ``mine`` writes this file's version back, or deletes the
    row again, with its children, as the verbs do; in columns that merge the greater value stays.
    The conflict leaves the list.

    :return: the conflict as it was.
    :raises ConflictNotFound: there is none of this id, or it was resolved.
    :raises ConstraintFailed: what the row refers to is gone; nothing was written.
    :raises ConfigError: the conflict's table is none of this program's.
    """
    _check(keep)
    conflict = get_conflict(store, conflict_id)
    _settle(store, conflict_id, keep, alone=True)
    return conflict


def resolve_all(store: Store, *, keep: Keep) -> Resolutions:
    """Settle all conflicts that are open now, each in a transaction of its own.

    With ``mine`` rows come back parents first, then deletions are made again, children first. Of
    several conflicts of one row the newest decides.
    """
    _check(keep)
    rows = _open_conflicts(store)
    waiting = _in_order(rows, tables_of(store))
    refused: list[Refusal] = []
    while waiting:  # in a table that refers to itself a parent may come later
        refused = []
        for number, name, key in waiting:
            try:
                _settle(store, number, keep, alone=False)
            except errors.ConflictNotFound:
                continue
            except (errors.ConstraintFailed, errors.ConfigError) as exc:
                refused.append(Refusal(number, name, key, exc.message))
        if len(refused) == len(waiting):
            break
        waiting = [(r.id, r.table, r.key) for r in refused]
    open_keys = {(r.table, r.key) for r in refused}
    return Resolutions(sum((r[1], r[2]) not in open_keys for r in rows), refused)


def _check(keep: str) -> None:
    if keep not in get_args(Keep):
        raise errors.InvalidValue("keep", f"{quoted(keep)} is none of {', '.join(get_args(Keep))}")


_Row = tuple[int, str, str, bool]
"""Number, table, key, and whether this file had deleted the row."""


def _open_conflicts(store: Store) -> list[_Row]:
    with reading(store) as reader:
        if reader is None:
            return []
        found = reader.execute("SELECT id, tbl, key, image IS NULL FROM sync_conflict ORDER BY id")
        return [(number, name, key, bool(gone)) for number, name, key, gone in found]


def _in_order(rows: list[_Row], tables: Iterable[str]) -> list[tuple[int, str, str]]:
    """Give the newest conflict of each row: puts parents first, then deletions children first."""
    newest = {(name, key): (number, gone) for number, name, key, gone in rows}
    ranks = {name: rank for rank, name in enumerate(tables)}

    def place(item: tuple[tuple[str, str], tuple[int, bool]]) -> tuple[bool, int, int]:
        (name, _), (number, gone) = item
        rank = ranks.get(name, len(ranks))
        return gone, -rank if gone else rank, number

    return [(number, *row) for row, (number, _) in sorted(newest.items(), key=place)]


def _settle(store: Store, conflict_id: int, keep: Keep, *, alone: bool) -> None:
    """Settle one conflict.

    :param alone: False: older ones of the same row go with it.
    """
    with store.transaction():
        # The raw connection: an image is what SQLite stores, and goes back as it is.
        writer: sqlite3.Connection = store.database.connection()
        row = writer.execute(
            "SELECT tbl, key, image FROM sync_conflict WHERE id = ?", (conflict_id,)
        ).fetchone()
        if row is None:
            raise errors.ConflictNotFound.of(conflict_id)
        name, key, image = row
        if keep == "mine":
            _write_mine(writer, tables_of(store), conflict_id, name, key, image)
        writer.execute(
            "DELETE FROM sync_conflict WHERE tbl = ? AND key = ?"
            f" AND id {'=' if alone else '<='} ?",
            (name, key, conflict_id),
        )


def _write_mine(
    writer: sqlite3.Connection,
    tables: dict[str, Table],
    conflict_id: int,
    name: str,
    key: str,
    image: str | None,
) -> None:
    if name not in tables:
        raise errors.ConfigError(f"{name}: this program does not know the table")
    table = tables[name]
    if image is None:
        writer.execute(f"DELETE FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,))
        return
    values = stored(table, image)
    for column in table.references:
        value = values.get(column.name)
        parent = tables[str(column.parent)]
        if value is not None and value != key and not _exists(writer, parent, value):
            raise errors.ConstraintFailed(
                f"{name} {key}: refers to {value!r} of {parent.name}, which is gone",
                hint=_way_out(writer, conflict_id, parent, value),
            )
    _put_back(writer, table, values)


def _exists(writer: sqlite3.Connection, table: Table, key: str) -> bool:
    found = writer.execute(
        f"SELECT 1 FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,)
    ).fetchone()
    return found is not None


def _way_out(writer: sqlite3.Connection, conflict_id: int, parent: Table, key: str) -> str:
    """Say how the parent may come back, or that the child cannot without it."""
    found = writer.execute(
        "SELECT id FROM sync_conflict WHERE tbl = ? AND key = ? AND image IS NOT NULL"
        " ORDER BY id DESC LIMIT 1",
        (parent.name, key),
    ).fetchone()
    if found is not None:
        return f"dynostore sync conflicts resolve {found[0]} --keep mine"
    return f"dynostore sync conflicts resolve {conflict_id} --keep server"


def _put_back(writer: sqlite3.Connection, table: Table, values: dict[str, object]) -> None:
    # Never INSERT OR REPLACE: it deletes the row first, and its children with it.
    columns = [c for c in table.columns if c.name in values]
    changes = ", ".join(_assignment(table, c) for c in columns if c.name != table.key.name)
    writer.execute(
        f"INSERT INTO {table.quoted} ({', '.join(c.quoted for c in columns)})"
        f" VALUES ({', '.join('?' * len(columns))}) ON CONFLICT ({table.key.quoted})"
        f" DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}",
        [values[c.name] for c in columns],
    )


def _assignment(table: Table, column: Column) -> str:
    here, mine = f"{table.quoted}.{column.quoted}", f"excluded.{column.quoted}"
    if column.merge is None:
        return f"{column.quoted} = {mine}"
    return f"{column.quoted} = {column.merge}(coalesce({here}, {mine}), coalesce({mine}, {here}))"
