"""Rows as CSV that programs read without loss and spreadsheets without running what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dynostore.canonical_json import json_text
from dynostore.exporting.rows import Row

# What makes a formula of a cell in one spreadsheet or another (the last four are the wide forms of
# the first), and the mark itself, so that it can be told from an apostrophe that was there before.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")
_MARK = "'"


def csv_line(cells: Iterable[str]) -> bytes:
    """Give a line of cells, each of which is quoted already."""
    return (",".join(cells) + "\n").encode()


def header_cells(columns: Sequence[str]) -> list[str]:
    """Give the cells of the first line."""
    return [_quoted(name) for name in columns]


def row_cells(row: Row, json_columns: frozenset[str], *, raw: bool) -> list[str]:
    """Give the cells of a row, in its order.

    Text, times and JSON are quoted, numbers, ``true`` and ``false`` are not; NULL is an empty cell
    without quotes and empty text one with them, as Postgres' COPY has it.

    :param json_columns: those that hold JSON.
    :param raw: False: text that a spreadsheet would take for a formula, or that begins with an
        apostrophe, has an apostrophe in front.
    """
    return [
        _cell(json_text(value) if name in json_columns and value is not None else value, raw)
        for name, value in row.items()
    ]


def _cell(value: Any, raw: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    return _quoted(_MARK + value if not raw and value.startswith(_FORMULA) else value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
