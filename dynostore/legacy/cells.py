"""A row of somebody else's on its way to a record: what fits no column is kept beside, not lost."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any

from dynostore.canonical_json import is_storable_text, json_text
from dynostore.fields import INT64_MAX, INT64_MIN
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_json import parse
from dynostore.legacy.timestamps import parse_utc

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UUID = re.compile(
    r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII
)
_INTEGER = re.compile(r"\s*[+-]?\d{1,19}\s*", re.ASCII)
_UUID_BYTES = 16
_UUID_DIGITS = 32
_SHOWN_CHARACTERS = 80


class CellReader:
    """Takes the cells of one row, each as what a column of the store can hold.

    A cell that cannot be that is None, or the nearest that can; then what it really held goes to
    :attr:`aside`, and a warning says so. Nothing raises.

    :ivar aside: the cells that fit no column, by name, as JSON can hold them.
    :ivar warnings: what a person should know.
    """

    __slots__ = ("_cells", "_shown", "aside", "warnings")

    def __init__(self, cells: Mapping[str, Any], shown: str = "") -> None:
        """Read a row.

        :param shown: what stands before the column in a warning, such as ``messages/3 ``.
        """
        self._cells = dict(cells)
        self._shown = shown
        self.aside: dict[str, Any] = {}
        self.warnings: list[str] = []

    def raw(self, name: str) -> Any:
        """Take a cell as it is; None where there is none."""
        return self._cells.pop(name, None)

    def text(self, name: str, longest: int | None = None) -> str | None:
        """Take text; what is too long is cut, what no database could hold is replaced."""
        value = self._cells.pop(name, None)
        if value is None:
            return None
        flaw = ""
        if isinstance(value, str):
            text = value
        elif isinstance(value, bytes):
            text, flaw = value.decode("utf-8", "replace"), "bytes; read as UTF-8"
        else:
            text = json_text(value) if isinstance(value, dict | list) else str(value)
            flaw = f"{type(value).__name__}; taken as text"
        if not is_storable_text(text):
            text, count = _UNSTORABLE.subn("\ufffd", text)
            flaw = "holds what is no text; replaced by U+FFFD" if count else flaw
        if longest is not None and len(text) > longest:
            flaw = f"{len(text)} characters; cut to {longest}"
            text = text[:longest]
        if flaw:
            self._set_aside(name, value, flaw)
        return text

    def time(self, name: str) -> dt.datetime | None:
        """Take a time of a writer that meant UTC."""
        value = self._cells.pop(name, None)
        if value is None or value == "":
            return None
        try:
            return parse_utc(value)[0]
        except ValueError as exc:
            self._set_aside(name, value, str(exc))
            return None

    def json(self, name: str) -> Any:
        """Take a document from its text; ``null`` is as good as none."""
        value = self._cells.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str):
            if isinstance(value, bytes):
                self._set_aside(name, value, "bytes, not JSON")
                return None
            return as_json(value)
        try:
            document, _ = parse(value.encode("utf-8", "surrogateescape"))
        except (Unreadable, UnicodeEncodeError) as exc:
            self._set_aside(name, value, str(exc))
            return None
        return document

    def whole(self, name: str, low: int = INT64_MIN, high: int = INT64_MAX) -> int | None:
        """Take a whole number within bounds."""
        value = self._cells.pop(name, None)
        number = value
        if isinstance(value, float) and value.is_integer():
            number = int(value)
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            number = int(value)
        if number is None:
            return None
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        self._set_aside(name, value, "not a whole number, or out of bounds")
        return None

    def uuid(self, name: str) -> str | None:
        """Take a UUID, with or without dashes."""
        value = self._cells.pop(name, None)
        if value is None:
            return None
        found = as_uuid(value)
        if found is None:
            self._set_aside(name, value, "not a UUID")
        return found

    def rest(self) -> dict[str, Any]:
        """Give the cells that nobody took and that hold something, as JSON."""
        return {
            printable_key(name): as_json(value)
            for name, value in self._cells.items()
            if value is not None
        }

    def keep(self, name: str, value: Any, flaw: str | None = None) -> None:
        """Set a value aside that was taken and did not serve, with a warning if there is a flaw."""
        self.aside[name] = as_json(value)
        if flaw is not None:
            self.warn(f"{name}: {flaw}")

    def warn(self, message: str) -> None:
        """Add a warning."""
        self.warnings.append(f"{self._shown}{message}")

    def _set_aside(self, name: str, value: Any, flaw: str) -> None:
        self.aside[name] = as_json(value)
        self.warn(f"{name}: {flaw}")


def as_json(value: Any) -> Any:
    """Give any cell as JSON that both databases can hold.

    Bytes, and text that is none, are ``{"base64": ...}``.
    """
    if isinstance(value, str):
        if is_storable_text(value):
            return value
        value = value.encode("utf-8", "surrogatepass" if _has_others(value) else "surrogateescape")
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    return value


def _has_others(text: str) -> bool:
    """Tell whether there are surrogates that stand for no byte."""
    return any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in text)


def as_uuid(value: Any) -> str | None:
    """Give a UUID as 36 characters, from its text with or without dashes, or its 16 bytes."""
    if isinstance(value, str):
        if not _UUID.fullmatch(value):
            return None
        # By hand: uuid.UUID() takes ten times as long, for every row twice.
        text = value.lower()
        if len(text) > _UUID_DIGITS:
            return text
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    if isinstance(value, bytes) and len(value) == _UUID_BYTES:
        return str(uuid.UUID(bytes=value))
    return None


def printable_key(name: str) -> str:
    """Give the name of a column as a key of JSON."""
    return _UNSTORABLE.sub("\ufffd", name)


def key_text(value: Any) -> str:
    """Give the text by which an old id goes into a key: another one for each value and type."""
    return str(value) if type(value) is int else json.dumps(as_json(value))


def shown_value(value: Any) -> str:
    """Give a value for a path or a message: short, and in any encoding."""
    text = value if isinstance(value, str) else repr(value)
    return _UNSTORABLE.sub("\ufffd", text)[:_SHOWN_CHARACTERS]
