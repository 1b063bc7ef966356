"""What a source said when it was last read, as the text that ``imports`` keeps of it.

``{"values": {...}, "children": {table: {key: {...}}}, "read": {...}}`` in canonical JSON: values by
column; empty ones, keys and references left out.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dynostore.errors import InvalidValue
from dynostore.fields import (
    JsonField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
    json_text,
    storable_json,
    stored_field,
    time_text,
)
from dynostore.importing.merge import WholeRow
from dynostore.models.base import Record, key_field

# Text alone, of which there is much: a sixth of what any value takes.
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def image_text(base: Sequence[WholeRow], read: Mapping[str, str]) -> str:
    """Give what a record and its children say; :func:`base_of` reads it.

    Put together of what is text already: the JSON of a row that was checked is not written twice.

    :param base: the record, then its children.
    :raises InvalidValue: JSON that the store cannot hold.
    """
    by_table: dict[str, dict[str, str]] = {}
    for child in base[1:]:
        by_table.setdefault(child.table, {})[child.key] = _row_text(child)
    tables = [
        f"{_quoted(table)}:{{{','.join([f'{_quoted(key)}:{rows[key]}' for key in sorted(rows)])}}}"
        for table, rows in sorted(by_table.items())
    ]
    return (
        f'{{"children":{{{",".join(tables)}}},"read":{json_text(read)},'
        f'"values":{_row_text(base[0])}}}'
    )


def _row_text(row: WholeRow) -> str:
    values, cells = row.values, row.cells
    parts = []
    for column, name, at, write in _imaged(row.model):
        value = values[column]
        if value is None:
            continue
        if write is not storable_json:
            parts.append(name + write(value))
        elif cells is not None:
            parts.append(name + cells[at])
        else:
            parts.append(name + _checked_text(column, value))
    return "{" + ",".join(parts) + "}"


def _checked_text(column: str, value: Any) -> str:
    try:
        return storable_json(value)
    except ValueError as exc:
        raise InvalidValue(column, str(exc)) from None


@functools.cache
def _imaged(model: type[Record]) -> list[tuple[str, str, int, Callable[[Any], str]]]:
    """Give column, its name as JSON with a colon, its place, and what writes it, by names."""
    meta = model._meta
    # Neither the key nor the parent of a row can differ between two versions of it; what it may
    # or may not refer to can.
    fixed = {key_field(model).column_name}
    fixed |= {field.column_name for field in meta.refs if not field.null}
    columns = enumerate(meta.columns.items())
    found = [
        (column, f'"{column}":', at, _writer_of(stored_field(field)))
        for at, (column, field) in columns
        if column not in fixed
    ]
    return sorted(found, key=operator.itemgetter(0))


def _writer_of(field: Any) -> Callable[[Any], str]:
    if isinstance(field, JsonField):
        return storable_json
    if isinstance(field, StringField | TextField | UuidField):
        return _quoted
    if isinstance(field, UtcTimeField):
        return lambda time: f'"{time_text(time)}"'
    return json_text


def base_of(model: type[Record], image: Any) -> dict[str, Any]:
    """Give one row of an image as values by column; nothing where there is no such row."""
    columns = model._meta.columns
    return {
        column: field.python_value(image[column])
        if isinstance(field, UtcTimeField)
        else image[column]
        for column, field in columns.items()
        if column in image
    }
