"""The file's rows as lines, page by page: joined by SQLite where that is exact, else one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence

from dynostore.sync.tables import Column, Table
from dynostore.sync.verify.lines import NULL, UNSENDABLE, Lines, escaped, key_of
from dynostore.sync.wire import sendable

_PAGE_ROWS = 5000
_FIRST_PAGE_ROWS = 100  # before it is known how long rows are
_PAGE_BYTES = 4 * 1024 * 1024
_LONGEST_PAGE_BYTES = 64 * 1024 * 1024
_ABSENT = b"\xff\xfe\xfd"
"""Stands for NULL in a page until the page is escaped. It is no UTF-8, which all values of the
server's are: so nothing there can be taken for it."""


class Peculiar(Exception):
    """The rows hold something that SQLite cannot print as the server does."""


class Pages:
    """Reads lines in the order of their keys.

    SQLite joins a page's lines itself, in one step that holds up no other thread: row by row it
    takes twice as long. Only a page that holds something peculiar is read value by value; so is a
    table with floats, of which SQLite prints 15 digits.

    :param source: FROM and WHERE, up to the name of the key, which a comparison follows.
    """

    def __init__(
        self, reader: sqlite3.Connection, key: str, columns: Sequence[Column], source: str
    ) -> None:
        self._reader = reader
        self._tabs = len(columns) + 2
        self._exact = all(column.kind != "real" for column in columns)
        self._rows = _PAGE_ROWS if not columns else _FIRST_PAGE_ROWS
        values = [key, *map(_printed, columns), "ifnull(b.revision || '\t' || b.seq, '\t')"]
        joined = f"SELECT count(*), group_concat(l, '\n') FROM (SELECT {_line(values)} {source}"
        slowly = one_by_one(key, columns, source)
        order = f"> CAST(? AS TEXT) ORDER BY {key} LIMIT ?"
        first = order.replace(">", ">=", 1)
        self._joined = (f"{joined} {first})", f"{joined} {order})")
        self._single = (f"{slowly} {first}", f"{slowly} {order}")

    def read(self) -> Iterator[tuple[Lines, int]]:
        """Give pages of lines, with the number of those that have a base."""
        last: bytes | None = None
        while True:
            page = (self._read_joined(last) if self._exact else None) or self._read_single(last)
            lines, with_base, last, size = page
            if not lines:
                return
            yield lines, with_base
            self._rows = _next_rows(self._rows, len(lines), size)

    def _read_joined(self, last: bytes | None) -> tuple[Lines, int, bytes, int] | None:
        """Give lines, those with a base, the last key, and bytes; None: the page is peculiar."""
        try:
            with _short_texts(self._reader):
                count, text = self._reader.execute(
                    self._joined[last is not None], (last or b"", self._rows)
                ).fetchone()
            if count == 0:
                return [], 0, b"", 0
            text = _as_copied(text, count, self._tabs)
        except Peculiar:
            return None
        lines = text.split(b"\n")
        without_base = text.count(b"\t\n") + text.endswith(b"\t")
        return lines, count - without_base, key_of(lines[-1]), len(text)

    def _read_single(self, last: bytes | None) -> tuple[Lines, int, bytes, int]:
        lines, with_base, size, key = [], 0, 0, last or b""
        cursor = self._reader.execute(self._single[last is not None], (last or b"", self._rows))
        for row in cursor:
            lines.append(line_of(row))
            with_base += row[-1] is not None
            size += len(lines[-1])
            key = row[0]
            if size >= _PAGE_BYTES:
                break
        cursor.close()
        return lines, with_base, key, size


