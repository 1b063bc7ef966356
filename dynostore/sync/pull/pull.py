"""Brings what changed on the server into the file: one view of it, parents before children.

Killed anywhere, a pull is repeated: a row that is here already is known by its revision, and the
cursors move when the whole window is done. What changed here and was not sent yet is left alone;
push lets the server judge it.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dynostore.sync.exchange import Exchange
from dynostore.sync.local.changes import DirtyKeys
from dynostore.sync.local.journal import Pending
from dynostore.sync.local.set_aside import (
    MISSING_PARENT,
    Reject,
    keys_set_aside,
    readmit,
    set_aside,
)
from dynostore.sync.pull.arrivals import VALUES, Arrivals, Batches, orphans_among
from dynostore.sync.pull.incoming import (
    UNFIT,
    UNFIT_MESSAGE,
    Fetched,
    Held,
    Incoming,
    RowsWanted,
    held,
)
from dynostore.sync.pull.wishes import Dropping, something_is_wished
from dynostore.sync.read_ahead import ReadAhead
from dynostore.sync.reconcile import reconcile
from dynostore.sync.review.conflicts import note_conflict
from dynostore.sync.tables import Column, Table, literal

_CACHE_KIB = 16 * 1024
_ORPHANS = 1000  # rows whose parents are fetched one key at a time


@dataclasses.dataclass(frozen=True)
class Window:
    """What one pull takes of a table: the numbers above ``after`` and up to ``upto``.

    :ivar again: the table gained columns since it was read: rows that are here already are taken
        once more for their sake.
    """

    after: int
    upto: int
    again: bool = False

    def __str__(self) -> str:
        return f"sync_seq > {self.after} AND sync_seq <= {self.upto}"


class Pull:
    """One pull of one file; raises the driver's errors, for the caller to judge.

    :ivar logged: rows were logged that only the server can judge: another push is due.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._local, self._server = exchange.local, exchange.server
        self._scope, self._limits = exchange.scope, exchange.limits
        self.logged = False

    def run(self) -> None:
        """Take everything up to the server's present number.

        A file behind the horizon of what was purged is compared with the server in full first.
        """
        horizon = self._take_window(None)
        while horizon is not None:
            node = self._local.journal.node()
            reconcile(self._local, self._server, token=node.token, restored_at=None)
            horizon = self._take_window(horizon)

    def _take_window(self, compared: int | None) -> int | None:
        """Take all tables' rows, then their tombstones.

        :param compared: the horizon at which this file began to compare itself with the server.
        :return: the horizon, where tombstones were purged that this file has not seen: nothing was
            taken; None: everything was.
        """
        cursors = self._local.journal.cursors()
        with self._view() as (high, horizon):
            behind = min(cursors[table.name].number for table in self._scope) < horizon
            if behind and horizon > (compared or 0) and self._local.has_bases():
                return int(horizon)
            windows = {name: Window(cursor.number, high) for name, cursor in cursors.items()} | {
                table.name: Window(0, high, again=True)
                for table in self._scope
                if cursors[table.name].columns != table.column_names
            }
            rows, tombstones = self._changed(windows)
            if (
                compared is not None
                or rows
                or tombstones
                or something_is_wished(self._local, self._scope)
            ):
                self._turn_token(high)
                for table in self._scope:
                    if table.name in rows:
                        self._take_rows(table, windows[table.name])
                for table in reversed(self._scope):
                    if table.name in tombstones:
                        self._take_tombstones(table, windows[table.name])
                self._retry_set_aside()
                self._drop_given_up()
                self._move_cursors(high)
        return None

    def _turn_token(self, high: int) -> None:
        """Change the token on both sides, unless the file's own is as new as the view.

        Between the moment at which the view was taken and the first row that is written: what a
        file knows of the server never runs ahead of the clock at its token. Otherwise a server that
        is restored meanwhile would look as it should.
        """
        journal = self._local.journal
        node = journal.node()
        if node.token is not None and (journal.clock_at(node.token) or 0) >= high:
            return
        pending = Pending.of_pull()
        with self._local.writing():
            journal.add_pending(pending)
        self._server.turn_token(node, pending.token, high)
        with self._local.writing():
            journal.remember(pending.token, high)
            journal.drop_pending()

    @contextmanager
    def _view(self) -> Iterator[tuple[int, int]]:
        """Hold one view of the server; give its number and the horizon of what was purged."""
        [(high, horizon)] = self._server.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
            " SELECT (SELECT coalesce(max(seq), 0) FROM dynostore_sync.tick), horizon"
            " FROM dynostore_sync.server"
        )
        try:
            yield high, horizon
        finally:
            self._server.rollback()

    def _changed(self, windows: dict[str, Window]) -> tuple[set[str], set[str]]:
        """Give the tables that have rows, and those that have tombstones, in their windows."""
        asked = [
            f"SELECT true, {literal(t.name)} WHERE EXISTS"
            f" (SELECT FROM {t.quoted} WHERE {windows[t.name]}) UNION ALL"
            f" SELECT false, {literal(t.name)} WHERE EXISTS (SELECT FROM dynostore_sync.tombstone"
            f" WHERE tbl = {literal(t.name)} AND {_numbered(windows[t.name])})"
            for t in self._scope
            if windows[t.name].after < windows[t.name].upto
        ]
        found = self._server.execute(" UNION ALL ".join(asked)) if asked else []
        return {n for is_row, n in found if is_row}, {n for is_row, n in found if not is_row}

    # -- rows --------------------------------------------------------------------------------

    def _take_rows(self, table: Table, window: Window) -> None:
        # Indexes are written in no order: with SQLite's own 2 MiB a batch goes to the disk in parts
        # and is read again, which takes a third of the time.
        self._local.writer.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        arrivals = Arrivals(table)
        sql = arrivals.select(str(window))
        known = self._local.has_bases(table)
        with self._counting(table), DirtyKeys(self._local.writer, table) as dirty:
            orphans: list[str] = []
            with ReadAhead[bytes](lambda put: self._copy(sql, put)) as batches:
                for text in batches:
                    with self._local.writing(applying=True, durable=False) as writer:
                        orphans += self._write_rows(
                            writer, arrivals, text, dirty, window, known=known
                        )
            for start in range(0, len(orphans), _ORPHANS):
                self._take_with_parents(table, orphans[start : start + _ORPHANS], dirty)

    def _copy(self, sql: str, put: Callable[[bytes], None]) -> None:
        """Run in a thread of its own: the next rows arrive while the last are being written."""
        batches = Batches(self._limits, put)
        self._server.copy_out(sql, batches.take)
        batches.end()

    def _write_rows(
        self,
        writer: sqlite3.Connection,
        arrivals: Arrivals,
        text: bytes,
        dirty: DirtyKeys,
        window: Window,
        *,
        known: bool,
    ) -> list[str]:
        """Write a batch of rows and their bases, inside the caller's transaction.

        :param known: False: the file has no base of this table, so that none needs comparing.
        :return: the keys of rows whose parents are missing here; they are left out.
        """
        table, at = arrivals.table, arrivals.key
        chunk = arrivals.parse(text)
        rows = chunk.rows
        left = dirty.among([row[at] for row in rows] + [m.key for m in chunk.misfits])
        if left:
            rows = [row for row in rows if row[at] not in left]
        if known and not window.again:
            bases = self._bases(writer, table, [row[at] for row in rows])
            rows = [row for row in rows if bases.get(row[at]) != int(row[0])]
        orphans = orphans_among(arrivals, rows, lambda c, keys: self._there(writer, c, keys))
        if orphans:
            rows = [row for row in rows if row[at] not in orphans]
        writer.executemany(arrivals.upsert(marked=chunk.marked), [row[VALUES] for row in rows])
        pushed_together: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            pushed_together[row[0], row[1]].append(row[at])
        for (revision, seq), keys in pushed_together.items():
            self._local.set_bases(writer, table.name, keys, int(revision), int(seq))
        readmit(writer, table.name, [row[at] for row in rows])
        self._note_misfits(
            writer,
            table,
            [
                Reject(m.key, m.column, m.value, UNFIT, UNFIT_MESSAGE)
                for m in chunk.misfits
                if m.key not in left
            ],
        )
        self._count(table, len(rows))
        return sorted(orphans)

    def _bases(
        self, writer: sqlite3.Connection, table: Table, keys: Sequence[str]
    ) -> dict[str, int]:
        found = writer.execute(
            "SELECT b.key, b.revision FROM json_each(?) j CROSS JOIN sync_base b"
            " ON b.tbl = ? AND b.key = j.value",
            (json.dumps(keys), table.name),
        )
        return dict(found.fetchall())

    def _there(self, writer: sqlite3.Connection, column: Column, keys: list[str]) -> set[str]:
        """Give those of a parent's keys that the file has."""
        parent = self._local.tables[str(column.parent)]
        found = writer.execute(
            f"SELECT p.{parent.key.quoted} FROM json_each(?) j CROSS JOIN {parent.quoted} p"
            f" ON p.{parent.key.quoted} = j.value",
            (json.dumps(keys),),
        )
        return {key for (key,) in found}

    def _take_with_parents(self, table: Table, keys: list[str], dirty: DirtyKeys) -> None:
        """Take rows whose parents were deleted here: these deletions are withdrawn, and listed."""
        self._take_one_by_one(table, held(self._server, table, keys), dirty)

    def _take_one_by_one(self, table: Table, rows: dict[str, Held], dirty: DirtyKeys) -> None:
        fetched = Fetched(self._server)
        while True:
            try:
                with self._local.writing(applying=True, durable=False) as writer:
                    incoming = Incoming(self._local, writer, fetched)
                    left = dirty.among(list(rows))
                    taken = {
                        k: incoming.take(table, k, r) for k, r in rows.items() if k not in left
                    }
                    fetched.require()
                    for parent, key, revision, node in incoming.withdrawn:
                        note_conflict(writer, parent, key, "parent", revision, node=node)
                    self._set_aside_orphans(writer, table, rows, taken)
                break
            except RowsWanted:
                fetched.fetch()
        for parent, *_ in incoming.withdrawn:
            self._exchange.reports[parent.name].conflicts += 1
        for unfit in incoming.unfit:
            self._exchange.reports[unfit.name].rejected += 1
        self.logged = self.logged or incoming.logged
        self._count(table, sum(taken.values()))

    def _set_aside_orphans(
        self,
        writer: sqlite3.Connection,
        table: Table,
        rows: dict[str, Held],
        taken: dict[str, bool],
    ) -> None:
        """Note the rows that cannot come because their parents fit no file."""
        orphans = [k for k, done in taken.items() if not done and rows[k].values is not None]
        rejects = [
            Reject(key, None, None, MISSING_PARENT, "refers to a row that fits no file")
            for key in orphans
        ]
        self._note_misfits(writer, table, rejects)
        readmit(writer, table.name, [key for key, done in taken.items() if done])

    def _note_misfits(
        self, writer: sqlite3.Connection, table: Table, rejects: Sequence[Reject]
    ) -> None:
        if rejects:
            set_aside(writer, table.name, rejects, origin="server")
            self._exchange.reports[table.name].rejected += len(rejects)

    # -- tombstones --------------------------------------------------------------------------

    def _take_tombstones(self, table: Table, window: Window) -> None:
        self._server.execute(
            "DECLARE dynostore_tombstones NO SCROLL CURSOR FOR"
            " SELECT key, rev, seq FROM dynostore_sync.tombstone"
            f" WHERE tbl = {literal(table.name)} AND {_numbered(window)} ORDER BY key"
        )
        with self._counting(table), DirtyKeys(self._local.writer, table) as dirty:
            fetch = f"FETCH {self._limits.rows} FROM dynostore_tombstones"
            while stones := self._server.execute(fetch):
                bases = self._bases(self._local.writer, table, [key for key, _, _ in stones])
                news = {
                    key: Held(revision, seq, None)
                    for key, revision, seq in stones
                    if bases.get(key) != revision
                }
                if news:
                    self._take_one_by_one(table, news, dirty)
        self._server.execute("CLOSE dynostore_tombstones")

    def _retry_set_aside(self) -> None:
        """Ask again for the rows that fitted no file: they, or their parents, may fit by now."""
        for table in self._scope:
            keys = keys_set_aside(self._local.writer, table.name, origin="server")
            if not keys:
                continue
            with self._counting(table), DirtyKeys(self._local.writer, table) as dirty:
                for start in range(0, len(keys), _ORPHANS):
                    self._take_with_parents(table, keys[start : start + _ORPHANS], dirty)

    def _drop_given_up(self) -> None:
        """Take the server's version of what people gave up."""
        if not something_is_wished(self._local, self._scope):
            return
        dropping = Dropping(self._local, self._server, self._scope)
        dropping.run()
        for name, rows in dropping.received.items():
            self._count(self._local.tables[name], rows)
        for table in dropping.unfit:
            self._exchange.reports[table.name].rejected += 1
        self.logged = self.logged or dropping.logged

    def _move_cursors(self, high: int) -> None:
        columns = {table.name: table.column_names for table in self._scope}
        with self._local.writing():
            self._local.journal.move_cursors(columns, high)

    # -- the report --------------------------------------------------------------------------

    def _count(self, table: Table, rows: int) -> None:
        if rows:
            report = self._exchange.reports[table.name]
            report.received += rows
            if self._exchange.progress:
                self._exchange.progress(table.name, report.received)

    @contextmanager
    def _counting(self, table: Table) -> Iterator[None]:
        """Add the time that a table took to its report, where there is anything to report."""
        started = time.perf_counter()
        yield
        if table.name in self._exchange.reports:
            self._exchange.reports[table.name].seconds += time.perf_counter() - started


def _numbered(window: Window) -> str:
    return f"seq > {window.after} AND seq <= {window.upto}"
