"""Reading JSON that somebody else wrote: any flaw is a reason, none is a crash."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from dynostore.canonical_json import is_storable_text
from dynostore.legacy.base import Unreadable

MAX_BYTES = 64 * 1024 * 1024
"""A larger document is no description of a record; reading it would take many times its size."""

MAX_LEVELS = 100
"""How deep a document may be nested: far above any real one, far below where Python gives up."""

_TOO_DEEP = f"nested more than {MAX_LEVELS} levels deep"

# What JSON text can say and Postgres cannot hold. A surrogate pair is harmless and looks alike: the
# value is looked at then.
_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_BETWEEN_OBJECTS = re.compile(rb"}\s*,\s*{")
_PATH_SHOWN = 200  # characters: a key may be as long as its document
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _NotFinite(Exception):
    """A number that JSON does not have, or one that is none to Python, such as 1e999."""


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotFinite
    return number


_FINITE_JSON = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _load(text: str) -> Any:
    """Give the value of a text, all of it storable.

    :raises Unreadable: names what is not.
    """
    try:
        value = _FINITE_JSON.decode(text)
    except _NotFinite:
        value = json.loads(text)
    else:
        if "\\" not in text or not _SUSPICIOUS.search(text):
            return value
    _refuse_unstorable(value, "")
    return value


def parse(data: bytes) -> tuple[Any, str | None]:
    """Give a document's value, and a warning where it had to be read with indulgence.

    A byte order mark is passed over, UTF-16 behind one is read.

    :raises Unreadable: empty, too large, not UTF-8, not JSON, nested too deeply, or with a value
        that Postgres cannot hold (NaN, NUL, half a surrogate pair), which is named by its path.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"JSON of more than {MAX_BYTES // 2**20} MiB")
    if not data.strip():
        raise Unreadable("the file is empty")
    text, warning = _decode(data)
    try:
        value = _load(text)
        if text.count("[") + text.count("{") > MAX_LEVELS:
            _refuse_depth(value, MAX_LEVELS)
    except RecursionError:
        raise Unreadable(_TOO_DEEP) from None
    except json.JSONDecodeError as exc:
        # A document that was cut off fails at its end, or in the string that has no end.
        cut = exc.pos >= len(text.rstrip()) or exc.msg.startswith("Unterminated")
        what = "truncated JSON" if cut else "not JSON"
        raise Unreadable(f"{what}: {exc.msg}, line {exc.lineno} column {exc.colno}") from None
    except Unreadable:
        raise
    except ValueError as exc:  # an integer of more than 4,300 digits
        raise Unreadable(f"not JSON: {exc}") from None
    return value, warning


def _decode(data: bytes) -> tuple[str, str | None]:
    encoding, warning = "UTF-8", None
    if data.startswith(_BOMS):
        encoding = "UTF-8" if data.startswith(codecs.BOM_UTF8) else "UTF-16"
        warning = f"begins with a byte order mark; read as {encoding}"
    try:
        return data.decode(encoding).removeprefix("\ufeff"), warning
    except UnicodeDecodeError as exc:
        raise Unreadable(f"not {encoding} at byte {exc.start}") from None


def parse_object(data: bytes) -> tuple[dict[str, Any], str | None]:
    """Give a document that is an object at its top; see :func:`parse`."""
    value, warning = parse(data)
    if not isinstance(value, dict):
        raise Unreadable(f"an object is expected at the top, not {type(value).__name__}")
    return value, warning


def parse_objects(documents: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Give the values of many plain objects, in half the time that one after the other takes.

    :return: None where any of them is not beyond doubt: then :func:`parse` says why, or reads it.
    """
    if not all(d.startswith(b'{"') and d.endswith(b"}") for d in documents):
        return None
    data = b",".join(documents)
    # Every comma between two objects of the list must be one of ours, or documents could be cut in
    # other places than they are: `{"a":1},{"b":1}` and two halves of one are three objects too.
    if len(_BETWEEN_OBJECTS.findall(data)) != len(documents) - 1:
        return None
    if any(d.count(b"[") + d.count(b"{") > MAX_LEVELS for d in documents):
        return None
    try:
        values = _load(f"[{data.decode()}]")
    except (ValueError, RecursionError):
        return None
    is_plain = isinstance(values, list) and len(values) == len(documents)
    return values if is_plain and all(isinstance(value, dict) for value in values) else None


def _refuse_unstorable(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key, f"a key in {path or 'the top'}")
            _refuse_unstorable(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unstorable(item, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Unreadable(
            f"{printable(path)[:_PATH_SHOWN]}: NaN or infinity, which JSON does not have"
        )
    elif isinstance(value, str) and not is_storable_text(value):
        raise Unreadable(
            f"{printable(path)[:_PATH_SHOWN]}: NUL or half a surrogate pair in the text"
        )


def _refuse_depth(value: Any, levels_left: int) -> None:
    if isinstance(value, dict | list):
        if not levels_left:
            raise Unreadable(_TOO_DEEP)
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_depth(item, levels_left - 1)


def printable(text: str) -> str:
    """Give text that any encoding and any JSON can hold, for messages."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
