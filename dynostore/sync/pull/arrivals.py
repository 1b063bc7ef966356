"""The server's rows on their way into the file: COPY text, parsed in bulk.

``COPY ... TO STDOUT`` takes a third of the time of a fetch, and gives every value: a driver turns
``infinity`` into the year 9999 and refuses others. What a chunk of rows holds is decided once: only
where it holds an escape other than the mark of NULL is it looked at value by value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from dynostore.sync.exchange import Limits
from dynostore.sync.pull.incoming import REVISION
from dynostore.sync.tables import Column, Table
from dynostore.sync.wire import MISFIT, TIMES, server_expressions

VALUES = slice(2, None)
"""Where the columns' values stand in a row: after its revision and its number."""

_NULL = "\\N"
_UNESCAPES = (
    ("\\n", "\n"),
    ("\\t", "\t"),
    ("\\r", "\r"),
    ("\\b", "\b"),
    ("\\f", "\f"),
    ("\\v", "\v"),
)


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A row of the server's that no file can hold."""

    key: str
    revision: int
    column: str
    value: str


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some rows: revision, number, and the columns in the table's order.

    :ivar marked: the rows hold the mark of NULL, which the statement of :meth:`Arrivals.upsert`
        takes for it; else they hold None.
    """

    rows: list[list[Any]]
    marked: bool
    misfits: list[Misfit]


class Batches:
    """Makes batches of what COPY sends in pieces of any size, and passes them on.

    :param put: takes the lines of one batch.
    """

    def __init__(self, limits: Limits, put: Callable[[bytes], None]) -> None:
        self._limits = limits
        self._put = put
        self._pieces: list[bytes] = []
        self._rows = 0
        self._bytes = 0

    def take(self, piece: bytes) -> None:
        """Take some whole rows, newlines included."""
        while piece:
            head, rows, piece = _cut(piece, self._limits.rows - self._rows)
            self._pieces.append(head)
            self._rows += rows
            self._bytes += len(head)
            if self._rows >= self._limits.rows or self._bytes >= self._limits.bytes:
                self.end()

    def end(self) -> None:
        """Pass on what is left."""
        if self._pieces:
            self._put(b"".join(self._pieces))
            self._pieces, self._rows, self._bytes = [], 0, 0


def _cut(piece: bytes, most: int) -> tuple[bytes, int, bytes]:
    """Cut off so many rows; give them, their number, and the rest."""
    rows = piece.count(b"\n")
    if rows <= most:
        return piece, rows, b""
    *lines, rest = piece.split(b"\n", most)
    return b"\n".join([*lines, b""]), most, rest


class Arrivals:
    """Reads and writes the rows of one table.

    :ivar key: the place of the key in a row; ``parents`` (column, place) of what refers elsewhere.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        names = [column.name for column in table.columns]
        self.key = names.index(table.key.name) + 2
        self.parents = [(c, names.index(c.name) + 2) for c in table.references]
        self._converted = [
            (place, _CONVERTERS[column.kind], column)
            for place, column in enumerate(table.columns, 2)
            if column.kind in _CONVERTERS
        ]

    def select(self, where: str) -> str:
        """Give the statement that copies rows out, in the order of their keys."""
        table = self.table
        return (
            f"COPY (SELECT {REVISION}, t.sync_seq, {server_expressions(table, 't')}"
            f" FROM {table.quoted} t WHERE {where} ORDER BY t.{table.key.quoted}) TO STDOUT"
        )

    def upsert(self, *, marked: bool) -> str:
        """Give the statement that writes one row, its values from :data:`VALUES` on, into the file.

        Never INSERT OR REPLACE: it deletes the row first, and its children with it.
        """
        columns, key = self.table.columns, self.table.key
        values = [f"nullif(?, '{_NULL}')" if marked and column.null else "?" for column in columns]
        others = [f"{c.quoted} = excluded.{c.quoted}" for c in columns if c.name != key.name]
        return (
            f"INSERT INTO {self.table.quoted} ({self.table.column_list})"
            f" VALUES ({', '.join(values)}) ON CONFLICT ({key.quoted})"
            f" DO {'UPDATE SET ' + ', '.join(others) if others else 'NOTHING'}"
        )

    def parse(self, lines: bytes) -> Chunk:
        """Give the rows of some lines; integers stay text, which their columns turn to numbers."""
        text = lines.decode()
        rows: list[list[Any]] = [line.split("\t") for line in text.split("\n")]
        rows.pop()  # what stands behind the last newline
        marked = text.count("\\") == text.count(_NULL)
        if not marked:
            rows = [[_value(field) for field in row] for row in rows]
        if not self._converted:
            return Chunk(rows, marked, [])
        if not any(convert is not None for _, convert, _ in self._converted) and MISFIT not in text:
            return Chunk(rows, marked, [])
        return self._convert(rows, marked)

    def _convert(self, rows: list[list[Any]], marked: bool) -> Chunk:
        fitting: list[list[Any]] = []
        misfits: list[Misfit] = []
        for row in rows:
            misfit = None
            for place, convert, column in self._converted:
                value = row[place]
                if value is None or (marked and value == _NULL):
                    continue
                if value.startswith(MISFIT):
                    misfit = Misfit(row[self.key], int(row[0]), column.name, value[1:])
                elif convert is not None:
                    row[place] = convert(value)
                    if row[place] != row[place]:
                        misfit = Misfit(row[self.key], int(row[0]), column.name, value)
            if misfit is None:
                fitting.append(row)
            else:
                misfits.append(misfit)
        return Chunk(fitting, marked, misfits)


_CONVERTERS: dict[str, Callable[[str], Any] | None] = {
    "real": float,  # SQLite's own conversion of text may miss the last digit
    "bytes": lambda text: bytes.fromhex(text[2:]),
    **dict.fromkeys(TIMES),
}


def _value(field: str) -> str | None:
    if "\\" not in field:
        return field
    if field == _NULL:
        return None
    # Neither by a pattern nor in parts: a text may be a hundred megabytes of escapes. No text on
    # the server holds a NUL.
    field = field.replace("\\\\", "\0")
    for escape, character in _UNESCAPES:
        field = field.replace(escape, character)
    return field.replace("\0", "\\")


def orphans_among(
    arrivals: Arrivals,
    rows: Sequence[Sequence[Any]],
    exists: Callable[[Column, list[str]], set[str]],
) -> set[str]:
    """Give the keys of the rows whose parents are neither in the file nor among the rows.

    :param exists: gives those of a parent's keys that the file has.
    """
    orphans: set[str] = set()
    for column, place in arrivals.parents:
        named = {row[place] for row in rows} - {None, _NULL}
        absent = named - exists(column, list(named)) if named else set()
        if column.parent != arrivals.table.name:
            orphans.update(row[arrivals.key] for row in rows if row[place] in absent)
            continue
        absent -= {row[arrivals.key] for row in rows}
        while absent:  # a row that waits for its parent makes its own children wait
            more = {row[arrivals.key] for row in rows if row[place] in absent} - orphans
            orphans |= more
            absent = more
    return orphans
