"""``dynostore ideation maturity``: how far a session has come."""

from __future__ import annotations

from typing import Any

import click

from dynostore.cli._options import examples, given, in_utc, json_value, settable
from dynostore.cli._output import print_item
from dynostore.cli._session import Group, Session

_FIELDS: dict[str, Any] = {
    "categories": json_value,
    "gaps": json_value,
    "metadata": json_value,
}


@click.group(cls=Group)
def maturity() -> None:
    """Show and save how far a session has come."""


@maturity.command(epilog=examples("dynostore ideation maturity show 0197"))
@click.argument("session_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, session_id: str, utc: bool) -> None:
    """Show a session's maturity; null in JSON where none was saved."""
    with session.store() as store:
        found = store.ideation.maturity.get(store.ideation.sessions.resolve(session_id))
    if found is None:
        session.note("no maturity was saved yet")
    print_item(session, found.values() if found else None, utc=utc)


@maturity.command(
    epilog=examples(
        "dynostore ideation maturity save 0197 37.5 exploration --gaps '[\"users\"]'",
        "dynostore ideation maturity save 0197 85 complete --can-submit --categories @scores.json",
    )
)
@click.argument("session_id", metavar="ID")
@click.argument("score", type=float)
@click.argument("level")
@click.option("--can-submit", is_flag=True, help="The document can be submitted.")
@settable(_FIELDS)
@click.pass_obj
def save(
    session: Session,
    /,
    session_id: str,
    score: float,
    level: str,
    can_submit: bool,
    **values: Any,
) -> None:
    """Record a session's maturity, in place of what was recorded before."""
    with session.store() as store:
        full_id = store.ideation.sessions.resolve(session_id)
        saved = store.ideation.maturity.save(
            full_id, score, level, can_submit=can_submit, **given(values)
        )
    print_item(session, saved.values(), text=f"{full_id} {saved.score:g} ({saved.level})")
