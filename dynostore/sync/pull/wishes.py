"""Carries out, inside a pull, what people asked for about rejects (``review.rejects``)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.set_aside import readmit, wake_children
from dynostore.sync.local.stored_keys import StoredKey, find_key, rows_below
from dynostore.sync.pull.incoming import Fetched, Incoming, RowsWanted
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Table, literal


def something_is_wished(local: LocalFile, scope: Sequence[Table]) -> bool:
    """Tell whether anything was asked for in some tables."""
    names = ", ".join(literal(table.name) for table in scope)
    found = local.writer.execute(
        f"SELECT 1 FROM sync_reject WHERE wish IS NOT NULL AND tbl IN ({names}) LIMIT 1"
    )
    return found.fetchone() is not None


class Dropping:
    """Gives up what was changed here in rows that were dropped, in one local transaction.

    :ivar received: by table, rows that were replaced by the server's, or removed.
    :ivar unfit: the tables of rows of the server's that were set aside, as they fit no file.
    :ivar logged: rows were logged that waited for one of them: another push is due.
    """

    def __init__(self, local: LocalFile, server: Server, scope: Sequence[Table]) -> None:
        self._local = local
        self._scope = scope
        self._fetched = Fetched(server)
        self.received: dict[str, int] = {}
        self.unfit: list[Table] = []
        self.logged = False

    def run(self) -> None:
        """Do it for all of them; the caller holds one view of the server."""
        while True:
            try:
                with self._local.writing(applying=True) as writer:
                    self._drop_all(writer)
                    self._fetched.require()
                return
            except RowsWanted:
                self._fetched.fetch()

    def _drop_all(self, writer: sqlite3.Connection) -> None:
        self.received, self.logged = {}, False
        self._incoming = Incoming(self._local, writer, self._fetched)
        self._given_up: dict[str, list[str]] = {}
        names = ", ".join(literal(table.name) for table in self._scope)
        wishes = writer.execute(
            "SELECT tbl, key, wish_seq FROM sync_reject"
            f" WHERE wish = 'drop' AND tbl IN ({names}) ORDER BY tbl, key"
        ).fetchall()
        if not wishes:
            return
        later = self._changed_after(writer, min(before for _, _, before in wishes))
        for name, key, before in wishes:
            self._drop(writer, self._local.tables[name], key, before, later)
        for name, keys in self._given_up.items():
            writer.execute(
                "DELETE FROM sync_log WHERE tbl = ? AND key IN (SELECT value FROM json_each(?))",
                (name, json.dumps(keys)),
            )
        for name, keys in self._given_up.items():
            woken = wake_children(self._local, writer, self._local.tables[name], set(keys))
            self.logged = self.logged or bool(woken)
        self.logged = self.logged or self._incoming.logged
        self.unfit = self._incoming.unfit

    def _changed_after(
        self, writer: sqlite3.Connection, before: int
    ) -> dict[tuple[str, str | bytes], int]:
        """Give the last entry of each key that was logged since the first decision."""
        rows = writer.execute(
            "SELECT tbl, key, max(seq) FROM sync_log WHERE seq > ? AND tbl IS NOT NULL"
            " GROUP BY tbl, key",
            (before,),
        )
        return {(name, key): seq for name, key, seq in rows}

    def _drop(
        self,
        writer: sqlite3.Connection,
        table: Table,
        key: str,
        before: int,
        later: dict[tuple[str, str | bytes], int],
    ) -> None:
        there = find_key(writer, table, key) or StoredKey(key.encode())
        theirs = self._fetched.get(table, key) if there.is_sendable else None
        rows = rows_below(writer, self._local.tables, table, there)
        stays = theirs is not None and theirs.is_row
        if stays:
            rows = rows[-1:]  # the row itself: what refers to it may stay too
        if any(
            later.get((t.name, k.text), 0) > before
            or (not stays and self._local.has_strange_children(t, k.text))
            for t, k in rows
        ):
            writer.execute(
                "UPDATE sync_reject SET wish = NULL WHERE tbl = ? AND key = ?", (table.name, key)
            )
            return
        for below, its_key in rows:
            self._give_up(writer, below, its_key, stays=stays)

    def _give_up(
        self, writer: sqlite3.Connection, table: Table, key: StoredKey, *, stays: bool
    ) -> None:
        """Make the file hold what the server holds under a key, or nothing.

        :param stays: where the server's row cannot come, the one that is here is left.
        """
        self._given_up.setdefault(table.name, []).append(key.text)
        self.received[table.name] = self.received.get(table.name, 0) + 1
        readmit(writer, table.name, [key.text])
        theirs = self._fetched.get(table, key.text) if key.is_sendable else None
        if theirs is not None and theirs.is_row:
            taken = self._incoming.take(table, key.text, theirs)
            if taken or stays:
                return
        # What refers to it here was given up before it.
        writer.execute(
            f"DELETE FROM {table.quoted} WHERE {table.key.quoted} = {key.sql}", (key.value,)
        )
        writer.execute("DELETE FROM sync_base WHERE tbl = ? AND key = ?", (table.name, key.text))
        if theirs is not None and not theirs.is_row:
            self._local.set_bases(writer, table.name, [key.text], theirs.revision, theirs.seq)
