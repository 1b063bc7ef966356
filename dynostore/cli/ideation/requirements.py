"""``dynostore ideation requirements``: what a session has come to."""

from __future__ import annotations

from typing import Any

import click

from dynostore.cli._options import (
    assured,
    clearable,
    examples,
    given,
    in_utc,
    json_value,
    require_consent,
    settable,
    wanted_changes,
)
from dynostore.cli._output import print_item, print_items
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.models.ideation import PRIORITIES, REQUIREMENT_TYPES

_COLUMNS = (
    Column("key", whole=True),
    Column("type"),
    Column("priority"),
    Column("category_id", "category"),
    Column("created_at", "created"),
    Column("description"),
)
_FIELDS: dict[str, Any] = {
    "type": click.Choice(REQUIREMENT_TYPES),
    "priority": click.Choice(PRIORITIES),
    "category_id": str,
    "metadata": json_value,
}


@click.group(cls=Group)
def requirements() -> None:
    """List, add, change and remove the requirements of a session."""


@requirements.command("list", epilog=examples("dynostore ideation requirements list 0197"))
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def list_(session: Session, session_id: str, utc: bool) -> None:
    """List a session's requirements, oldest first."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        found = store.ideation.requirements.list(full_id)
    print_items(session, (record.values() for record in found), _COLUMNS, utc=utc)


@requirements.command(
    epilog=examples(
        "dynostore ideation requirements add 0197 'Maps are smooth' --priority must_have",
        "dynostore ideation requirements add 0197 'Opens in 1 s' --key REQ-002",
    )
)
@click.argument("session_id", metavar="ID")
@click.argument("description")
@click.option("--key", help="Up to 64 characters, once in the session; made by default.")
@settable(_FIELDS)
@click.pass_obj
def add(
    session: Session, /, session_id: str, description: str, key: str | None, **values: Any
) -> None:
    """Record a requirement, and print its key."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        added = store.ideation.requirements.create(full_id, description, key=key, **given(values))
    print_item(session, added.values(), text=added.key)


@requirements.command(
    epilog=examples("dynostore ideation requirements update 0197 REQ-001 --priority could_have")
)
@click.argument("session_id", metavar="ID")
@click.argument("key")
@settable({"description": str, **_FIELDS})
@clearable(["category_id", "metadata"])
@click.pass_obj
def update(
    session: Session, /, session_id: str, key: str, clear: tuple[str, ...], **values: Any
) -> None:
    """Change what is given of a requirement, and nothing else."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        changed = store.ideation.requirements.update(full_id, key, **changes)
    print_item(session, changed.values(), text=changed.key)


@requirements.command(epilog=examples("dynostore ideation requirements rm 0197 REQ-001 --yes"))
@click.argument("session_id", metavar="ID")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, session_id: str, keys: tuple[str, ...], yes: bool) -> None:
    """Remove requirements, all that are named or none."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        require_consent(session, f"would remove {', '.join(keys)} of {full_id}", yes)
        with store.transaction():
            for key in dict.fromkeys(keys):
                store.ideation.requirements.delete(full_id, key)
    print_items(session, ({"key": key} for key in dict.fromkeys(keys)), _COLUMNS[:1])
