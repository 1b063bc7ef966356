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
from typing import Any

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

_KEPT_TYPES = (
    ((StringField, TextField, UuidField), str),
    ((WholeNumberField,), int),
    ((RealField,), float),
)
"""What the fields' ``python_value`` gives back as it is, beside None."""


@dataclasses.dataclass(frozen=True)
class _Slot:
    name: str
    convert: Callable[[Any], Any]


def slot(field: Any) -> peewee.Value:
    """Stand in a query for a value of this field, which :meth:`Prepared.run` is given."""
    # converter=False: Peewee must leave the slot alone.
    return peewee.Value(_Slot(field.name, field.db_value), converter=False)


def limit_slot() -> peewee.Value:
    """Stand in a query for the number of rows, which :meth:`Prepared.run` is given as ``limit``."""
    return peewee.Value(_Slot("limit", int), converter=False)


class Prepared:
    """One query on one database, with its text written at the first use.

    :param query: a query on unbound models; every value in it that changes is a :func:`slot`.
    """

    def __init__(self, database: StoreDatabase, query: Any) -> None:
        self._db = database
        self._query = query
        self._text: tuple[str, list[_Slot | Any]] | None = None

    def run(self, **values: Any) -> Any:
        """Execute it with these values, checked ones, by field name; give the driver's cursor."""
        if self._text is None:
            self._text = self._db.get_sql_context().sql(self._query).query()
        sql, parameters = self._text
        return self._db.execute_sql(
            sql,
            [p.convert(values[p.name]) if isinstance(p, _Slot) else p for p in parameters],
        )

    def records(self, **values: Any) -> list[Any]:
        """Run a ``Model.select()`` of whole rows; give the records that Peewee would give."""
        return _records(self._query.model, self.run(**values).fetchall())


def _records(model: type[peewee.Model], rows: Sequence[Sequence[Any]]) -> list[Any]:
    names, readers = _readers_of(model)
    columns = [
        column if kept.issuperset(map(type, column)) else map(python_value, column)
        for column, (kept, python_value) in zip(zip(*rows, strict=True), readers, strict=False)
    ]
    found = []
    for values in zip(*columns, strict=True):
        record: Any = model.__new__(model)
        # What Model.__init__ sets; by hand, for it goes through a descriptor for each value.
        record.__data__ = dict(zip(names, values, strict=True))
        record.__rel__, record._dirty = {}, set()
        found.append(record)
    return found


@functools.cache
def _readers_of(
    model: type[peewee.Model],
) -> tuple[list[str], list[tuple[frozenset[type], Callable[[Any], Any]]]]:
    fields = model._meta.sorted_fields
    return [field.name for field in fields], [_reader_of(field) for field in fields]


def _reader_of(field: Any) -> tuple[frozenset[type], Callable[[Any], Any]]:
    """Give the types of which the field's ``python_value`` changes no value, and that."""
    while isinstance(field, ReferenceField):
        field = field.rel_field
    kept: set[type] = {type(None)}
    kept |= {kind for fields, kind in _KEPT_TYPES if isinstance(field, fields)}
    return frozenset(kept), field.python_value
