"""What all repositories share: whole records in bulk, one row, pages, ids by their beginning."""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import peewee

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.errors import quoted
from dynostore.fields import ReferenceField, UuidField, check_text
from dynostore.ids import derived_id
from dynostore.models.base import Record, checked_row, key_field
from dynostore.prepared import Prepared, limit_slot, records_of, slot
from dynostore.repositories.pages import Page as Page
from dynostore.repositories.pages import (
    beyond,
    in_order,
    page_of,
    parse_place,
    wanted,
    with_filters,
)
from dynostore.repositories.pages import check_window as check_window
from dynostore.repositories.pages import cursor_after as cursor_after
from dynostore.repositories.pages import filtered as filtered
from dynostore.repositories.pages import parse_cursor as parse_cursor

RecordT = TypeVar("RecordT", bound=Record)
Cells = Sequence[Any]
"""A row's values as the driver takes them, in the order of the fields."""

_Given = tuple[Record, list[Any]]
"""A record and its checked values, as the driver takes them, in the order of its fields."""

_BATCH_RECORDS = 500
_LAST_CHARACTER = "\U0010ffff"


@dataclasses.dataclass(frozen=True)
class Refused:
    """A record that :meth:`Repository.put_many` did not write, and why."""

    record: Record
    reason: str


def refuse_others(values: Mapping[str, Any], allowed: Any) -> None:
    """Refuse what a verb's signature does not name; Python lets it through a TypedDict.

    :raises InvalidValue: names the first one.
    """
    for name in values:
        if name not in allowed.__annotations__:
            raise errors.InvalidValue(name, "is not set by this verb")


