"""``dynostore runs``: the verbs of runs."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from dynostore.cli._options import (
    assured,
    clearable,
    examples,
    given,
    in_utc,
    json_value,
    moment,
    paged,
    require_consent,
    settable,
    wanted_changes,
)
from dynostore.cli._output import print_item, print_items, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column, print_table
from dynostore.models.runs import STATUSES, Run

_COLUMNS = (
    Column("id", whole=True),
    Column("status", whole=True),
    Column("source"),
    Column("created_at", "created", whole=True),
    Column("progress_percent", "%"),
    Column("current_stage", "stage"),
    Column("input_filename", "input"),
)
_FILE_COLUMNS = (
    Column("filename", "file", whole=True),
    Column("file_type", "type"),
    Column("size_bytes", "bytes"),
    Column("sha256"),
)
_FIELDS: dict[str, Any] = {
    "status": click.Choice(STATUSES),
    "source": str,
    "jetstream_id": str,
    "current_stage": str,
    "progress_percent": click.IntRange(0, 100),
    "results_summary": json_value,
    "error_info": json_value,
    "input_filename": str,
    "config_snapshot": json_value,
    "metadata": json_value,
}
_CLEARABLE = [name for name in _FIELDS if Run._meta.fields[name].null]


@click.group(cls=Group)
def runs() -> None:
    """List, show, create, change and remove runs.

    Wherever an ID is wanted, its beginning is enough when no other id begins so.
    """


@runs.command(
    "list",
    epilog=examples(
        "dynostore runs list --status error --since 7d",
        "dynostore runs list --since 2025-12-01 --until 2025-12-08T12:00",
        "dynostore --json runs list --limit 0 | jq -r '.items[].id'",
    ),
)
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.option("--source", help="Only those from this source.")
@click.option(
    "--since", type=moment, metavar="WHEN", help="Created at or after: a date, a time or an age."
)
@click.option(
    "--until", type=moment, metavar="WHEN", help="Created before: a date, a time or an age."
)
@paged
@in_utc
@click.pass_obj
def list_(session: Session, /, limit: int, after: str | None, utc: bool, **filters: Any) -> None:
    """List runs, newest first."""
    with session.store() as store:
        print_page(session, store.runs.list, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@runs.command(
    epilog=examples(
        "dynostore runs show 0197",
        "dynostore --json runs show 0197 | jq .item.results_summary",
    )
)
@click.argument("run_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, run_id: str, utc: bool) -> None:
    """Show a run and its files."""
    with session.store() as store:
        run = store.runs.get(store.runs.resolve(run_id))
        files = [file.values() for file in store.runs.files(run.id)]
    print_item(session, {**run.values(), "files": files}, fields=run.values(), utc=utc)
    if files and not session.json:
        print()
        print_table(files, _FILE_COLUMNS, utc=utc)


@runs.command(
    epilog=examples(
        "dynostore runs create --source dyno --input-filename pull_3.csv",
        "dynostore runs create --status complete --results-summary '{\"avg_correction\": 1.8}'",
        "id=$(dynostore -q runs create --metadata @notes.json)",
    )
)
@click.option("--id", "run_id", metavar="ID", help="The id, up to 64 characters; made by default.")
@click.option("--created-at", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_FIELDS)
@click.pass_obj
def create(
    session: Session, /, run_id: str | None, created_at: dt.datetime | None, **values: Any
) -> None:
    """Record a new run, and print its id.

    It is "pending" and from "manual" where nothing is said. JSON may be given as @FILE.
    """
    facts: Any = given(values)
    with session.store(create=True) as store:
        run = store.runs.create(run_id=run_id, created_at=created_at, **facts)
    print_item(session, run.values(), text=run.id)


@runs.command(
    epilog=examples(
        "dynostore runs update 0197 --status complete --clear current_stage",
        'dynostore runs update 0197 --progress-percent 80 --metadata \'{"operator": "kim"}\'',
    )
)
@click.argument("run_id", metavar="ID")
@settable(_FIELDS)
@clearable(_CLEARABLE)
@click.pass_obj
def update(session: Session, /, run_id: str, clear: tuple[str, ...], **values: Any) -> None:
    """Change what is given of a run, and nothing else."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        run = store.runs.update(store.runs.resolve(run_id), **changes)
    print_item(session, run.values(), text=run.id)


@runs.command(
    epilog=examples(
        "dynostore runs rm 0197",
        "dynostore runs rm --yes run_a run_b",
    )
)
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, run_ids: tuple[str, ...], yes: bool) -> None:
    """Remove runs and the records of their files; files on disk stay."""
    with session.store() as store:
        found = [store.runs.get(i) for i in dict.fromkeys(map(store.runs.resolve, run_ids))]
        lines = [
            f"would remove {r.id} ({r.status}, {len(store.runs.files(r.id))} files)" for r in found
        ]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for run in found:
                store.runs.delete(run.id)
    removed = ({"id": run.id} for run in found)
    print_items(session, removed, _COLUMNS[:1])
