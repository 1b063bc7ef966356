"""Bringing together what the source says now, what it said before, and what the store holds.

Column by column: where only one side changed its value is taken, where both did the store's stays
and is named. What a model merges without a person (``updated_at`` by ``max``) is merged here too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from dynostore.canonical_json import storable_json
from dynostore.errors import InvalidValue
from dynostore.field_writers import writer_of
from dynostore.fields import (
    FlagField,
    JsonField,
    RealField,
    StringField,
    TextField,
    UtcTimeField,
    WholeNumberField,
)
from dynostore.ids import derived_id
from dynostore.importing.columns import column_writer_of
from dynostore.models.base import Record, key_field
from dynostore.prepared import record_of

Existing = Literal["merge", "skip", "update"]

Values = Mapping[str, Any]


@dataclasses.dataclass(slots=True)
class WholeRow:
    """A row of some table, with all its columns.

    :ivar values: by column name, in the table's order.
    :ivar is_normal: whether they are in the form in which the store gives them back.
    :ivar cells: the same as the drivers take them, after :meth:`check`.
    """

    model: type[Record]
    key: Any
    values: dict[str, Any]
    is_normal: bool = False
    cells: tuple[Any, ...] | None = None

    @property
    def table(self) -> str:
        """The name of its table."""
        return str(self.model._meta.table_name)

    def check(self) -> tuple[Any, ...]:
        """Ask what the store's door asks, and give what it writes.

        :raises InvalidValue: names the first column whose value breaks a rule.
        """
        if self.cells is None:
            self.cells = self._checked()
        return self.cells

    def written(self) -> tuple[Any, ...]:
        """Give the values as the drivers take them, though some may be missing.

        :raises InvalidValue: names the first column whose value the store cannot hold.
        """
        return self._written(is_whole=False) if self.cells is None else self.cells

    def _checked(self) -> tuple[Any, ...]:
        shape = _shape_of(self.model)
        cells = self._written(is_whole=True)
        if not shape.is_key_of(self.key, cells):
            names = " and ".join(self.model.NATURAL_KEY or ())
            raise InvalidValue(shape.key, f"is not the one derived from {names}")
        return cells

    def _written(self, *, is_whole: bool) -> tuple[Any, ...]:
        cells = []
        for (column, null, write, rewrite), value in zip(
            _shape_of(self.model).writers, self.values.values(), strict=True
        ):
            if value is not None:
                try:
                    value = rewrite(value) if self.is_normal else write(value)
                except ValueError as exc:
                    raise InvalidValue(column, str(exc)) from None
            elif is_whole and not null:
                raise InvalidValue(column, "must not be empty")
            cells.append(value)
        return tuple(cells)

    def check_scalars(self) -> None:
        """The same, but for JSON, which costs as much as all the rest."""
        for column, null, check in _shape_of(self.model).scalars:
            value = self.values[column]
            if value is not None:
                try:
                    check(value)
                except ValueError as exc:
                    raise InvalidValue(column, str(exc)) from None
            elif not null:
                raise InvalidValue(column, "must not be empty")

    def normalise(self) -> None:
        """Give the values the one form in which the store will give them back.

        :raises InvalidValue: names the first column whose value breaks a rule.
        """
        for column, check in _shape_of(self.model).normalising:
            if (value := self.values[column]) is not None:
                try:
                    self.values[column] = check(value)
                except ValueError as exc:
                    raise InvalidValue(column, str(exc)) from None
        self.key = self.values[_shape_of(self.model).key]
        self.is_normal = True

    def as_record(self) -> Record:
        """Give it as the record that a repository takes."""
        fields = _shape_of(self.model).fields
        return record_of(self.model, dict(zip(fields, self.values.values(), strict=True)))


def whole_row(model: type[Record], values: dict[str, Any]) -> WholeRow:
    """Give a row with all columns in order; those that are not given are empty.

    :param values: the row's from now on, where they are all columns in order.
    :raises InvalidValue: a name that is no column.
    """
    shape = _shape_of(model)
    if tuple(values) == shape.columns:
        return WholeRow(model, values[shape.key], values)
    row: dict[str, Any] = dict.fromkeys(shape.columns)
    row.update(values)
    if len(row) != len(shape.columns):
        raise InvalidValue(min(set(row) - set(shape.columns)), f"{shape.table} has no such column")
    return WholeRow(model, row[shape.key], row)


def check_together(rows: Iterable[WholeRow]) -> None:
    """Check many rows in a third of the time that :meth:`WholeRow.check` takes for each.

    Where one of a table breaks a rule, or cannot be seen to keep all of them, the table's rows are
    left for that to say which.
    """
    by_model: dict[type[Record], list[WholeRow]] = {}
    for row in rows:
        if row.is_normal and row.cells is None:
            by_model.setdefault(row.model, []).append(row)
    for model, part in by_model.items():
        with contextlib.suppress(ValueError):
            for row, cells in zip(part, _cells_of(model, part), strict=True):
                row.cells = cells


def _cells_of(model: type[Record], rows: Sequence[WholeRow]) -> list[tuple[Any, ...]]:
    shape = _shape_of(model)
    columns = zip(*[row.values.values() for row in rows], strict=True)
    written = [write(column) for write, column in zip(shape.column_writers, columns, strict=True)]
    cells = [*zip(*written, strict=True)]
    if model.NATURAL_KEY is not None:
        for row, its in zip(rows, cells, strict=True):
            if not shape.is_key_of(row.key, its):
                raise ValueError
    return cells


class _Shape:
    """What is asked of a table again and again."""

    def __init__(self, model: type[Record]) -> None:
        meta = model._meta
        self.table = str(meta.table_name)
        self.columns = tuple(meta.columns)
        self.fields = tuple(field.name for field in meta.columns.values())
        self.scalars = [
            (
                column,
                field.null,
                field.check if isinstance(field, UtcTimeField) else writer_of(field),
            )
            for column, field in meta.columns.items()
            if not isinstance(field, JsonField)
        ]
        self.key = key_field(model).column_name
        self.writers = [
            (column, field.null, writer_of(field), _rewriter_of(field))
            for column, field in meta.columns.items()
        ]
        self.column_writers = [column_writer_of(field) for field in meta.columns.values()]
        self._natural = None
        if model.NATURAL_KEY is not None:
            parent, name = map(self.fields.index, model.NATURAL_KEY)
            self._natural = parent, name
        # A plan gets its defaults, a UUID its dashes, a number of a step becomes text.
        self.normalising = [
            (column, field.check)
            for column, field in meta.columns.items()
            if type(getattr(field, "rel_field", field)) not in _UNCHANGED
        ]

    def is_key_of(self, key: Any, cells: Sequence[Any]) -> bool:
        """Tell whether a key is the one that the row's other cells say it must be, if they do."""
        if self._natural is None:
            return True
        parent, name = self._natural
        return bool(key == derived_id(self.table, str(cells[parent]), str(cells[name])))


