"""``dynostore ideation messages``: what was said in a session."""

from __future__ import annotations

import sys
from typing import Any

import click

from dynostore.cli._options import (
    assured,
    examples,
    given,
    in_utc,
    json_value,
    moment,
    paged,
    require_consent,
    settable,
)
from dynostore.cli._output import print_item, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.models.ideation import ROLES

_COLUMNS = (
    Column("timestamp", "time"),
    Column("role"),
    Column("maturity_delta", "maturity", right=True),
    Column("content"),
)


@click.group(cls=Group)
def messages() -> None:
    """List and add what was said in a session."""


@messages.command("list", epilog=examples("dynostore ideation messages list 0197 --limit 0"))
@click.argument("session_id", metavar="ID")
@paged
@in_utc
@click.pass_obj
def list_(session: Session, session_id: str, limit: int, after: str | None, utc: bool) -> None:
    """List a session's messages, oldest first."""
    with session.store() as store:
        print_page(
            session,
            store.ideation.messages.list,
            _COLUMNS,
            limit=limit,
            after=after,
            utc=utc,
            session_id=store.ideation.sessions.resolve(session_id),
        )


@messages.command(
    epilog=examples(
        "dynostore ideation messages add 0197 'Riders tune their own bikes'",
        "dynostore ideation messages add 0197 --role assistant --maturity-delta 5 - < answer.txt",
    )
)
@click.argument("session_id", metavar="ID")
@click.argument("content")
@click.option(
    "--role", type=click.Choice(ROLES), default="user", show_default=True, help="Who says it."
)
@click.option("--timestamp", type=moment, metavar="WHEN", help="When it was said; or now.")
@settable({"maturity_delta": float, "metadata": json_value})
@click.pass_obj
def add(session: Session, /, session_id: str, content: str, role: str, **values: Any) -> None:
    """Add a message, and print its id; CONTENT may be - for what comes on stdin."""
    text = sys.stdin.read() if content == "-" else content
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        added = store.ideation.messages.create(full_id, role, text, **given(values))
    print_item(session, added.values(), text=added.id)


@messages.command(epilog=examples("dynostore ideation messages rm 0197 --yes"))
@click.argument("session_id", metavar="ID")
@assured
@click.pass_obj
def rm(session: Session, session_id: str, yes: bool) -> None:
    """Remove all messages of a session, which stays."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        require_consent(session, f"would remove all messages of {full_id}", yes)
        removed = store.ideation.messages.delete_by_session(full_id)
    print_item(session, {"id": full_id, "removed": removed}, text=f"{removed} messages removed")
