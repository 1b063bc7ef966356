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

from dynostore.canonical_json import json_text, storable_json
from dynostore.errors import InvalidValue
from dynostore.fields import (
    JsonField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
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
    for column, name, at, write, written in _imaged(row.model):
        value = values[column]
        if value is None:
            continue
        if cells is None or written is None:
            parts.append(name + write(value))
        else:
            parts.append(name + written(cells[at]))
    return "{" + ",".join(parts) + "}"


_Writer = Callable[[Any], str]


@functools.cache
def _imaged(model: type[Record]) -> list[tuple[str, str, int, _Writer, _Writer | None]]:
    """Give columns by names: the name, as JSON with a colon too, the place, and two writers.

    The first writes a value, the second what a check has made of it already; None: the first does.
    """
    meta = model._meta
    # Neither the key nor the parent of a row can differ between two versions of it; what it may
    # or may not refer to can.
    fixed = {key_field(model).column_name}
    fixed |= {field.column_name for field in meta.refs if not field.null}
    columns = enumerate(meta.columns.items())
    found = [
        (column, f'"{column}":', at, *_writers_of(column, stored_field(field)))
        for at, (column, field) in columns
        if column not in fixed
    ]
    return sorted(found, key=operator.itemgetter(0))


def _writers_of(column: str, field: Any) -> tuple[_Writer, _Writer | None]:
    if isinstance(field, JsonField):
        return functools.partial(_checked_json, column), str
    if isinstance(field, UtcTimeField):
        return lambda time: f'"{time_text(time)}"', '"{}"'.format
    if isinstance(field, StringField | TextField | UuidField):
        return _quoted, None
    return json_text, None


def _checked_json(column: str, value: Any) -> str:
    try:
        return storable_json(value)
    except ValueError as exc:
        raise InvalidValue(column, str(exc)) from None


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
