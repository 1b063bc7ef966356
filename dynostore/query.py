"""A person's own SQL, answered without any way for it to write: on a file and on a server."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dynostore.database import PostgresServer, StoreDatabase
from dynostore.fields import time_text
from dynostore.querying.file import ask_file
from dynostore.querying.server import ask_server
from dynostore.querying.words import check_parameters


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a statement gives.

    :ivar columns: their names, made distinct.
    :ivar rows: come as they are read, once; see :func:`ask` for their values.
    """

    columns: Sequence[str]
    rows: Iterator[Sequence[Any]]


@contextlib.contextmanager
def ask(
    database: StoreDatabase, sql: str, parameters: Mapping[str, str] | None = None
) -> Iterator[Answer]:
    r"""Answer one SQL statement that reads; nothing is written whatever it says.

    Rows are read while they are asked for, in flat memory. The values are None, bool, int, float,
    text, and lists of those: times are text in UTC as a file has them, bytes hexadecimal digits
    behind ``\x``, an exact number a float where that loses nothing and else its digits, and
    infinity a text, so that each has a form in JSON.

    :param parameters: by name; ``:name`` in the statement stands for it. On a file what looks like
        a number is one.
    :raises InvalidQuery: no statement, several, one that does not read, or one with a mistake.
    """
    given = dict(parameters or {})
    check_parameters(sql, given)
    if isinstance(database, PostgresServer):
        answering = ask_server(database, sql, given)
    else:
        answering = ask_file(database, sql, given)
    with answering as (names, rows):
        yield Answer(_distinct(names), ([_shown(value) for value in row] for row in rows))


def _distinct(names: Sequence[str]) -> list[str]:
    """Name columns apart, as a record needs it: two of the name ``id`` become ``id``, ``id_2``."""
    found: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name}_{number}"
        found.append(distinct)
    return found


def _shown(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(decimal.Decimal(value))
        case bytes() | memoryview():
            return "\\x" + bytes(value).hex()
        case decimal.Decimal():
            return _number(value)
        case dt.datetime() if value.tzinfo is not None:
            return time_text(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case list() | tuple():
            return [_shown(one) for one in value]
        case dict():
            return {str(name): _shown(one) for name, one in value.items()}
    return str(value)


def _number(value: decimal.Decimal) -> int | float | str:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    return float(value) if decimal.Decimal(repr(float(value))) == value else str(value)
