"""The server's rows written into the file, with the parents that they need."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.set_aside import Reject, set_aside
from dynostore.sync.remote.judgement import NODE_NAME
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Table, quoted
from dynostore.sync.wire import Unfit, local_values, server_expressions

UNFIT = "22008"
"""SQLSTATE of a row of the server's that fits no file."""
UNFIT_MESSAGE = "the server's value fits no file"

REVISION = "coalesce(t.sync_rev, 0)"
"""A row's revision on the server. Who writes with its triggers off may leave none: then it is 0,
which is nobody's token, so that no base matches it."""

_KEYS_PER_QUERY = 5000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Held:
    """What the server holds under a key.

    :ivar values: the row as SQLite stores it, in the table's column order; None: a tombstone, or
        a row that fits no file.
    :ivar node: the name of the node that wrote it.
    :ivar unfit: the value that no file can hold, such as a time before our era.
    """

    revision: int
    seq: int
    values: list[Any] | None
    node: str | None = None
    unfit: Unfit | None = None

    @property
    def is_row(self) -> bool:
        """Whether it is a row, and no tombstone."""
        return self.values is not None or self.unfit is not None


def held(server: Server, table: Table, keys: Iterable[str]) -> dict[str, Held]:
    """Ask the server for rows or tombstones; keys that it never had are left out.

    Those are also the keys that it cannot have: in a file's column of UUIDs may stand anything.
    """
    found: dict[str, Held] = {}
    possible = [k for k in keys if table.key.kind != "uuid" or _UUID.fullmatch(k)]
    for part in _parts(possible, _KEYS_PER_QUERY):
        for row in server.execute(
            f"SELECT t.{table.key.quoted}::text, {REVISION}, t.sync_seq,"
            f" {NODE_NAME.format(no='t.sync_node')},"
            f" {server_expressions(table, 't')} FROM {table.quoted} t"
            f" WHERE t.{table.key.quoted} = ANY(%s::{_key_type(table)}[])",
            (part,),
        ):
            key, revision, seq, node, *values = row
            try:
                found[key] = Held(revision, seq, local_values(table, values), node)
            except Unfit as exc:
                found[key] = Held(revision, seq, None, node, exc)
        for key, revision, seq, node in server.execute(
            f"SELECT t.key, t.rev, t.seq, {NODE_NAME.format(no='t.node')}"
            " FROM dynostore_sync.tombstone t WHERE t.tbl = %s AND t.key = ANY(%s)",
            (table.name, part),
        ):
            found[key] = Held(revision, seq, None, node)
    return found


def _key_type(table: Table) -> str:
    return "uuid" if table.key.kind == "uuid" else "text"


