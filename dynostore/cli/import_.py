"""``dynostore import``: take over what an older tool left behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dynostore.cli._options import examples, named, report_path, zone
from dynostore.cli._output import print_items, progress, refuse_occupied, write_report
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column, as_text, print_table
from dynostore.errors import StoreNotFound
from dynostore.importer import import_from
from dynostore.importing.archive import require_archive
from dynostore.importing.merge import Existing
from dynostore.importing.report import ImportReport
from dynostore.importing.source import Source, find_source
from dynostore.in_use import refuse_below, refuse_itself
from dynostore.legacy import READERS, ReadOptions
from dynostore.store import Store

_NUMBERS = (Column("outcome"), Column("records"), Column("files"))
_REMARKS_SHOWN = 20
_REPORT_HEAD = re.compile(rb'\{\s*"ok": (true|false),\s*"source": "')


@click.command(
    "import",
    cls=Command,
    epilog=examples(
        "dynostore import old/runs --dry-run",
        "dynostore import old/runs --report report.json",
        "dynostore import old/runs --update            # where both changed, the source wins",
        "dynostore import .taskforce --timezone Europe/Berlin",
        "dynostore import laptop.db                    # another store",
        "dynostore import old/runs --archive old/done  # when all is verified, move it away",
    ),
)
@click.argument("source", type=click.Path(), callback=named)
@click.option(
    "--kind",
    type=click.Choice(["auto", *(reader.kind for reader in READERS)]),
    default="auto",
    show_default=True,
    help="Which tool left it.",
)
@click.option("--dry-run/--execute", help="Only say what would be done; --execute is the default.")
@click.option("--skip-existing", is_flag=True, help="Touch no record that is there already.")
@click.option("--update", is_flag=True, help="Where both changed, the source wins.")
@click.option(
    "--timezone",
    type=zone,
    metavar="ZONE",
    help="Where times without a zone were written, as Europe/Berlin; this machine's by default.",
)
@click.option(
    "--archive",
    type=click.Path(file_okay=False),
    callback=named,
    metavar="DIR",
    help="Move each file of which all is in the store to the same tree below DIR.",
)
@click.option("--report", type=report_path, metavar="FILE", help="Write all outcomes, as JSON.")
@click.pass_obj
def import_(
    session: Session,
    source: str,
    kind: str,
    dry_run: bool,
    skip_existing: bool,
    update: bool,
    timezone: dt.tzinfo | None,
    archive: str | None,
    report: Path | None,
) -> int:
    """Take over what an older tool left behind.

    SOURCE is a directory, a file or a URL; data of several tools below one directory is all taken
    over. It may be repeated: what did not change is left alone, what changed in the source is
    updated where it was not edited here since. Where both changed, the store's value stays and the
    difference is reported.

    Exits with 3 when something is invalid, was kept back or could not be archived; --dry-run exits
    as the real one would, and archives nothing.
    """
    if skip_existing and update:
        raise click.UsageError("--skip-existing and --update exclude each other")
    existing: Existing = "skip" if skip_existing else "update" if update else "merge"
    found = find_source(source)  # before a store is made for what is not there
    if archive:
        require_archive(found, archive)
    if report:
        _refuse_report(session, report, found)
    with _opened(session, dry_run) as store, progress(session) as show:
        result = import_from(
            source,
            store,
            kind=kind,
            dry_run=dry_run,
            existing=existing,
            options=ReadOptions(timezone=timezone),
            archive=archive,
            progress=None if show is None else functools.partial(show, "taken over"),
        )
    if report:
        write_report(report, _document(result))
    _print(session, result)
    return result.exit_code


def _refuse_report(session: Session, path: Path, source: Source) -> None:
    """Refuse a report over the store or over what is imported."""
    refuse_occupied(session, path)
    if source.is_file:
        refuse_itself(path, Path(source.root), "what is imported")
    elif not source.is_url and not _is_report(path):
        refuse_below(path, Path(source.root), "what is imported")


def _is_report(path: Path) -> bool:
    """Tell whether a file is the report of an earlier import, which the next one may replace."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _REPORT_HEAD.match(file.read(100)) is not None
    except OSError:
        return False


@contextlib.contextmanager
def _opened(session: Session, dry_run: bool) -> Iterator[Store | None]:
    """Open the store; None for a dry run where there is none yet, which must not make one."""
    if not dry_run:
        with session.store(create=True) as store:
            yield store
        return
    try:
        store = Store.at(session.place(), create=False, migrate=False, warm=False)
    except StoreNotFound:
        yield None
        return
    with store:
        yield store


def _print(session: Session, report: ImportReport) -> None:
    """Print the numbers, and what a person must look at; all of it as JSON."""
    if session.json:
        document = _document(report)
        print_items(session, document.pop("items"), (), **document)
        return
    outcomes = report.records.to_json().keys()
    records, files = report.records.to_json(), report.files.to_json()
    print_table(
        [{"outcome": o, "records": records[o], "files": files[o]} for o in outcomes], _NUMBERS
    )
    remarks = 0
    for remarks, remark in enumerate(_remarks(report), 1):
        if remarks == 1:
            print()
        # Lines, not a table: a reason is to be read in full at any width.
        if remarks <= _REMARKS_SHOWN:
            print(": ".join(map(as_text, remark)))
    if remarks > _REMARKS_SHOWN:
        session.note(f"and {remarks - _REMARKS_SHOWN} more: --report FILE has all of them")
    if report.archived:
        session.note(f"{report.archived:,} files were moved to the archive")
    if len(report.kinds) > 1:
        found = (f"{counts.found:,} of {kind}" for kind, counts in report.kinds.items())
        session.note(f"records of several tools were found: {', '.join(found)}")
    if report.dry_run:
        session.note("a dry run: nothing was written")


def _document(report: ImportReport) -> dict[str, Any]:
    """Give the report as JSON, its lists one by one: they may be longer than memory."""
    return {
        **report.numbers_to_json(),
        "items": (entry.to_json() for entry in report.entries),
        "warnings": (remark.to_json() for remark in report.warnings),
        "differences": (remark.to_json() for remark in report.differences),
        "not_archived": (remark.to_json() for remark in report.not_archived),
    }


def _remarks(report: ImportReport) -> Iterator[tuple[str, str, str | None]]:
    """Give what was not taken over as it is, its path and the reason; the worst first."""
    for difference in report.differences:
        yield "reads back differently", difference.path, difference.message
    for entry in report.entries:
        if entry.outcome == "invalid":
            yield "invalid", entry.path, entry.reason
    for entry in report.entries:
        if entry.kept:
            columns = ", ".join(entry.kept)
            yield "kept", entry.path, f"changed here and in the source; ours stays: {columns}"
    for remark in report.not_archived:
        yield "not archived", remark.path, remark.message
    for warning in report.warnings:
        yield "warning", warning.path, warning.message
    for entry in report.entries:
        if entry.outcome == "skipped":
            yield "skipped", entry.path, entry.reason
