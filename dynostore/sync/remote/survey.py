"""What a sync asks of the server before all else, in one question: each costs a round trip.

A session is new, and whatever it looks up for the first time takes the server several times as long
as the second time: what is asked here is most of what a sync with nothing to do costs there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

TRIGGERS = 7
"""So many triggers has a table that replicates."""


@dataclasses.dataclass(frozen=True)
class ServerIdentity:
    """Who the server is.

    :ivar protocol: the version of the protocol that it was set up for.
    :ivar incarnation: changes when the server was restored from a backup.
    :ivar clock: the greatest number that it has handed out.
    """

    id: str
    incarnation: int
    protocol: int
    clock: int


@dataclasses.dataclass(frozen=True)
class Shape:
    """One table, as the server has it.

    :ivar triggers: how many of the sync's are there and switched on.
    """

    columns: frozenset[str]
    triggers: int


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a server that was synced with before is like.

    :ivar steps: the migrations that were applied to it.
    :ivar shapes: by name, those of the tables that were asked for which are there.
    """

    identity: ServerIdentity
    steps: frozenset[str]
    shapes: dict[str, Shape]


# Asks the catalogs by index: their views join three times as many, for a session that knows none.
SHAPES = (
    "SELECT c.relname::text AS name, (SELECT json_agg(a.attname) FROM pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,"
    " (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid"
    " AND g.tgname LIKE 'zz\\_sync\\_%%' AND g.tgenabled <> 'D') AS triggers"
    " FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))"
    " AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)"
)

_IDENTITY = (
    "SELECT id::text, incarnation, protocol,"
    " (SELECT coalesce(max(seq), 0) FROM dynostore_sync.tick)"
)
IDENTITY = f"{_IDENTITY} FROM dynostore_sync.server"
SURVEY = (
    f"{_IDENTITY},"
    " (SELECT json_agg(name) FROM dynostore_migration),"
    f" (SELECT json_agg(x) FROM ({SHAPES}) x) FROM dynostore_sync.server"
)


def survey_of(row: tuple[Any, ...]) -> Survey:
    """Read the answer to :data:`SURVEY`."""
    *identity, steps, shapes = row
    return Survey(
        ServerIdentity(*identity),
        frozenset(steps or ()),
        shapes_of((x["name"], x["columns"], x["triggers"]) for x in shapes or ()),
    )


def shapes_of(rows: Iterable[tuple[str, list[str], int]]) -> dict[str, Shape]:
    """Read the answer to :data:`SHAPES`."""
    return {name: Shape(frozenset(columns), triggers) for name, columns, triggers in rows}
