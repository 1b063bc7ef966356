"""What a source said when it was last read, as the text that ``imports`` keeps of it.

``{"values": {...}, "children": {table: {key: {...}}}, "read": {...}}`` in canonical JSON: values by
column; empty ones, keys and references left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from dynostore.canonical_json import json_text
from dynostore.field_kinds import stored_field
from dynostore.fields import JsonField, RealField, UtcTimeField
from dynostore.importing.merge import WholeRow
from dynostore.models.base import Record, key_field


def image_text(base: Sequence[WholeRow], read: Mapping[str, str]) -> str:
    """Give what a record and its children say; :func:`base_of` reads it.

    Put together of what is text already: the JSON of a row that was checked is not written twice.

    :param base: the record, then its children.
    :raises InvalidValue: names the first column whose value the store cannot hold.
    """
    children: dict[str, dict[str, Any]] = {}
    for child in base[1:]:
        children.setdefault(child.table, {})[child.key] = _said(child)
    image = {"values": _said(base[0]), "children": children, "read": read}
    return orjson.dumps(image, option=orjson.OPT_SORT_KEYS).decode()


def _said(row: WholeRow) -> dict[str, Any]:
    plain, written = _imaged(row.model)
    cells = row.written()
    said = {column: cells[at] for column, at in plain if cells[at] is not None}
    for column, at, text_of in written:
        if (cell := cells[at]) is not None:
            said[column] = orjson.Fragment(text_of(cell))
    return said


_Written = list[tuple[str, int, Callable[[Any], str]]]


@functools.cache
def _imaged(model: type[Record]) -> tuple[list[tuple[str, int]], _Written]:
    """Give the columns that an image has, with their places: plain ones, and JSON or nearly so.

    The latter have what gives the text of a cell.
    """
    meta = model._meta
    # Neither the key nor the parent of a row can differ between two versions of it; what it may
    # or may not refer to can.
    fixed = {key_field(model).column_name}
    fixed |= {field.column_name for field in meta.refs if not field.null}
    plain: list[tuple[str, int]] = []
    written: _Written = []
    for at, (column, field) in enumerate(meta.columns.items()):
        stored = stored_field(field)
        if column in fixed:
            continue
        if isinstance(stored, JsonField):
            written.append((column, at, str))
        elif isinstance(stored, RealField):  # very great and small ones have one text alone
            written.append((column, at, json_text))
        else:
            plain.append((column, at))
    return plain, written


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
