"""What the server knows of the files that sync with it."""

from __future__ import annotations

import dataclasses
import datetime as dt

from dynostore import config
from dynostore.database import require_psycopg2
from dynostore.driver_errors import translated
from dynostore.sync.remote.server import Server


@dataclasses.dataclass(frozen=True)
class NodeView:
    """One node, as the server sees it.

    :ivar last_seen: when it last sent or received anything.
    :ivar behind: transactions that were committed on the server since; a node that only pushes
        never catches up, and one that has nothing to fetch does without a trace.
    """

    node_id: str
    name: str
    schema_version: str
    last_seen: dt.datetime
    behind: int


def list_nodes(remote: str | config.Place) -> list[NodeView]:
    """Give all nodes, the one that was seen last first; empty where nobody ever synced.

    :raises RemoteUnavailable: the server does not answer.
    """
    require_psycopg2()
    place = config.Place.of(remote)
    server = Server(place)
    try:
        with translated(place.shown):
            server.connect()
            return nodes_of(server) if server.has_sync_schema() else []
    finally:
        server.close()


def nodes_of(server: Server, *, knowing_less_than: int | None = None) -> list[NodeView]:
    """The same over an open session.

    :param knowing_less_than: only nodes whose knowledge of the server ends before this number.
    """
    rows = server.execute(
        "SELECT n.id::text, n.name, n.schema_version, n.last_seen,"
        " (SELECT count(*) FROM dynostore_sync.tick k WHERE k.seq > coalesce(h.seq, 0))"
        " FROM dynostore_sync.node n LEFT JOIN dynostore_sync.node_history h"
        " ON h.node = n.id AND h.token = n.token"
        " WHERE %s::bigint IS NULL OR coalesce(h.seq, 0) < %s ORDER BY n.last_seen DESC, n.id",
        (knowing_less_than, knowing_less_than),
    )
    return [NodeView(*row) for row in rows]
