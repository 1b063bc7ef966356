"""Sends the file's changes to the model's server, parents before children; it may die anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tests.sync.model.acknowledge import Acknowledgement
from tests.sync.model.file import File, Pending
from tests.sync.model.server import Server
from tests.sync.model.tables import AGAIN, DELETE, PUT, SUSPECT, Line, Refused, Steps, Table


class Batch(NamedTuple):
    """One range of keys of one table, as the snapshot holds them.

    :ivar rejects: keys in it that the server cannot hold, found before they are sent.
    """

    table: Table
    op: str
    lines: list[Line]
    rejects: list[str]
    first: str
    last: str

    def part(self, start: int, end: int) -> Batch:
        """Give some of the lines as a batch of their own."""
        lines = self.lines[start:end]
        return self._replace(lines=lines, rejects=[], first=lines[0].key, last=lines[-1].key)


class Push:
    """One push of one file.

    :ivar message: sends the batch that is announced; None: there is none to be sent.
    """

    def __init__(
        self,
        file: File,
        server: Server,
        on: Mapping[str, bool],
        new: Callable[[], int],
        *,
        scope: tuple[str, ...],
        rows: int,
        eager: bool,
    ) -> None:
        self._file = file
        self._server = server
        self._on = on
        self._new = new
        self._scope = scope
        self._rows = rows
        self._eager = eager
        self._node, self._token = file.id, file.token
        self._epoch = server.nodes[file.id][1]
        self._before: Acknowledgement | None = None
        self._put_off = self._woken = 0
        self.message: Callable[[], None] | None = None

    def steps(self) -> Steps:
        """Send all that is logged; rounds go on while rows arrive that others waited for."""
        while any(table in self._scope for _, table, _, _ in self._file.log):
            if not (yield from self._round()):
                break

    def _round(self) -> Steps:
        """Send what is logged now; tell whether another round can send what had to wait."""
        file = self._file
        self._put_off = self._woken = count = 0
        marker = self._mark()
        batches = self._batches(marker)
        if self._on["snapshot"]:
            batches = iter(list(batches))
        work: list[Batch] = []
        yield "snapshot"
        while batch := work.pop() if work else next(batches, None):
            count += len(batch.lines) + len(batch.rejects)
            if batch.rejects:
                file.rejects.update({(batch.table.name, key): "value" for key in batch.rejects})
                yield "set aside"
            if batch.lines:
                pieces = yield from self._send(batch, marker)
                count -= sum(len(piece.lines) for piece in pieces)
                work += pieces
        yield from self._settle()
        file.log = [e for e in file.log if e[0] >= marker or e[1] not in self._scope]
        file.pending = []
        yield "log cleared"
        return bool(self._woken or (self._put_off and count > self._put_off))

    def _mark(self) -> int:
        """Put the marker at the end of the log."""
        file = self._file
        file.log = [entry for entry in file.log if entry[1]]
        last = file.log[-1][0] if file.log else 0
        file.marker = 1 + max(last, file.marker)
        if self._on["marker"]:
            file.log.append((file.marker, "", "", ""))
        else:
            file.marker = last + 1
        return file.marker

    def _batches(self, marker: int) -> Iterator[Batch]:
        """Give puts, parents first, then deletes, children first."""
        file = self._file
        logged: dict[str, dict[str, set[str]]] = {table: {} for table in self._scope}
        for seq, table, key, op in file.log:
            if seq < marker and table in logged:
                logged[table].setdefault(key, set()).add(op)
        for op, tables in ((PUT, self._scope), (DELETE, self._scope[::-1])):
            for name in tables:
                rows = file.rows[name]
                keys = sorted(key for key in logged[name] if (key in rows) == (op == PUT))
                for start in range(0, len(keys), self._rows):
                    part = keys[start : start + self._rows]
                    bad = [k for k in part if op == PUT and rows[k].get("bad") == "here"]
                    lines = [self._line(name, k, logged[name][k]) for k in part if k not in bad]
                    yield Batch(file.schema.tables[name], op, lines, bad, part[0], part[-1])

    def _line(self, table: str, key: str, ops: set[str]) -> Line:
        file = self._file
        base, base_seq = file.base[table].get(key, (None, 0))
        keep = self._on["keep"] and ops == {AGAIN} and base is not None
        suspect = SUSPECT in ops and ops <= {SUSPECT, AGAIN}
        tag = file.deletions[table].get(key)
        return Line(key, file.rows[table].get(key), base, base_seq, keep, suspect, tag)

    def _send(self, batch: Batch, marker: int) -> Steps:
        """Announce one batch and send it; give the pieces to send instead, last one first."""
        file, name = self._file, batch.table.name
        pending = Pending(self._new(), name, batch.op, batch.first, batch.last, marker, self._scope)
        if self._on["pending"]:
            file.pending.append(pending)
        self.message = lambda: self._transmit(batch, pending)
        yield "announced"
        if not self._eager:
            yield from self._settle()
        bad: int | None = None
        try:
            yield from self._deliver(batch, pending)
        except Refused as refused:
            bad = refused.line
        yield "answered"
        yield from self._settle()
        if bad is not None:
            file.rejects[name, batch.lines[bad].key] = "value"
            yield "set aside"
            ranges = ((bad + 1, len(batch.lines)), (0, bad))
            return [batch.part(start, end) for start, end in ranges if start < end]
        self._token = pending.token
        keys = [line.key for line in batch.lines]
        self._before = Acknowledgement(file, self._server, pending, keys, self._on)
        if self._server.history[file.id][pending.token][1]:
            yield from self._settle()
        return []

    def _deliver(self, batch: Batch, pending: Pending) -> Steps:
        seq = None
        if not self._on["clock"]:
            self._server.clock += 1
            seq = self._server.clock
            yield "number taken"
        self.message = None
        self._transmit(batch, pending, seq)

    def _transmit(self, batch: Batch, pending: Pending, seq: int | None = None) -> None:
        """Let the server judge and commit a batch.

        :raises Refused: it cannot hold one of the rows.
        :raises Stopped: somebody else, a copy of this file, synced under its name meanwhile.
        """
        self._server.apply(
            batch.table,
            batch.lines,
            node=self._node,
            epoch=self._epoch,
            old=self._token,
            token=pending.token,
            seq=seq,
        )

    def _settle(self) -> Steps:
        """Acknowledge the batch that the server has committed."""
        before, self._before = self._before, None
        if before:
            yield from before.steps()
            self._put_off += before.put_off
            self._woken += before.woken
