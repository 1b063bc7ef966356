"""Reading another store of dynostore: everything as it is, keys, times, versions and references.

What imports have left in its ``imports`` and what its syncs keep is about that machine alone, and
is not taken along.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import Any

from dynostore.config import is_postgres
from dynostore.errors import DynostoreError, SourceNotFound
from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.dynostore_tables import Cast, Cells, StoreTables, opened
from dynostore.legacy.source_sqlite import is_sqlite
from dynostore.models import REPLICATED
from dynostore.models.base import Record, key_field
from dynostore.urls import mask

_READER_VERSION = b"dynostore 1\n"
_ROWS_TOGETHER = 1000
_CHARACTERS_TOGETHER = 4 * 1024 * 1024
_ONE_IN = 64

_Group = tuple[type[Record], Cells]


class DynostoreReader:
    """Reads a store's file, its log included, or a Postgres database.

    It is only read: an older one is not upgraded, a newer one refused.
    """

    kind = "dynostore"

    def detect(self, source: str) -> bool:
        """Tell whether a file or a database at Postgres is a store."""
        if not is_postgres(source) and not (os.path.isfile(source) and is_sqlite(source)):
            return False
        try:
            with opened(source, REPLICATED):
                return True
        except Unreadable:
            return False
        except DynostoreError:
            return is_postgres(source)  # to be told why by those who read it

    def count(self, source: str) -> int | None:
        """Count what is no part of something else."""
        try:
            with opened(source, REPLICATED) as tables:
                return sum(tables.count(m) for m in tables.models if _parent_of(m) is None)
        except (Unreadable, DynostoreError):
            return None

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give each record with all that belongs to it, table by table, by ascending keys.

        :raises SchemaTooNew: a newer dynostore has upgraded it.
        :raises DynostoreError: the server cannot be reached.
        """
        reading = _Reading(source)
        try:
            with opened(source, REPLICATED) as tables:
                yield from reading.read(tables)
        except Unreadable as exc:
            raise SourceNotFound(f"{mask(source)}: {exc}") from None
        if not is_postgres(source) and not (reading.records or reading.is_broken):
            yield Finding(reading.name, "skipped", "a store without records")


class _Reading:
    """One way through a store.

    :ivar records: how many were given.
    :ivar is_broken: a table could not be read to its end.
    """

    def __init__(self, source: str) -> None:
        self.records, self.is_broken = 0, False
        self._is_file = not is_postgres(source)
        self.name = os.path.basename(source) if self._is_file else ""
        self._place = source if self._is_file else mask(source)
        self._casts = {model: Cast(model) for model in REPLICATED}

    def read(self, tables: StoreTables) -> Iterator[SourceRecord | Finding]:
        for model in tables.models:
            if _parent_of(model) is None:
                try:
                    yield from self._table(tables, model)
                except Unreadable as exc:  # the damage is in this one, or below it
                    self.is_broken = True
                    table = str(model._meta.table_name)
                    reason = f"{exc}; what comes behind the damage in {table} was not read"
                    path = f"{self.name}#{table}"
                    yield Finding(path, "invalid", reason, is_record=True, files=0)

    def _table(self, tables: StoreTables, model: type[Record]) -> Iterator[SourceRecord | Finding]:
        """Give a table's records with their children.

        :raises Unreadable: the file is damaged there; the records before were given.
        """
        children = [
            (child, field)
            for child in tables.models
            if (field := _parent_of(child)) is not None and field.rel_model is model
        ]
        given = dict.fromkeys([child for child, _ in children], 0)
        for page in tables.pages(model):
            yield from self._page(tables, model, page, children, given)
        for child, field in children:
            if tables.count(child) != given[child]:
                yield from self._orphans(tables, child, field)

    def _page(
        self,
        tables: StoreTables,
        model: type[Record],
        page: list[Cells],
        children: list[tuple[type[Record], Any]],
        given: dict[type[Record], int],
    ) -> Iterator[SourceRecord]:
        """Give a page of records with their children, of which only a few are held at a time."""
        key_at = _place_of(model, key_field(model).column_name)
        keys = [row[key_at] for row in page]
        streams = [
            _Below(child, field, tables.below(child, field, keys)) for child, field in children
        ]
        for row in page:
            group: list[_Group] = [(model, row)]
            for stream in streams:
                for cells, is_cut in stream.of(row[key_at]):
                    if is_cut:
                        yield self._record(group)
                        group = []
                    group.append((stream.model, cells))
                    given[stream.model] += 1
            yield self._record(group)

    def _record(self, group: list[_Group]) -> SourceRecord:
        self.records += 1
        digest, weight_bytes = hashlib.sha256(_READER_VERSION), 0
        for _, cells in group:
            text = repr(cells).encode("utf-8", "surrogatepass")
            digest.update(text)
            weight_bytes += len(text)
        (model, first), *rest = group
        values = self._casts[model](first)
        key = values[key_field(model).column_name]
        return SourceRecord(
            model=model,
            key=key,
            values=values,
            children=[(child, self._casts[child](cells)) for child, cells in rest],
            path=self._path(model, key),
            place=self._place,
            content_hash=digest.hexdigest(),
            files=1 if self._is_file and self.records == 1 else 0,
            weight_bytes=3 * weight_bytes,
            # The same record in two stores has two values, and neither is the older of the other.
            origin=self._place,
        )

    def _orphans(self, tables: StoreTables, model: type[Record], field: Any) -> Iterator[Finding]:
        parent = field.rel_model._meta.table_name
        for key in tables.orphans(model, field):
            reason = f"{field.column_name}: its row of {parent} is missing"
            path = self._path(model, key)
            yield Finding(path, "invalid", reason, is_record=True, files=0, key=str(key))

    def _path(self, model: type[Record], key: Any) -> str:
        below = f"{model._meta.table_name}/{key}"
        return f"{self.name}#{below}" if self._is_file else below


class _Below:
    """The rows of one table below the parents of a page, given parent by parent."""

    def __init__(self, model: type[Record], field: Any, rows: Iterator[Cells]) -> None:
        self.model = model
        self._parent_at = _place_of(model, field.column_name)
        self._key_at = _place_of(model, key_field(model).column_name)
        self._rows = rows
        self._next = next(rows, None)

    def of(self, parent: Any) -> Iterator[tuple[Cells, bool]]:
        """Give a parent's rows, and with each whether a record of its own begins there.

        Where, the key says: rows that are added later leave the records before them as they are.
        """
        rows, size = 0, 0
        while self._next is not None and self._next[self._parent_at] == parent:
            cells = self._next
            is_cut = size >= _CHARACTERS_TOGETHER or (
                rows >= _ROWS_TOGETHER and _begins(cells[self._key_at])
            )
            if is_cut:
                rows, size = 0, 0
            rows += 1
            size += sum(len(cell) for cell in cells if type(cell) is str)
            yield cells, is_cut
            self._next = next(self._rows, None)


def _begins(key: Any) -> bool:
    return zlib.crc32(str(key).encode("utf-8", "surrogatepass")) % _ONE_IN == 0


def _place_of(model: type[Record], column: str) -> int:
    return [*model._meta.columns].index(column)


def _parent_of(model: type[Record]) -> Any:
    """Give the field by which a row is a part of another; None where it may be without."""
    return next((field for field in model._meta.refs if not field.null), None)
