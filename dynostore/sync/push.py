"""Sends the file's changes to the server, parents before children; each batch may die anywhere."""

from __future__ import annotations

import dataclasses
import io
import re
import time
from collections.abc import Callable
from typing import Any

import psycopg2

from dynostore.driver_errors import sqlstate
from dynostore.sync import statements
from dynostore.sync.acknowledge import Outcome, acknowledge
from dynostore.sync.batches import Batch, Limits, ReadAhead, Reject, changed_rows
from dynostore.sync.changes import HISTORY_KEPT, LocalFile, Pending, new_token
from dynostore.sync.server import Server

Progress = Callable[[str, int], None]
"""Called after each batch with a table's name and how many of its rows are done."""

_ROW_ERRORS = ("22", "23", "42804", "54")
_KEY_TAKEN = "23505"


@dataclasses.dataclass
class TableReport:
    """What a sync did with one table; rows and seconds.

    :ivar sent: rows that the server took, deletions included.
    :ivar adopted: rows that the server held already, word for word.
    :ivar conflicts: rows that another node had changed or deleted as well.
    :ivar rejected: rows that the server cannot hold, set aside.
    """

    name: str
    sent: int = 0
    adopted: int = 0
    conflicts: int = 0
    rejected: int = 0
    seconds: float = 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows sent or adopted in a second."""
        return (self.sent + self.adopted) / self.seconds if self.seconds else 0.0


class Push:
    """One push of one file to one server; raises the driver's errors, for the caller to judge.

    :ivar reports: by table, in the order of the tables.
    """

    def __init__(
        self,
        local: LocalFile,
        server: Server,
        reports: dict[str, TableReport],
        limits: Limits,
        progress: Progress | None = None,
    ) -> None:
        self._local = local
        self._server = server
        self.reports = reports
        self._limits = limits
        self._progress = progress
        self._scope = list(local.tables.values())
        self._node = local.node()
        self._number = server.node_number(self._node.node_id)

    def run(self) -> None:
        """Send everything that is logged; rounds go on while rows arrive that others waited for."""
        while self._local.something_waits():
            moved, put_off = self._round()
            if not put_off or not moved:
                break
        self._server.trim_history(self._node.node_id, HISTORY_KEPT)

    def _round(self) -> tuple[int, int]:
        """Send what is logged now; give how many rows moved and how many must wait for others."""
        moved = put_off = 0
        with self._local.snapshot() as (reader, marker):
            rows = changed_rows(reader, marker, self._scope, self._limits)
            with ReadAhead(rows) as batches:
                for batch in batches:
                    outcome = self._send(batch, marker)
                    moved += batch.rows - outcome.put_off
                    put_off += outcome.put_off
        scope = [table.name for table in self._scope]
        with self._local.writing() as writer:
            self._local.forget_all_sent(writer, marker, scope)
            self._local.set_pending(writer, None)
        return moved, put_off

    def _send(self, batch: Batch, marker: int) -> Outcome:
        """Send one batch, in pieces where the server refuses a row of it."""
        started = time.perf_counter()
        total = Outcome(rejected=len(batch.rejects))
        if batch.rejects:
            with self._local.writing() as writer:
                self._local.set_aside(writer, batch.table.name, batch.rejects)
        work = [batch] if batch.keys else []
        while work:
            piece = work.pop()
            try:
                _add(total, self._send_piece(piece, marker))
            except psycopg2.Error as exc:
                self._server.rollback()
                code = sqlstate(exc) or ""
                if not code.startswith(_ROW_ERRORS) or code == _KEY_TAKEN:
                    raise
                work += reversed(self._without_bad_row(piece, exc, total))
        self._report(batch, total, time.perf_counter() - started)
        return total

    def _send_piece(self, batch: Batch, marker: int) -> Outcome:
        table, name = batch.table, batch.table.name
        pending = Pending(
            new_token(), name, batch.op, batch.first, batch.last, marker, self._scope_names
        )
        node = self._node
        with self._local.writing() as writer:
            self._local.readmit(writer, name, batch.keys)
            self._local.set_pending(writer, pending)
        self._server.execute(statements.begin(table, batch.op, with_bases=batch.with_bases))
        with self._server.connection.cursor() as cursor:
            body = io.BytesIO(b"\n".join(batch.lines) + b"\n")
            cursor.copy_expert(statements.COPY_IN, body, 1 << 18)
        self._server.execute(
            statements.finish(
                table,
                batch.op,
                fresh=batch.fresh,
                node=node.node_id,
                number=self._number,
                old=node.token,
                token=pending.token,
            )
        )
        node.token = pending.token
        return acknowledge(self._local, self._server, node.node_id, pending, batch.keys)

    @property
    def _scope_names(self) -> tuple[str, ...]:
        return tuple(table.name for table in self._scope)

    def _without_bad_row(self, piece: Batch, exc: psycopg2.Error, total: Outcome) -> list[Batch]:
        """Set the row aside that the server refused; give what is left to send, in order.

        COPY names the line, so that all before it is one good piece; other errors name nothing,
        and the piece is halved down to the row.
        """
        line = _line_of(exc)
        count = len(piece.keys)
        if line is None and count > 1:
            return [piece.part(0, count // 2), piece.part(count // 2, count)]
        bad = 0 if line is None else min(line, count) - 1
        reject = _refusal(piece, bad, exc)
        with self._local.writing() as writer:
            self._local.set_aside(writer, piece.table.name, [reject])
        total.rejected += 1
        ranges = [(0, bad), (bad + 1, count)]
        return [piece.part(start, end) for start, end in ranges if start < end]

    def _report(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        report = self.reports.setdefault(batch.table.name, TableReport(batch.table.name))
        report.sent += outcome.sent
        report.adopted += outcome.adopted
        report.conflicts += outcome.conflicts
        report.rejected += outcome.rejected
        report.seconds += seconds
        if self._progress:
            self._progress(batch.table.name, report.sent + report.adopted)


def _add(total: Outcome, outcome: Outcome) -> None:
    for field in dataclasses.fields(Outcome):
        setattr(total, field.name, getattr(total, field.name) + getattr(outcome, field.name))


def _line_of(exc: psycopg2.Error) -> int | None:
    """Give the line, from 1, that COPY was reading; the words are in the server's language."""
    context = getattr(exc.diag, "context", None) or ""
    match = re.match(r"COPY dynostore_push, \D+(\d+)", context)
    return int(match.group(1)) if match else None


def _refusal(piece: Batch, index: int, exc: psycopg2.Error) -> Reject:
    diag: Any = exc.diag
    context = diag.context or ""
    named = re.match(r"COPY dynostore_push, \D+\d+, \w+ (\w+)", context)
    column = diag.column_name or (named.group(1) if named else None)
    known = {c.name for c in piece.table.columns}
    return Reject(
        piece.keys[index],
        column if column in known else None,
        None,
        sqlstate(exc) or "22000",
        diag.message_primary or str(exc),
    )
