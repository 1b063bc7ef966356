"""What every table shares: being unbound, and the check at the door."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import peewee

from dynostore.errors import InvalidValue
from dynostore.field_writers import writer_of


class Record(peewee.Model):
    """A row of one of the store's tables.

    A record read from a store is a value: changing it changes nothing stored.

    :cvar MERGES: columns in which two nodes' values need no person to choose between them, with
        the function that merges them: ``max`` or ``min``.
    :cvar NATURAL_KEY: the fields of parent and natural key that the id must be derived from, so
        that the pair exists once without a UNIQUE index; None where the id is free.
    """

    MERGES: ClassVar[Mapping[str, str]] = {}
    NATURAL_KEY: ClassVar[tuple[str, str] | None] = None

    class Meta:
        legacy_table_names = False

    def values(self) -> dict[str, Any]:
        """Give the columns' values by column name, in the table's order."""
        data = self.__data__
        return {column: data.get(field.name) for column, field in type(self)._meta.columns.items()}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            return type(self) is type(other) and self.values() == other.values()
        return NotImplemented

    __hash__ = peewee.Model.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {next(iter(self.values().values()), None)}>"


def key_field(model: type[peewee.Model]) -> Any:
    """Give the field that is the table's key; every table of the store has exactly one."""
    return model._meta.primary_key


_Checker = tuple[str, str, bool, Callable[[Any], Any] | None]


@functools.cache
def _checkers_of(model: type[peewee.Model]) -> tuple[_Checker, ...]:
    return tuple(
        (field.name, column, field.null, getattr(field, "check", None))
        for column, field in model._meta.columns.items()
    )


def checked(model: type[peewee.Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given values against their columns; give them by field name, normalised.

    Only what is given is checked, so that it serves updates too.

    :param values: by field or column name.
    :raises InvalidValue: names the first column whose value breaks a rule, or an unknown name.
    """
    result: dict[str, Any] = {}
    for name, column, null, check in _checkers_of(model):
        key = column if column in values else name
        if key not in values:
            continue
        value = values[key]
        if value is None:
            if not null:
                raise InvalidValue(column, "must not be empty")
        elif check is not None:
            try:
                value = check(value)
            except ValueError as exc:
                raise InvalidValue(column, str(exc)) from None
        result[name] = value
    if len(result) != len(values):
        _refuse_unknown(model, values)
    return result


def _refuse_unknown(model: type[peewee.Model], values: Mapping[str, Any]) -> None:
    known = {n for name, column, *_ in _checkers_of(model) for n in (name, column)}
    for name in values:
        if name not in known:
            raise InvalidValue(name, f"{model._meta.table_name} has no such column")


_Writer = tuple[str, str, bool, Callable[[Any], Any]]


@functools.cache
def _writers_of(model: type[Record]) -> tuple[_Writer, ...]:
    return tuple(
        (field.name, field.column_name, field.null, writer_of(field))
        for field in model._meta.sorted_fields
    )


def checked_row(record: Record) -> list[Any]:
    """Check a whole record; give its values as the drivers take them, in the order of the fields.

    :raises InvalidValue: names the first column whose value breaks a rule.
    """
    data = record.__data__
    row = []
    for name, column, null, write in _writers_of(type(record)):
        value = data.get(name)
        if value is not None:
            try:
                value = write(value)
            except ValueError as exc:
                raise InvalidValue(column, str(exc)) from None
        elif not null:
            raise InvalidValue(column, "must not be empty")
        row.append(value)
    return row
