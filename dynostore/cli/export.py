"""``dynostore export``: the way out."""

from __future__ import annotations

import datetime as dt
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from dynostore.cli._options import (
    FunctionT,
    assured,
    comma_separated,
    examples,
    moment,
    named,
    require_consent,
)
from dynostore.cli._output import print_items, progress, refuse_occupied
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column
from dynostore.exporter import FORMATS, STDOUT, ExportReport, export_to
from dynostore.exporting.rows import FAMILIES, Selection
from dynostore.store import Store

_COLUMNS = (Column("table"), Column("rows"))
_RECORDS: dict[str, tuple[str, Callable[[Store], Any]]] = {
    "run": ("runs", lambda store: store.runs),
    "task": ("tasks", lambda store: store.tasks),
    "session": ("sessions", lambda store: store.sessions),
    "memory": ("memories", lambda store: store.memories),
    "conversation": ("conversations", lambda store: store.conversations),
    "ideation": ("ideation_sessions", lambda store: store.ideation.sessions),
}
"""What can be chosen by its id: the option, its table, and what knows its ids."""


def _chosen_by_id(function: FunctionT) -> FunctionT:
    for name in reversed(_RECORDS):
        text = f"Only this {'ideation session' if name == 'ideation' else name}; may be repeated."
        add = click.option(f"--{name}", f"{name}_id", multiple=True, metavar="ID", help=text)
        function = add(function)
    return function


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore export -o store.jsonl              # all of it; dynostore import reads it",
        "dynostore export --run 0197 | jq .row",
        "dynostore export --format csv --since 30d -o last-month/",
        "dynostore export --format csv --tables runs > runs.csv",
        "dynostore export --format runs -o runs/       # DynoAI's run directories",
    ),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="jsonl",
    show_default=True,
    help="jsonl holds everything; csv is a file for each table; runs (DynoAI's) and taskforce are "
    "directories that those tools read.",
)
@click.option("-o", "--output", callback=named, metavar="PATH", help="Where to; stdout by default.")
@click.option("--tables", callback=comma_separated, metavar="NAMES", help="Only these, as a,b.")
@click.option("--family", callback=comma_separated, metavar="NAMES", help="All tables of these.")
@click.option("--since", type=moment, metavar="WHEN", help="Only records created then or later.")
@click.option("--until", type=moment, metavar="WHEN", help="Only records created before.")
@_chosen_by_id
@click.option("--raw", is_flag=True, help="CSV for programs: leave =1+1 as it is.")
@click.option("--with-files", is_flag=True, help="Copy the runs' files into their directories.")
@assured
@click.pass_obj
def export(
    session: Session,
    /,
    form: str,
    output: str | None,
    tables: tuple[str, ...],
    family: tuple[str, ...],
    since: dt.datetime | None,
    until: dt.datetime | None,
    raw: bool,
    with_files: bool,
    yes: bool,
    **ids: tuple[str, ...],
) -> int:
    """Write records as lines of JSON, as CSV or in an older tool's files.

    All of it is as of one moment, and a file is there whole or not at all. What belongs to a
    record, such as the files of a run, goes with it.

    Exits with 3 when a row was left out, because no form can say what plain SQL put into it, or a
    file that --with-files was to copy.
    """
    path = None if output in (None, "-") else output
    if with_files and form != "runs":
        raise click.UsageError("--with-files goes with --format runs")
    if path is None and session.json:
        raise click.UsageError(
            f"a summary as {session.format} needs --output: without it stdout is the data"
        )
    with session.store() as store:
        selection = Selection((*tables, *_tables_of(family)), since, until, _keys(store, ids))
        if path is not None:
            refuse_occupied(session, Path(path))
        if path is not None and _is_something(Path(path)):
            require_consent(
                session, f"{path}: what is there of the same name would be replaced", yes
            )
        with progress(session) as show:
            tell = show and path and functools.partial(show, "written")
            report = export_to(
                store,
                path or sys.stdout.buffer,
                form,
                selection=selection,
                replace=True,
                raw=raw,
                with_files=with_files,
                progress=tell or None,
            )
    _print(session, report)
    return report.exit_code


def _tables_of(families: Sequence[str]) -> list[str]:
    for name in families:
        if name not in FAMILIES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(FAMILIES)}")
    return [table for name in families for table in FAMILIES[name]]


def _keys(store: Store, ids: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Give whole ids by table, of those that have any."""
    return {
        table: [verbs(store).resolve(prefix) for prefix in given]
        for name, (table, verbs) in _RECORDS.items()
        if (given := ids[f"{name}_id"])
    }


def _is_something(path: Path) -> bool:
    """Tell whether a file or a directory with anything in it is there."""
    return path.is_file() or (path.is_dir() and bool(os.listdir(path)))


def _print(session: Session, report: ExportReport) -> None:
    for reason in report.reasons:
        session.warn(f"left out: {reason}")
    if report.own_tables:
        session.warn(f"not exported, as tables of your own: {', '.join(report.own_tables)}")
    if report.output == STDOUT:
        session.note(f"{sum(report.rows.values()):,} rows")
        return
    print_items(
        session,
        ({"table": table, "rows": rows} for table, rows in report.rows.items()),
        _COLUMNS,
        ok=not report.exit_code,
        format=report.format,
        output=report.output,
        rows=sum(report.rows.values()),
        files=report.files,
        left_out=report.left_out,
    )
