"""``dynostore sessions state``, ``states``, ``save-state`` and ``prune``: what sessions were at."""

from __future__ import annotations

import json
from typing import Any

import click

from dynostore import errors
from dynostore.cli._options import (
    assured,
    examples,
    given,
    in_utc,
    json_value,
    paged,
    require_consent,
)
from dynostore.cli._output import print_item, print_page
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column

_COLUMNS = (
    Column("version", whole=True),
    Column("saved_at", "saved"),
    Column("state"),
)


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore sessions state 0197 | jq .answers",
        "dynostore sessions state 0197 --version 3 > before.json",
        "dynostore --json sessions state 0197 | jq .item.version",
    ),
)
@click.argument("session_id", metavar="ID")
@click.option("--version", type=click.IntRange(min=1), help="This one; the newest by default.")
@click.pass_obj
def state(session: Session, session_id: str, version: int | None) -> None:
    """Print a session's state as JSON: the state alone, with --json the whole record."""
    with session.store() as store:
        full_id = store.sessions.resolve(session_id)
        found = store.sessions.load_state(full_id, version)
    if found is None:
        raise errors.StateNotFound(
            f"session {full_id!r} has no state yet",
            hint=f"dynostore sessions save-state {full_id} @state.json",
        )
    text = json.dumps(found.state, indent=2, sort_keys=True)
    print_item(session, found.values(), text=text)


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore sessions states 0197",
        "dynostore --json sessions states 0197 --limit 2 | jq '.items[].state'",
    ),
)
@click.argument("session_id", metavar="ID")
@paged
@in_utc
@click.pass_obj
def states(session: Session, session_id: str, limit: int, after: str | None, utc: bool) -> None:
    """List a session's states, newest version first."""
    with session.store() as store:
        full_id = store.sessions.resolve(session_id)

        def fetch(**window: Any) -> Any:
            return store.sessions.states(full_id, **window)

        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc)


@click.command(
    "save-state",
    cls=Command,
    epilog=examples(
        "dynostore sessions save-state my_session '{\"answers\": {}}'",
        "dynostore sessions save-state my_session @state.json --expected-version 3",
    ),
)
@click.argument("session_id", metavar="ID")
@click.argument("state", metavar="JSON", type=json_value)
@click.option(
    "--expected-version",
    type=click.IntRange(min=0),
    help="Refuse when the session is at another version; 0: it has no state yet.",
)
@click.option("--metadata", type=json_value, metavar="JSON", help="Of this state.")
@click.option("--status", help="Of the session.")
@click.option("--user-id", help="Of the session.")
@click.option("--mission", help="Of the session.")
@click.pass_obj
def save_state(
    session: Session,
    /,
    session_id: str,
    state: Any,
    expected_version: int | None,
    metadata: Any,
    **values: Any,
) -> None:
    """Save a session's next state, and print its version.

    ID is the whole id: a session that is not there is created. The state may be given as @FILE.
    """
    facts: Any = given(values)
    with session.store(create=True) as store:
        version = store.sessions.save_state(
            session_id, state, expected_version, metadata=metadata, **facts
        )
    item = {"session_id": session_id, "version": version}
    print_item(session, item, text=str(version))


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore sessions prune --keep-last 10",
        "dynostore sessions prune --keep-last 1 --session 0197 --yes",
    ),
)
@click.option(
    "--keep-last",
    type=click.IntRange(min=1),
    required=True,
    help="States to keep in each session.",
)
@click.option("--session", "session_id", metavar="ID", help="Prune this session alone.")
@assured
@click.pass_obj
def prune(session: Session, keep_last: int, session_id: str | None, yes: bool) -> None:
    """Remove all but the newest states, and print how many that were."""
    with session.store() as store:
        full_id = None if session_id is None else store.sessions.resolve(session_id)
        where = "every session" if full_id is None else full_id
        require_consent(session, f"would keep the {keep_last} newest states of {where}", yes)
        removed = store.sessions.prune_states(keep_last, session_id=full_id)
    print_item(session, {"removed": removed}, text=str(removed))
