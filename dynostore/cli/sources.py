"""``dynostore sources``: what was taken over from older tools."""

from __future__ import annotations

import functools

import click

from dynostore import errors
from dynostore.cli._options import assured, examples, in_utc, paged, require_consent
from dynostore.cli._output import print_item, print_items, print_page, progress
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column, print_table
from dynostore.models.imports import STATUSES

_COLUMNS = (
    Column("record_key", "record", whole=True),
    Column("record_table", "table"),
    Column("status", whole=True),
    Column("kind"),
    Column("imported_at", "imported", whole=True),
    Column("source_path", "path"),
    Column("content_hash", "hash"),
    Column("reason"),
)
_COMPARED = (
    Column("source", whole=True),
    Column("kind"),
    Column("status", whole=True),
    Column("records"),
    Column("equal"),
    Column("reason"),
)
_DIFFERENCES = (
    Column("table"),
    Column("key", whole=True),
    Column("field"),
    Column("reason"),
    Column("path"),
)


@click.group(cls=Group)
def sources() -> None:
    """Say what was taken over, from where and when, or forget that."""


@sources.command(
    "list",
    epilog=examples(
        "dynostore sources list --status invalid",
        "dynostore --json sources list --limit 0 | jq -r '.items[].source_path'",
    ),
)
@click.option("--kind", help="Only what this kind of tool left, such as dynoai.")
@click.option("--status", type=click.Choice(STATUSES), help="Only what ended so.")
@paged
@in_utc
@click.pass_obj
def list_(
    session: Session,
    kind: str | None,
    status: str | None,
    limit: int,
    after: str | None,
    utc: bool,
) -> None:
    """List the records that imports have read, newest first."""
    with session.store() as store:
        print_page(
            session,
            store.imports.list,
            _COLUMNS,
            limit=limit,
            after=after,
            utc=utc,
            kind=kind,
            status=status,
        )


@sources.command("show", epilog=examples("dynostore sources show 0192f"))
@click.argument("import_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, import_id: str, utc: bool) -> None:
    """Show one record that an import has read: from where, when, with which hash.

    As JSON also what the source said, which is what the next import compares with. ID is that of
    the row, as --json lists it, or its beginning.
    """
    with session.store() as store:
        row = store.imports.get(store.imports.resolve(import_id))
        values = row.values()
        shown = {name: value for name, value in values.items() if name != "image"}
        shown |= (row.image or {}).get("read") or {}
        print_item(session, values, fields=shown, utc=utc)


@sources.command(
    "verify",
    epilog=examples(
        "dynostore sources verify",
        "dynostore sources verify old/runs",
        "dynostore sources verify redis://:PASSWORD@host:6379/0",
    ),
)
@click.argument("source", nargs=-1)
@click.pass_obj
def verify(session: Session, source: tuple[str, ...]) -> int:
    """Compare sources that still exist with the store again, in full.

    SOURCE is a directory, a file or a URL; by default all that anything was taken over from. A
    server that needs a password must be named, since the store does not keep it. What was edited
    here since differs, too.

    Exits with 7 when something differs, with 1 when a source could not be read.
    """
    from dynostore.importing.verify import verify_sources

    with session.store() as store, progress(session) as draw:
        tell = None if draw is None else functools.partial(draw, "compared")
        report = verify_sources(store, source, progress=tell)
    if session.json:
        print_items(
            session,
            (found.to_json() for found in report.differences),
            (),
            ok=report.exit_code == 0,
            sources=[found.to_json() for found in report.sources],
            exit_code=report.exit_code,
            seconds=round(report.seconds, 3),
        )
        return report.exit_code
    print_table([found.to_json() for found in report.sources], _COMPARED)
    if report.differences:
        print()
        print_table((found.to_json() for found in report.differences), _DIFFERENCES)
    return report.exit_code


@sources.command("rm", epilog=examples("dynostore sources rm --yes run_2025_11_02"))
@click.argument("keys", metavar="RECORD...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, keys: tuple[str, ...], yes: bool) -> None:
    """Forget what imports read of these records; the records stay.

    RECORD is a record's whole id. What its source said is kept also when the record is deleted, for
    the next import to compare with. That import will know nothing of it: a record that was deleted
    is made again, and one that was edited here differs.
    """
    with session.store() as store:
        found = [row for row in store.imports.stream() if row.record_key in keys]
        unknown = set(keys).difference(row.record_key for row in found)
        if unknown:
            raise errors.NotFound(
                f"nothing was imported as {', '.join(sorted(unknown))}",
                hint="dynostore sources list",
            )
        lines = [f"would forget {r.kind}'s {r.record_table} {r.record_key}" for r in found]
        require_consent(session, "\n".join(lines), yes)
        store.imports.forget([row.id for row in found])
    print_items(session, (row.values() for row in found), _COLUMNS[:3])
