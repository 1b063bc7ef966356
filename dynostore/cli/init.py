"""``dynostore init``: make the store, or say that it is there."""

from __future__ import annotations

import click

from dynostore.cli._options import examples
from dynostore.cli._output import print_item
from dynostore.cli._session import Command, Session


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore init                                   # ./dynostore.db",
        "dynostore --db /data/runs.db init",
        "dynostore --db postgresql://user@host/team init  # an empty database",
    ),
)
@click.pass_obj
def init(session: Session) -> None:
    """Make the store.

    One that is there already is left alone, or upgraded if it is behind.
    """
    place = session.place()
    with session.migrator(create=True) as migrator:
        pending = migrator.ensure()
        steps = migrator.status()
    if len(pending) == len(steps):
        outcome, said = "created", "made"
    elif pending:
        outcome, said = "upgraded", f"upgraded ({', '.join(pending)})"
    else:
        outcome, said = "exists", "is there already"
    version = max(step.number for step in steps)
    print_item(
        session,
        {
            "url": place.shown,
            "found_by": place.source,
            "outcome": outcome,
            "schema_version": version,
        },
        text=f"{place.shown}: {said}, schema version {version}",
    )
