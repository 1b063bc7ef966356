"""Comparing sources with the store once more, in full: every record, every column."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
import time
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dynostore import errors
from dynostore.ids import derived_id
from dynostore.importing.item import ImportItem
from dynostore.importing.keys import tell_apart
from dynostore.importing.ledger import Ledger, Log, opened_ledger
from dynostore.importing.reading import Reading
from dynostore.importing.report import Entry
from dynostore.importing.source import Source, choose_readers, find_source
from dynostore.legacy import READERS, ReadOptions
from dynostore.models.base import Record, key_field
from dynostore.repositories import ImportRepository
from dynostore.store import Store

_BATCH_RECORDS = 250


@dataclasses.dataclass(slots=True)
class Difference:
    """Where a source and the store differ.

    :ivar path: where the record is in the source.
    :ivar table: None where the source has something of which no record can be made.
    :ivar field: the column; None where the whole row is missing.
    :ivar reason: what is wrong, where that is not plain: it is missing, or cannot be read.
    """

    path: str
    table: str | None
    key: str | None
    field: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Give all of it by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass
class Comparison:
    """What came of comparing one source.

    :ivar source: its path or URL, without a password.
    :ivar status: ``equal``, ``different``, ``gone`` (it is no longer there), or ``unread`` with a
        ``reason``.
    :ivar records: how many records it holds.
    :ivar equal: how many of them are in the store as they are in the source.
    """

    source: str
    kind: str
    status: str = "equal"
    reason: str | None = None
    records: int = 0
    equal: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give all of it by name."""
        return dataclasses.asdict(self)


@dataclasses.dataclass
class SourcesReport:
    """What came of comparing sources with the store.

    :ivar differences: all of them, source by source, in the order in which those are read. What
        several readers say alike of something that belongs to no record is among them once.
    """

    sources: list[Comparison] = dataclasses.field(default_factory=list)
    differences: Log[Difference] = dataclasses.field(default_factory=Log)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """7 where something differs; 1 where a source could not be read; else 0."""
        if self.differences:
            return 7
        return 1 if any(found.status == "unread" for found in self.sources) else 0


def verify_sources(
    store: Store,
    sources: Sequence[str | os.PathLike[str]] = (),
    *,
    progress: Callable[[int], None] | None = None,
) -> SourcesReport:
    """Compare what was taken over with its sources, as far as they still exist; writes nothing.

    Everything is read again, as the import has read it. What was edited in the store since differs,
    too; what is only in the store does not count.

    :param sources: those to compare; all that anything was taken over from by default. A server
        that needs a password must be named by its URL, since the store does not know it.
    :param progress: takes the number of records that were compared.
    :raises DynostoreError: the store failed.
    """
    started_s = time.monotonic()
    report = SourcesReport()
    with opened_ledger() as told:
        for kind, source, options in _known(store, sources):
            comparison = Comparison(source.shown, kind)
            report.sources.append(comparison)
            if not source.is_url and not os.path.exists(source.root):
                comparison.status = "gone"
                continue
            try:
                with source.hiding():
                    _compare(store, source, kind, options, told, comparison, report, progress)
            except errors.DynostoreError as exc:
                comparison.status, comparison.reason = "unread", exc.message
    report.seconds = time.monotonic() - started_s
    return report


def _known(
    store: Store, given: Sequence[str | os.PathLike[str]]
) -> Iterator[tuple[str, Source, ReadOptions]]:
    """Give what is to be read, and how."""
    wanted = [find_source(source) for source in given]
    by_name = {source.shown: source for source in wanted}
    met = set()
    for kind, root, zone in sorted(store.imports.sources()):
        options = ReadOptions(timezone=_zone_of(zone))
        if not given or root in by_name:
            met.add(root)
            yield kind, by_name.get(root) or Source(root, root), options
    for source in wanted:
        if source.shown not in met:
            for reader in choose_readers(source, "auto", READERS):
                yield reader.kind, source, ReadOptions()


def _zone_of(name: str) -> dt.tzinfo | None:
    if name == "local":
        return None
    if name.startswith("UTC"):  # a fixed offset calls itself UTC+02:00
        return dt.datetime.strptime(name[3:] or "+00:00", "%z").tzinfo
    return zoneinfo.ZoneInfo(name)


def _compare(
    store: Store,
    source: Source,
    kind: str,
    options: ReadOptions,
    told: Ledger,
    comparison: Comparison,
    report: SourcesReport,
    progress: Callable[[int], None] | None,
) -> None:
    with opened_ledger() as ledger:
        for item, differences in compared(store.imports, source, kind, options, ledger):
            is_record = isinstance(item, ImportItem) or item.is_record
            comparison.records += is_record
            comparison.equal += not differences
            if differences:
                comparison.status = "different"
                report.differences += (
                    found for found in differences if is_record or _is_news(told, source, found)
                )
            if progress is not None and comparison.records % _BATCH_RECORDS == 0:
                progress(comparison.records)


def _is_news(told: Ledger, source: Source, found: Difference) -> bool:
    """Tell whether no other reader of the source has said this, such as of a link to nothing."""
    return told.note(derived_id("sources", source.shown, f"{found.path}\0{found.reason}"))


def compared(
    imports: ImportRepository, source: Source, kind: str, options: ReadOptions, ledger: Ledger
) -> Iterator[tuple[ImportItem | Entry, list[Difference]]]:
    """Read a source, and give each record with its differences, and each thing that is invalid."""
    (reader,) = choose_readers(source, kind, READERS)
    reading = Reading(source, ledger, options, several=False, warn=lambda path, text: None)
    found = iter(reading.read(0, reader))
    while batch := list(itertools.islice(found, _BATCH_RECORDS)):
        items = [item for item in batch if isinstance(item, ImportItem)]
        tell_apart(imports, items)
        stored = _stored(imports, items)
        for item in batch:
            if isinstance(item, ImportItem):
                yield item, [*_differences(item, stored)]
            elif item.outcome == "invalid":
                reason = item.reason or "cannot be read"
                yield item, [Difference(item.path, item.table, item.key, None, reason)]


_Rows = dict[type[Record], dict[Any, tuple[Any, ...]]]


def _stored(imports: ImportRepository, items: Iterable[ImportItem]) -> _Rows:
    keys: dict[type[Record], list[Any]] = {}
    for item in items:
        for row in item.rows:
            keys.setdefault(row.model, []).append(row.key)
    found: _Rows = {}
    for model, wanted in keys.items():
        field = key_field(model)
        key_at = [*model._meta.columns].index(field.column_name)
        found[model] = {row[key_at]: row for row in imports.stored(model, field, wanted)}
    return found


def _differences(item: ImportItem, stored: _Rows) -> Iterator[Difference]:
    path = item.source.path
    for row in item.rows:
        assumed = item.source.assumed if row is item.row else ()
        found = stored[row.model].get(row.key)
        if found is None:
            yield Difference(path, row.table, str(row.key), None, "is not in the store")
            continue
        for (column, value), mine in zip(row.values.items(), found, strict=True):
            if value != mine and column not in assumed:
                yield Difference(path, row.table, str(row.key), column, "differs")
