"""What became of a batch, written into the file: after a commit, and after a crash behind it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sync.model.file import File, Pending
from tests.sync.model.incoming import Incoming
from tests.sync.model.server import Server
from tests.sync.model.tables import AGAIN, DELETE, PUT, SUSPECT, Steps, Verdict


class Acknowledgement:
    """One committed batch.

    :ivar put_off: keys that wait for others of this file, and were logged again.
    :ivar woken: keys that were logged because another round can send them now.
    """

    def __init__(
        self, file: File, server: Server, batch: Pending, keys: list[str], on: Mapping[str, bool]
    ) -> None:
        self._file = file
        self._server = server
        self._batch = batch
        self._keys = keys
        self._on = on
        self._kept: set[str] = set()
        self.put_off = self.woken = 0

    def steps(self) -> Steps:
        """Ask the server for what was not applied as sent; then write, in one transaction."""
        file, batch, table = self._file, self._batch, self._batch.table
        seq, odd = self._server.history[file.id][batch.token]
        if odd:
            held = self._server.snapshot()
            yield "asked"
            self._apply(seq, odd, held)
        for key in self._keys:
            if key not in odd:
                file.base[table][key] = (batch.token, seq)
        arrived = {key for key, verdict in odd.items() if verdict.what != "orphan"}
        arrived.update(key for key in self._keys if key not in odd)
        for key in arrived:
            file.rejects.pop((table, key), None)
        if table and batch.op == PUT:
            self._wake_children(arrived - self._kept)
        file.token = batch.token
        file.history[batch.token] = seq
        while file.pending and file.pending[0].token != batch.token:
            del file.pending[0]
        yield "acknowledged"

    def _wake_children(self, arrived: set[str]) -> None:
        """Log the children that were set aside for want of parents that are now there."""
        file = self._file
        for child, column in file.schema.children[self._batch.table]:
            for (table, key), why in file.rejects.items():
                row = file.rows[table].get(key)
                if table == child and why == "parent" and row and row[column] in arrived:
                    file.note(table, key, PUT)
                    self.woken += 1

    def _apply(self, seq: int, odd: dict[str, Verdict], server: Server) -> None:
        file, table, on = self._file, self._batch.table, self._on
        if on["triggers"]:
            file.require_triggers()
        later = file.keys_after(self._batch.marker, table)
        incoming = Incoming(file, server, on, limit=seq if on["limit"] else None)
        for key, verdict in odd.items():
            what = verdict.what
            if what in ("adopted", "gone"):
                file.base[table][key] = (verdict.revision or 0, verdict.seq)
            elif what == "kept":
                file.base[table][key] = (verdict.revision or 0, seq)
            elif what == "orphan":
                self._ask_for_parents(key, AGAIN if verdict.keep else PUT)
            elif what == "merged":
                self._merge(incoming, key, verdict, key in later)
            elif what == "children" and on["mine"] and self._children_are_mine(key):
                file.note(table, key, DELETE)
                self.put_off += 1
            elif what in ("lost", "suspect", "children", "back"):
                self._contest(incoming, key, verdict, seq, key in later)
                if on["kept waits"] and (table, key) in incoming.kept:
                    self._kept.add(key)
                    self.put_off += 1
        self.woken += incoming.withdrawn

    def _contest(
        self, incoming: Incoming, key: str, verdict: Verdict, seq: int, later: bool
    ) -> None:
        """List a conflict, and follow the server where it kept its own."""
        file, table = self._file, self._batch.table
        if verdict.what != "suspect":
            file.list_conflict(table, key, verdict.what, verdict.mine)
        if verdict.what == "back":
            file.base[table][key] = (self._batch.token, seq)
        elif not later or not self._on["later row"]:
            self._take(incoming, key)
        elif not self._on["later base"]:
            file.base[table][key] = (verdict.revision or 0, verdict.seq)

    def _take(self, incoming: Incoming, key: str) -> None:
        """Follow the server; what is too new for this batch is judged again with the next."""
        file, table = self._file, self._batch.table
        if not incoming.take_what_is_held(table, key) and self._on["again"]:
            file.note(table, key, SUSPECT)
            self.woken += 1

    def _merge(self, incoming: Incoming, key: str, verdict: Verdict, later: bool) -> None:
        """Take what two versions made together; a row that changed again is combined with it."""
        file, table = self._file, self._batch.table
        if not later:
            self._take(incoming, key)
            return
        held, row = incoming.server.held(table, key), file.rows[table].get(key)
        if not self._on["later merge"] or row is None or held is None or held[0] is None:
            return
        if held[1] in (self._batch.token, verdict.revision):
            file.rows[table][key] = file.schema.combined(table, row, held[0])
            file.base[table][key] = (held[1], held[2])

    def _ask_for_parents(self, key: str, op: str) -> None:
        """Log a child again, and with it the parents that the server lacks or may lack.

        Where a parent cannot come the child is set aside as well.
        """
        file, table = self._file, self._batch.table
        row = file.rows[table].get(key, {})
        references = file.schema.tables[table].references.items()
        parents = [(parent, row[column]) for column, parent in references if row.get(column)]
        if any(at not in file.rows[p] or (p, at) in file.rejects for p, at in parents):
            file.rejects[table, key] = "parent"
            return
        for parent, at in parents:
            file.note(parent, at, PUT)
        file.note(table, key, op)
        self.woken += 1

    def _children_are_mine(self, key: str) -> bool:
        """Tell whether every child that the server holds waits here to be sent."""
        for table, child in self._server.children_of(self._batch.table, key):
            unsent = table not in self._batch.scope
            if self._on["self"] and table == self._batch.table:
                unsent = True
            after = 0 if unsent else self._batch.marker
            waits = child in self._file.keys_after(after, table)
            if not waits and (table, child) not in self._file.rejects:
                return False
        return True
