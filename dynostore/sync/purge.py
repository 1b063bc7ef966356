"""Removes old tombstones and archived versions from the server, and says who would miss them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from dynostore import config
from dynostore.database import require_psycopg2
from dynostore.driver_errors import translated
from dynostore.errors import InvalidValue, SchemaError
from dynostore.fields import utc_now
from dynostore.sync.remote.nodes import NodeView, nodes_of
from dynostore.sync.remote.server import Server


@dataclasses.dataclass(frozen=True)
class Purge:
    """What a purge removes, or would.

    :ivar done: False: nothing was removed.
    :ivar horizon: the number up to which deletions are forgotten.
    :ivar left_behind: the nodes that have not seen all of them: each compares every key before its
        next pull.
    """

    done: bool
    before: dt.datetime
    horizon: int
    tombstones: int
    archived: int
    left_behind: list[NodeView]

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys."""
        return dataclasses.asdict(self)


def purge(remote: str | config.Place, before: dt.datetime, *, dry_run: bool = False) -> Purge:
    """Forget deletions and replaced versions from before a moment, for good.

    A node that was last here before the horizon loses nothing: its next pull compares every key, so
    that what was deleted does not come back, and takes longer for it once.

    :param before: an aware time, of the server's clock.
    :param dry_run: count only.
    :raises InvalidValue: the moment lies ahead, or has no zone.
    :raises SchemaError: nobody ever synced with this server.
    :raises AccessDenied: these credentials may not delete there.
    """
    require_psycopg2()
    if before.tzinfo is None or before > utc_now():
        raise InvalidValue("before", f"{before} is no moment of the past, with its zone")
    place = config.Place.of(remote)
    server = Server(place)
    with translated(place.shown):
        try:
            server.connect()
            if not server.has_sync_schema():
                raise SchemaError(f"{place.shown}: nobody has synced with this server yet")
            server.execute("BEGIN")
            try:
                found = _count(server, before)
                if not dry_run:
                    _remove(server, found)
                    server.execute("COMMIT")
                return dataclasses.replace(found, done=not dry_run)
            finally:
                server.rollback()
        finally:
            server.close()


def _count(server: Server, before: dt.datetime) -> Purge:
    [(horizon,)] = server.execute(
        "SELECT greatest((SELECT horizon FROM dynostore_sync.server FOR UPDATE),"
        " (SELECT coalesce(max(seq), 0) FROM dynostore_sync.tick WHERE at < %s))",
        (before,),
    )
    [(tombstones, archived)] = server.execute(
        "SELECT (SELECT count(*) FROM dynostore_sync.tombstone WHERE seq <= %s),"
        " (SELECT count(*) FROM dynostore_sync.archive WHERE at < %s)",
        (horizon, before),
    )
    return Purge(
        False, before, horizon, tombstones, archived, nodes_of(server, knowing_less_than=horizon)
    )


def _remove(server: Server, found: Purge) -> None:
    server.execute("UPDATE dynostore_sync.server SET horizon = %s", (found.horizon,))
    server.execute("DELETE FROM dynostore_sync.tombstone WHERE seq <= %s", (found.horizon,))
    server.execute("DELETE FROM dynostore_sync.archive WHERE at < %s", (found.before,))
    # The greatest number stays, whatever its age: it is where the clock stands.
    server.execute(
        "DELETE FROM dynostore_sync.tick WHERE seq < %s"
        " AND seq < (SELECT max(seq) FROM dynostore_sync.tick)",
        (found.horizon,),
    )
