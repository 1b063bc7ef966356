"""What the file makes of the server's verdicts: the rows that were not applied as sent."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from typing import Any

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.images import image_here, image_of
from dynostore.sync.local.journal import Pending
from dynostore.sync.local.set_aside import MISSING_PARENT, Reject, set_aside
from dynostore.sync.pull.incoming import Fetched, Held, Incoming, held
from dynostore.sync.remote.judgement import NODE_NAME
from dynostore.sync.remote.server import Server
from dynostore.sync.review.conflicts import note_conflict
from dynostore.sync.tables import Column, Table, quoted
from dynostore.sync.wire import local_values, server_expressions

_CHILDREN_PER_QUERY = 5000


@dataclasses.dataclass
class Outcome:
    """What became of the rows of a batch.

    :ivar put_off: rows that must wait for others of this file: they were logged again.
    :ivar woken: rows that were logged because another round can send them now.
    :ivar orphans: table and key of those that wait for their parents.
    """

    sent: int = 0
    adopted: int = 0
    conflicts: int = 0
    rejected: int = 0
    put_off: int = 0
    woken: int = 0
    orphans: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def settled(self) -> int:
        """Rows that need not be sent again."""
        return self.sent + self.adopted + self.conflicts + self.rejected

    def add(self, other: Outcome) -> None:
        """Add what became of another batch's rows."""
        for field in dataclasses.fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Exceptions:
    """The keys of one batch that were not simply applied.

    :ivar any: there are such keys.
    :ivar arrived: those of them whose contents the server has judged.
    :ivar kept: those of them that a child keeps here though the server has deleted them.
    """

    def __init__(
        self, local: LocalFile, server: Server, pending: Pending, odd: dict[str, dict[str, Any]]
    ) -> None:
        self._local = local
        self._server = server
        self._table = local.tables[pending.table]
        self._pending = pending
        self._odd = odd
        self._seq = 0
        self._again = 0
        self.any = bool(odd)
        self.kept: set[str] = set()
        self.arrived = {key for key, item in odd.items() if item["what"] != "orphan"}
        self.fetched = Fetched(server)
        # Asked before the local transaction begins: writers here do not wait for the network.
        taken = self._with_verdict("lost", "merged", "children", "doubtful")
        self._held: dict[str, Held] = held(server, self._table, taken) if taken else {}
        lost = self._with_verdict("lost")
        self._images = self._archived(lost) if lost and pending.op == "p" else {}
        unseen = {key: self._unseen_child(key) for key in self._with_verdict("children")}
        self._put_off = {key for key, child in unseen.items() if child is None}
        self._winners = {key: child[1] for key, child in unseen.items() if child}

    def _with_verdict(self, *verdicts: str) -> list[str]:
        return [key for key, item in self._odd.items() if item["what"] in verdicts]

    def _archived(self, keys: list[str]) -> dict[str, str]:
        """Give the images of what was sent: the rows here may have changed since."""
        table = self._table
        rows = self._server.execute(
            f"SELECT a.key, {server_expressions(table, 't')} FROM dynostore_sync.archive a,"
            f" json_populate_record(NULL::{table.quoted}, a.image::json) t"
            " WHERE a.rev = %s AND a.tbl = %s AND a.key = ANY(%s)",
            (self._pending.token, table.name, keys),
        )
        return {key: image_of(table, local_values(table, row)) for key, *row in rows}

    def apply(self, writer: sqlite3.Connection, seq: int) -> Outcome:
        """Write all of them down inside the caller's applying transaction.

        :param seq: the batch's number on the clock.
        :raises RowsWanted: roll back, fetch ``fetched``, and call it again.
        """
        self._seq, self._again = seq, 0
        self.kept.clear()
        outcome = Outcome()
        later = self._local.logged_after(writer, self._pending.marker, self._table.name)
        incoming = Incoming(self._local, writer, self.fetched, limit=seq)
        for key, item in self._odd.items():
            verdict = item["what"]
            if verdict in ("same", "nothing", "adopted", "gone", "kept"):
                self._agree(writer, key, item, seq, outcome)
            elif verdict == "orphan":
                asked = self._ask_for_parents(writer, key, "r" if item["keep"] else "p")
                outcome.woken += asked
                outcome.orphans += [(self._table.name, key)] if asked else []
                outcome.rejected += not asked
            elif verdict == "merged":
                self._take_merge(incoming, key, item, later)
                outcome.sent += 1
            elif verdict == "doubtful":
                self._take(incoming, key, later)
                if (self._table.name, key) in incoming.kept:
                    self.kept.add(key)
                    outcome.put_off += 1
                else:
                    outcome.adopted += 1
            elif key in self._put_off:
                self._local.log(writer, self._table.name, [key], "d")
                outcome.put_off += 1
            else:
                self._contest(writer, incoming, key, item, seq, later)
                outcome.conflicts += 1
        self.fetched.require()
        for table, key, revision, node in incoming.withdrawn:
            note_conflict(writer, table, key, "parent", revision, node=node)
        outcome.rejected += len(incoming.unfit)
        # Not what is logged for the sake of a child: that may be one that waits for a person.
        outcome.woken += self._again + len(incoming.withdrawn)
        return outcome

    def _agree(
        self,
        writer: sqlite3.Connection,
        key: str,
        item: dict[str, Any],
        seq: int,
        outcome: Outcome,
    ) -> None:
        """Note what the server holds where it held, or now holds, just what was sent."""
        verdict, name = item["what"], self._table.name
        if verdict in ("adopted", "gone"):
            revision = item["rev"] or 0  # as a pull takes a row that somebody left without one
            self._local.set_bases(writer, name, [key], revision, item["seq"])
        elif verdict == "kept":
            self._local.set_bases(writer, name, [key], item["rev"], seq)
        if verdict in ("same", "adopted"):
            outcome.adopted += 1
        elif verdict in ("gone", "kept"):
            outcome.sent += 1

    def _contest(
        self,
        writer: sqlite3.Connection,
        incoming: Incoming,
        key: str,
        item: dict[str, Any],
        seq: int,
        later: set[str],
    ) -> None:
        """List a conflict, and follow the server where it kept its own."""
        why, image = item["what"], self._images.get(key)
        if why == "back":
            self._local.set_bases(writer, self._table.name, [key], self._pending.token, seq)
            image = image_here(writer, self._table, key)
        else:
            self._take(incoming, key, later)
        if why == "lost" and self._pending.op == "d":
            why = "delete"
        node = self._winners.get(key) or item.get("node")
        note_conflict(writer, self._table, key, why, item["rev"], node=node, image=image)

    def _take(self, incoming: Incoming, key: str, later: set[str]) -> None:
        # A row that was changed again here keeps its contents and its base: the next push judges
        # the newer version.
        if key in later:
            return
        row = self._held.get(key)
        if row is None or row.seq > self._seq:
            # Deleted and forgotten meanwhile, or newer than this batch: the next round asks again.
            incoming.log(self._table, key, "s")
            self._again += 1
        else:
            incoming.take(self._table, key, row)

    def _take_merge(
        self, incoming: Incoming, key: str, item: dict[str, Any], later: set[str]
    ) -> None:
        row = self._held.get(key)
        if key not in later:
            self._take(incoming, key, later)
        # Unless yet another node has written since: the newer version here was made on top of
        # this merge at most, and the next push must see that.
        elif row and row.values and row.revision in (self._pending.token, item["rev"]):
            incoming.merge(self._table, key, row)

    def _ask_for_parents(self, writer: sqlite3.Connection, key: str, op: str) -> bool:
        """Log a child again, and with it the parents that the server lacks or may lack.

        :return: False: a parent cannot come, so that the child was set aside as well.
        """
        parents: list[tuple[str, str]] = []
        for column in self._table.references:
            row = writer.execute(
                f"SELECT {column.quoted} FROM {self._table.quoted}"
                f" WHERE {self._table.key.quoted} = ?",
                (key,),
            ).fetchone()
            if row is None or row[0] is None:
                continue
            problem = self._problem_of_parent(writer, column, row[0])
            if problem:
                reject = Reject(key, column.name, row[0], MISSING_PARENT, problem)
                set_aside(writer, self._table.name, [reject])
                return False
            parents.append((str(column.parent), row[0]))
        # Not before all of them can come: what arrives wakes the child that was set aside.
        for name, parent in parents:
            self._local.log(writer, name, [parent], "p")
        self._local.log(writer, self._table.name, [key], op)
        return True

    def _problem_of_parent(
        self, writer: sqlite3.Connection, column: Column, value: str
    ) -> str | None:
        parent = self._local.tables[str(column.parent)]
        there = writer.execute(
            f"SELECT 1 FROM {parent.quoted} WHERE {parent.key.quoted} = ?", (value,)
        )
        if there.fetchone() is None:
            return f"refers to a row of {parent.name} that does not exist"
        refused = writer.execute(
            "SELECT 1 FROM sync_reject WHERE tbl = ? AND key = ? AND origin = 'file'",
            (parent.name, value),
        )
        return f"waits for its row of {parent.name}, a reject" if refused.fetchone() else None

    def _unseen_child(self, key: str) -> tuple[str, str | None] | None:
        """Give the key, and the writer, of a child on the server that does not wait here.

        Asked outside a transaction: what waits goes on waiting, since only a sync forgets it. What
        this push sends itself has been sent by now; but not what lies outside its scope, nor the
        rows of the same table, whose order is that of their keys.

        :return: None: every child waits here to be sent.
        """
        left_out = self._local.left_out()
        for stranger in self._server.strangers(self._table):
            # Of a table that this file captures: its own deletions may wait for its model.
            if stranger.name not in left_out and self._server.execute(
                f"SELECT 1 FROM {stranger.table} WHERE {quoted(stranger.column)} = %s LIMIT 1",
                (key,),
            ):
                return key, None
        for name, column in self._table.children:
            for child in self._children(self._local.tables[name], column, key):
                if not self._waits(name, child[0]):
                    return child
        return None

    def _children(self, child: Table, column: str, parent: str) -> Iterator[tuple[str, str | None]]:
        """Give the keys and writers of a row's children on the server, page by page."""
        key, last = child.key.quoted, None
        while True:
            page = self._server.execute(
                f"SELECT {key}::text, {NODE_NAME.format(no='sync_node')} FROM {child.quoted}"
                f" WHERE {quoted(column)} = %s"
                f" AND (%s IS NULL OR {key} > %s) ORDER BY {key} LIMIT {_CHILDREN_PER_QUERY}",
                (parent, last, last),
            )
            yield from page
            if len(page) < _CHILDREN_PER_QUERY:
                return
            last = page[-1][0]

    def _waits(self, table: str, key: str) -> bool:
        sent = table in self._pending.scope and table != self._table.name
        found = self._local.writer.execute(
            "SELECT 1 FROM sync_log WHERE tbl = ? AND key = ? AND seq > ?"
            " UNION ALL SELECT 1 FROM sync_reject WHERE tbl = ? AND key = ? AND origin = 'file'",
            (table, key, self._pending.marker if sent else 0, table, key),
        )
        return found.fetchone() is not None
