"""Rows between SQLite and Postgres: COPY text out, checked; typed values back.

The format is PostgreSQL's COPY text (documentation of COPY, "File Formats"). Values leave SQLite as
bytes, so that a value that is no UTF-8 spoils its row and not the whole fetch. A chunk of rows is
joined first and looked at afterwards as a whole, which is one pass in C; only where it holds
something to escape or to refuse are its rows looked at one by one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from dynostore.sync.tables import Column, Table

Row = tuple[Any, ...]

MAX_ROW_BYTES = 64 * 1024 * 1024
"""A longer row is set aside: Postgres refuses fields and rows near one gigabyte, and a row must
fit into memory several times on its way."""

_NULL = b"\\N"
_ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_SPECIAL = re.compile(rb"[\\\t\n\r]")
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(rb"\\[\\tnr]")

_DIGIT = "[0-9]"
_DATE = f"{_DIGIT * 4}-{_DIGIT * 2}-{_DIGIT * 2}"
_CLOCK = f"{_DIGIT * 2}:{_DIGIT * 2}:{_DIGIT * 2}"

# What a column of each kind must hold for the server to take it. The value is sent as text; an
# integer instead of it marks a value to refuse. Floats are the exception: SQLite prints 15 digits
# of them, so they come as they are and repr() prints them.
_SENDABLE = {
    "text": "typeof({c}) = 'text'",
    "json": "typeof({c}) = 'text'",
    # As Postgres prints it: a key in another form would come back as another key.
    "uuid": "typeof({c}) = 'text' AND {c} GLOB '????????-????-????-????-????????????'"
    " AND {c} = lower({c})",
    "integer": "typeof({c}) = 'integer'",
    "boolean": "typeof({c}) = 'integer' AND {c} IN (0, 1)",
    "real": "typeof({c}) IN ('real', 'integer')",
    "bytes": "typeof({c}) = 'blob'",
    # Fixed width, as fields.UtcTimeField writes it; Postgres knows no year 0.
    "time": "typeof({c}) = 'text' AND length({c}) = 32 AND substr({c}, 27) = '+00:00'"
    " AND {c} >= '0001'",
    # As Peewee's own fields write them; an offset would be dropped by the server without a word.
    "datetime": f"typeof({{c}}) = 'text' AND ({{c}} GLOB '{_DATE} {_CLOCK}'"
    f" OR {{c}} GLOB '{_DATE} {_CLOCK}.{_DIGIT * 6}') AND {{c}} >= '0001'",
    "date": f"typeof({{c}}) = 'text' AND {{c}} GLOB '{_DATE}' AND {{c}} >= '0001'",
}
_SENT = {
    # The server prints no fraction where there is none, as Python does.
    "datetime": "CASE substr({c}, 20) WHEN '.000000' THEN substr({c}, 1, 19) ELSE {c} END",
    "integer": "CAST({c} AS TEXT)",
    "boolean": "CASE {c} WHEN 1 THEN 't' ELSE 'f' END",
    "real": "CAST({c} AS REAL)",
    "bytes": r"'\x' || hex({c})",
}
_EXPECTED = {
    "text": "text",
    "json": "JSON text",
    "uuid": "a UUID with dashes in lower case",
    "integer": "an integer",
    "boolean": "0 or 1",
    "real": "a number",
    "bytes": "a BLOB",
    "time": "a UTC time as YYYY-MM-DDTHH:MM:SS.ffffff+00:00",
    "datetime": "a time without an offset as YYYY-MM-DD HH:MM:SS or with .ffffff",
    "date": "a date as YYYY-MM-DD",
}


@dataclasses.dataclass(frozen=True)
class Poison:
    """A row that the server cannot hold as it is.

    :ivar index: its place in the chunk.
    :ivar column: the first column at fault; None when it is the row's size.
    """

    index: int
    column: str | None
    value: str | None
    message: str
    sqlstate: str = "22000"


def select_expressions(table: Table, alias: str) -> str:
    """Give the SELECT list that reads a row in the form that :func:`copy_lines` takes."""
    return ", ".join(sendable(column, f"{alias}.{column.quoted}") for column in table.columns)


def sendable(column: Column, name: str) -> str:
    """Give the SQL that reads one value, named ``name`` there, or 0 where it must be refused."""
    test = _SENDABLE[column.kind].format(c=name)
    if column.max_length is not None:
        test += f" AND length({name}) <= {column.max_length}"
    sent = _SENT.get(column.kind, "{c}").format(c=name)
    # What is NULL passes no test.
    empty = f"WHEN {name} IS NULL THEN NULL " if column.null else ""
    return f"CASE {empty}WHEN {test} THEN {sent} ELSE 0 END"


def copy_lines(rows: Sequence[Row], floats: Sequence[int]) -> bytes | None:
    """Join rows as COPY text, without a newline at the end; None when they need a closer look.

    :param rows: bytes, None, or (at the places in ``floats``) float.
    :param floats: which columns hold floats.
    """
    if floats:
        rows = [_floats_printed(row, floats) for row in rows]
    try:
        body = b"\n".join([b"\t".join([_NULL if v is None else v for v in row]) for row in rows])
    except TypeError:
        return None
    nulls = sum([row.count(None) for row in rows])
    if (
        body.count(b"\\") != nulls
        or body.count(b"\t") != (len(rows[0]) - 1) * len(rows)
        or body.count(b"\n") != len(rows) - 1
        or b"\r" in body
        or b"\0" in body
        or len(body) > MAX_ROW_BYTES
    ):
        return None
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    return body


def stored_values(line: bytes) -> list[bytes | None]:
    """Give the values of one line of COPY text, as bytes."""
    return [None if v == _NULL else _ESCAPED.sub(_unescaped, v) for v in line.split(b"\t")]


def _unescaped(match: re.Match[bytes]) -> bytes:
    return _UNESCAPES[match[0]]


def _floats_printed(row: Row, floats: Sequence[int]) -> Row:
    values = list(row)
    for place in floats:
        if isinstance(values[place], float):
            values[place] = repr(values[place]).encode()
    return tuple(values)


def copy_lines_carefully(
    rows: Sequence[Row], names: Sequence[str], floats: Sequence[int]
) -> tuple[list[bytes], list[Poison]]:
    """Do the same row by row, escaping what must be; give the lines and the rows set aside.

    :param names: the columns' names, for the report; those without one are the sync's own.
    """
    lines: list[bytes] = []
    poisons: list[Poison] = []
    for index, row in enumerate(rows):
        poison = None
        values = []
        for place, value in enumerate(_floats_printed(row, floats) if floats else row):
            if value is None:
                values.append(_NULL)
                continue
            problem = _problem(value)
            if problem:
                poison = Poison(index, names[place], None, problem)
                break
            values.append(_SPECIAL.sub(lambda m: _ESCAPES[m[0]], value))
        line = b"\t".join(values)
        if poison is None and len(line) > MAX_ROW_BYTES:
            poison = Poison(index, None, None, f"row of {len(line):,} bytes", "54000")
        if poison is None:
            lines.append(line)
        else:
            poisons.append(poison)
    return lines, poisons


def _problem(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return "the wrong type of value"
    if b"\0" in value:
        return "contains NUL, which Postgres cannot hold"
    try:
        value.decode()
    except UnicodeDecodeError:
        return "is not valid UTF-8"
    return None


def explain(column: Column, stored: Any, poison: Poison) -> Poison:
    """Say of a refused value what it is and what was expected.

    :param stored: the value as SQLite holds it, text as bytes.
    """
    if stored is None:
        message = "must not be empty"
    elif isinstance(stored, bytes) and poison.message != "the wrong type of value":
        message = poison.message
    elif column.max_length is not None and len(_text_of(stored)) > column.max_length:
        message = f"{len(_text_of(stored))} characters; {column.max_length} fit"
    else:
        message = f"{_EXPECTED[column.kind]} expected"
    return dataclasses.replace(poison, value=shown(stored), message=message)


def _text_of(stored: Any) -> str:
    return stored.decode("utf-8", "replace") if isinstance(stored, bytes) else ""


def shown(value: Any, limit: int = 200) -> str | None:
    """Give a stored value for people: text as it is, what is no text in hexadecimal digits."""
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            text = value[: limit * 4].decode()
        except UnicodeDecodeError:
            text = "x'" + value[:limit].hex() + "'"
        else:
            if "\0" in text:
                text = "x'" + value[:limit].hex() + "'"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."


MISFIT = "\x01"
"""Before a value of the server's that no file can hold."""