class Repository:
    """The base of a family's repository.

    :cvar MODELS: the family's tables, parents before children.
    :cvar NOT_FOUND: the family's not-found error.
    """

    MODELS: tuple[type[Record], ...] = ()
    NOT_FOUND: type[errors.NotFound] = errors.NotFound

    def __init__(self, database: StoreDatabase) -> None:
        self._db = database
        self._texts: dict[tuple[type[Record], int, bool], str] = {}
        self._gets: dict[tuple[type[Record], bool], Prepared] = {}
        self._lists: dict[tuple[type[Record], tuple[str, ...], bool], Prepared] = {}
        self._changes: dict[tuple[type[Record], tuple[str, ...]], Prepared] = {}

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole records as they are given: times, versions and all.

        New ones are inserted, existing ones replaced by key, in batches of one transaction each. A
        child may follow its parent in the same call. Where a key is given twice the last one wins.

        :return: the records that break a rule or whose parent is missing; all others are stored.
        :raises InvalidValue: a record of another family.
        """
        refused: list[Refused] = []
        iterator = iter(records)
        while batch := list(itertools.islice(iterator, _BATCH_RECORDS)):
            by_model: dict[type[Record], list[_Given]] = {model: [] for model in self.MODELS}
            for record in batch:
                model = type(record)
                if model not in by_model:
                    raise errors.InvalidValue("records", f"{model.__name__} is of another family")
                try:
                    row = _checked_whole(record)
                except errors.InvalidValue as exc:
                    refused.append(Refused(record, str(exc)))
                else:
                    by_model[model].append((record, row))
            refused.extend(self._put_batch(by_model))
        return refused

    def _put_batch(self, by_model: Mapping[type[Record], Sequence[_Given]]) -> list[Refused]:
        """Upsert checked rows in one transaction; give those that the database refuses."""
        # Savepoints only where one is refused: SQLite copies every page that changes inside of
        # one, and into a file once they are many, which takes longer than to write the rows.
        try:
            with self._db.writing():
                for model, rows in by_model.items():
                    self._write_given(model, rows)
            return []
        except errors.ConstraintFailed:
            with self._db.writing():
                put = [self._put_rows(model, rows) for model, rows in by_model.items()]
                return [*itertools.chain.from_iterable(put)]

    def _write_given(self, model: type[Record], rows: Sequence[_Given]) -> None:
        # One statement cannot touch a row twice.
        key_at = model._meta.sorted_fields.index(key_field(model))
        unique = {row[key_at]: row for _, row in rows}
        self._write_rows(model, list(unique.values()), replace=True)

    def _put_rows(self, model: type[Record], rows: Sequence[_Given]) -> list[Refused]:
        """Upsert checked rows; where the database refuses them, halve them down to the bad one."""
        if not rows:
            return []
        try:
            with self._db.writing():
                self._write_given(model, rows)
            return []
        except errors.ConstraintFailed as exc:
            if len(rows) == 1:
                return [Refused(rows[0][0], self._why(model, rows[0][1]) or exc.message)]
        middle = len(rows) // 2
        return self._put_rows(model, rows[:middle]) + self._put_rows(model, rows[middle:])

    def _insert(self, model: type[Record], rows: list[dict[str, Any]]) -> None:
        """Insert checked rows; columns that a row does not name are NULL."""
        self._write_rows(model, _as_lists(model, rows), replace=False)

    def _upsert(self, model: type[Record], rows: list[dict[str, Any]]) -> None:
        """Insert checked rows, or replace those of their keys; no key may be given twice."""
        self._write_rows(model, _as_lists(model, rows), replace=True)

    def _write_rows(self, model: type[Record], rows: Sequence[Cells], *, replace: bool) -> None:
        """Write rows of values as the driver takes them, in the order of the fields."""
        self._db.write_rows(lambda size: self._text(model, size, replace), rows)

    def _text(self, model: type[Record], size: int, replace: bool) -> str:
        """Give the statement that writes so many rows."""
        # Kept: Peewee takes longer to write it than a database to run it.
        text = self._texts.get((model, size, replace))
        if text is None:
            fields = model._meta.sorted_fields
            query = model.insert_many([{field.name: None for field in fields}] * size)
            if replace:
                # Never INSERT OR REPLACE: it deletes the row first, and its children with it.
                query = query.on_conflict(
                    conflict_target=[key_field(model)],
                    preserve=[field for field in fields if not field.primary_key],
                )
            text = self._db.get_sql_context().sql(query).query()[0]
            self._texts[model, size, replace] = text
        return text

    def _why(self, model: type[Record], row: list[Any]) -> str | None:
        """Name the missing parent; SQLite says no more than that there is one."""
        for field, value in zip(model._meta.sorted_fields, row, strict=True):
            if not isinstance(field, ReferenceField) or value is None:
                continue
            parent, key = field.rel_model, field.rel_field
            if self._first(parent.select(key).where(key == value)) is None:
                table = parent._meta.table_name
                return f"{field.column_name}: there is no {value!r} in {table}"
        return None

    def _existing(
        self, model: type[RecordT], key: Any, missing: type[errors.NotFound], *, lock: bool = False
    ) -> RecordT:
        """Give the record of exactly this key.

        :param lock: let nobody else change the row until the transaction ends.
        :raises NotFound: the given kind; also for a key that no record can have.
        """
        field = key_field(model)
        try:
            place = field.check(key)
        except ValueError:  # the drivers raise errors of their own for some text
            raise missing.of(key) from None
        found = self._by_key(model, place, lock=lock)
        if found is None:
            raise missing.of(key)
        return found

    def _by_key(self, model: type[RecordT], key: Any, *, lock: bool = False) -> RecordT | None:
        """Give the record of a key that was checked; see :meth:`_existing`."""
        lock = lock and self._db.for_update
        get = self._gets.get((model, lock))
        field = key_field(model)
        if get is None:
            query = model.select().where(field == slot(field))
            get = Prepared(self._db, query.for_update() if lock else query)
            self._gets[model, lock] = get
        with self._db.reading():
            return next(iter(get.records(**{field.name: key})), None)

    def _change_row(self, model: type[Record], key: Any, changes: dict[str, Any]) -> None:
        """Give the row of this key other values in some columns, checked ones, by field name."""
        names = tuple(sorted(changes))
        change = self._changes.get((model, names))
        if change is None:
            field = key_field(model)
            columns = {name: slot(model._meta.fields[name]) for name in names}
            change = Prepared(self._db, model.update(columns).where(field == slot(field)))
            self._changes[model, names] = change
        change.run(**changes, **{key_field(model).name: key})

    def _page(
        self,
        query: Any,
        time: peewee.Field,
        *,
        limit: int,
        after: str | None,
        offset: int = 0,
        oldest_first: bool = False,
    ) -> Page[Any]:
        """Give a page of a query on one table, newest ``time`` first, then by descending key.

        :param query: for whole rows: a plain ``Model.select()`` with any conditions.
        :param oldest_first: the other way round, keys too.
        :raises InvalidValue: the window is none, or ``after`` is no cursor.
        """
        check_window(limit, offset)
        if after is not None:
            query = beyond(query, time, *parse_place(time, after), oldest_first=oldest_first)
        query = in_order(query, time, oldest_first=oldest_first).offset(offset).limit(limit + 1)
        sql, parameters = self._db.get_sql_context().sql(query).query()
        with self._db.reading():
            found = records_of(time.model, self._db.execute_sql(sql, parameters).fetchall())
        return page_of(found, time, limit)

    def _list(
        self, time: peewee.Field, *, limit: int, after: str | None, offset: int, **filters: Any
    ) -> Page[Any]:
        """Give a page of a table's rows as :meth:`_page` does, by statements whose text is kept.

        :param filters: those of :func:`~dynostore.repositories.pages.filtered`.
        """
        check_window(limit, offset)
        values = wanted(time, **filters)
        names = tuple(values)
        if after is not None:
            values["moment"], values["place"] = parse_place(time, after)
        shape = (time.model, names, after is None)
        listed = self._lists.get(shape)
        if listed is None:
            listed = Prepared(self._db, _list_query(time, names, after is not None))
            self._lists[shape] = listed
        with self._db.reading():
            found = listed.records(**values, limit=limit + 1, offset=offset)
        return page_of(found, time, limit)

    def _first(self, query: Any) -> Any:
        with self._db.reading():
            return next(iter(query.limit(1).execute(self._db)), None)

    def _full_id(
        self,
        model: type[RecordT],
        prefix: str,
        missing: type[errors.NotFound] | None = None,
    ) -> str:
        """Give the one id that begins with ``prefix``; a whole id is the beginning of itself.

        :param missing: the error for no such id, where it is not the family's.
        :raises NotFound: the family's; no id begins so.
        :raises AmbiguousId: several do.
        :raises InvalidValue: an empty prefix, or one that no id can have.
        """
        key = key_field(model)
        try:
            check_text(prefix)
        except ValueError as exc:
            raise errors.InvalidValue(key.column_name, str(exc)) from None
        if not prefix:
            raise errors.InvalidValue(key.column_name, "must not be empty")
        found = []
        if (bounds := _bounds(key, prefix)) is not None:
            query = model.select(key).where((key >= bounds[0]) & (key <= bounds[1]))
            with self._db.reading():
                rows = query.order_by(key).limit(6).tuples().execute(self._db)
                found = [str(row[0]) for row in rows]
        if prefix in found or len(found) == 1:
            return prefix if prefix in found else found[0]
        name = model._meta.table_name
        if not found:
            error = missing or self.NOT_FOUND
            raise error(f"{name}: there is no {quoted(prefix)}", hint=error.found_by, id=prefix)
        shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise errors.AmbiguousId(
            f"{name}: {prefix!r} is the beginning of {shown}",
            hint="give more of its characters",
            ids=found,
        )


def _list_query(time: peewee.Field, names: Iterable[str], has_cursor: bool) -> Any:
    slots = {name: slot(time.model._meta.fields.get(name, time), name) for name in names}
    query = with_filters(time.model.select(), time, slots)
    if has_cursor:
        key = key_field(time.model)
        query = beyond(query, time, slot(time, "moment"), slot(key, "place"))
    return in_order(query, time).offset(limit_slot("offset")).limit(limit_slot())


def _bounds(key: peewee.Field, prefix: str) -> tuple[str, str] | None:
    """Give the least and the greatest key that begin so; None where no key can.

    Not LIKE, which folds case in SQLite ("Run" would find "run-1") and reads the whole table.
    """
    if not isinstance(key, UuidField):
        return prefix, prefix + _LAST_CHARACTER
    digits = prefix.replace("-", "").lower()
    if not 0 < len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return str(uuid.UUID(f"{digits:0<32}")), str(uuid.UUID(f"{digits:f<32}"))


def _as_lists(model: type[Record], rows: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    convert = [(field.name, field.db_value) for field in model._meta.sorted_fields]
    return [[to_db(row.get(name)) for name, to_db in convert] for row in rows]


def _checked_whole(record: Record) -> list[Any]:
    row = checked_row(record)
    model = type(record)
    if model.NATURAL_KEY is not None:
        parent, name = model.NATURAL_KEY
        table, key = model._meta.table_name, key_field(model).name
        values = dict(zip(model._meta.sorted_field_names, row, strict=True))
        if values[key] != derived_id(table, str(values[parent]), str(values[name])):
            raise errors.InvalidValue(key, f"is not the one derived from {parent} and {name}")
    return row
