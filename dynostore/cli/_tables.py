"""Records as text for people: rich tables on a terminal, plain columns in a pipe, or Markdown."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from dynostore.cli._session import Session

_CHUNK_ROWS = 500
_GAP = "  "
_LEAST_WIDTH = 8
_STYLES = {
    "complete": "green",
    "completed": "green",
    "partial": "yellow",
    "error": "red",
    "failed": "red",
    "invalid": "red",
    "rejected": "red",
}


class Column(NamedTuple):
    """A column of a table.

    :ivar key: of the record's value.
    :ivar head: its heading; the key by default.
    :ivar whole: never shorten it, so that an id can be copied.
    :ivar right: a number: digits below digits.
    """

    key: str
    head: str = ""
    whole: bool = False
    right: bool = False

    @property
    def title(self) -> str:
        """The heading."""
        return self.head or self.key.replace("_", " ")


def print_table(
    items: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, utc: bool = False
) -> None:
    """Print a table as the rows come; as Markdown where the command was asked for it.

    On a terminal it is fitted to the width, if need be by leaving columns out. Elsewhere nothing is
    shortened, nothing coloured, and an empty value is ``-``, so that ``awk`` counts columns right.
    """
    iterator = iter(items)
    draw = _write_markdown if _is_markdown() else _draw if sys.stdout.isatty() else _write
    first, widths = True, [len(column.title) for column in columns]
    while chunk := list(itertools.islice(iterator, _CHUNK_ROWS)):
        rows = [[as_text(item.get(column.key), utc) for column in columns] for item in chunk]
        if first:
            widths = [
                max([width, *(len(row[index]) for row in rows)])
                for index, width in enumerate(widths)
            ]
        draw(rows, columns, widths, first)
        first = False
    if first:
        draw([], columns, widths, first)


def print_fields(item: Mapping[str, Any], *, utc: bool = False) -> None:
    """Print one record, a line for each value."""
    if _is_markdown():
        rows = [[name, as_text(value, utc)] for name, value in item.items()]
        widths = [max([5, *(len(row[index]) for row in rows)]) for index in (0, 1)]
        _write_markdown(rows, (Column("field"), Column("value")), widths, first=True)
        return
    width = max(map(len, item), default=0)
    for name, value in item.items():
        print(f"{name:<{width}}{_GAP}{as_text(value, utc)}")


def as_text(value: Any, utc: bool = False) -> str:
    """Give a value on one line: local time with its offset, and nothing that moves the cursor."""
    if value is None or value == "":
        return "-"
    if isinstance(value, dt.datetime):
        return _local(value, utc).isoformat(timespec="seconds")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True)  # jsonb has its own order
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


def _local(value: dt.datetime, utc: bool) -> dt.datetime:
    if utc:
        return value.astimezone(dt.UTC)
    try:
        return value.astimezone()
    except (ValueError, OverflowError, OSError):  # the years 1 and 9999, or before 1970 on Windows
        return value


def _write(
    rows: list[list[str]], columns: Sequence[Column], widths: list[int], first: bool
) -> None:
    head = [[column.title for column in columns]] if first else []
    for row in head + rows:
        cells = (
            f"{cell:>{width}}" if column.right else f"{cell:<{width}}"
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        print(_GAP.join(cells).rstrip())


def _is_markdown() -> bool:
    ctx = click.get_current_context(silent=True)
    session = ctx.find_object(Session) if ctx else None
    return session is not None and session.format == "md"


def _write_markdown(
    rows: list[list[str]], columns: Sequence[Column], widths: list[int], first: bool
) -> None:
    body = [[_in_markdown(cell) for cell in row] for row in rows]
    widths = [max(3, width) for width in widths]
    head = []
    if first:
        rules = [
            "-" * (width - 1) + (":" if column.right else "-")
            for width, column in zip(widths, columns, strict=True)
        ]
        head = [[column.title for column in columns], rules]
    for row in head + body:
        cells = (
            f"{cell:>{width}}" if column.right else f"{cell:<{width}}"
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        print(f"| {' | '.join(cells)} |")


def _in_markdown(text: str) -> str:
    """Keep text from ending its cell, and from becoming emphasis, a link or HTML."""
    return re.sub(r"[\\`*|<\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def _draw(rows: list[list[str]], columns: Sequence[Column], widths: list[int], first: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    chosen = _fitted(columns, widths, console.width)
    table = Table(
        box=None, show_header=first, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for index, width in chosen.items():
        table.add_column(
            columns[index].title,
            no_wrap=True,
            width=width,
            justify="right" if columns[index].right else "left",
        )
    for row in rows:
        # Text, not str: a value such as "[red]" is no markup.
        cells = (row[index] for index in chosen)
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    console.print(table)


def _fitted(columns: Sequence[Column], widths: Sequence[int], room: int) -> dict[int, int]:
    """Give the columns for which a terminal has room, with their widths.

    Whole ones come first, then the others in order; what is left over goes to them in order too.
    Not left to rich, which shortens ids and times as readily as remarks.
    """
    fitted = {i: widths[i] for i, column in enumerate(columns) if column.whole}
    room -= sum(fitted.values()) + len(fitted)
    for i, width in enumerate(widths):
        least = min(width, _LEAST_WIDTH)
        if i not in fitted and least <= room:
            fitted[i] = least
            room -= least + 1
    for i in sorted(fitted):
        more = max(0, min(widths[i] - fitted[i], room))
        fitted[i] += more
        room -= more
    return dict(sorted(fitted.items()))
