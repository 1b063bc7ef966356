"""Taking over what older tools left behind: read, check, compare, write in batches, report.

A record is known by its kind, table and key, wherever its source lies today. What was read is
kept beside it (``imports.image``), so that the next import can tell what changed in the source from
what was edited in the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from dynostore import errors
from dynostore.errors import quoted
from dynostore.importing.archive import (
    archive_source,
    finish_interrupted,
    require_archive,
    was_archived,
)
from dynostore.importing.item import ImportItem
from dynostore.importing.ledger import Ledger, opened_ledger
from dynostore.importing.merge import Existing
from dynostore.importing.notes import InvalidNotes
from dynostore.importing.plan import Plan, Planner, refuse_orphans
from dynostore.importing.reading import Reading, entry_of, name_of
from dynostore.importing.report import Counts, Entry, ImportReport, Remark
from dynostore.importing.source import (
    Source,
    choose_readers,
    count_files,
    find_source,
    refuse_itself,
)
from dynostore.importing.writer import BatchWriter
from dynostore.legacy import READERS, Counting, Reader, ReadOptions
from dynostore.legacy.source_tree import shown
from dynostore.models import Record
from dynostore.store import Store

Progress = Callable[[int, int | None], None]

_BATCH_RECORDS = 250  # fewer write the same pages of the file again and again
_BATCH_ROWS = 5_000
_BATCH_BYTES = 16 * 1024 * 1024


def import_from(
    source: str | os.PathLike[str],
    store: Store | None,
    *,
    kind: str = "auto",
    dry_run: bool = False,
    existing: Existing = "merge",
    options: ReadOptions | None = None,
    archive: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Take over all records of an older tool, and say what became of each file.

    Idempotent: what was taken over and has not changed since is left alone, and nothing is
    written. It works in batches, each one transaction with its own record of what was imported:
    one that was killed goes on where it stopped, and several may run at once. A record that cannot
    be stored costs itself only. The content that is read is never held as a whole, and memory does
    not grow with its length. The source is only read.

    :param source: what the older tool wrote: a directory, a file, or the URL of a server.
    :param store: where to write; None is allowed in a dry run and stands for an empty store.
    :param kind: the name of a reader, or ``auto``: every one that finds data of its tool there.
    :param dry_run: read, check and compare everything, and write nothing.
    :param existing: what to do with a record that is in the store and differs. ``merge``: take
        what changed in the source since it was taken over; a value that changed on both sides
        stays as it is in the store, and is named in the report. ``update``: the source's value
        wins. ``skip``: leave such a record alone.
    :param options: what the source does not say, such as the zone of its times.
    :param archive: a directory to which each file is moved of which all is in the store: compared
        with it once more, copied, compared, then removed; below it stands the same tree. The
        ``storage_path`` of a run's files follows. May be interrupted anywhere and repeated. What
        was left where it is, is in the report with the reason. A dry run moves nothing.
    :param progress: called after each batch with what is done, and the total where it is known:
        of files for a directory, else of records.
    :raises SourceNotFound: nothing is there, or nothing that a reader knows.
    :raises ConfigError: an unknown kind or way, or the source is the store itself.
    :raises StoreCorrupt: it is one file, a database that is damaged, and no kind is given.
    :raises StoreUnwritable: the archive's directory cannot be made or written to, as far as that is
        known before anything is read; what is found out later is in the report.
    :raises DynostoreError: the store failed; the batches before are in it.
    """
    if existing not in get_args(Existing):
        raise errors.ConfigError(
            f"existing: {quoted(existing)} is none of {', '.join(get_args(Existing))}"
        )
    if store is None and not dry_run:
        raise errors.ConfigError("an import needs a store; only a dry run does without one")
    started_s = time.monotonic()
    options = options or ReadOptions()
    if archive is not None and store is not None and not dry_run:
        finish_interrupted(store, Path(os.path.realpath(archive)))
    try:
        found, readers = _find(source, store, kind)
    except errors.SourceNotFound:
        if archive is None or store is None or dry_run or not was_archived(store, source, archive):
            raise
        # All of it was moved there, and the program ended before it could say so.
        report = ImportReport(shown(os.path.realpath(source)), "", existing=existing)
        said = "holds nothing that a reader knows; the archive has what was taken over before"
        report.warnings.append(Remark(".", said))
        return report
    directory = None if archive is None else require_archive(found, archive)
    report = ImportReport(
        found.shown,
        ", ".join(reader.kind for reader in readers),
        dry_run=dry_run,
        existing=existing,
        timezone=name_of(options),
        kinds={reader.kind: Counts() for reader in readers},
    )
    with opened_ledger() as ledger:
        run = _Import(found, readers, store, report, ledger, existing)
        with found.hiding():
            run.run(options, progress)
    if directory is not None and store is not None and not dry_run:
        archive_source(found, [*report.kinds], store, directory, options, report)
    report.seconds = time.monotonic() - started_s
    return report