def _rewriter_of(field: Any) -> Callable[[Any], Any]:
    """Give what checks a value that has its form already, such as a plan with all its defaults."""
    return storable_json if isinstance(field, JsonField) else writer_of(field)


_UNCHANGED = (
    TextField,
    StringField,
    WholeNumberField,
    RealField,
    FlagField,
    UtcTimeField,
    JsonField,
)
"""Types whose checked value equals what was given."""


@functools.cache
def _shape_of(model: type[Record]) -> _Shape:
    return _Shape(model)


@dataclasses.dataclass(slots=True)
class Merged:
    """One row after the merge.

    :ivar values: what the store should hold.
    :ivar base: what the next merge compares with: the source's values, except where the store's
        was kept, so that the difference is seen again.
    :ivar kept: the columns in which the store's value stayed against the source's.
    :ivar changed: whether the store must be written.
    """

    values: dict[str, Any]
    base: dict[str, Any]
    kept: list[str]
    changed: bool


def merge_row(
    model: type[Record], base: Values, mine: Values, theirs: Values, existing: Existing
) -> Merged:
    """Merge one row that is in the store already.

    :param base: what the source said when it was last taken over; empty when it never was.
    :param mine: what the store holds.
    :param theirs: what the source says.
    :param existing: ``update``: the source's value is taken wherever it has or had one.
    """
    merged = Merged({}, dict(theirs), [], False)
    for column, their in theirs.items():
        my = mine[column]
        before = base.get(column)
        value = my
        if their != my:
            if existing == "update":
                # What the source never spoke of is not its to clear.
                value = my if their is None and before is None else their
            elif my == before:
                value = their
            elif their != before:
                value = _merged_value(model.MERGES.get(column), my, their)
                if value is _CONFLICT:
                    value = my
                    merged.kept.append(column)
                    merged.base[column] = before
        merged.values[column] = value
        merged.changed |= value is not my and value != my
    return merged


_CONFLICT = object()


def _merged_value(how: str | None, my: Any, their: Any) -> Any:
    if my is None or their is None:
        return _CONFLICT
    if how == "max":
        return max(my, their)
    if how == "min":
        return min(my, their)
    if how == "union" and isinstance(my, list) and isinstance(their, list):
        return my + [item for item in their if item not in my]
    return _CONFLICT
