"""``dynostore sources``: what was taken over from older tools."""

from __future__ import annotations

import click

from dynostore.cli._options import examples, in_utc, paged
from dynostore.cli._output import print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.models.imports import STATUSES

_COLUMNS = (
    Column("record_key", "record", whole=True),
    Column("record_table", "table"),
    Column("status", whole=True),
    Column("kind"),
    Column("imported_at", "imported", whole=True),
    Column("source_path", "path"),
    Column("content_hash", "hash"),
    Column("reason"),
)


@click.group(cls=Group)
def sources() -> None:
    """Say what was taken over, from where and when."""


@sources.command(
    "list",
    epilog=examples(
        "dynostore sources list --status invalid",
        "dynostore --json sources list --limit 0 | jq -r '.items[].source_path'",
    ),
)
@click.option("--kind", help="Only what this kind of tool left, such as dynoai.")
@click.option("--status", type=click.Choice(STATUSES), help="Only what ended so.")
@paged
@in_utc
@click.pass_obj
def list_(
    session: Session,
    kind: str | None,
    status: str | None,
    limit: int,
    after: str | None,
    utc: bool,
) -> None:
    """List the records that imports have read, newest first."""
    with session.store() as store:
        print_page(
            session,
            store.imports.list,
            _COLUMNS,
            limit=limit,
            after=after,
            utc=utc,
            kind=kind,
            status=status,
        )
