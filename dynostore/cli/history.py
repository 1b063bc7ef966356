"""``dynostore sessions history``: the verbs of execution histories."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from dynostore.cli._options import examples, given, in_utc, json_value, moment, paged, settable
from dynostore.cli._output import print_item, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column

_COLUMNS = (
    Column("timestamp", "time", whole=True),
    Column("step_id", "step"),
    Column("thought"),
    Column("action"),
    Column("observation"),
)
_FIELDS: dict[str, Any] = {
    "step_id": str,
    "thought": str,
    "action": str,
    "observation": str,
    "metadata": json_value,
}


@click.group(cls=Group)
def history() -> None:
    """List and add to what an agent thought, did and saw in a session."""


@history.command(
    "list",
    epilog=examples(
        "dynostore sessions history list 0197",
        "dynostore sessions history list 0197 --step-id 2",
    ),
)
@click.argument("session_id", metavar="ID")
@click.option("--step-id", help="Only the turns of this step.")
@paged
@in_utc
@click.pass_obj
def list_(
    session: Session,
    session_id: str,
    step_id: str | None,
    limit: int,
    after: str | None,
    utc: bool,
) -> None:
    """List a session's turns, oldest first."""
    with session.store() as store:
        full_id = store.sessions.resolve(session_id)

        def fetch(**window: Any) -> Any:
            return store.history.list(full_id, step_id=step_id, **window)

        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc)


@history.command(
    epilog=examples(
        "dynostore sessions history append 0197 --step-id 2 --action 'file_read data.csv'",
    )
)
@click.argument("session_id", metavar="ID")
@click.option("--timestamp", type=moment, metavar="WHEN", help="When it was; now by default.")
@settable(_FIELDS)
@click.pass_obj
def append(
    session: Session, /, session_id: str, timestamp: dt.datetime | None, **values: Any
) -> None:
    """Record one turn, and print its id."""
    facts: Any = given({**values, "timestamp": timestamp})
    with session.store() as store:
        entry = store.history.append(store.sessions.resolve(session_id), **facts)
    print_item(session, entry.values(), text=entry.id)
