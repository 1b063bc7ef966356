"""Rows of both sides as lines of text, in the order of their keys, told apart where they differ.

A line is a key, in a deep look the other columns, a revision and a number: COPY text, in the form
in which a file stores a value. The last two are empty where the file knows of no version. Both
sides' lines come page by page and are compared as bytes, which is one pass in C where nothing
differs; memory is flat.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dynostore.sync.tables import Column
from dynostore.sync.wire import MISFIT, TIMES

Lines = list[bytes]
Version = tuple[int | None, int | None]
"""Revision and number; of a row that plain SQL wrote behind the triggers' back the server has none,
nor has the file a base of a row that was never sent or received."""

NULL = b"\\N"
UNSENDABLE = b"\\?"
"""Stands for a value of the file's that the server cannot hold; no COPY ever prints it."""

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_UNESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})\+00:00", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line, taken apart.

    :ivar key: as stored, which need not be valid UTF-8.
    :ivar fields: COPY text of the other columns; empty where the look was not deep.
    """

    key: bytes
    version: Version
    fields: Lines

    @classmethod
    def of(cls, text: bytes) -> Line:
        """Take a line apart."""
        key, *fields, revision, seq = text.split(b"\t")
        return cls(unescaped(key), (_number(revision), _number(seq)), fields)


def _number(text: bytes) -> int | None:
    return None if text in (NULL, b"") else int(text)


def escaped(value: bytes) -> bytes:
    """Give a value as it stands in a line."""
    value = value.replace(b"\\", b"\\\\").replace(b"\t", b"\\t")
    return value.replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def unescaped(field: bytes) -> bytes:
    """Give the value that stands in a line."""
    if b"\\" not in field:
        return field
    return _ESCAPED.sub(lambda match: _UNESCAPES.get(match[1], match[1]), field)


def key_of(line: bytes) -> bytes:
    """Give the key that a line begins with."""
    return unescaped(line[: line.index(b"\t")])


def aligned(ours: Iterator[Lines], theirs: Iterator[Lines]) -> Iterator[tuple[Lines, Lines]]:
    """Give both sides' lines in parts that cover the same keys.

    :param ours: pages of lines in the order of their keys; ``theirs`` likewise.
    """
    mine: Lines = []
    held: Lines = []
    while True:
        mine = mine or next(ours, [])
        held = held or next(theirs, [])
        if not mine or not held:
            if not mine and not held:
                return
            yield mine, held
            mine, held = [], []
            continue
        edge = min(key_of(mine[-1]), key_of(held[-1]))
        end, their_end = (bisect_right(lines, edge, key=key_of) for lines in (mine, held))
        yield mine[:end], held[:their_end]
        mine, held = mine[end:], held[their_end:]


def summed(pages: Iterator[Lines]) -> tuple[int, int]:
    """Give the number of lines and the sum of their hashes, which no order changes.

    Both sides' lines must be summed in one process: Python's hashes differ from one to the next.
    """
    count = total = 0
    for lines in pages:
        count += len(lines)
        total += sum(map(hash, lines))
    return count, total


def odd_ones(ours: Lines, theirs: Lines) -> list[tuple[bytes, Line | None, Line | None]]:
    """Give key and both lines where they are not the same to the byte; in the keys' order.

    :param ours: lines that cover the same keys as ``theirs``.
    """
    if ours == theirs:
        return []
    mine = {line.key: line for line in map(Line.of, set(ours).difference(theirs))}
    held = {line.key: line for line in map(Line.of, set(theirs).difference(ours))}
    return [(key, mine.get(key), held.get(key)) for key in sorted(mine.keys() | held.keys())]


# -- what two lines say ----------------------------------------------------------------------


def misfit_in(columns: Sequence[Column], theirs: Line) -> str | None:
    """Give the column whose value no file can hold."""
    for column, field in zip(columns, theirs.fields, strict=True):
        if column.kind in TIMES and field.startswith(MISFIT.encode()):
            return column.name
        if column.kind == "real" and field == b"NaN":
            return column.name
    return None


def differing(
    columns: Sequence[Column],
    ours: Line,
    theirs: Line,
    same_json: Callable[[str, str], bool] = lambda ours, theirs: False,
) -> tuple[str, ...]:
    """Give the columns whose values differ, whatever the form in which each side prints them.

    :param same_json: asked where JSON is nested more deeply than Python reads.
    """
    pairs = zip(columns, ours.fields, theirs.fields, strict=True)
    return tuple(
        column.name
        for column, mine, held in pairs
        if mine != held and not _same(column, mine, held, same_json)
    )


def _same(column: Column, mine: bytes, held: bytes, same_json: Callable[[str, str], bool]) -> bool:
    if NULL in (mine, held) or mine == UNSENDABLE:
        return False
    mine, held = unescaped(mine), unescaped(held)
    if mine == held or column.kind not in _MEANINGS:
        return mine == held
    try:
        texts = mine.decode(), held.decode()
        if column.kind == "json":
            try:
                return bool(_json(texts[0]) == _json(texts[1]))
            except RecursionError:
                return same_json(*texts)
        meaning = _MEANINGS[column.kind]
        return bool(meaning(texts[0]) == meaning(texts[1]))
    except (ValueError, ArithmeticError):  # no number, no JSON, no time: two texts that differ
        return False


class _Numeral(tuple[decimal.Decimal]):
    """A number in JSON, exactly: 1 is 1.0 and -0.0 is 0, but 1 is not true."""

    __slots__ = ()


def _numeral(text: str) -> _Numeral:
    return _Numeral((decimal.Decimal(text),))


_JSON = json.JSONDecoder(parse_float=_numeral, parse_int=_numeral)


def _json(text: str) -> Any:
    return _JSON.decode(text)


def _instant(text: str) -> dt.datetime | str:
    """Read a time as the server does: hour 24 is the next day's first, second 60 the next one."""
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    year, month, day, hour, minute, second, micro = map(int, match.groups())
    past = dt.timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro)
    return dt.datetime(year, month, day, tzinfo=dt.UTC) + past


_MEANINGS: dict[str, Callable[[str], Any]] = {
    "json": _json,
    "real": float,
    "time": _instant,
    "bytes": str.lower,
    "datetime": lambda text: text.removesuffix(".000000"),
}