def _parts(keys: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


class RowsWanted(Exception):
    """Rows of the server's are needed that were not fetched yet; nothing may be committed."""


class Fetched:
    """The server's rows that belong to arriving ones, fetched between local transactions.

    A transaction that finds one missing is given up, the rows are fetched, and it begins again: no
    writer of the file waits for the network. There are as many rounds as generations are missing.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rows: dict[str, dict[str, Held | None]] = {}
        self._wanted: dict[str, tuple[Table, set[str]]] = {}

    def get(self, table: Table, key: str) -> Held | None:
        """Give what the server holds; None where that is nothing, or has yet to be fetched."""
        known = self._rows.setdefault(table.name, {})
        if key not in known:
            self._wanted.setdefault(table.name, (table, set()))[1].add(key)
        return known.get(key)

    def require(self) -> None:
        """Make sure that all that was asked for was there.

        :raises RowsWanted: :meth:`fetch`, and do it again.
        """
        if self._wanted:
            raise RowsWanted

    def fetch(self) -> None:
        """Ask the server for what was wanted, outside any local transaction."""
        for table, keys in self._wanted.values():
            found = held(self._server, table, keys)
            self._rows[table.name].update({key: found.get(key) for key in keys})
        self._wanted.clear()


class Incoming:
    """Writes what the server holds into the file, inside the caller's applying transaction.

    Before it commits, the caller asks ``fetched`` whether all that belongs to it was there.

    :param limit: newer rows are left to the next pull: what a file knows of the server must not run
        ahead of the clock at its token, or a restored server would look as it should.
    :ivar withdrawn: rows whose deletion here was undone for the sake of a child: table, key, the
        server's revision, and the node that wrote the child.
    :ivar unfit: the tables of rows that were set aside, since no file can hold them.
    :ivar logged: rows were logged, for the server to judge.
    :ivar kept: table and key of rows that a child kept from going with their tombstone.
    """

    def __init__(
        self,
        local: LocalFile,
        writer: sqlite3.Connection,
        fetched: Fetched,
        *,
        limit: int | None = None,
    ) -> None:
        self._local = local
        self._writer = writer
        self._fetched = fetched
        self._limit = limit
        self.withdrawn: list[tuple[Table, str, int, str | None]] = []
        self.unfit: list[Table] = []
        self.logged = False
        self.kept: set[tuple[str, str]] = set()
        self._under_way: set[tuple[str, str]] = set()

    def take(self, table: Table, key: str, row: Held) -> bool:
        """Make the file hold what the server holds under a key, and remember it as the base.

        A row brings the parents that are missing here; where this file had deleted one, that is
        undone. A tombstone takes the children along that nobody changed here; where another is
        left it is not applied: the row is logged, and the next push lets the server judge it. A
        row that fits no file is set aside.

        :return: False: nothing was taken, and the base stays.
        """
        if self._limit is not None and row.seq > self._limit:
            return False
        if row.unfit is not None:
            self._set_aside(table, key, row.unfit)
            return False
        # Rows may refer to each other in a circle: who is asked for again is on its way already.
        if (table.name, key) in self._under_way:
            return True
        self._under_way.add((table.name, key))
        try:
            return self._take(table, key, row)
        finally:
            self._under_way.remove((table.name, key))

    def _take(self, table: Table, key: str, row: Held) -> bool:
        if row.values is None:
            if self._local.has_strange_children(table, key):
                # Of a table that does not sync here: only the row itself can come back for them.
                self.log(table, key, "p")
                return False
            if not self._clear_away_children(table, key):
                # Not as a change: a child that was changed will ask for it, one that may have been
                # changed will not.
                self.log(table, key, "s")
                self.kept.add((table.name, key))
                return False
            self._writer.execute(f"DELETE FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,))
        elif self._bring_parents(table, row.values, row.node):
            self._write(table, row.values)
        else:
            return False
        self._local.set_bases(self._writer, table.name, [key], row.revision, row.seq)
        return True

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
            self._local.set_bases(self._writer, table.name, [key], row.revision, row.seq)

    def _set_aside(self, table: Table, key: str, unfit: Unfit) -> None:
        known = self._writer.execute(
            "SELECT wish FROM sync_reject WHERE tbl = ? AND key = ? AND origin = 'server'",
            (table.name, key),
        ).fetchone()
        if known is None or known[0] is not None:
            reject = Reject(key, unfit.column, unfit.value, UNFIT, UNFIT_MESSAGE)
            set_aside(self._writer, table.name, [reject], origin="server")
            self.unfit.append(table)

    def log(self, table: Table, key: str, op: str) -> None:
        """Log a row for the server to judge: as changed (``p``), or as one that may be (``s``)."""
        self._local.log(self._writer, table.name, [key], op)
        self.logged = True

    def _write(self, table: Table, values: list[Any]) -> None:
        # Never INSERT OR REPLACE: it deletes the row first, and its children with it.
        others = [c.quoted for c in table.columns if c.name != table.key.name]
        self._writer.execute(
            f"INSERT INTO {table.quoted} ({table.column_list})"
            f" VALUES ({', '.join('?' * len(values))}) ON CONFLICT ({table.key.quoted})"
            f" DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in others)}",
            values,
        )

    def _bring_parents(self, table: Table, values: list[Any], node: str | None) -> bool:
        """Make sure that a row's parents are here; False: one cannot come.

        :param node: who wrote the row.
        """
        own = values[table.column_names.index(table.key.name)]
        for column, value in zip(table.columns, values, strict=True):
            if column.parent is None or value is None:
                continue
            parent = self._local.tables[column.parent]
            if (parent is table and value == own) or self._exists(parent, parent.key.name, value):
                continue
            row = self._fetched.get(parent, value)
            if row is None or row.values is None or not self.take(parent, value, row):
                return False
            if self._waits(parent, value):
                # Its deletion may be on its way: behind it the row is sent once more.
                self.log(parent, value, "p")
                self.withdrawn.append((parent, value, row.revision, node))
        return True

    def _clear_away_children(self, table: Table, key: str) -> bool:
        """Make a row's children here what the server has made of them; False: some are left."""
        cleared = True
        for name, column in table.children:
            child = self._local.tables[name]
            for child_key in self._children(child, column, key):
                row = None if self._waits(child, child_key) else self._fetched.get(child, child_key)
                if (
                    row is None
                    or _refers(child, row, column, key)
                    or not self.take(child, child_key, row)
                ):
                    cleared = False
        return cleared

    def _children(self, child: Table, column: str, key: str) -> list[str]:
        found = self._writer.execute(
            f"SELECT {child.key.quoted} FROM {child.quoted} WHERE {quoted(column)} = ?", (key,)
        )
        return [child_key for (child_key,) in found]

    def _waits(self, table: Table, key: str) -> bool:
        """Tell whether a row waits for the server's judgement."""
        found = self._writer.execute(
            "SELECT 1 FROM sync_log WHERE tbl = ? AND key = ? UNION ALL"
            " SELECT 1 FROM sync_reject WHERE tbl = ? AND key = ? AND origin = 'file' LIMIT 1",
            (table.name, key, table.name, key),
        )
        return found.fetchone() is not None

    def _exists(self, table: Table, column: str, value: Any) -> bool:
        found = self._writer.execute(
            f"SELECT 1 FROM {table.quoted} WHERE {quoted(column)} = ? LIMIT 1", (value,)
        )
        return found.fetchone() is not None


def _refers(table: Table, row: Held, column: str, key: str) -> bool:
    """Tell whether a row of the server's still refers to a parent."""
    return row.values is not None and row.values[table.column_names.index(column)] == key
