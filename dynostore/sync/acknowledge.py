"""What became of a batch, written into the file: after a commit, and after a crash behind it."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from typing import Any

from dynostore.fields import time_text, utc_now
from dynostore.sync.batches import Reject
from dynostore.sync.changes import LocalFile
from dynostore.sync.incoming import Held, Incoming, held
from dynostore.sync.journal import Pending
from dynostore.sync.server import Server, Verdict
from dynostore.sync.tables import Column, Table, quoted

MISSING_PARENT = "23503"
"""SQLSTATE of a foreign key's violation."""

REASONS = {
    "lost": "another node changed the row first; the server kept theirs",
    "delete": "another node changed the row that was deleted here; the row stays",
    "children": "the row has children on the server that this node had not seen; it stays",
    "back": "another node had deleted the row that was changed here; it came back",
    "parent": "the row was deleted here, and a row that needs it came from the server",
}


@dataclasses.dataclass
class Outcome:
    """What became of the rows of a batch.

    :ivar put_off: rows that must wait for others of this file: they were logged again.
    :ivar woken: rows that were logged because another round can send them now.
    """

    sent: int = 0
    adopted: int = 0
    conflicts: int = 0
    rejected: int = 0
    put_off: int = 0
    woken: int = 0


def acknowledge(
    local: LocalFile,
    server: Server,
    pending: Pending,
    keys: Iterable[str],
    verdict: Verdict,
) -> Outcome:
    """Write a committed batch's outcome into the file, in one transaction.

    Asks the server only where something was not applied as sent.

    :param keys: what was sent.
    """
    seq, exceptions = verdict.seq, verdict.exceptions
    table = local.tables[pending.table]
    odd = {item["key"]: item for item in exceptions}
    acknowledgement = _Acknowledgement(local, server, table, pending, odd)
    with local.writing(applying=bool(odd)) as writer:
        plain = [(table.name, k, pending.token, seq) for k in keys if k not in odd]
        local.set_bases(writer, plain)
        outcome = acknowledgement.apply(writer, seq) if odd else Outcome()
        outcome.sent += len(plain)
        arrived = {k for k, item in odd.items() if item["what"] != "orphan"}
        arrived.update(key for _, key, _, _ in plain)
        local.readmit(writer, table.name, list(arrived))
        if pending.op == "p":
            outcome.woken += _wake_children(local, writer, table, arrived)
        local.journal.remember(pending.token, seq)
        local.journal.drop_pending_before(pending.token)
    return outcome


def acknowledge_after_crash(
    local: LocalFile, server: Server, node_id: str, pending: Pending
) -> Outcome:
    """Do the same for a batch that this process did not send: the server's rows tell the keys."""
    verdict = server.verdict(node_id, pending.token)
    keys = _keys_of(server, local.tables[pending.table], pending, verdict.seq)
    return acknowledge(local, server, pending, keys, verdict)


def _wake_children(
    local: LocalFile, writer: sqlite3.Connection, table: Table, keys: set[str]
) -> int:
    """Log the children again that were set aside for want of parents that are now there."""
    woken = 0
    for name, column in table.children:
        child = local.tables[name]
        waiting = writer.execute(
            f"SELECT r.key, c.{quoted(column)} FROM sync_reject r JOIN {child.quoted} c"
            f" ON c.{child.key.quoted} = r.key WHERE r.tbl = ? AND r.sqlstate = ?",
            (name, MISSING_PARENT),
        ).fetchall()
        children = [key for key, parent in waiting if parent in keys]
        local.log(writer, name, children, "p")
        woken += len(children)
    return woken


def _keys_of(server: Server, table: Table, pending: Pending, seq: int) -> list[str]:
    """Ask the server which keys it holds as the batch left them."""
    if pending.op == "p":
        sql = (
            f"SELECT {table.key.quoted}::text FROM {table.quoted}"
            " WHERE sync_seq = %s AND sync_rev = %s"
        )
        rows = server.execute(sql, (seq, pending.token))
    else:
        rows = server.execute(
            "SELECT key FROM dynostore_sync.tombstone WHERE seq = %s AND rev = %s AND tbl = %s",
            (seq, pending.token, table.name),
        )
    return [key for (key,) in rows]


