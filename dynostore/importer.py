"""Taking over what older tools left behind: read, check, compare, write in batches, report.

A record is known by its kind, table and key, wherever its directory lies today. What was read is
kept beside it (``imports.image``), so that the next import can tell what changed in the source from
what was edited in the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from dynostore import errors
from dynostore.import_merge import Existing
from dynostore.import_plan import ImportItem, Planner, as_item
from dynostore.import_report import Entry, ImportReport, Remark
from dynostore.import_writer import BatchWriter, note_invalid
from dynostore.legacy import READERS, Finding, Reader, ReadOptions, SourceRecord
from dynostore.legacy.source_json import printable
from dynostore.legacy.source_tree import shown
from dynostore.store import Store

Progress = Callable[[int, int | None], None]

_BATCH_RECORDS = 250  # fewer write the same pages of the file again and again
_BATCH_BYTES = 16 * 1024 * 1024


def import_from(
    source: str | os.PathLike[str],
    store: Store | None,
    *,
    kind: str = "auto",
    dry_run: bool = False,
    existing: Existing = "merge",
    options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Take over all records of an older tool, and say what became of each file.

    Idempotent: what was taken over and has not changed since is left alone, and nothing is
    written. It works in batches, each one transaction with its own record of what was imported:
    one that was killed goes on where it stopped, and several may run at once. The content that is
    read is never held as a whole. The source is only read.

    :param source: the directory that the older tool wrote.
    :param store: where to write; None is allowed in a dry run and stands for an empty store.
    :param kind: the name of a reader, or ``auto``: the first that knows the data.
    :param dry_run: read, check and compare everything, and write nothing.
    :param existing: what to do with a record that is in the store and differs. ``merge``: take
        what changed in the source since it was taken over; a value that changed on both sides
        stays as it is in the store, and is named in the report. ``update``: the source's value
        wins. ``skip``: leave such a record alone.
    :param options: what the source does not say, such as the zone of its times.
    :param progress: called after each batch with the number of records and lone files done, and
        their total where it is known.
    :raises SourceNotFound: nothing is there, or nothing that a reader knows.
    :raises ConfigError: an unknown kind or way.
    :raises DynostoreError: the store failed; the batches before are in it.
    """
    if existing not in get_args(Existing):
        raise errors.ConfigError(
            f"existing: {existing!r} is none of {', '.join(get_args(Existing))}"
        )
    if store is None and not dry_run:
        raise errors.ConfigError("an import needs a store; only a dry run does without one")
    started_s = time.monotonic()
    root = _find_root(source)
    reader = _choose_reader(root, kind)
    report = ImportReport(root, reader.kind, dry_run=dry_run, existing=existing)
    planner = Planner(None if store is None else store.imports, existing)
    writer = None if dry_run or store is None else BatchWriter(store, planner, reader.kind)
    for batch in _batches(_checked(reader, root, options or ReadOptions(), report)):
        items = [item for item in batch if isinstance(item, ImportItem)]
        if writer is None:
            plans = planner.plan(items)
            for plan in plans:
                plan.check()
        else:
            plans, differences = writer.write(items)
            report.differences += differences
        entries = iter([plan.entry() for plan in plans])
        for item in batch:
            report.add(item if isinstance(item, Entry) else next(entries))
        if progress is not None:
            progress(len(report.entries), None)
    if store is not None and not dry_run:
        note_invalid(store, report)
    report.seconds = time.monotonic() - started_s
    return report


def _find_root(source: str | os.PathLike[str]) -> str:
    given = os.fspath(source)
    root = os.path.realpath(given)
    if not os.path.exists(root):
        raise errors.SourceNotFound(f"{shown(given)}: there is nothing to import")
    if not os.path.isdir(root):
        raise errors.SourceNotFound(
            f"{shown(given)}: is a file; the directory that the older tool wrote is needed",
            hint=f"dynostore import {shown(os.path.dirname(root))}",
        )
    return root


def _choose_reader(root: str, kind: str) -> Reader:
    known = ", ".join(reader.kind for reader in READERS)
    if kind == "auto":
        for reader in READERS:
            if reader.detect(root):
                return reader
        raise errors.SourceNotFound(
            f"{shown(root)}: holds nothing that one of the readers knows ({known})",
            hint=f"dynostore import --kind {READERS[0].kind} {shown(root)}",
        )
    for reader in READERS:
        if reader.kind == kind:
            return reader
    raise errors.ConfigError(f"kind: {kind!r} is none of auto, {known}")


def _checked(
    reader: Reader, root: str, options: ReadOptions, report: ImportReport
) -> Iterator[ImportItem | Entry]:
    """Give what the reader finds, records checked at the door; each key once, the first wins."""
    taken: dict[tuple[str, object], str] = {}
    for found in reader.read(root, options):
        if isinstance(found, Finding):
            yield _entry_of(found)
            continue
        try:
            item = as_item(found, reader.kind)
        except errors.InvalidValue as exc:
            yield _invalid(found, exc.message)
            continue
        first = taken.setdefault((item.row.table, item.row.key), found.path)
        if first is not found.path:
            reason = (
                f"has the id {item.row.key!r} of {first}, which was taken; {found.path} was not"
            )
            yield _invalid(found, reason)
            continue
        report.warnings += [Remark(found.path, warning) for warning in found.warnings]
        yield item


def _entry_of(finding: Finding) -> Entry:
    return Entry(
        path=finding.path,
        outcome=finding.outcome,
        reason=printable(finding.reason),
        is_record=finding.is_record,
        files=finding.files,
        key=finding.key,
    )


def _invalid(source: SourceRecord, reason: str) -> Entry:
    return Entry(
        path=source.path,
        outcome="invalid",
        reason=printable(reason),
        files=source.files,
        table=str(source.model._meta.table_name),
        key=source.key if isinstance(source.key, str) else None,
    )


def _batches(
    items: Iterable[ImportItem | Entry],
) -> Iterator[list[ImportItem | Entry]]:
    """Group what is found, by number and by the memory that it takes."""
    batch: list[ImportItem | Entry] = []
    weight_bytes = 0
    for item in items:
        batch.append(item)
        weight_bytes += item.source.weight_bytes if isinstance(item, ImportItem) else 0
        if len(batch) >= _BATCH_RECORDS or weight_bytes >= _BATCH_BYTES:
            yield batch
            batch, weight_bytes = [], 0
    if batch:
        yield batch
