"""``dynostore ideation``: the verbs of sessions, and a group for each noun that hangs on them.

To add a noun: write its group in a module of its own, and name it at the end of this one.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

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
from dynostore.cli.ideation.drafts import drafts
from dynostore.cli.ideation.maturity import maturity
from dynostore.cli.ideation.messages import messages
from dynostore.cli.ideation.requirements import requirements
from dynostore.cli.ideation.stories import stories
from dynostore.models.ideation import DATA_SOURCES, STATUSES

_COLUMNS = (
    Column("id", whole=True),
    Column("status"),
    Column("version", right=True),
    Column("user_id", "user"),
    Column("updated_at", "updated"),
    Column("project_name", "project"),
)
_FIELDS: dict[str, Any] = {
    "project_name": str,
    "user_id": str,
    "status": click.Choice(STATUSES),
    "data_source": click.Choice(DATA_SOURCES),
    "metadata": json_value,
}


@click.group(cls=Group)
def ideation() -> None:
    """Take product ideas to requirements and user stories.

    Wherever a session's ID is wanted, its beginning is enough when no other id begins so.
    """


@ideation.command(
    "list",
    epilog=examples(
        "dynostore ideation list --user kim --status draft",
        "dynostore --json ideation list --limit 0 | jq -r '.items[].id'",
    ),
)
@click.option("--user", "user_id", metavar="USER", help="Only those of this user.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@paged
@in_utc
@click.pass_obj
def list_(session: Session, /, limit: int, after: str | None, utc: bool, **filters: Any) -> None:
    """List sessions, the one that was updated last first."""
    with session.store() as store:
        fetch = store.ideation.sessions.list
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@ideation.command(
    epilog=examples(
        "dynostore ideation show 0197",
        "dynostore --json ideation show 0197 | jq .item.maturity.score",
    )
)
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, session_id: str, utc: bool) -> None:
    """Show a session, its maturity, and how much hangs on it."""
    with session.store() as store:
        verbs = store.ideation
        full_id = verbs.sessions.resolve(session_id)
        found = verbs.sessions.get(full_id).values()
        mature = verbs.maturity.get(full_id)
        counts = {
            "requirements": len(verbs.requirements.list(full_id)),
            "drafts": len(verbs.drafts.list(full_id)),
            "stories": len(verbs.stories.list(full_id)),
        }
    if session.json:
        print_item(session, {**found, "maturity": mature and mature.values(), **counts})
    else:
        said = f"{mature.score:g} ({mature.level})" if mature else None
        print_item(session, {**found, "maturity": said, **counts}, utc=utc)


@ideation.command(
    epilog=examples(
        "dynostore ideation create --project-name 'Tuning app' --user-id kim",
        "id=$(dynostore -q ideation create --metadata @notes.json)",
    )
)
@click.option("--id", "session_id", metavar="ID", help="The id, up to 64 characters; or made.")
@click.option("--created-at", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_FIELDS)
@click.pass_obj
def create(
    session: Session, /, session_id: str | None, created_at: dt.datetime | None, **values: Any
) -> None:
    """Record a new session, and print its id.

    It is a draft of "Untitled Project" by "anonymous" where nothing is said. JSON may be given as
    @FILE.
    """
    with session.store(create=True) as store:
        made = store.ideation.sessions.create(
            session_id=session_id, created_at=created_at, **given(values)
        )
    print_item(session, made.values(), text=made.id)


@ideation.command(
    epilog=examples(
        "dynostore ideation update 0197 --status approved",
        "dynostore ideation update 0197 --project-name Tuner --expected-version 3",
    )
)
@click.argument("session_id", metavar="ID")
@settable(_FIELDS)
@click.option(
    "--expected-version",
    type=click.IntRange(min=0),
    help="Change nothing if the session is at another version.",
)
@clearable(["metadata"])
@click.pass_obj
def update(
    session: Session,
    /,
    session_id: str,
    expected_version: int | None,
    clear: tuple[str, ...],
    **values: Any,
) -> None:
    """Change what is given of a session, and nothing else; its version grows by 1."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        verbs = store.ideation.sessions
        full_id = verbs.resolve(session_id)
        changed = verbs.update(full_id, expected_version=expected_version, **changes)
    print_item(session, changed.values(), text=f"{changed.id} version {changed.version}")


@ideation.command(
    epilog=examples(
        "dynostore ideation rm 0197",
        "dynostore ideation rm --yes 0197 0198",
    )
)
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, session_ids: tuple[str, ...], yes: bool) -> None:
    """Remove sessions and all that hangs on them."""
    with session.store() as store:
        verbs = store.ideation.sessions
        found = [verbs.get(i) for i in dict.fromkeys(map(verbs.resolve, session_ids))]
        lines = [f"would remove {s.id} ({s.project_name}, {s.status})" for s in found]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for removed in found:
                verbs.delete(removed.id)
    print_items(session, ({"id": removed.id} for removed in found), _COLUMNS[:1])


for _group in (messages, requirements, maturity, drafts, stories):
    ideation.add_command(_group)