class _Acknowledgement:
    """The keys of one batch that were not simply applied."""

    def __init__(
        self,
        local: LocalFile,
        server: Server,
        table: Table,
        pending: Pending,
        odd: dict[str, dict[str, Any]],
    ) -> None:
        self._local = local
        self._server = server
        self._table = table
        self._pending = pending
        self._odd = odd
        # Asked before the local transaction begins: writers here do not wait for the network.
        taken = [k for k, item in odd.items() if item["what"] in ("lost", "merged", "children")]
        self._held: dict[str, Held] = held(server, table, taken) if taken else {}
        lost = [k for k, item in odd.items() if item["what"] == "lost"]
        self._images = self._archived(lost) if lost and pending.op == "p" else {}

    def _archived(self, keys: list[str]) -> dict[str, str]:
        rows = self._server.execute(
            "SELECT key, image FROM dynostore_sync.archive"
            " WHERE rev = %s AND tbl = %s AND key = ANY(%s)",
            (self._pending.token, self._table.name, keys),
        )
        return dict(rows)

    def apply(self, writer: sqlite3.Connection, seq: int) -> Outcome:
        outcome = Outcome()
        later = self._local.logged_after(writer, self._pending.marker, self._table.name)
        incoming = Incoming(self._local, self._server, writer)
        for key, item in self._odd.items():
            verdict = item["what"]
            if verdict in ("same", "nothing", "adopted", "gone", "kept"):
                self._agree(writer, key, item, seq, outcome)
            elif verdict == "orphan":
                asked = self._ask_for_parents(writer, key, "r" if item["keep"] else "p")
                outcome.woken += asked
                outcome.rejected += not asked
            elif verdict == "merged":
                self._take(incoming, key, later)
                outcome.sent += 1
            elif verdict == "children" and self._children_are_mine(writer, key):
                self._local.log(writer, self._table.name, [key], "d")
                outcome.put_off += 1
            else:
                self._contest(writer, incoming, key, item, seq, later)
                outcome.conflicts += 1
        for table, key in incoming.restored_parents:
            self._list(writer, key, "parent", None, table)
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
            self._local.set_bases(writer, [(name, key, item["rev"], item["seq"])])
        elif verdict == "kept":
            self._local.set_bases(writer, [(name, key, item["rev"], seq)])
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
        why = item["what"]
        if why == "back":
            known = (self._table.name, key, self._pending.token, seq)
            self._local.set_bases(writer, [known])
        else:
            self._take(incoming, key, later)
        if why == "lost" and self._pending.op == "d":
            why = "delete"
        self._list(writer, key, why, item["rev"])

    def _take(self, incoming: Incoming, key: str, later: set[str]) -> None:
        # A row that was changed again here keeps its contents and its base: the next push judges
        # the newer version.
        if key not in later and key in self._held:
            incoming.take(self._table, key, self._held[key])

    def _ask_for_parents(self, writer: sqlite3.Connection, key: str, op: str) -> bool:
        """Log a child again, and with it the parents that the server lacks or may lack.

        :return: False: a parent cannot come, so that the child was set aside as well.
        """
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
                self._local.set_aside(writer, self._table.name, [reject])
                return False
            self._local.log(writer, str(column.parent), [row[0]], "p")
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
            "SELECT 1 FROM sync_reject WHERE tbl = ? AND key = ?", (parent.name, value)
        )
        return f"waits for its row of {parent.name}, a reject" if refused.fetchone() else None

    def _children_are_mine(self, writer: sqlite3.Connection, key: str) -> bool:
        """Tell whether every child that the server holds waits here to be sent."""
        for name, column in self._table.children:
            child = self._local.tables[name]
            rows = self._server.execute(
                f"SELECT {child.key.quoted}::text FROM {child.quoted} WHERE {quoted(column)} = %s",
                (key,),
            )
            for (child_key,) in rows:
                waiting = writer.execute(
                    "SELECT 1 FROM sync_log WHERE tbl = ? AND key = ? AND seq > ?"
                    " UNION ALL SELECT 1 FROM sync_reject WHERE tbl = ? AND key = ?",
                    (name, child_key, self._pending.marker, name, child_key),
                )
                if waiting.fetchone() is None:
                    return False
        return True

    def _list(
        self,
        writer: sqlite3.Connection,
        key: str,
        why: str,
        revision: int | None,
        table: Table | None = None,
    ) -> None:
        writer.execute(
            "INSERT INTO sync_conflict (tbl, key, image, revision, why, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                (table or self._table).name,
                key,
                self._images.get(key),
                revision,
                REASONS[why],
                time_text(utc_now()),
            ),
        )
