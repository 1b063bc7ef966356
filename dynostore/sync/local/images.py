r"""One version of a row, kept in the file to be shown and written back: its image.

An image is a JSON object of what SQLite stores in each column, JSON as its text and a BLOB as
``\x`` and hexadecimal digits. It needs no server to be read, and a number keeps all its digits.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from dynostore.sync.tables import Column, Table


def image_of(table: Table, values: Sequence[Any]) -> str:
    """Make the image of a row.

    :param values: as SQLite stores them, in the table's order.
    """
    return json.dumps(dict(zip(table.column_names, map(_plain, values), strict=True)))


def _plain(value: Any) -> Any:
    return f"\\x{bytes(value).hex()}" if isinstance(value, bytes | memoryview) else value


def image_here(connection: sqlite3.Connection, table: Table, key: str) -> str | None:
    """Make the image of what the file holds under a key; None where there is no row."""
    row = connection.execute(
        f"SELECT {table.column_list} FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,)
    ).fetchone()
    return None if row is None else image_of(table, row)


def stored(table: Table, image: str) -> dict[str, Any]:
    """Give an image's values as SQLite stores them, of the columns that the table has now."""
    values = json.loads(image)
    return {c.name: _stored(c, values[c.name]) for c in table.columns if c.name in values}


def _stored(column: Column, value: Any) -> Any:
    if column.kind == "bytes" and isinstance(value, str):
        return bytes.fromhex(value.removeprefix("\\x"))
    return value


def values_of(table: Table | None, image: str | None) -> dict[str, Any] | None:
    """Give an image's values for people and programs: times aware, JSON parsed.

    What does not fit its column is left as it is.

    :param table: None: a table that this program does not know.
    """
    if image is None:
        return None
    values: Mapping[str, Any] = json.loads(image)
    kinds = {} if table is None else {c.name: c.kind for c in table.columns}
    return {name: _shown(kinds.get(name, "text"), value) for name, value in values.items()}


def _shown(kind: str, value: Any) -> Any:
    if value is None:
        return None
    try:
        if kind == "time":
            return dt.datetime.fromisoformat(value)
        if kind == "json":
            return json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return value
    return bool(value) if kind == "boolean" and value in (0, 1) else value
