"""What became of a batch, written into the file: after a commit, and after a crash behind it."""

from __future__ import annotations

from collections.abc import Iterable

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.journal import Pending
from dynostore.sync.local.set_aside import readmit, wake_children
from dynostore.sync.pull.incoming import RowsWanted
from dynostore.sync.push.verdicts import Exceptions, Outcome
from dynostore.sync.remote.server import Server, Verdict


def acknowledge(
    local: LocalFile,
    server: Server,
    pending: Pending,
    keys: Iterable[str],
    verdict: Verdict,
) -> Outcome:
    """Write a committed batch's outcome into the file, in one transaction.

    Asks the server only where something was not applied as sent, and never while the file's write
    lock is held.

    :param keys: what was sent.
    """
    odd = {item["key"]: item for item in verdict.exceptions}
    plain = [key for key in keys if key not in odd]
    exceptions = Exceptions(local, server, pending, odd)
    while True:
        try:
            return _write_down(local, pending, plain, verdict.seq, exceptions)
        except RowsWanted:
            exceptions.fetched.fetch()


def _write_down(
    local: LocalFile, pending: Pending, plain: list[str], seq: int, exceptions: Exceptions
) -> Outcome:
    table = local.tables[pending.table]
    with local.writing(applying=exceptions.any, durable=False) as writer:
        local.set_bases(writer, table.name, plain, pending.token, seq)
        arrived = exceptions.arrived.union(plain)
        readmit(writer, table.name, list(arrived))
        outcome = exceptions.apply(writer, seq) if exceptions.any else Outcome()
        outcome.sent += len(plain)
        if pending.op == "p":
            # A row that stays for a child's sake is not on the server: nobody can go because of it.
            there = arrived.difference(exceptions.kept)
            outcome.woken += wake_children(local, writer, table, there)
        local.journal.remember(pending.token, seq)
        local.journal.drop_pending_before(pending.token)
    return outcome


def acknowledge_after_crash(
    local: LocalFile, server: Server, node_id: str, pending: Pending
) -> Outcome:
    """Do the same for a batch that this process did not send: log and server tell the keys."""
    if pending.op == "n":
        with local.writing():
            local.journal.remember(pending.token, server.verdict(node_id, pending.token).seq)
        return Outcome()
    verdict = server.verdict(node_id, pending.token)
    keys = _keys_of(local, server, pending, verdict.seq)
    return acknowledge(local, server, pending, keys, verdict)


def _keys_of(local: LocalFile, server: Server, pending: Pending, seq: int) -> list[str]:
    """Give the keys of a batch that the server took.

    A key that did not change again here was sent as it is logged, whatever others have made of its
    row since; of one that did change only the server can tell whether it was in the batch.
    """
    table = local.tables[pending.table]
    here = f"SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = l.key"
    logged = local.writer.execute(
        "SELECT DISTINCT l.key FROM sync_log l WHERE l.tbl = ? AND l.seq < ?"
        " AND l.key BETWEEN ? AND ? AND typeof(l.key) = 'text'"
        f" AND {'' if pending.op == 'p' else 'NOT '}EXISTS ({here})"
        " AND l.key NOT IN (SELECT key FROM sync_log WHERE tbl = l.tbl AND seq > ?)"
        " AND l.key NOT IN (SELECT key FROM sync_reject WHERE tbl = l.tbl AND origin = 'file')",
        (table.name, pending.marker, pending.first_key, pending.last_key, pending.marker),
    )
    keys = {key for (key,) in logged}
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
    return sorted(keys.union(key for (key,) in rows))
