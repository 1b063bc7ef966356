"""``dynostore ideation drafts``: the document that a session leads to."""

from __future__ import annotations

from typing import Any

import click

from dynostore.cli._options import examples, given, in_utc, json_value, settable
from dynostore.cli._output import print_item, print_items
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column

_COLUMNS = (
    Column("key", whole=True),
    Column("version"),
    Column("status"),
    Column("created_at", "created"),
    Column("title"),
)
_FIELDS: dict[str, Any] = {
    "key": str,
    "version": str,
    "status": str,
    "sections": json_value,
    "metadata": json_value,
}


@click.group(cls=Group)
def drafts() -> None:
    """List, show and save drafts of the document that a session leads to."""


@drafts.command("list", epilog=examples("dynostore ideation drafts list 0197"))
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def list_(session: Session, session_id: str, utc: bool) -> None:
    """List a session's drafts, the latest first."""
    with session.store() as store:
        found = store.ideation.drafts.list(store.ideation.sessions.resolve(session_id))
    print_items(session, (draft.values() for draft in found), _COLUMNS, utc=utc)


@drafts.command(epilog=examples("dynostore ideation drafts show 0197 --json | jq .item.sections"))
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, session_id: str, utc: bool) -> None:
    """Show a session's latest draft; null in JSON where none was saved."""
    with session.store() as store:
        found = store.ideation.drafts.latest(store.ideation.sessions.resolve(session_id))
    if found is None:
        session.note("no draft was saved yet")
    print_item(session, found.values() if found else None, utc=utc)


@drafts.command(
    epilog=examples(
        "dynostore ideation drafts save 0197 'Tuning app' --sections @document.json",
        "dynostore ideation drafts save 0197 'Tuning app' --key prd-1 --status final",
    )
)
@click.argument("session_id", metavar="ID")
@click.argument("title")
@settable(_FIELDS)
@click.pass_obj
def save(session: Session, /, session_id: str, title: str, **values: Any) -> None:
    """Record a draft, and print its key; one of the same key is replaced."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        saved = store.ideation.drafts.save(full_id, title, **given(values))
    print_item(session, saved.values(), text=saved.key)
