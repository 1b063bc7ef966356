"""Finding keys and their values in a JSON dump that may be greater than the memory.

==========================================================  ========================================
``{"KEY": {"type": T, "ttl": N, "value": V}, ...}``         what our samples are in
``{"KEY": V, ...}``, ``[{"KEY": V, ...}, ...]``             one object for a database, as rdbtools
``{"key": "KEY", "type": T, "value": V}`` on each line,     redis-dump, RIOT
or ``[{"key": "KEY", ...}, ...]``
==========================================================  ========================================
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_json import MAX_BYTES

_BLOCK_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_DECODER = json.JSONDecoder(strict=False)
_OF_AN_ENTRY = {"key", "db", "type", "ttl", "value", "size", "expireat", "mem", "encoding"}


@dataclasses.dataclass(slots=True)
class Pair:
    """A key of a dump, and where in the file its value, or the entry that holds it, lies.

    :ivar value: what was read there.
    """

    key: str
    value: Any
    start: int
    size_bytes: int


def value_of(document: Any) -> tuple[str | None, int | None, Any]:
    """Give what is said of a key: its type and time to live where they are, and its value."""
    if isinstance(document, dict) and "value" in document and "type" in document:
        kind, ttl = document["type"], document.get("ttl")
        is_number = isinstance(ttl, int) and not isinstance(ttl, bool)
        return (
            (kind if isinstance(kind, str) else None),
            (ttl if is_number else None),
            document["value"],
        )
    return None, None, document


class _Window:
    """A part of a file as text, which is moved on and never back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_at_end = False
        self._block_bytes = _BLOCK_BYTES
        self.text = ""
        self.at = 0
        self.start = 0  # of the text, in bytes
        self._more()
        if self.text.startswith("\ufeff"):
            self.move(1)

    def _more(self) -> bool:
        """Read on; False at the end."""
        if self._is_at_end:
            return False
        data = self._file.read(self._block_bytes)
        self._is_at_end = not data
        try:
            self.text += self._decoder.decode(data, final=self._is_at_end)
        except UnicodeDecodeError:
            raise Unreadable("not UTF-8") from None
        return not self._is_at_end

    def move(self, at: int) -> None:
        """Go on at this place of the text."""
        self.at = at

    def place(self, at: int) -> int:
        """Give the place in the file, in bytes, of a place in the text."""
        passed = self.text[:at]
        return self.start + (len(passed) if passed.isascii() else len(passed.encode()))

    def drop(self) -> None:
        """Forget what was passed."""
        if self.at > _BLOCK_BYTES // 2:
            self.start = self.place(self.at)
            self.text, self.at = self.text[self.at :], 0

    def peek(self, between: re.Pattern[str] = _SPACE) -> str:
        """Give the next character that says something; an empty one at the end."""
        while True:
            match = between.match(self.text, self.at)
            self.at = self.at if match is None else match.end()
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def value(self) -> tuple[Any, int]:
        """Read a value; give it and the place in the text at which it begins.

        :raises Unreadable: it is no JSON, or too large.
        """
        self.peek()
        self._block_bytes = _BLOCK_BYTES
        while True:
            try:
                found, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError:
                raise Unreadable("nested too deeply") from None
            except json.JSONDecodeError as exc:
                reason = f"not JSON: {exc.msg}"
            except ValueError as exc:  # an integer of more than 4,300 digits
                raise Unreadable(f"not JSON: {exc}") from None
            else:
                # A number may go on behind the window.
                if end < len(self.text) or not isinstance(found, int | float) or not self._more():
                    begin, self.at = self.at, end
                    return found, begin
                continue
            if len(self.text) - self.at > MAX_BYTES:
                raise Unreadable(f"a value of more than {MAX_BYTES // 2**20} MiB, or {reason}")
            self._block_bytes *= 2  # so that a large value is not begun again and again
            if not self._more():
                raise Unreadable(f"truncated, or {reason}")


def find_pairs(file: IO[bytes]) -> Iterator[Pair]:
    """Give the keys of a dump in their order, each with its value.

    :raises Unreadable: what stands in the file is no dump, from there on.
    """
    window = _Window(file)
    first = window.peek()
    if first == "":
        raise Unreadable("the file is empty")
    is_list = first == "["
    if is_list:
        window.move(window.at + 1)
    elif first != "{":
        raise Unreadable("neither an object nor a list at the top")
    while True:
        following = window.peek(_BETWEEN)
        if following == "" and not is_list:
            return
        if following == "]" and is_list:
            window.move(window.at + 1)
            if window.peek():
                raise Unreadable("something follows the list")
            return
        if following != "{":
            raise Unreadable("truncated" if following == "" else "an object is expected")
        yield from _pairs_of_object(window)
        window.drop()


def _pairs_of_object(window: _Window) -> Iterator[Pair]:
    begin = window.at
    window.move(begin + 1)
    if window.peek() == "}":
        window.move(window.at + 1)
        return
    key = _key(window)
    if key in _OF_AN_ENTRY:
        window.move(begin)
        entry, begin = window.value()
        if not isinstance(entry.get("key"), str) or "value" not in entry:
            raise Unreadable("an entry without a key or without a value")
        start = window.place(begin)
        yield Pair(entry["key"], entry, start, window.place(window.at) - start)
        return
    while True:
        value, begin = window.value()
        start = window.place(begin)
        yield Pair(key, value, start, window.place(window.at) - start)
        following = window.peek()
        window.move(window.at + 1)
        if following == "}":
            return
        if following != ",":
            raise Unreadable("truncated" if following == "" else "a comma is expected")
        window.drop()
        key = _key(window)


def _key(window: _Window) -> str:
    key, _ = window.value() if window.peek() == '"' else (None, 0)
    if not isinstance(key, str) or window.peek() != ":":
        raise Unreadable("truncated, or a key is expected")
    window.move(window.at + 1)
    return key