_FROM_SERVER = {
    "uuid": "{c}::text",
    # As it is: what is parsed and printed again loses digits that only the server can hold.
    "json": "{c}::text",
    "boolean": "{c}::int",
    # to_char knows no infinity, and would print BC as AD.
    "time": "CASE WHEN {c} >= '0001-01-01 00:00+00' AND {c} < '10000-01-01 00:00+00' THEN"
    " to_char({c} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00'"
    " ELSE E'\\x01' || {c}::text END",
    "datetime": "CASE WHEN {c} >= '0001-01-01' AND {c} < '10000-01-01' THEN"
    " regexp_replace(to_char({c}, 'YYYY-MM-DD HH24:MI:SS.US'), '[.]000000$', '')"
    " ELSE E'\\x01' || {c}::text END",
    "date": "CASE WHEN {c} >= '0001-01-01' AND {c} < '10000-01-01' THEN to_char({c}, 'YYYY-MM-DD')"
    " ELSE E'\\x01' || {c}::text END",
}

TIMES = ("time", "datetime", "date")
"""The kinds of which the server has values that no file can hold: years, and infinity."""


def server_expressions(table: Table, alias: str) -> str:
    """Give the SELECT list that reads a row from the server as a file stores it."""
    return ", ".join(
        _FROM_SERVER.get(column.kind, "{c}").format(c=f"{alias}.{column.quoted}")
        for column in table.columns
    )


class Unfit(ValueError):
    """A file cannot hold a value of the server's."""

    def __init__(self, column: str, value: str) -> None:
        super().__init__(f"{column}: no file can hold {value}")
        self.column = column
        self.value = value


def local_values(table: Table, row: Sequence[Any]) -> list[Any]:
    """Turn a row fetched with :func:`server_expressions` into what SQLite stores.

    :raises Unfit: a file cannot hold the row: a time out of the years 1 to 9999, or NaN.
    """
    values = list(row)
    for place, column in enumerate(table.columns):
        value = values[place]
        if column.kind in TIMES and value is not None and value.startswith(MISFIT):
            raise Unfit(column.name, value[1:])
        if column.kind == "real" and value is not None and value != value:
            raise Unfit(column.name, "NaN")
        if column.kind == "bytes" and value is not None:
            values[place] = bytes(value)
    return values
