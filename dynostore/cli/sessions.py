"""``dynostore sessions``: the verbs of agent sessions, and the groups of what hangs on one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from dynostore.cli import history, states, todos
from dynostore.cli._options import (
    assured,
    clearable,
    examples,
    given,
    in_utc,
    json_value,
    moment,
    paged,
    require_consent,
    settable,
    wanted_changes,
)
from dynostore.cli._output import print_item, print_items, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.models.sessions import AgentSession

_COLUMNS = (
    Column("session_id", "id", whole=True),
    Column("status"),
    Column("user_id", "user"),
    Column("created_at", "created"),
    Column("updated_at", "updated"),
    Column("mission"),
)
_FIELDS: dict[str, Any] = {
    "status": str,
    "user_id": str,
    "mission": str,
    "metadata": json_value,
}
_CLEARABLE = [name for name in _FIELDS if AgentSession._meta.fields[name].null]


@click.group(cls=Group)
def sessions() -> None:
    """Keep agent sessions: states, todo lists, history.

    Wherever an ID is wanted, its beginning is enough when no other id begins so.
    """


for _command in (states.state, states.states, states.save_state, states.prune):
    sessions.add_command(_command)
sessions.add_command(todos.todos)
sessions.add_command(history.history)


@sessions.command(
    "list",
    epilog=examples(
        "dynostore sessions list --user-id kim --since 7d",
        "dynostore sessions list --status in_progress",
        "dynostore --json sessions list --limit 0 | jq -r '.items[].session_id'",
    ),
)
@click.option("--status", help="Only those in this state.")
@click.option("--user-id", help="Only those of this user.")
@click.option(
    "--since", type=moment, metavar="WHEN", help="Created at or after: a date, a time or an age."
)
@click.option(
    "--until", type=moment, metavar="WHEN", help="Created before: a date, a time or an age."
)
@paged
@in_utc
@click.pass_obj
def list_(session: Session, /, limit: int, after: str | None, utc: bool, **filters: Any) -> None:
    """List sessions, newest first."""
    with session.store() as store:
        fetch = store.sessions.list_sessions
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@sessions.command(
    epilog=examples(
        "dynostore sessions show 0197",
        "dynostore --json sessions show 0197 | jq .item.versions",
    )
)
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, session_id: str, utc: bool) -> None:
    """Show a session and the versions that it was saved in."""
    with session.store() as store:
        found = store.sessions.get(store.sessions.resolve(session_id))
        versions = store.sessions.versions(found.session_id)
    print_item(session, {**found.values(), "versions": versions}, utc=utc)


@sessions.command(
    epilog=examples(
        "dynostore sessions create --user-id kim --mission 'Analyze data.csv'",
        "id=$(dynostore -q sessions create --metadata @notes.json)",
    )
)
@click.option(
    "--id", "session_id", metavar="ID", help="The id, up to 255 characters; made by default."
)
@click.option("--created-at", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_FIELDS)
@click.pass_obj
def create(
    session: Session, /, session_id: str | None, created_at: dt.datetime | None, **values: Any
) -> None:
    """Record a new session, and print its id.

    It is "pending" where nothing is said. JSON may be given as @FILE.
    """
    facts: Any = given(values)
    with session.store(create=True) as store:
        made = store.sessions.create(session_id=session_id, created_at=created_at, **facts)
    print_item(session, made.values(), text=made.session_id)


@sessions.command(
    epilog=examples(
        "dynostore sessions update 0197 --status completed",
        "dynostore sessions update 0197 --user-id kim --clear mission",
    )
)
@click.argument("session_id", metavar="ID")
@settable(_FIELDS)
@clearable(_CLEARABLE)
@click.pass_obj
def update(session: Session, /, session_id: str, clear: tuple[str, ...], **values: Any) -> None:
    """Change what is given of a session, and nothing else."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        changed = store.sessions.update(store.sessions.resolve(session_id), **changes)
    print_item(session, changed.values(), text=changed.session_id)


@sessions.command(
    epilog=examples(
        "dynostore sessions rm 0197",
        "dynostore sessions rm --yes session_a session_b",
    )
)
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, session_ids: tuple[str, ...], yes: bool) -> None:
    """Remove sessions with all their states, todo lists and history; memories stay."""
    with session.store() as store:
        verbs = store.sessions
        found = [verbs.get(i) for i in dict.fromkeys(map(verbs.resolve, session_ids))]
        lines = [
            f"would remove {s.session_id} ({s.status}, {len(verbs.versions(s.session_id))} states)"
            ", its todo lists and history"
            for s in found
        ]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for one in found:
                verbs.delete_state(one.session_id)
    removed = ({"session_id": one.session_id} for one in found)
    print_items(session, removed, _COLUMNS[:1])
