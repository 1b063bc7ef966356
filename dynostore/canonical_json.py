"""The one text of a JSON value, which SQLite keeps and which is equal where the values are."""

from __future__ import annotations

import decimal
import json
import marshal
import re
from typing import Any

import orjson

# How marshal writes a float that JSON has no word for: its type, with or without the flag of what
# may be referred to, and eight bytes, the lowest first.
_NOT_FINITE = re.compile(rb"[g\xe7].{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)
# A number's end: in a UUID, of which JSON is full, more digits, a dash or a quote follow.
_EXPONENT = re.compile(r"e[+-]\d+(?:[],}]|\Z)", re.ASCII)
_NUMBER_AS_KEY = re.compile(r'"-?\d[\d.e+-]*":', re.ASCII)
_STRING_OR_GREAT_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.]*e\+\d+', re.DOTALL)
_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def json_text(value: Any) -> str:
    """Give the one text of a JSON value: sorted keys, no spaces, no ASCII escapes, no NaN.

    Floats have a fraction and no positive exponent: jsonb gives ``1e+30`` back as an integer, and
    the integer 10**30 is not the float.

    :raises ValueError: NaN or an infinity.
    :raises TypeError: something that JSON cannot say.
    """
    return _plain_json_text(value) or _any_json_text(value)


def _any_json_text(value: Any) -> str:
    text = _CANONICAL.encode(value)
    return _STRING_OR_GREAT_FLOAT.sub(_without_exponent, text) if "e+" in text else text


def _plain_json_text(value: Any) -> str | None:
    """Give the text in a fifth of the time, or None where the standard library must be asked.

    orjson writes what it knows as it likes: NaN as null, UUIDs and enumerations as text, very great
    and very small floats its own way. marshal, which is as quick, refuses all but Python's plain
    types, and shows each float's bytes.
    """
    try:
        plain = marshal.dumps(value)
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError, RecursionError):  # also a key that is no text
        return None
    # One character first: found missing in a hundredth of the time, and nearly always missing.
    if (b"\x7f" in plain or b"\xff" in plain) and "null" in text and _NOT_FINITE.search(plain):
        return None
    if ("-" in text or "+" in text) and _EXPONENT.search(text):
        return None
    if "." in text and "0.0000" in text:
        return None
    return text


def _without_exponent(match: re.Match[str]) -> str:
    token = match.group()
    return token if token[0] == '"' else f"{decimal.Decimal(token):f}.0"


def storable_json(value: Any) -> str:
    """Give the one text of a value that JSON and jsonb can both hold.

    :raises ValueError: NaN, NUL, a lone surrogate, a circle, too deep, or nothing that JSON knows.
    """
    text = _plain_json_text(value) or _any_storable_json(value)
    _refuse_nul(text)
    return text


def _refuse_nul(text: str) -> None:
    # In the text NUL is always escaped; an escaped backslash before "u0000" is no NUL.
    if "\\" in text and "\\u0000" in text and re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):
        raise ValueError("contains \\u0000, which jsonb cannot hold")


def stored_value(value: Any) -> Any:
    """Give a value as a read of its text gives it: tuples are lists, numbers as keys are text.

    :raises ValueError: what :func:`storable_json` raises.
    """
    text = _plain_json_text(value)
    if text is None:  # orjson would make floats of integers that it never writes
        return json.loads(storable_json(value))
    _refuse_nul(text)
    return orjson.loads(text)


def _any_storable_json(value: Any) -> str:
    try:
        text = _any_json_text(value)
        # Numbers as keys were sorted as numbers; whoever reads them finds text.
        if _NUMBER_AS_KEY.search(text):
            text = json_text(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (TypeError, ValueError) as exc:  # NaN, a circle, a type that JSON does not have
        raise ValueError(f"not JSON: {exc}") from None
    if not is_storable_text(text):
        raise ValueError("contains a lone surrogate, which jsonb cannot hold")
    return text


def is_storable_text(text: str) -> bool:
    """Tell whether both databases can hold it: no NUL is in it, and no half of a surrogate pair."""
    if "\x00" in text:
        return False
    if text.isascii():  # one pass in C, and true of nearly all text
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
