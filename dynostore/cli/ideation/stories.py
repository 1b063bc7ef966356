"""``dynostore ideation stories``: the user stories of a session."""

from __future__ import annotations

from typing import Any

import click

from dynostore.cli._options import (
    assured,
    examples,
    in_utc,
    json_value,
    require_consent,
)
from dynostore.cli._output import print_items
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column

_COLUMNS = (
    Column("key", whole=True),
    Column("priority"),
    Column("title"),
    Column("as_a"),
    Column("i_want"),
    Column("so_that"),
)


@click.group(cls=Group)
def stories() -> None:
    """List and save the user stories of a session."""


@stories.command("list", epilog=examples("dynostore ideation stories list 0197"))
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def list_(session: Session, session_id: str, utc: bool) -> None:
    """List a session's user stories, in the order in which they were saved."""
    with session.store() as store:
        found = store.ideation.stories.list(store.ideation.sessions.resolve(session_id))
    print_items(session, (story.values() for story in found), _COLUMNS, utc=utc)


@stories.command(
    epilog=examples(
        "dynostore ideation stories save 0197 @stories.json",
        "dynostore ideation stories save 0197 '[]' --yes",
    )
)
@click.argument("session_id", metavar="ID")
@click.argument("stories", type=json_value)
@assured
@click.pass_obj
def save(session: Session, session_id: str, stories: Any, yes: bool) -> None:
    """Record user stories in place of all that the session has.

    STORIES is a JSON list, or @FILE with one; each has key, title, as_a, i_want and so_that, and
    perhaps priority, acceptance_criteria, linked_requirements and metadata.
    """
    if not isinstance(stories, list) or not all(isinstance(story, dict) for story in stories):
        raise click.UsageError("STORIES is no list of objects", click.get_current_context())
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        if old := store.ideation.stories.list(full_id):
            require_consent(session, f"would replace {len(old)} stories of {full_id}", yes)
        saved: Any = store.ideation.stories.save(full_id, stories)
    print_items(session, (story.values() for story in saved), _COLUMNS)
