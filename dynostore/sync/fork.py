"""Gives a file another identity on purpose, or makes it forget a server that is no longer known."""

from __future__ import annotations

import logging
import sqlite3
import uuid

from dynostore import config
from dynostore.database import require_psycopg2
from dynostore.driver_errors import translated
from dynostore.store import Store
from dynostore.sync.exchange import Reports
from dynostore.sync.fence import become_another, pass_fence
from dynostore.sync.local.alone import alone
from dynostore.sync.local.capture import install, log_whole_table
from dynostore.sync.local.changes import LocalFile, require_file
from dynostore.sync.remote.server import Server
from dynostore.sync.remote.setup import Setup
from dynostore.sync.tables import Table, literal, tables_of

_log = logging.getLogger("dynostore.sync")


def fork(store: Store, remote: str | config.Place) -> str:
    """Make a file a node of its own; it keeps its rows, its unsent changes and what it knows.

    For a copy that is to live on beside its original. A copy that merely syncs finds out by itself.

    :return: the new node's id.
    :raises SyncRunning: a sync of this file is running.
    :raises RemoteUnavailable: nothing changed; try again.
    :raises IdentityMismatch: this is not the server that the file was synced with.
    """
    require_psycopg2()
    place = config.Place.of(remote)
    file = require_file(store)
    with alone(file), translated(file.shown):
        local = LocalFile(file.path, file.settings, tables_of(store))
        server = Server(place, local.tables, store.own)
        try:
            install(local)
            with translated(place.shown):
                server.connect()
                identity = Setup(server).ensure(local.journal.node().server_id)
                # Under the old name first: what died on its way is found there.
                pass_fence(local, server, identity, Reports())
                become_another(local, server, local.journal.node())
            return local.journal.node().node_id
        finally:
            server.close()
            local.close()


def forget_server(local: LocalFile) -> None:
    """Make the next sync a first one, on whatever server: a new node, and every row to be sent.

    What is equal there is adopted, what differs is judged as another node's. Open conflicts stay
    listed; what was set aside is tried again. Deletions that were not sent are given up, and their
    number is logged: they were made on top of another server's rows.
    """
    with local.writing() as writer:
        given_up = sum(_unsent_deletions(writer, known) for known in local.tables.values())
        for table in ("sync_base", "sync_history", "sync_pending", "sync_log", "sync_reject"):
            writer.execute(f"DELETE FROM {table}")
        writer.execute("UPDATE sync_table SET cursor = 0")
        local.journal.set_identity(
            node_id=str(uuid.uuid4()), server_id=None, incarnation=None, token=None
        )
        for known in local.tables.values():
            log_whole_table(writer, known)
    if given_up:
        _log.warning(
            "%s: %d deletions that were not sent are given up; what the server has of these rows"
            " comes back with the next pull",
            local.path,
            given_up,
        )


def _unsent_deletions(writer: sqlite3.Connection, table: Table) -> int:
    """Count the rows that a server had, and whose deletion here it has not learnt of."""
    [(count,)] = writer.execute(
        "SELECT count(DISTINCT l.key) FROM sync_log l"
        f" JOIN sync_base b ON b.tbl = l.tbl AND b.key = l.key WHERE l.tbl = {literal(table.name)}"
        f" AND NOT EXISTS (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = l.key)"
    )
    return int(count)
