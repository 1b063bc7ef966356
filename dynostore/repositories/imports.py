"""The verbs of the record of what was taken over from older tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import JsonField, ReferenceField, UtcTimeField, UuidField
from dynostore.models.base import Record, key_field
from dynostore.models.imports import Import
from dynostore.repositories.base import Cells, Page, Refused, Repository, filtered

# Inside the classes below ``list`` is a verb.
RefusedList = list[Refused]

_KEYS_PER_QUERY = 5_000  # far below SQLite's limit of 32,766 bound values


class Imports(Protocol):
    """The contract of the record of imports: one row for each source record, whatever its family.

    The importer writes it, nothing else does; what a source held when it was last read is the
    row's ``image``.
    """

    def get(self, import_id: str) -> Import:
        """Give the row of exactly this id.

        :raises NotFound: there is none.
        """
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def list(
        self,
        *,
        kind: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Import]:
        """Give a page, newest ``imported_at`` first, then by descending id.

        :param after: the ``next`` of the page before.
        """
        ...

    def stream(self, *, kind: str | None = None, status: str | None = None) -> Iterator[Import]:
        """Give all of them in the order of :meth:`list`, in flat memory."""
        ...

    def count(self, *, kind: str | None = None, status: str | None = None) -> int:
        """Count what :meth:`list` would give."""
        ...

    def seen(self, ids: Sequence[str]) -> dict[str, tuple[str | None, str, str]]:
        """Give content hash, source path and status by id, for those that are there."""
        ...

    def images(self, ids: Sequence[str]) -> dict[str, Any]:
        """Give what the sources held when they were last read, by id."""
        ...

    def reasons(self, ids: Sequence[str]) -> dict[str, str | None]:
        """Give why each of these was not taken over, by id, for those that are there."""
        ...

    def sources(self) -> Iterator[tuple[str, str, str]]:
        """Give each source that something was taken over from: kind, path or URL, zone.

        In no order. Reads every row.
        """
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Remove these rows; ids that are not there are passed over. The records stay."""
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`Import` records; give back the refused ones."""
        ...


class ImportRepository(Repository):
    """Imports in a database; the contract is :class:`Imports`."""

    MODELS = (Import,)

    def get(self, import_id: str) -> Import:
        found = None
        with contextlib.suppress(ValueError):  # Postgres compares nothing else with a UUID
            key = Import.id.check(import_id)
            found = self._first(Import.select().where(Import.id == key))
        if found is None:
            raise errors.NotFound(
                f"nothing was imported as {quoted(import_id)}", hint="dynostore sources list"
            )
        return found  # type: ignore[no-any-return]

    def resolve(self, prefix: str) -> str:
        return self._full_id(Import, prefix)

    def list(
        self,
        *,
        kind: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Import]:
        time = Import.imported_at
        return self._list(time, kind=kind, status=status, limit=limit, after=after, offset=offset)

    def stream(self, *, kind: str | None = None, status: str | None = None) -> Iterator[Import]:
        after: str | None = None
        while True:
            page = self.list(kind=kind, status=status, limit=500, after=after)
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(self, *, kind: str | None = None, status: str | None = None) -> int:
        query = filtered(Import.select(), Import.imported_at, kind=kind, status=status)
        with self._db.reading():
            return int(query.count(self._db))

    def seen(self, ids: Sequence[str]) -> dict[str, tuple[str | None, str, str]]:
        columns = (Import.id, Import.content_hash, Import.source_path, Import.status)
        return {row[0]: row[1:] for row in self._tuples(columns, Import.id, ids)}

    def images(self, ids: Sequence[str]) -> dict[str, Any]:
        return dict(self._tuples((Import.id, Import.image), Import.id, ids))

    def reasons(self, ids: Sequence[str]) -> dict[str, str | None]:
        return dict(self._tuples((Import.id, Import.reason), Import.id, ids))

    def sources(self) -> Iterator[tuple[str, str, str]]:
        met: set[tuple[str, str, str]] = set()
        for row in self.stream():
            read = (row.image or {}).get("read") or {}
            found = (row.kind, read.get("root") or row.source_path, read.get("timezone") or "local")
            if row.record_key is not None and found not in met:
                met.add(found)
                yield found

    def forget(self, ids: Sequence[str]) -> None:
        with self._db.writing():
            for start in range(0, len(ids), _KEYS_PER_QUERY):
                part = ids[start : start + _KEYS_PER_QUERY]
                Import.delete().where(Import.id.in_(part)).execute(self._db)

    def stored(
        self, model: type[Record], field: Any, values: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        """Give the rows of any table whose ``field`` is among ``values``, columns in order.

        For comparing what is stored with what was read: this repository is the one that knows
        records of every family, by table and key.
        """
        yield from self._tuples(tuple(model._meta.columns.values()), field, values)

    def stored_cells(
        self, model: type[Record], field: Any, values: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        """Give the same as the driver gives it; :meth:`values_of` gives a row's values."""
        yield from self._cells(tuple(model._meta.columns.values()), field, values)

    def values_of(self, model: type[Record], cells: Sequence[Any]) -> tuple[Any, ...]:
        """Give the values of a whole row as the driver gave it."""
        (row,) = _converted(tuple(model._meta.columns.values()), [cells])
        return row

    def write(self, model: type[Record], rows: Sequence[Cells], *, replace: bool) -> None:
        """Write checked rows of any table, as the drivers take them, inside a transaction.

        :param replace: whether rows of these keys may be there; then no key may be given twice.
        :raises ConstraintFailed: a key is there, or a parent is not; some of the rows are written.
        """
        with self._db.reading():
            self._write_rows(model, rows, replace=replace)

    def stored_keys(
        self, model: type[Record], field: Any, values: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        """Give key and ``field`` of the rows whose ``field`` is among ``values``."""
        yield from self._tuples((key_field(model), field), field, values)

    def owners(
        self, model: type[Record], field: Any, keys: Sequence[Any]
    ) -> Iterator[tuple[Any, Any]]:
        """Give key and ``field`` of the rows that have these keys."""
        yield from self._tuples((key_field(model), field), key_field(model), keys)

    def _tuples(self, columns: Sequence[Any], field: Any, values: Sequence[Any]) -> Iterator[Any]:
        return _converted(columns, self._cells(columns, field, values))

    def _cells(self, columns: Sequence[Any], field: Any, values: Sequence[Any]) -> Iterator[Any]:
        # Plain SQL and the driver's own rows: Peewee would make an expression of every key and ask
        # every column of every row to convert itself, which takes three times as long.
        names = ", ".join(f'"{column.column_name}"' for column in columns)
        select = f'SELECT {names} FROM "{field.model._meta.table_name}" WHERE "{field.column_name}"'
        for start in range(0, len(values), _KEYS_PER_QUERY):
            part = [field.db_value(value) for value in values[start : start + _KEYS_PER_QUERY]]
            marks = ", ".join([self._db.param] * len(part))
            with self._db.reading():
                found = self._db.execute_sql(f"{select} IN ({marks})", part).fetchall()
            yield from found


def _converted(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    converters = [
        (index, column.python_value)
        for index, column in enumerate(map(_referred, columns))
        if isinstance(column, UtcTimeField | JsonField | UuidField)
    ]
    for row in rows:
        converted = list(row)
        for index, convert in converters:
            converted[index] = convert(converted[index])
        yield tuple(converted)


def _referred(column: Any) -> Any:
    """Give the key that a reference refers to, whose type is the reference's."""
    return column.rel_field if isinstance(column, ReferenceField) else column
