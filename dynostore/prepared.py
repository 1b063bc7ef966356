"""Statements that run so often that their text must not be written anew each time.

Peewee takes longer to write a statement than SQLite to run it: three quarters of what it costs to
append a message; and longer to make a record of a row than SQLite to find the row. So the query is
still Peewee's, with its quoting and its dialects, its text is kept, and whole rows become records
column by column.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import peewee

from dynostore.database import StoreDatabase
from dynostore.fields import (
    RealField,
    ReferenceField,
    StringField,
    TextField,
    UuidField,
    WholeNumberField,
)
from dynostore.models.base import Record

RecordT = TypeVar("RecordT", bound=Record)

_KEPT_TYPES: tuple[tuple[tuple[type, ...], type], ...] = (
    ((StringField, TextField, UuidField), str),
    ((WholeNumberField,), int),
    ((RealField,), float),
)
"""Values of which fields neither ``db_value`` nor ``python_value`` changes."""


@dataclasses.dataclass(frozen=True)
class _Slot:
    name: str
    convert: Callable[[Any], Any] | None


def slot(field: Any, name: str | None = None) -> peewee.Value:
    """Stand in a query for a value of this field, which :meth:`Prepared.run` is given.

    :param name: what it is given as; the field's name by default.
    """
    # A checked value of these types is what the drivers take.
    convert = None if _kept_type(field) else field.db_value
    # converter=False: Peewee must leave the slot alone.
    return peewee.Value(_Slot(name or field.name, convert), converter=False)


def limit_slot(name: str = "limit") -> peewee.Value:
    """Stand in a query for a number of rows, which :meth:`Prepared.run` is given by this name."""
    return peewee.Value(_Slot(name, None), converter=False)


class Prepared:
    """One query on one database, with its text written at the first use.

    :param query: a query on unbound models; every value in it that changes is a :func:`slot`.
    """

    def __init__(self, database: StoreDatabase, query: Any) -> None:
        self._db = database
        self._query = query
        self._text: tuple[str, list[Any], list[tuple[int, _Slot]]] | None = None

    def run(self, **values: Any) -> Any:
        """Execute it with these values, checked ones, by field name; give the driver's cursor."""
        if self._text is None:
            sql, found = self._db.get_sql_context().sql(self._query).query()
            slots = [(place, p) for place, p in enumerate(found) if isinstance(p, _Slot)]
            self._text = sql, found, slots
        sql, found, slots = self._text
        parameters = [*found]
        for place, one in slots:
            value = values[one.name]
            parameters[place] = value if one.convert is None else one.convert(value)
        return self._db.execute_sql(sql, parameters)

    def records(self, **values: Any) -> list[Any]:
        """Run a ``Model.select()`` of whole rows; give the records that Peewee would give."""
        return records_of(self._query.model, self.run(**values).fetchall())


def record_of(model: type[RecordT], values: dict[str, Any]) -> RecordT:
    """Make a record that has these values, checked ones, by field name."""
    record: Any = model.__new__(model)
    # What Model.__init__ sets; by hand, for it goes through a descriptor for each value.
    record.__data__ = values
    record.__rel__, record._dirty = {}, set()
    return record  # type: ignore[no-any-return]


def records_of(model: type[RecordT], rows: Sequence[Sequence[Any]]) -> list[RecordT]:
    """Make records of a driver's whole rows, in the order of the fields; what Peewee would give."""
    names, readers = _readers_of(model)
    columns = [
        column if kept.issuperset(map(type, column)) else map(python_value, column)
        for column, (kept, python_value) in zip(zip(*rows, strict=True), readers, strict=False)
    ]
    values = zip(*columns, strict=True)
    return [record_of(model, dict(zip(names, row, strict=True))) for row in values]


@functools.cache
def _readers_of(
    model: type[Record],
) -> tuple[list[str], list[tuple[frozenset[type], Callable[[Any], Any]]]]:
    """Give the fields' names, the types of which each ``python_value`` changes none, and that."""
    fields = model._meta.sorted_fields
    readers = [
        (frozenset({type(None), _kept_type(field) or type(None)}), field.python_value)
        for field in fields
    ]
    return [field.name for field in fields], readers


def _kept_type(field: Any) -> type | None:
    """Give the type that a field's values have in Python and in both drivers, if there is one."""
    while isinstance(field, ReferenceField):
        field = field.rel_field
    return next((kind for fields, kind in _KEPT_TYPES if isinstance(field, fields)), None)