def _find(
    given: str | os.PathLike[str], store: Store | None, kind: str
) -> tuple[Source, list[Reader]]:
    source = find_source(given)
    if store is not None:
        refuse_itself(source, store.database)
    return source, choose_readers(source, kind, READERS)


class _Import:
    """One import on its way."""

    def __init__(
        self,
        source: Source,
        readers: list[Reader],
        store: Store | None,
        report: ImportReport,
        ledger: Ledger,
        existing: Existing,
    ) -> None:
        self._source = source
        self._readers = readers
        self._store = store
        self._report = report
        self._ledger = ledger
        imports = None if store is None else store.imports
        self._planner = Planner(imports, existing)
        self._writer: BatchWriter | None = None
        self._notes: InvalidNotes | None = None
        if store is not None and not report.dry_run:
            self._writer = BatchWriter(store, self._planner)
            self._notes = InvalidNotes(store, source, ledger)

    def run(self, options: ReadOptions, progress: Progress | None) -> None:
        """Take over what each of the readers finds."""
        tell = self._telling(progress)
        reading = Reading(
            self._source,
            self._ledger,
            options,
            several=len(self._readers) > 1,
            warn=lambda path, text: self._report.warnings.append(Remark(path, text)),
        )
        for place, reader in enumerate(self._readers):
            for batch in _batches(reading.read(place, reader)):
                self._take(batch)
                batch.clear()  # else two are in memory while the next one is read
                tell()
        for batch in _batches(entry_of(*said) for said in self._ledger.unclaimed_files()):
            self._take(batch)
        if self._notes is not None:
            for reader in self._readers:
                self._notes.forget_outdated(reader.kind)

    def _telling(self, progress: Progress | None) -> Callable[[], None]:
        if progress is None:
            return lambda: None
        report, root = self._report, self._source.root
        if not self._source.is_url and os.path.isdir(root):
            files = count_files(root)
            return lambda: progress(report.files.found, files)
        reader = self._readers[0]
        records = reader.count(root) if isinstance(reader, Counting) else None
        return lambda: progress(report.records.found, records)

    def _take(self, batch: list[ImportItem | Entry]) -> None:
        """Plan and write a batch, and put what became of it into the report."""
        items = [item for item in batch if isinstance(item, ImportItem)]
        if self._writer is None:
            plans = self._planner.plan(items)
            for plan in plans:
                plan.check()
            imports = None if self._store is None else self._store.imports
            refuse_orphans(plans, imports, self._is_met_before(plans))
        else:
            plans, differences = self._writer.write(items)
            self._report.differences += differences
        for plan in plans:
            if plan.outcome == "invalid":
                self._ledger.release(plan.item.import_id)
        planned = iter([plan.entry() for plan in plans])
        entries = [item if isinstance(item, Entry) else next(planned) for item in batch]
        for entry in entries:
            self._report.add(entry)
        if self._notes is not None:
            self._notes.take(entries)

    def _is_met_before(self, plans: Iterable[Plan]) -> Callable[[str], bool]:
        batch = {plan.item.import_id for plan in plans}
        return lambda identity: identity not in batch and self._ledger.is_claimed(identity)


def _batches(
    items: Iterable[ImportItem | Entry],
) -> Iterator[list[ImportItem | Entry]]:
    """Group what is found, by number and by the memory that it takes.

    A row that another record of the batch has too begins a new one: it is then met in the store,
    and merged or reported like any other that is there.
    """
    batch: list[ImportItem | Entry] = []
    rows = weight_bytes = 0
    met: dict[type[Record], set[Any]] = {}
    for item in items:
        if isinstance(item, ImportItem):
            keys = item.keys_by_table()
            if any(not met[model].isdisjoint(keys[model]) for model in met.keys() & keys):
                yield batch
                batch, rows, weight_bytes, met = [], 0, 0, {}
            for model, found in keys.items():
                met.setdefault(model, set()).update(found)
                rows += len(found)
            weight_bytes += item.source.weight_bytes
        batch.append(item)
        is_full = rows >= _BATCH_ROWS or weight_bytes >= _BATCH_BYTES
        if is_full or len(batch) >= _BATCH_RECORDS:
            yield batch
            batch, rows, weight_bytes, met = [], 0, 0, {}
    if batch:
        yield batch
