"""``dynostore report``: a command for each report that is declared, and the page of charts."""

from __future__ import annotations

import csv
import functools
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from dynostore.charts import DEFAULT_DAYS, MAX_DAYS, draw_all
from dynostore.charts.page import write_page
from dynostore.cli._options import examples, report_path
from dynostore.cli._output import print_item, print_items, refuse_occupied
from dynostore.cli._session import Command, Group, Session
from dynostore.cli._tables import Column
from dynostore.config import is_postgres
from dynostore.fields import time_text, utc_now
from dynostore.reports import REPORTS, Parameter, Report, answer, statement
from dynostore.reports.dialects import DIALECTS


@click.group(
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=True,
    epilog=examples("dynostore report by-status", "dynostore report --html records.html"),
)
@click.option(
    "--html", type=report_path, metavar="FILE", help="Write all charts as a page that is one file."
)
@click.option(
    "--days",
    type=click.IntRange(min=1, max=MAX_DAYS),
    help=f"With --html: how many days its charts of days show; {DEFAULT_DAYS} by default.",
)
@click.pass_obj
def report(session: Session, html: Path | None, days: int | None) -> None:
    """Answer a question about the records.

    The same answer on SQLite and on Postgres, as a table, JSON or CSV; or the SQL that asks. With
    --html, charts of all families on one page, which needs no network (extra: view).
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        if html is not None or days is not None:
            raise click.UsageError("--html is a page of its own: it goes with no report", ctx)
    elif html is None:
        raise click.UsageError("no report is named, and no --html", ctx)
    else:
        _write_page(session, html, days or DEFAULT_DAYS)


def _write_page(session: Session, path: Path, days: int) -> None:
    refuse_occupied(session, path)
    now = utc_now()
    with session.store() as store:
        drawn = draw_all(store, days=days, now=now)
    write_page(path, drawn, shown=session.place().shown, days=days, now=now)
    charts = [{"name": d.chart.name, "rows": len(d.rows), "reason": d.reason} for d in drawn]
    item = {"file": str(path), "days": days, "charts": charts}
    print_item(session, item, text=str(path))
    if not any(d.rows for d in drawn):
        session.note("there is nothing to draw yet; the page says so")


def _ask(
    asked: Report,
    session: Session,
    *,
    as_csv: bool,
    sql: bool,
    dialect: str | None,
    utc: bool,
    days: int | None = None,
    task_id: str | None = None,
) -> None:
    ctx = click.get_current_context()
    if as_csv and (sql or session.json_errors):
        raise click.UsageError("--csv goes neither with --sql nor with --json", ctx)
    if dialect and not sql:
        raise click.UsageError("--dialect goes with --sql", ctx)
    if sql:
        _print_sql(session, asked, dialect, days, task_id)
        return
    with session.store() as store:
        if task_id is not None:
            task_id = store.tasks.resolve(task_id)
        rows = answer(store, asked.name, days=days, task_id=task_id)
    if as_csv or (session.format == "csv"):
        _write_csv(asked, rows)
    elif session.json:
        print_items(session, rows, (), report=asked.name, title=asked.title)
    else:
        columns = [
            Column(c.name, whole=c.kind == "uuid", right=c.kind in ("integer", "real"))
            for c in asked.columns
        ]
        print_items(session, map(_with_digits, rows), columns, utc=utc)


def _print_sql(
    session: Session, asked: Report, dialect: str | None, days: int | None, task_id: str | None
) -> None:
    if task_id is not None and not _is_whole(task_id):
        with session.store() as store:
            task_id = store.tasks.resolve(task_id)
    if dialect is None:
        dialect = "postgres" if is_postgres(session.place().url) else "sqlite"
    text = statement(asked.name, dialect, days=days, task_id=task_id)
    item = {"report": asked.name, "dialect": dialect, "sql": text}
    print_item(session, item, text=text.rstrip())


def _is_whole(task_id: str) -> bool:
    try:
        uuid.UUID(task_id)
    except ValueError:
        return False
    return True


def _write_csv(asked: Report, rows: list[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(column.name for column in asked.columns)
    kinds = {column.name: column.kind for column in asked.columns}
    for row in map(_with_digits, rows):
        writer.writerow(
            time_text(value) if value is not None and kinds[name] == "time" else value
            for name, value in row.items()
        )


def _with_digits(row: dict[str, Any]) -> dict[str, Any]:
    """Write fractions out: 0.000225, never 2.25e-04."""
    return {
        name: f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
        for name, value in row.items()
    }


def _option(parameter: Parameter) -> click.Option:
    if parameter.name == "task_id":
        return click.Option(
            ["--task", "task_id"], metavar="ID", required=True, help="The task's id or beginning."
        )
    return click.Option(
        ["--days"],
        type=click.IntRange(min=1),
        default=parameter.default,
        show_default=True,
        help="How many days back.",
    )


def _command(declared: Report) -> Command:
    call = f"dynostore report {declared.name}"
    needed = " --task 0197" if any(p.name == "task_id" for p in declared.parameters) else ""
    return Command(
        declared.name,
        params=[
            *map(_option, declared.parameters),
            click.Option(["--csv", "as_csv"], is_flag=True, help="Print CSV; times in UTC."),
            click.Option(["--sql"], is_flag=True, help="Print the statement; ask nothing."),
            click.Option(
                ["--dialect"],
                type=click.Choice(list(DIALECTS)),
                help="With --sql: for this database; the store's by default.",
            ),
            click.Option(["--utc"], is_flag=True, help="Times in UTC, not local."),
        ],
        callback=click.pass_obj(functools.partial(_ask, declared)),
        help=f"{declared.title}.",
        epilog=examples(f"{call}{needed}", f"{call}{needed} --sql --dialect postgres | psql team"),
    )


for _declared in REPORTS.values():
    report.add_command(_command(_declared))
