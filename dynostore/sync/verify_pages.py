"""The file's rows as lines, page by page: joined by SQLite where that is exact, else one by one."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence

from dynostore.sync.tables import Column
from dynostore.sync.verify_lines import NULL, UNSENDABLE, Lines, escaped, key_of
from dynostore.sync.wire import sendable

_PAGE_ROWS = 5000
_FIRST_PAGE_ROWS = 100  # before it is known how long rows are
_PAGE_BYTES = 4 * 1024 * 1024
_LONGEST_PAGE_BYTES = 64 * 1024 * 1024
_ABSENT = b"\xff\xfe\xfd"
"""Stands for NULL in a page until it is known that it holds nothing that must be escaped. It is no
UTF-8, which no value of the server's is: so nothing there can be taken for it."""


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
        self._escaping = False
        self._rows = _PAGE_ROWS if not columns else _FIRST_PAGE_ROWS
        order = f"> CAST(? AS TEXT) ORDER BY {key} LIMIT ?"
        first = order.replace(">", ">=", 1)
        self._joined = {}
        for escaping in (False, True):
            values = [_escaped(key, escaping), *(_printed(c, escaping) for c in columns)]
            line = " || '\t' || ".join([*values, "ifnull(b.revision || '\t' || b.seq, '\t')"])
            joined = f"SELECT count(*), group_concat(l, '\n') FROM (SELECT {line} AS l {source}"
            self._joined[escaping] = (f"{joined} {first})", f"{joined} {order})")
        slowly = one_by_one(key, columns, source)
        self._single = (f"{slowly} {first}", f"{slowly} {order}")

    def read(self) -> Iterator[tuple[Lines, int]]:
        """Give pages of lines, with the number of those that have a base."""
        last: bytes | None = None
        while True:
            asked = self._rows
            page = (self._read_joined(last) if self._exact else None) or self._read_single(last)
            lines, with_base, last, size = page
            if lines:
                yield lines, with_base
                self._rows = min(_PAGE_ROWS, 4 * asked, _PAGE_BYTES * len(lines) // size + 1)
            if not lines:
                return

    def _read_joined(self, last: bytes | None) -> tuple[Lines, int, bytes, int] | None:
        """Give lines, those with a base, the last key, and bytes; None: the page is peculiar."""
        self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_PAGE_BYTES)
        try:
            count, text = self._reader.execute(
                self._joined[self._escaping][last is not None], (last or b"", self._rows)
            ).fetchone()
        except sqlite3.DataError:  # longer than a page may be
            return None
        finally:
            self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**31 - 1)
        if count == 0:
            return [], 0, b"", 0
        if (
            text is None
            or text.count(b"\n") != count - 1
            or text.count(b"\t") != self._tabs * count
        ):
            return None
        if b"\\" in text and not self._escaping:
            self._escaping = True  # from now on: most tables have no such value, or many
            return self._read_joined(last)
        text = text.replace(_ABSENT, NULL)
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


def _stored(column: Column) -> str:
    """Give the SQL for one value as the file stores it; 0 where the server cannot hold it."""
    if column.kind == "boolean":  # the file's own 0 and 1
        column = dataclasses.replace(column, kind="integer")
    return sendable(column, f"t.{column.quoted}")


def _printed(column: Column, escaping: bool) -> str:
    """Give the SQL for one value as COPY prints it, or ``_ABSENT``.

    Its type needs no test: the server's own value has the same bytes, or it differs.
    """
    value = f"t.{column.quoted}"
    if column.kind == "bytes":
        value = rf"CASE WHEN {value} IS NOT NULL THEN '\\x' || lower(hex({value})) END"
    elif column.kind in ("text", "json"):
        value = _escaped(value, escaping)
    return f"ifnull({value}, CAST(x'{_ABSENT.hex()}' AS TEXT))" if column.null else value


def _escaped(value: str, escaping: bool) -> str:
    return rf"replace({value}, '\', '\\')" if escaping else value


def one_by_one(key: str, columns: Sequence[Column], source: str) -> str:
    """Give the SQL that reads rows value by value, for :func:`line_of`."""
    version = "CAST(b.revision AS TEXT), CAST(b.seq AS TEXT)"
    return f"SELECT {', '.join([key, *map(_stored, columns), version])} {source}"


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
