"""``dynostore sync conflicts``: what this file lost to another node, shown and settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dynostore.cli._options import examples, in_utc, paged
from dynostore.cli._output import print_item, print_items, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column, as_text
from dynostore.sync.review.conflicts import Conflict, get_conflict, list_conflicts
from dynostore.sync.review.resolve import resolve_all, resolve_conflict

_COLUMNS = (
    Column("id", whole=True, right=True),
    Column("table"),
    Column("key", whole=True),
    Column("mine_text", "mine"),
    Column("server_text", "server"),
    Column("node"),
    Column("at", "when"),
    Column("why"),
)
_REFUSED = (Column("id", whole=True, right=True), Column("table"), Column("key"), Column("reason"))
_DELETED = "deleted"


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "dynostore sync conflicts",
        "dynostore sync conflicts show 7",
        "dynostore sync conflicts resolve 7 --keep mine",
        "dynostore --json sync conflicts --limit 0 | jq '.items[] | {key, mine, server}'",
    ),
)
@paged
@in_utc
@click.pass_context
def conflicts(ctx: click.Context, limit: int, after: str | None, utc: bool) -> None:
    """List what was changed here and by another node too; asks no server.

    Newest first, with the columns that differ. The file follows the server; what was written here
    is kept until the conflict is resolved, and in the server's archive.
    """
    if ctx.invoked_subcommand is not None:
        return
    session: Session = ctx.obj
    with session.store() as store:

        def fetch(**window: Any) -> Any:
            return list_conflicts(store, **window)

        shown = Conflict.to_json if session.json else _for_people
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, shown=shown)


@conflicts.command(
    epilog=examples(
        "dynostore sync conflicts show 7", "dynostore --json sync conflicts show 7 | jq .item.mine"
    )
)
@click.argument("number", metavar="ID", type=int)
@in_utc
@click.pass_obj
def show(session: Session, number: int, utc: bool) -> None:
    """Show one conflict, column by column: what was written here and what the server holds."""
    with session.store() as store:
        found = get_conflict(store, number)
    print_item(session, found.to_json(), fields=_fields(found, utc), utc=utc)


@conflicts.command(
    epilog=examples(
        "dynostore sync conflicts resolve 7 --keep mine",
        "dynostore sync conflicts resolve --all --keep server",
    )
)
@click.argument("number", metavar="[ID]", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All that are open.")
@click.option(
    "--keep",
    type=click.Choice(["mine", "server"]),
    required=True,
    help="Write this file's version back, or leave all as it is.",
)
@click.pass_obj
def resolve(session: Session, number: int | None, everything: bool, keep: Any) -> int:
    """Settle a conflict, or all of them; the next sync sends what was written back.

    With --all, rows come back parents first, and of several conflicts of one row the newest
    decides. Exits with 3 when some of them stay open.
    """
    if (number is None) != everything:
        raise click.UsageError("give the ID of one conflict, or --all")
    with session.store() as store:
        if number is not None:
            found = resolve_conflict(store, number, keep=keep)
            text = f"{found.table} {found.key}: {_OUTCOMES[keep]}"
            print_item(session, {**found.to_json(), "kept": keep}, text=text)
            return 0
        done = resolve_all(store, keep=keep)
    refused = [vars(refusal) for refusal in done.refused]
    if session.json:
        print_items(session, refused, _REFUSED, ok=not refused, resolved=done.resolved)
    else:
        print(f"{done.resolved} resolved: {_OUTCOMES[keep]}")
        if refused:
            print_items(session, refused, _REFUSED)
    return 3 if refused else 0


_OUTCOMES = {"mine": "the next sync sends this file's version", "server": "all stays as it is"}


def _for_people(conflict: Conflict) -> dict[str, Any]:
    return {
        **vars(conflict),
        "mine_text": _summary(conflict.mine, conflict.differing),
        "server_text": _summary(conflict.server, conflict.differing),
    }


def _summary(values: Mapping[str, Any] | None, names: list[str]) -> str:
    if values is None:
        return _DELETED
    return " ".join(f"{name}={as_text(values[name])}" for name in names if name in values)


def _fields(conflict: Conflict, utc: bool) -> dict[str, Any]:
    """Give the lines for people: both sides of what differs, once what does not."""
    fields: dict[str, Any] = {
        "table": conflict.table,
        "key": conflict.key,
        "node": conflict.node,
        "when": conflict.at,
        "why": conflict.why,
    }
    if conflict.mine is None:
        fields["mine"] = _DELETED
    if conflict.server is None:
        fields["server"] = _DELETED
    sides = {"mine": conflict.mine or {}, "server": conflict.server or {}}
    for name in {**sides["server"], **sides["mine"]}:
        if name not in conflict.differing:
            fields[f"  {name}"] = sides["mine"][name]
            continue
        for side, values in sides.items():
            if name in values:
                fields[f"{'-' if side == 'mine' else '+'} {name} ({side})"] = values[name]
    return fields