def in_any_order(
    reader: sqlite3.Connection, table: Table, columns: Sequence[Column]
) -> Iterator[Lines]:
    """Give pages of lines of key and columns, without a version, in the order in which they lie.

    Along the key each row is somewhere else in the file: that takes five times as long.

    :raises Peculiar: the lines must be read in the order of their keys.
    """
    if not _is_plain(reader, table, columns):
        raise Peculiar
    values = _line([f"t.{table.key.quoted}", *map(_printed, columns)])
    sql = (
        "SELECT count(*), max(r), group_concat(l, '\n') FROM"
        f" (SELECT t._rowid_ AS r, {values} FROM {table.quoted} t"
        " WHERE t._rowid_ > ? ORDER BY t._rowid_ LIMIT ?)"
    )
    last, rows = -(2**63), _FIRST_PAGE_ROWS
    while True:
        with _short_texts(reader):
            count, upto, text = reader.execute(sql, (last, rows)).fetchone()
        if count == 0:
            return
        text = _as_copied(text, count, len(columns))
        yield text.split(b"\n")
        last, rows = upto, _next_rows(rows, count, len(text))


def _is_plain(reader: sqlite3.Connection, table: Table, columns: Sequence[Column]) -> bool:
    """Tell whether the two sides print a table's values with the same bytes, as far as that shows.

    They never do so with JSON, whose spaces differ, nor with floats.
    """
    if any(column.kind == "real" for column in columns):
        return False
    filled = [f"t.{column.quoted} IS NOT NULL" for column in columns if column.kind == "json"]
    try:
        found = reader.execute(
            f"SELECT t._rowid_ FROM {table.quoted} t WHERE {' OR '.join(filled) or '0'} LIMIT 1"
        )
    except sqlite3.OperationalError:  # a table without rowids lies in the order of its keys
        return False
    return found.fetchone() is None


@contextlib.contextmanager
def _short_texts(reader: sqlite3.Connection) -> Iterator[None]:
    """Let no page become longer than fits well into memory.

    :raises Peculiar: it would.
    """
    reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_PAGE_BYTES)
    try:
        yield
    except sqlite3.DataError:
        raise Peculiar from None
    finally:
        reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**31 - 1)


def _as_copied(text: bytes | None, count: int, tabs: int) -> bytes:
    """Give a page as COPY would print it.

    :param count: how many rows it has; ``tabs`` as many stand in each line.
    :raises Peculiar: a value holds a tab or a newline, or is none.
    """
    if text is None or text.count(b"\n") != count - 1 or text.count(b"\t") != tabs * count:
        raise Peculiar
    return text.replace(b"\\", b"\\\\").replace(_ABSENT, NULL)


def _next_rows(rows: int, count: int, size: int) -> int:
    """Give how many rows the next page shall have, from those asked for, found, and their bytes."""
    return min(_PAGE_ROWS, 4 * rows, _PAGE_BYTES * count // max(size, 1) + 1)


def _line(values: Sequence[str]) -> str:
    return " || '\t' || ".join(values) + " AS l"


def _printed(column: Column) -> str:
    """Give the SQL for one value as the server prints it, not escaped, or ``_ABSENT``.

    Its type needs no test: the server's own value has the same bytes, or it differs.
    """
    value = f"t.{column.quoted}"
    if column.kind == "bytes":
        value = rf"CASE WHEN {value} IS NOT NULL THEN '\x' || lower(hex({value})) END"
    return f"ifnull({value}, CAST(x'{_ABSENT.hex()}' AS TEXT))" if column.null else value


def one_by_one(key: str, columns: Sequence[Column], source: str) -> str:
    """Give the SQL that reads rows value by value, for :func:`line_of`."""
    version = "CAST(b.revision AS TEXT), CAST(b.seq AS TEXT)"
    return f"SELECT {', '.join([key, *map(_stored, columns), version])} {source}"


def _stored(column: Column) -> str:
    """Give the SQL for one value as the file stores it; 0 where the server cannot hold it."""
    if column.kind == "boolean":  # the file's own 0 and 1
        column = dataclasses.replace(column, kind="integer")
    return sendable(column, f"t.{column.quoted}")


def line_of(row: Sequence[object]) -> bytes:
    """Give the line of a row that was read with :func:`one_by_one`."""
    fields = [*map(_field, row)]
    if row[-1] is None:  # no base
        fields[-2:] = b"", b""
    return b"\t".join(fields)


def _field(value: object) -> bytes:
    if value is None:
        return NULL
    if isinstance(value, bytes):
        return escaped(value)
    return repr(value).encode() if isinstance(value, float) else UNSENDABLE
