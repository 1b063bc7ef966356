"""``dynostore sync verify``: whether the file and the shared Postgres really hold the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dynostore.cli._options import comma_separated, examples
from dynostore.cli._output import print_item, progress
from dynostore.cli._session import Session
from dynostore.cli._tables import Column, print_table

if TYPE_CHECKING:
    from dynostore.sync.verify.run import VerifyReport

_TABLES = (
    Column("name", "table"),
    Column("rows", right=True),
    Column("unsent", right=True),
    Column("set_aside", right=True),
    Column("behind", right=True),
    Column("differences", right=True),
)
_DIFFERENCES = (
    Column("table"),
    Column("key", whole=True),
    Column("kind", "difference"),
    Column("columns"),
)


@click.command(
    epilog=examples(
        "dynostore sync verify",
        "dynostore sync verify --deep --tables runs,run_files",
        "dynostore sync verify --deep --repair",
        "dynostore --json sync verify | jq .item.total",
    )
)
@click.option("--to", metavar="URL", help="The shared server.")
@click.option("--deep", is_flag=True, help="Compare every value, not only keys and versions.")
@click.option("--repair", is_flag=True, help="Settle what differs through a push and a pull.")
@click.option(
    "--tables",
    metavar="NAME,...",
    callback=comma_separated,
    help="Only these, and the tables that they refer to.",
)
@click.option("--skip", metavar="NAME,...", callback=comma_separated, help="All but these.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Most differences to list; 0 is all.",
)
@click.pass_obj
def verify(session: Session, /, to: str | None, **options: Any) -> int:
    """Compare the file with the shared Postgres, row by row.

    What waits to be sent, was set aside, or comes with the next pull is counted, and is no
    difference. With --repair the server's version of a row stays, and the file's is archived and
    listed as a conflict; what one side lacks comes from the other.

    Exits with 7 when the two differ, with 3 when a repair left conflicts or rejected rows, with 1
    when tables were left out whose models were not given (--models).
    """
    from dynostore.sync.verify.run import verify as compare  # imported late, as is everything heavy

    remote = session.remote(to)
    with session.store() as store, progress(session) as show:
        report = compare(store, remote, progress=show, **options)
    if session.json:
        print_item(session, report.to_json(), ok=not report.exit_code)
    else:
        _tell(session, report)
    return report.exit_code


def _tell(session: Session, report: VerifyReport) -> None:
    found = report.to_json()
    if report.total:
        items = [{**item, "columns": ", ".join(item["columns"])} for item in found["differences"]]
        print_table(items, _DIFFERENCES)
        session.note(f"{report.total:,} differences; {len(items):,} are listed")
        session.note("to settle them: dynostore sync verify --repair")
    else:
        filled = [table for table in found["tables"] if any(list(table.values())[1:])]
        print_table(filled, _TABLES)
        session.note("the file and the server agree")
    if report.left_out:
        session.note(f"left out, since their models were not given: {', '.join(report.left_out)}")
    if report.repaired:
        session.note(f"{report.repaired:,} differences are settled")
        if report.synced and report.synced.exit_code:
            session.note("some rows need a look: dynostore sync status")
