"""Records as text for programs: JSON and CSV, with all values and times in UTC.

JSON is escaped to ASCII, so that it is valid in whatever encoding the pipe has.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def json_text(value: Any) -> str:
    """Give a value as JSON, on one line."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        from dynostore.fields import time_text

        return time_text(value)
    if isinstance(value, bytes):  # in a column of text or JSON, by plain SQL; as query shows it
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_csv(items: Iterable[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
    """Print records as CSV as they come; the first one says which columns there are.

    An empty cell is a value that is not there, a list or an object is JSON. Nothing is changed for
    the sake of spreadsheets: ``dynostore export`` does that.

    :param names: the columns, where there is no record to say it.
    """
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns: list[str] = []
    for item in items:
        if not columns:
            columns = list(item)
            writer.writerow(columns)
        writer.writerow([_cell(item.get(name)) for name in columns])
    if not columns and names:
        writer.writerow(names)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return _plain(value) if isinstance(value, dt.datetime | bytes) else value
