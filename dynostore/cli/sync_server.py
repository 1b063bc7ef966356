"""``dynostore sync fork`` and ``purge``: what a person does about nodes and the server's memory."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from dynostore.cli._options import assured, examples, in_utc, moment, require_consent
from dynostore.cli._output import print_item
from dynostore.cli._session import Session

if TYPE_CHECKING:
    from dynostore.sync.purge import Purge

to_server = click.option("--to", metavar="URL", help="The shared server.")


@click.command(epilog=examples("dynostore sync fork", "dynostore --db copy.db sync fork"))
@to_server
@click.pass_obj
def fork(session: Session, to: str | None) -> None:
    """Give a copied file an identity of its own.

    For a copy that lives on beside its original. It keeps its rows and what waits to be sent; a
    copy that merely syncs finds out by itself.
    """
    from dynostore.sync.fork import fork as fork_file  # imported late, as is everything heavy

    remote = session.remote(to)
    with session.store() as store:
        node_id = fork_file(store, remote)
    if session.json:
        print_item(session, {"node_id": node_id})
    else:
        print(f"this file is now the node {node_id}")


@click.command(
    epilog=examples("dynostore sync purge --older-than 90d", "dynostore sync purge --older-than 1w")
)
@to_server
@click.option(
    "--older-than",
    "before",
    type=moment,
    required=True,
    metavar="AGE",
    help="An age such as 90d, or a date.",
)
@assured
@in_utc
@click.pass_obj
def purge(session: Session, to: str | None, before: dt.datetime, yes: bool, utc: bool) -> None:
    """Forget old deletions and replaced versions on the server, for good.

    First shows how many there are, and which nodes have not seen all of them. Such a node loses
    nothing: its next pull compares every key, so that what was deleted does not come back.
    """
    from dynostore.sync.purge import purge as purge_server  # imported late

    remote = session.remote(to)
    if not yes:
        require_consent(session, _told(purge_server(remote, before, dry_run=True)), yes)
    done = purge_server(remote, before)
    fields = {
        "before": done.before,
        "tombstones": done.tombstones,
        "archived versions": done.archived,
        "left behind": ", ".join(node.name for node in done.left_behind) or "nobody",
    }
    print_item(session, done.to_json(), fields=fields, utc=utc)


def _told(found: Purge) -> str:
    lines = [
        f"{found.tombstones:,} deletions and {found.archived:,} replaced versions from before"
        f" {found.before:%Y-%m-%d %H:%M} UTC will be forgotten for good.",
        *(
            f"{node.name} ({node.node_id}) has not seen all of them: last here"
            f" {node.last_seen:%Y-%m-%d %H:%M} UTC."
            for node in found.left_behind
        ),
    ]
    return "\n".join(lines)
