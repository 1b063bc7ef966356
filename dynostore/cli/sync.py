"""``dynostore sync``: what changed goes to the shared Postgres and comes from it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from dynostore.cli._options import comma_separated, examples, in_utc
from dynostore.cli._output import print_item, progress
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column, print_table
from dynostore.cli.sync_conflicts import conflicts
from dynostore.cli.sync_rejects import rejects
from dynostore.cli.sync_server import fork, purge
from dynostore.cli.sync_verify import verify
from dynostore.cli.sync_watch import keep_syncing

if TYPE_CHECKING:
    from dynostore.config import Place
    from dynostore.sync import SyncReport, SyncStatus

_WATCH_INTERVAL_S = 60.0
_COLUMNS = (
    Column("name", "table"),
    Column("sent"),
    Column("received"),
    Column("adopted"),
    Column("conflicts"),
    Column("rejected"),
    Column("seconds"),
    Column("rows_per_s", "rows/s"),
)
_NODE_COLUMNS = (
    Column("name", "node"),
    Column("node_id", "id", whole=True),
    Column("schema_version", "schema"),
    Column("last_seen", "last seen"),
    Column("behind", right=True),
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "dynostore sync --to postgresql://user@host/database",
        "DYNOSTORE_REMOTE=postgresql://user@host/database dynostore sync --direction both",
        "dynostore sync status",
    ),
)
@click.option("--to", metavar="URL", help="The shared server; its database may be empty.")
@click.option(
    "--direction",
    type=click.Choice(["push", "pull", "both"]),
    default="push",
    show_default=True,
    help="Send, bring, or first send and then bring.",
)
@click.option(
    "--tables",
    metavar="NAME,...",
    callback=comma_separated,
    help="Only these, and the tables that they refer to.",
)
@click.option("--skip", metavar="NAME,...", callback=comma_separated, help="All but these.")
@click.option("--watch", is_flag=True, help="Go on, and sync whenever something changes.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help=f"With --watch: the longest time between two syncs ({_WATCH_INTERVAL_S:g}).",
)
@click.option(
    "--upgrade-server",
    is_flag=True,
    help="Bring the server's older tables up to date; older programs sync on if it only adds.",
)
@click.option("--full", is_flag=True, help="First compare every key that this file knows.")
@click.option(
    "--adopt",
    is_flag=True,
    help="Accept a server that is another one, or forgot this file: every row is sent anew.",
)
@click.pass_context
def sync(ctx: click.Context, /, to: str | None, **options: Any) -> int:
    """Send what changed to the shared Postgres, or bring what changed there.

    On a new machine --direction pull makes the whole file from the server. The server is found by
    --to, DYNOSTORE_REMOTE, POSTGRES_HOST and its like, or the profile's "remote". A sync that was
    interrupted is finished by the next one; one that has nothing to do changes nothing.

    With --watch it goes on until a signal ends it, with one line for each sync: behind its present
    batch after SIGINT (exit 130) or SIGTERM (exit 0), at once after a second one. What cannot be
    reached is tried again.

    Exits with 3 when this run found new conflicts or rejected rows, with 1 when it left tables out
    whose models were not given (--models), with 5 when another sync of this store is running, with
    75 when the server cannot be reached.
    """
    if not options["watch"]:  # which ends behind its batch
        from dynostore.sync.remote.interrupt import interrupts_heard  # late, as is everything heavy

        ctx.with_resource(interrupts_heard())
    if ctx.invoked_subcommand is None:
        return _sync(ctx.obj, to, **options)
    if to is not None:
        raise click.UsageError("--to goes with sync itself")
    return 0


for _command in (conflicts, rejects, fork, purge, verify):
    sync.add_command(_command)


def _sync(
    session: Session, to: str | None, *, watch: bool, interval_s: float | None, **options: Any
) -> int:
    from dynostore.sync import sync as run_sync  # imported late, as is everything heavy

    remote = session.remote(to)
    if interval_s is not None and not watch:
        raise click.UsageError("--interval goes with --watch")
    if watch:
        return keep_syncing(session, remote, interval_s or _WATCH_INTERVAL_S, options)
    with session.store() as store, progress(session) as show:
        report = run_sync(store, remote, progress=show, **options)
    if session.json:
        print_item(session, report.to_json(), ok=not report.exit_code)
    elif report.up_to_date:
        waits_elsewhere = report.left_out or report.not_asked_for
        print(f"everything {'else ' if waits_elsewhere else ''}is up to date")
    else:
        unused = {"push": "received", "pull": "sent"}.get(options["direction"])
        columns = [column for column in _COLUMNS if column.key != unused]
        print_table(report.to_json()["tables"], columns)
    if report.exit_code == 3:
        session.note(_advice(report))
    if report.not_asked_for:
        session.note(f"not asked for: {_named(report.not_asked_for)}")
    if report.left_out:
        session.note(f"left out, since their models were not given: {_named(report.left_out)}")
        session.note("give them: dynostore --models MODULE sync")
    return report.exit_code


def _named(waiting: dict[str, int]) -> str:
    return ", ".join(f"{name} ({rows:,} wait)" for name, rows in waiting.items())


def _advice(report: SyncReport) -> str:
    commands = ["dynostore sync status"]
    commands += ["dynostore sync conflicts"] * any(t.conflicts for t in report.tables)
    commands += ["dynostore sync rejects"] * any(t.rejected for t in report.tables)
    return f"some rows need a look: {', '.join(commands)}"


@sync.command(
    epilog=examples(
        "dynostore sync status",
        "dynostore --json sync status | jq .item.waiting",
    )
)
@click.option("--to", metavar="URL", help="The shared server.")
@in_utc
@click.pass_obj
def status(session: Session, to: str | None, utc: bool) -> int:
    """Show what waits to be sent, what is wrong, and which files sync with the server.

    The server is asked where one is configured; what is in the file is told in any case.

    Exits with 1 when rows wait, conflicts or rejects are open, or the last sync failed.
    """
    from dynostore.sync import sync_status  # imported late, as is everything heavy

    with session.store() as store:
        state = sync_status(store)
    remote = session.remote_if_any(to)
    nodes = None if remote is None else _nodes(session, remote)
    item = {**state.to_json(), "nodes": nodes}
    print_item(session, item, fields=_for_people(state), utc=utc, ok=not state.exit_code)
    if nodes and not session.json:
        print()
        print_table(nodes, _NODE_COLUMNS, utc=utc)
    return state.exit_code


def _nodes(session: Session, remote: Place) -> list[dict[str, Any]] | None:
    from dynostore.errors import DynostoreError
    from dynostore.sync.remote.nodes import list_nodes

    try:
        return [dataclasses.asdict(node) for node in list_nodes(remote)]
    except DynostoreError as exc:
        session.warn(f"the server was not asked: {exc}")
        return None


def _for_people(state: SyncStatus) -> dict[str, Any]:
    waiting = ", ".join(f"{table} {rows:,}" for table, rows in state.waiting.items())
    return {
        "waiting": waiting or "nothing",
        "oldest": _time(state.oldest_at),
        "conflicts": state.conflicts,
        "rejected": state.rejects,
        "last success": _time(state.last_success_at),
        "last error": state.last_error,
        "last error at": _time(state.last_error_at),
        "node": state.node_name and f"{state.node_name} ({state.node_id})",
        "server": state.server_id,
    }


def _time(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
