"""``dynostore sync rejects``: rows that one side cannot hold, tried again or given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dynostore.cli._options import assured, examples, in_utc, paged, require_consent
from dynostore.cli._output import print_item, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column
from dynostore.sync.review.rejects import (
    RejectedRow,
    drop_rejects,
    get_reject,
    list_rejects,
    retry_rejects,
    rows_in_danger,
)

if TYPE_CHECKING:
    from dynostore.store import Store

_COLUMNS = (
    Column("table"),
    Column("key", whole=True),
    Column("column"),
    Column("value"),
    Column("reason"),
    Column("sqlstate"),
    Column("tries", right=True),
    Column("since"),
    Column("origin"),
    Column("wish"),
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "dynostore sync rejects",
        "dynostore sync rejects retry --all",
        "dynostore sync rejects drop runs run_0197",
        "dynostore --json sync rejects --limit 0 | jq -r '.items[].reason'",
    ),
)
@paged
@in_utc
@click.pass_context
def rejects(ctx: click.Context, limit: int, after: str | None, utc: bool) -> None:
    """List the rows that were set aside, and why; asks no server.

    Origin "file": the server cannot hold this file's row, which waits here untouched and is sent
    when it changes. Origin "server": no file can hold the server's row.
    """
    if ctx.invoked_subcommand is not None:
        return
    session: Session = ctx.obj
    with session.store() as store:

        def fetch(**window: Any) -> Any:
            return list_rejects(store, **window)

        shown = RejectedRow.to_json
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, shown=shown)


@rejects.command(
    epilog=examples(
        "dynostore sync rejects retry runs run_0197", "dynostore sync rejects retry --all"
    )
)
@click.argument("table", required=False)
@click.argument("key", required=False)
@click.option("--all", "everything", is_flag=True, help="All that were set aside.")
@click.pass_obj
def retry(session: Session, table: str | None, key: str | None, everything: bool) -> None:
    """Try a row, or all of them, again with the next sync.

    The beginning of KEY is enough when no other begins so. This file's rows are sent by the next
    push, the server's are asked for by the next pull.
    """
    with session.store() as store:
        count = retry_rejects(store, _chosen(store, table, key, everything))
    text = f"{count} to be tried again: dynostore sync --direction both"
    print_item(session, {"retried": count}, text=text)


@rejects.command(
    epilog=examples(
        "dynostore sync rejects drop runs run_0197", "dynostore sync rejects drop --all --yes"
    )
)
@click.argument("table", required=False)
@click.argument("key", required=False)
@click.option("--all", "everything", is_flag=True, help="All that are this file's.")
@assured
@click.pass_obj
def drop(session: Session, table: str | None, key: str | None, everything: bool, yes: bool) -> None:
    """Give up what was changed here in a row that the server cannot hold.

    The next pull brings the server's version back. A row that the server never had, or has
    deleted, is removed with all rows that refer to it. A row that changes before that pull is
    kept after all.
    """
    with session.store() as store:
        chosen = _chosen(store, table, key, everything)
        endangered = rows_in_danger(store, chosen)
        require_consent(session, _warning(endangered), yes)
        count = drop_rejects(store, chosen)
    text = f"{count} given up: dynostore sync --direction pull brings the server's version"
    print_item(session, {"dropped": count, "endangered": endangered}, text=text)


def _chosen(
    store: Store, table: str | None, key: str | None, everything: bool
) -> Sequence[RejectedRow] | None:
    """Give the one row that was named; None stands for all."""
    if (key is None) != everything or (everything and table is not None):
        raise click.UsageError("give TABLE and KEY, or --all", click.get_current_context())
    return None if table is None or key is None else [get_reject(store, table, key)]


def _warning(endangered: dict[str, int]) -> str:
    rows = ", ".join(f"{table} {count:,}" for table, count in endangered.items()) or "no rows"
    return (
        f"would give up what was changed here in: {rows}\n"
        "those that the server does not hold are removed from this file"
    )
