"""Sends the file's changes to the server, parents before children; each batch may die anywhere."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dynostore.driver_errors import sqlstate
from dynostore.sync.exchange import Exchange
from dynostore.sync.local.changes import HISTORY_KEPT
from dynostore.sync.local.journal import Pending, new_token
from dynostore.sync.local.set_aside import MISSING_PARENT, Reject, readmit, set_aside
from dynostore.sync.push.acknowledge import acknowledge
from dynostore.sync.push.batches import Batch, Pace, changed_rows
from dynostore.sync.push.refusal import line_of, refusal
from dynostore.sync.push.verdicts import Outcome
from dynostore.sync.read_ahead import ReadAhead
from dynostore.sync.remote import few, statements
from dynostore.sync.remote.server import Verdict

_ROW_ERRORS = ("22", "23", "42804", "54")
_KEY_TAKEN = "23505"


class Push:
    """One push of one file to one server; raises the driver's errors, for the caller to judge."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._local, self._server = exchange.local, exchange.server
        self._scope = list(exchange.scope)
        self._pace = Pace(exchange.limits)
        self._node = self._local.journal.node()
        self._number, self._epoch = self._server.node_entry(self._node.node_id)
        self._settled = 0.0  # when the last batch was acknowledged

    def run(self) -> None:
        """Send everything that is logged; rounds go on while rows arrive that others waited for."""
        rows, total = 0, Outcome()
        while self._local.something_waits(self._scope):
            before = rows, set(total.orphans)
            rows, total = self._round()
            if not (total.woken or (total.put_off and rows > total.put_off)):
                break
            if (rows, set(total.orphans)) == before and not total.settled:
                self._give_up_waiting(total.orphans)
                break
        if self._local.trim_history():
            self._server.trim_history(self._node.node_id, HISTORY_KEPT)

    def _round(self) -> tuple[int, Outcome]:
        """Send what is logged now; give the number of rows, and what became of them.

        While one batch is on its way, the one before it is acknowledged and the next one is read.
        """
        total = Outcome()
        rows = 0
        with (
            self._local.snapshot() as (reader, marker),
            ReadAhead.of(changed_rows(reader, marker, self._scope, self._pace)) as batches,
            ThreadPoolExecutor(1, "dynostore-send") as sender,
        ):
            self._settled = time.perf_counter()
            before: _Sent | None = None
            for batch in batches:
                rows += batch.rows
                self._set_aside(batch, batch.rejects, total)
                self._forget(batch, batch.forgotten)
                if not batch.keys:
                    continue
                pending, on_its_way = self._send(sender, batch, marker)
                try:
                    self._settle(before, total)
                    before = None
                finally:
                    refused = on_its_way.exception()
                if refused is not None:
                    self._send_in_pieces(batch, marker, refused, total)
                elif on_its_way.result().exceptions:
                    self._settle(_Sent(batch, pending, on_its_way.result()), total)
                else:
                    before = _Sent(batch, pending, on_its_way.result())
            self._settle(before, total)
        with self._local.writing(durable=False) as writer:
            self._local.forget_all_sent(writer, marker, self._scope_names)
            self._local.journal.drop_pending()
        return rows, total

    def _give_up_waiting(self, orphans: Sequence[tuple[str, str]]) -> None:
        """Set the rows aside that only wait for each other: too long a circle for one batch."""
        reason = "waits for rows that wait for this one, and they do not fit into one batch"
        with self._local.writing() as writer:
            for table, key in orphans:
                reject = Reject(key, None, None, MISSING_PARENT, reason)
                set_aside(writer, table, [reject])
                writer.execute("DELETE FROM sync_log WHERE tbl = ? AND key = ?", (table, key))
                self._exchange.reports[table].rejected += 1

    def _set_aside(self, batch: Batch, rejects: list[Reject], total: Outcome) -> None:
        if rejects:
            with self._local.writing() as writer:
                set_aside(writer, batch.table.name, rejects)
            self._count(batch, Outcome(rejected=len(rejects)), total)

    def _forget(self, batch: Batch, keys: list[str]) -> None:
        if keys:
            with self._local.writing() as writer:
                readmit(writer, batch.table.name, keys)

    def _send(
        self, sender: ThreadPoolExecutor, batch: Batch, marker: int
    ) -> tuple[Pending, Future[Verdict]]:
        """Begin to send a batch; while its rows travel it is written down that it goes."""
        pending, announced = self._pending(batch, marker), Future[None]()
        try:
            on_its_way = sender.submit(self._transmit, batch, pending, announced)
            self._announce(pending)
        except BaseException as exc:
            announced.set_exception(exc)
            raise
        announced.set_result(None)
        return pending, on_its_way

    def _pending(self, batch: Batch, marker: int) -> Pending:
        name = batch.table.name
        return Pending(
            new_token(), name, batch.op, batch.first, batch.last, marker, self._scope_names
        )

    def _announce(self, pending: Pending) -> None:
        """Write down that a batch goes, before any of it can be committed."""
        with self._local.writing():
            self._local.journal.add_pending(pending)

    def _transmit(
        self, batch: Batch, pending: Pending, announced: Future[None] | None = None
    ) -> Verdict:
        """Send one batch and commit it; the only place where a push talks to the server.

        :param announced: done when it is written down that the batch goes; None: it is.
        """
        server, node = self._server, self._node
        if batch.is_small:
            if announced is not None:
                announced.result()
            if verdict := self._transmit_few(batch, pending):
                node.token = pending.token
                return verdict
        begin = statements.begin(batch.table, batch.op, with_bases=batch.with_bases)
        body = io.BytesIO(b"\n".join(batch.lines) + b"\n")
        server.copy_in(f"{begin}; {statements.COPY_IN}", body)
        if announced is not None:
            announced.result()
        judge = statements.finish(
            batch.table,
            batch.op,
            fresh=batch.fresh,
            node=node.node_id,
            number=self._number,
            epoch=self._epoch,
            old=node.token,
            token=pending.token,
            unknown=server.unknown_columns.get(batch.table.name, ()),
            strangers=server.strangers(batch.table) if batch.op == "d" else (),
        )
        started = time.perf_counter()
        verdict = server.verdict(node.node_id, pending.token, after=judge)
        self._pace.note(time.perf_counter() - started)
        node.token = pending.token
        return verdict

    def _transmit_few(self, batch: Batch, pending: Pending) -> Verdict | None:
        """Send a batch of a few rows in one round trip; None: the server has to judge it first."""
        rows = batch.sent_rows()
        if any(row.mark for row in rows):
            return None
        sql = few.apply(
            batch.table,
            [(row.values, row.base) for row in rows],
            node=self._node.node_id,
            number=self._number,
            epoch=self._epoch,
            old=self._node.token,
            token=pending.token,
        )
        # What is wrong with a row is found out by COPY, which names it.
        return self._server.find_verdict(self._node.node_id, pending.token, after=sql)

    def _settle(self, sent: _Sent | None, total: Outcome) -> None:
        """Acknowledge a batch that the server has committed."""
        if sent is None:
            return
        outcome = acknowledge(
            self._local, self._server, sent.pending, sent.batch.keys, sent.verdict
        )
        self._count(sent.batch, outcome, total)

    def _send_in_pieces(
        self, batch: Batch, marker: int, refused: BaseException, total: Outcome
    ) -> None:
        """Send a batch around the rows that the server refuses.

        :raises BaseException: ``refused``, when it does not speak of a row.
        """
        work = self._without_bad_row(batch, refused, total)
        while work:
            piece = work.pop(0)
            pending = self._pending(piece, marker)
            self._announce(pending)
            try:
                verdict = self._transmit(piece, pending)
            except Exception as exc:
                work[:0] = self._without_bad_row(piece, exc, total)
            else:
                self._settle(_Sent(piece, pending, verdict), total)

    @property
    def _scope_names(self) -> tuple[str, ...]:
        return tuple(table.name for table in self._scope)

    def _without_bad_row(self, piece: Batch, exc: BaseException, total: Outcome) -> list[Batch]:
        """Set the row aside that the server refused; give what is left to send, in order.

        COPY names the line, so that all before it is one good piece; other errors name nothing,
        and the piece is halved down to the row.
        """
        code = sqlstate(exc) or ""
        if not code.startswith(_ROW_ERRORS) or code == _KEY_TAKEN:
            raise exc
        self._server.rollback()
        line = line_of(exc)
        count = len(piece.keys)
        if line is None and count > 1:
            return [piece.part(0, count // 2), piece.part(count // 2, count)]
        bad = 0 if line is None else min(line, count) - 1
        if piece.op == "p":
            self._set_aside(piece, [refusal(piece, bad, exc)], total)
        else:  # a key that the server cannot even read was never there
            self._forget(piece, [piece.keys[bad]])
        ranges = [(0, bad), (bad + 1, count)]
        return [piece.part(start, end) for start, end in ranges if start < end]

    def _count(self, batch: Batch, outcome: Outcome, total: Outcome) -> None:
        """Add an outcome to the round's and the table's figures."""
        report = self._exchange.reports[batch.table.name]
        report.add(outcome)
        total.add(outcome)
        now = time.perf_counter()
        report.seconds += now - self._settled
        self._settled = now
        if self._exchange.progress:
            self._exchange.progress(batch.table.name, report.sent + report.adopted)


@dataclasses.dataclass(frozen=True)
class _Sent:
    """A batch that the server has committed."""

    batch: Batch
    pending: Pending
    verdict: Verdict
