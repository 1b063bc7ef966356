"""``dynostore prune``: delete what is old, after showing how much that is."""

from __future__ import annotations

import datetime as dt

import click

from dynostore.cli._options import comma_separated, examples, moment
from dynostore.cli._output import print_items, progress
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column

_COLUMNS = (Column("table"), Column("rows", right=True))


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore prune --older-than 90d                      # shows what would go",
        "dynostore prune --older-than 90d --yes",
        "dynostore prune --family runs --status error --keep-last 100 --yes",
        "dynostore prune --family memories --older-than 2025-01-01",
    ),
)
@click.option(
    "--family",
    "families",
    metavar="NAME,...",
    callback=comma_separated,
    help="Only these: runs, tasks, sessions, todos, conversations, ideation, memories.",
)
@click.option(
    "--older-than", "before", type=moment, metavar="AGE", help="An age such as 90d, or a date."
)
@click.option(
    "--keep-last", type=click.IntRange(min=1), metavar="N", help="Of each family the N newest stay."
)
@click.option("--status", metavar="STATUS", help="Only records with this status.")
@click.option("-y", "--yes", is_flag=True, help="Delete; without it nothing is.")
@click.pass_obj
def prune(
    session: Session,
    families: tuple[str, ...],
    before: dt.datetime | None,
    keep_last: int | None,
    status: str | None,
    yes: bool,
) -> None:
    """Delete what is old, with all that hangs on it.

    Shows how many rows of which tables would go; --yes deletes them. A record is as old as its last
    change. With --older-than and --keep-last it goes only if both say so. Memories, and todo lists
    apart from their sessions, go only where they are named.

    Others may write meanwhile. What is deleted here is deleted on the server by the next sync.
    """
    from dynostore.prune import prune as prune_store  # imported late, as is everything heavy

    if before is None and keep_last is None:
        raise click.UsageError(
            "say how old, or how many to keep: --older-than, --keep-last",
            click.get_current_context(),
        )
    with session.store() as store, progress(session) as show:
        pruned = prune_store(
            store,
            families=families,
            before=before,
            keep_last=keep_last,
            status=status,
            dry_run=not yes,
            progress=show,
        )
    rows = ({"table": table, "rows": count} for table, count in pruned.rows.items())
    print_items(session, rows, _COLUMNS, done=pruned.done)
    if not pruned.rows:
        session.note("nothing is old enough")
    elif pruned.done:
        session.note("deleted; to give the room back to the disk: dynostore db vacuum")
    else:
        session.note("nothing was deleted yet: add --yes")
