"""``dynostore info``: where the store is, who said so, and what it holds."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, cast

import click

from dynostore import __version__, errors
from dynostore.cli._options import examples
from dynostore.cli._output import print_item
from dynostore.cli._session import Command, Session
from dynostore.compat import is_compat
from dynostore.config import Place, find_remote
from dynostore.inventory import Inventory, take_inventory
from dynostore.store import Store
from dynostore.table_sizes import measure_tables


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore info",
        "dynostore info --bytes",
        "dynostore --json info | jq .item.rows",
    ),
)
@click.option(
    "--bytes", "measured", is_flag=True, help="Measure each table too; slow on a large file."
)
@click.pass_obj
def info(session: Session, measured: bool) -> None:
    """Say where the store is and what it holds.

    Names the argument, variable or file that the address comes from. Never upgrades; passwords are
    masked.
    """
    place = session.place()
    try:
        found = _inventory(session, place)
    except errors.StoreNotFound as exc:
        message = f"{exc.message} (place named by: {place.source})"
        raise errors.StoreNotFound(message, hint=exc.hint) from exc
    facts = {
        "url": place.shown,
        "found_by": place.source,
        **dataclasses.asdict(found),
        "bytes": _bytes(session, place) if measured else None,
        "remote": _remote(session),
        "dynostore_version": __version__,
    }
    print_item(session, facts, fields=_for_people(facts))


def _inventory(session: Session, place: Place) -> Inventory:
    if is_compat(place.url):
        with contextlib.closing(Store.at(place, read_only=True, create=False)) as store:
            return cast("Inventory", store.database.inventory())
    with session.database() as database:
        return take_inventory(database)


def _bytes(session: Session, place: Place) -> dict[str, int] | None:
    if is_compat(place.url):
        session.warn("the tables of an older tool's files are not measured")
        return None
    with session.database() as database:
        sizes = measure_tables(database)
    if sizes is None:
        session.warn("this SQLite was built without dbstat, and cannot measure its tables")
    return sizes


def _remote(session: Session) -> dict[str, str] | None:
    try:
        place = find_remote(profile=session.profile, config=session.config)
    except errors.ConfigError as exc:
        session.warn(exc.message)
        return None
    return {"url": place.shown, "found_by": place.source} if place else None


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    pending = f" (pending: {', '.join(facts['pending'])})" if facts["pending"] else ""
    remote = facts["remote"]
    has_schema = facts["schema_version"] or facts["pending"]  # files of older tools have none
    return {
        "store": facts["url"],
        "found by": facts["found_by"],
        "engine": facts["engine"],
        "size": f"{facts['size_bytes']:,} bytes",
        "schema version": f"{facts['schema_version']}{pending}" if has_schema else None,
        **{f"rows in {table}": f"{count:,}" for table, count in facts["rows"].items()},
        **{f"bytes of {table}": f"{size:,}" for table, size in (facts["bytes"] or {}).items()},
        "shared server": f"{remote['url']} (found by: {remote['found_by']})" if remote else None,
        "dynostore": facts["dynostore_version"],
    }
