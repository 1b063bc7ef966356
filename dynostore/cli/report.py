"""``dynostore report``: a command for each report that is declared."""

from __future__ import annotations

import csv
import functools
import sys
import uuid
from typing import Any

import click

from dynostore.cli._options import examples
from dynostore.cli._output import print_item, print_items
from dynostore.cli._session import Command, Group, Session
from dynostore.cli._tables import Column
from dynostore.config import is_postgres
from dynostore.fields import time_text
from dynostore.reports import REPORTS, Parameter, Report, answer, statement
from dynostore.reports.dialects import DIALECTS


@click.group(cls=Group)
def report() -> None:
    """Answer a question about the records.

    The same answer on SQLite and on Postgres, as a table, JSON or CSV; or the SQL that asks.
    """


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
