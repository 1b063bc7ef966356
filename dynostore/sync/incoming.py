"""The server's rows written into the file, with the parents that they need."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from dynostore.sync.changes import LocalFile
from dynostore.sync.server import Server
from dynostore.sync.tables import Table, quoted
from dynostore.sync.wire import local_values, server_expressions

_KEYS_PER_QUERY = 5000


@dataclasses.dataclass(frozen=True)
class Held:
    """What the server holds under a key.

    :ivar values: the row as SQLite stores it, in the table's column order; None: a tombstone.
    :ivar fits: False: a row that no file can hold, such as one with a time before our era.
    """

    revision: int
    seq: int
    values: list[Any] | None
    fits: bool = True


def held(server: Server, table: Table, keys: Iterable[str]) -> dict[str, Held]:
    """Ask the server for rows or tombstones; keys that it never had are left out."""
    found: dict[str, Held] = {}
    for part in _parts(list(keys), _KEYS_PER_QUERY):
        for row in server.execute(
            f"SELECT t.{table.key.quoted}::text, t.sync_rev, t.sync_seq,"
            f" {server_expressions(table, 't')} FROM {table.quoted} t"
            f" WHERE t.{table.key.quoted} = ANY(%s::{_key_type(table)}[])",
            (part,),
        ):
            try:
                found[row[0]] = Held(row[1], row[2], local_values(table, row[3:]))
            except ValueError:
                found[row[0]] = Held(row[1], row[2], None, fits=False)
        for key, revision, seq in server.execute(
            "SELECT key, rev, seq FROM dynostore_sync.tombstone WHERE tbl = %s AND key = ANY(%s)",
            (table.name, part),
        ):
            found[key] = Held(revision, seq, None)
    return found


def _key_type(table: Table) -> str:
    return "uuid" if table.key.kind == "uuid" else "text"


def _parts(keys: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


class ParentsWanted(Exception):
    """Parents are missing here that were not fetched yet; nothing may be committed."""


class Parents:
    """The server's rows that arriving ones refer to, fetched between local transactions.

    A transaction that finds one missing is given up, the rows are fetched, and it begins again: no
    writer of the file waits for the network. There are as many rounds as generations are missing.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._fetched: dict[str, dict[str, Held | None]] = {}
        self._wanted: dict[str, tuple[Table, set[str]]] = {}

    def get(self, table: Table, key: str) -> Held | None:
        """Give what the server holds; None where that is nothing, or has yet to be fetched."""
        known = self._fetched.setdefault(table.name, {})
        if key not in known:
            self._wanted.setdefault(table.name, (table, set()))[1].add(key)
        return known.get(key)

    def require(self) -> None:
        """Make sure that all that was asked for was there.

        :raises ParentsWanted: :meth:`fetch`, and do it again.
        """
        if self._wanted:
            raise ParentsWanted

    def fetch(self) -> None:
        """Ask the server for what was wanted, outside any local transaction."""
        for table, keys in self._wanted.values():
            found = held(self._server, table, keys)
            self._fetched[table.name].update({key: found.get(key) for key in keys})
        self._wanted.clear()


class Incoming:
    """Writes what the server holds into the file, inside the caller's applying transaction.

    Before it commits, the caller asks ``parents`` whether all of them were there.
    """

    def __init__(self, local: LocalFile, writer: sqlite3.Connection, parents: Parents) -> None:
        self._local = local
        self._writer = writer
        self._parents = parents
        self.restored_parents: list[tuple[Table, str]] = []
        self.logged = False

    def take(self, table: Table, key: str, row: Held) -> None:
        """Make the file hold what the server holds under a key, and remember it as the base.

        A row brings the parents that are missing here. A tombstone whose row still has children
        here is not applied: the row is logged, and the next push lets the server judge it. Of a
        row that does not fit nothing is taken, and the base stays.
        """
        if not row.fits:
            return
        if row.values is None:
            if self._has_children(table, key):
                self._local.log(self._writer, table.name, [key], "p")
                self.logged = True
                return
            self._writer.execute(f"DELETE FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,))
        else:
            self._bring_parents(table, row.values)
            self._write(table, row.values)
        self._local.set_bases(self._writer, [(table.name, key, row.revision, row.seq)])

    def merge(self, table: Table, key: str, row: Held) -> None:
        """Bring what a merge made of a row into its newer version here, which then builds on it.

        A row that was deleted here meanwhile stays so, and its base stays: who deleted it had not
        seen what the other node wrote.
        """
        merging = [
            (f"{c.quoted} = {c.merge}(coalesce({c.quoted}, ?), coalesce(?, {c.quoted}))", value)
            for c, value in zip(table.columns, row.values or (), strict=True)
            if c.merge
        ]
        done = self._writer.execute(
            f"UPDATE {table.quoted} SET {', '.join(sql for sql, _ in merging)}"
            f" WHERE {table.key.quoted} = ?",
            [*(v for _, value in merging for v in (value, value)), key],
        )
        if done.rowcount:
            self._local.set_bases(self._writer, [(table.name, key, row.revision, row.seq)])

    def _write(self, table: Table, values: list[Any]) -> None:
        # Never INSERT OR REPLACE: it deletes the row first, and its children with it.
        others = [c.quoted for c in table.columns if c.name != table.key.name]
        self._writer.execute(
            f"INSERT INTO {table.quoted} ({table.column_list})"
            f" VALUES ({', '.join('?' * len(values))}) ON CONFLICT ({table.key.quoted})"
            f" DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in others)}",
            values,
        )

    def _bring_parents(self, table: Table, values: list[Any]) -> None:
        for column, value in zip(table.columns, values, strict=True):
            if column.parent is None or value is None:
                continue
            parent = self._local.tables[column.parent]
            if self._exists(parent.name, parent.key.name, value):
                continue
            row = self._parents.get(parent, value)
            if row is not None and row.values is not None:
                self.take(parent, value, row)
                self.restored_parents.append((parent, value))

    def _has_children(self, table: Table, key: str) -> bool:
        return any(self._exists(child, column, key) for child, column in table.children)

    def _exists(self, table: str, column: str, value: Any) -> bool:
        found = self._writer.execute(
            f"SELECT 1 FROM {quoted(table)} WHERE {quoted(column)} = ? LIMIT 1", (value,)
        )
        return found.fetchone() is not None
