"""First thing in every sync: are these the file and the server that agreed last time.

A token, new for every batch and kept on both sides, tells: a copied or restored file and a restored
server betray themselves by an old one. The table of cases is in docs/sync.md.
"""

from __future__ import annotations

import logging
import uuid

from dynostore.errors import IdentityMismatch
from dynostore.sync.exchange import Reports
from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.journal import HAS_FORGOTTEN, Node, Pending, new_token
from dynostore.sync.push.acknowledge import acknowledge_after_crash
from dynostore.sync.reconcile import reconcile
from dynostore.sync.remote.server import Server
from dynostore.sync.remote.survey import ServerIdentity

_log = logging.getLogger("dynostore.sync")


def pass_fence(
    local: LocalFile, server: Server, identity: ServerIdentity, reports: Reports
) -> None:
    """Find out what happened since the last sync, and set both sides to rights.

    Afterwards the node is known on the server, both sides have the same token, no batch is under
    way, and the log holds what the server does not have.

    :param identity: who the server said that it is when it was made sure of.
    :param reports: by table; what became of batches that died unacknowledged is added here.
    :raises IdentityMismatch: the server has forgotten this node; nothing was written.
    :raises ModelsMissing: what was interrupted concerns tables whose models were not given.
    """
    on_the_way = [name for p in local.journal.pending() for name in (p.table, *p.scope)]
    local.require_all_models("a sync was interrupted and must be finished", on_the_way)
    while not _pass(local, server, identity, reports):
        identity = server.identity()


def _pass(local: LocalFile, server: Server, identity: ServerIdentity, reports: Reports) -> bool:
    """Take one case of the table; give False when another look is needed."""
    node, pending = local.journal.node(), local.journal.pending()
    known, theirs = server.lock_node(node.node_id, shut_out=bool(pending))
    try:
        if not known and not local.journal.has_history():
            return _register(local, server, node, identity)
        announced = [batch.token for batch in pending]
        if not known or (
            theirs not in (node.token, *announced)
            and (theirs is None or local.journal.knows_token(theirs))
        ):
            return _server_was_restored(local, server, node, theirs)
        if pending:
            server.execute("COMMIT")
        else:  # nothing was written: a COMMIT would flush the server's log for the lock alone
            server.rollback()
        if theirs == node.token:
            return _go_on(local, server, node, identity)
        if theirs in announced:
            return _finish(local, server, node, pending, reports)
        return _file_is_a_copy(local, server, node, pending, reports)
    except BaseException:
        server.rollback()
        raise


def _register(local: LocalFile, server: Server, node: Node, identity: ServerIdentity) -> bool:
    server.register(node.node_id, node.name)
    # Neither side waits for its disk: the first batch does, and before it all can be done again.
    server.execute("SET LOCAL synchronous_commit = off; COMMIT")
    with local.writing(durable=False):
        _drop_pending(local)
        local.journal.set_identity(
            server_id=identity.id,
            incarnation=node.incarnation or identity.incarnation,
        )
    return node.incarnation in (None, identity.incarnation)


def _drop_pending(local: LocalFile) -> None:
    """Forget what never arrived, inside the caller's transaction; what went before stays done."""
    pending = local.journal.pending()
    if pending:
        done = pending[0].token == local.journal.node().token
        local.forget_done(local.writer, pending[0], itself=done)
        local.journal.drop_pending()


def _finish(
    local: LocalFile,
    server: Server,
    node: Node,
    pending: list[Pending],
    reports: Reports,
) -> bool:
    """The server has batches that were not acknowledged: write down what it made of them."""
    for batch in pending:
        if local.journal.knows_token(batch.token) or not server.has_batch(
            node.node_id, batch.token
        ):
            continue
        outcome = acknowledge_after_crash(local, server, node.node_id, batch)
        if batch.table:
            reports[batch.table].add(outcome)
        with local.writing() as writer:
            local.forget_done(writer, batch, itself=True)
    return False


def _go_on(local: LocalFile, server: Server, node: Node, identity: ServerIdentity) -> bool:
    if local.journal.pending() or node.server_id is None:
        with local.writing():
            _drop_pending(local)
            local.journal.set_identity(
                server_id=identity.id,
                incarnation=node.incarnation or identity.incarnation,
            )
    if (
        node.incarnation not in (None, identity.incarnation)
        or identity.clock < local.journal.cursor()
    ):
        server.execute("BEGIN")
        server.raise_clock(local.journal.latest_clock())
        server.execute("COMMIT")
        reconcile(local, server, token=node.token, restored_at=None)
        return False
    return True


def _server_was_restored(local: LocalFile, server: Server, node: Node, theirs: int | None) -> bool:
    """The server holds an older token of mine: it was restored from a backup.

    Whoever notices first begins a new incarnation; its cut is the clock at which the old one goes
    on to be what this node remembers. Runs inside the transaction that holds the node's row.
    """
    _log.warning("%s was restored from a backup; reconciling", server.place.shown)
    cut = (local.journal.clock_at(theirs) if theirs is not None else None) or 0
    ancestors = server.incarnations()
    current = server.identity().incarnation
    mine = node.incarnation or current
    if mine not in (current, *ancestors):
        cut = 0
    server.raise_clock(local.journal.latest_clock())
    if mine == current or mine not in ancestors:
        server.begin_incarnation({current, mine}, cut)
    server.register(node.node_id, node.name)
    server.execute("COMMIT")
    with local.writing():
        _drop_pending(local)
    reconcile(local, server, token=theirs, restored_at=cut)
    return False


def _file_is_a_copy(
    local: LocalFile,
    server: Server,
    node: Node,
    pending: list[Pending],
    reports: Reports,
) -> bool:
    """The server is ahead of a token that it once gave me: I am a copy, or an old backup.

    The file goes on as a node of its own, with its log, bases and cursors.
    """
    tokens = [batch.token for batch in pending] + [node.token]
    if node.token is not None and not any(server.has_batch(node.node_id, t) for t in tokens if t):
        raise IdentityMismatch(
            f"{server.place.shown}: {HAS_FORGOTTEN}",
            hint="ask for the server's backups, or send everything anew: dynostore sync --adopt",
            node_id=node.node_id,
        )
    _finish(local, server, node, pending, reports)
    _log.warning("this file is a copy or an old backup; it becomes a node of its own")
    become_another(local, server, node)
    return False


def become_another(local: LocalFile, server: Server, node: Node) -> None:
    """Make the file a node of its own, with its log, bases and cursors.

    The new name is registered with a token before the file takes it: without one, a server that is
    restored before the next push would take the file for one that never synced.
    """
    token, new_id = new_token(), str(uuid.uuid4())
    server.execute("BEGIN")
    server.register(new_id, node.name)
    clock = server.introduce(new_id, token)
    server.execute("COMMIT")
    with local.writing() as writer:
        _drop_pending(local)
        writer.execute("DELETE FROM sync_history")
        local.journal.set_identity(node_id=new_id)
        local.journal.remember(token, clock)
