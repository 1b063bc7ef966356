"""Column types that mean the same on SQLite and Postgres, each with the check of what it accepts.

A value that passes :meth:`check` can be held by both databases. The peculiar types are those that
the two drivers treat differently: UTC time, JSON, UUID. To add one: subclass the Peewee field,
write ``check``, give ``db_value`` one form that both drivers take, and add the type to the
round-trip test in ``tests/property``.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Sequence
from typing import Any

import peewee

from dynostore.canonical_json import (
    is_storable_text,
    json_text,
    storable_json,
    stored_value,
)
from dynostore.errors import quoted

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
is_plain_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch
"""Whether text is a UUID in the form in which the store has it."""


def utc_now() -> dt.datetime:
    """Give the current time, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def time_after(previous: dt.datetime) -> dt.datetime:
    """Give the current time, or the microsecond after ``previous`` where the clock is not past it.

    So what is recorded later is later in a list too, whatever the clocks of the writers say.
    """
    now = utc_now()
    if now > previous or previous > _LATEST - _MICROSECOND:
        return max(now, previous)
    return previous + _MICROSECOND


def time_text(value: dt.datetime) -> str:
    """Give the fixed-width form of an aware time, so that text order is time order."""
    if value.tzinfo is not dt.UTC:
        value = value.astimezone(dt.UTC)
    return value.isoformat(timespec="microseconds")


def check_text(value: Any) -> str:
    """Refuse what Postgres cannot hold as text.

    :raises ValueError: no string, or one with NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise ValueError(f"text expected, not {type(value).__name__}")
    if not is_storable_text(value):
        raise ValueError("contains NUL or a lone surrogate, which Postgres cannot hold")
    return value


class _Text(peewee.Field):
    """What both text types share: the collation, and an optional closed list of plain strings."""

    def __init__(self, *, choices: Sequence[str] | None = None, **kwargs: Any) -> None:
        self.allowed = tuple(choices or ())
        super().__init__(choices=[(c, c) for c in self.allowed] or None, **kwargs)

    def ddl_datatype(self, ctx: Any) -> peewee.SQL:
        """Add the database's collation, so that text sorts alike on both (by code point)."""
        declared: peewee.SQL = super().ddl_datatype(ctx)
        return peewee.SQL(declared.sql + ctx.state.field_types.get("COLLATION", ""))

    def python_value(self, value: Any) -> Any:
        """Give text; bytes that are none, put there by plain SQL, stay for ``check`` to report."""
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value

    def check(self, value: Any) -> str:
        """Accept storable text, one of the choices if there are any."""
        text = check_text(value)
        if self.allowed and text not in self.allowed:
            raise ValueError(f"unknown value {quoted(text)}; one of {', '.join(self.allowed)}")
        return text


class TextField(_Text, peewee.TextField):
    """Text of any length."""


class StringField(_Text, peewee.CharField):
    """Text up to ``max_length`` characters (255 by default); never empty when it is a key."""

    def check(self, value: Any) -> str:
        """Accept storable text that fits, one of the choices if there are any."""
        text = super().check(value)
        if len(text) > self.max_length:
            raise ValueError(f"{len(text)} characters; at most {self.max_length}")
        if not text and self.primary_key:
            raise ValueError("must not be empty")
        return text


class ReferenceField(peewee.ForeignKeyField):
    """A foreign key of exactly the type and collation of the key that it refers to."""

    def ddl_datatype(self, ctx: Any) -> Any:
        """Give the referred key's type; Postgres refuses to compare two collations."""
        return self.rel_field.ddl_datatype(ctx)

    def check(self, value: Any) -> Any:
        """Accept what the key accepts."""
        return self.rel_field.check(value)


class WholeNumberField(peewee.BigIntegerField):
    """A 64-bit integer on both databases, optionally within bounds.

    :param low: least value accepted.
    :param high: greatest value accepted.
    """

    def __init__(self, *, low: int = INT64_MIN, high: int = INT64_MAX, **kwargs: Any) -> None:
        self.low, self.high = low, high
        super().__init__(**kwargs)

    def check(self, value: Any) -> int:
        """Accept an int, no bool, within the bounds."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"integer expected, not {type(value).__name__}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{quoted(value)} is not between {self.low} and {self.high}")
        return value


class RealField(peewee.DoubleField):
    """A double; no NaN (SQLite would store NULL) and no infinity."""

    def check(self, value: Any) -> float:
        """Accept a finite int or float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"number expected, not {type(value).__name__}")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError("is greater than any double") from None
        if not math.isfinite(number):
            raise ValueError(f"{number} is not a finite number")
        return number


class FlagField(peewee.BooleanField):
    """Yes or no; 1 and 0 in SQLite, which has no type for it."""

    def check(self, value: Any) -> bool:
        """Accept True and False, and no number that would have to be one of them."""
        if not isinstance(value, bool):
            raise ValueError(f"true or false expected, not {type(value).__name__}")
        return value


class UtcTimeField(peewee.Field):
    """An instant: ``timestamptz`` in Postgres, fixed-width ISO text in SQLite, aware UTC in Python.

    Years 1 to 9999, microseconds. Text order is time order.
    """

    field_type = "UTCTIME"

    def check(self, value: Any) -> dt.datetime:
        """Accept an aware datetime; a naive one has no meaning that could be guessed."""
        if not isinstance(value, dt.datetime):
            raise ValueError(f"datetime expected, not {type(value).__name__}")
        if value.tzinfo is dt.UTC:  # nearly always
            return value
        if value.utcoffset() is None:
            raise ValueError(
                "naive datetime; give it a time zone, as in datetime.now(timezone.utc)"
            )
        try:
            return value.astimezone(dt.UTC)
        except OverflowError:
            raise ValueError(f"{value} is outside the years 1 to 9999 in UTC") from None

    def db_value(self, value: Any) -> Any:
        """Give text to both drivers; Postgres reads it as ``timestamptz``."""
        return self.checked_text(value) if isinstance(value, dt.datetime) else value

    def checked_text(self, value: Any) -> str:
        """Check a value that is written and not given back: give the fixed-width text.

        :raises ValueError: what ``check`` raises.
        """
        return time_text(self.check(value))

    def python_value(self, value: Any) -> Any:
        """Give an aware UTC datetime; text that is no instant stays, for ``check`` to report."""
        if isinstance(value, dt.datetime):
            return value.astimezone(dt.UTC)
        if not isinstance(value, str):
            return value
        try:
            time = dt.datetime.fromisoformat(value)
            if time.tzinfo is dt.UTC:  # nearly always
                return time
            return value if time.tzinfo is None else time.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            return value


class CheckedJson(str):
    """The canonical text of a JSON value that was checked: it is written as it is."""


class JsonField(peewee.Field):
    """A JSON value: canonical text in SQLite, ``jsonb`` in Postgres, parsed in Python.

    None is SQL NULL; JSON's own ``null`` cannot be a whole value. Peewee's JSONField needs a bound
    model (unbound, a read gives the raw text), so this is our own. The Postgres connections of
    :mod:`dynostore.database` hand out jsonb as text, so that both databases are parsed here.
    """

    field_type = "JSON"

    def check(self, value: Any) -> Any:
        """Accept what JSON and jsonb can both hold: no NaN, no NUL, no lone surrogate.

        Gives the value as a read will give it: tuples are lists, numbers as keys are text.
        """
        return stored_value(value)

    def checked_text(self, value: Any) -> CheckedJson:
        """Check a value that is written and not given back: that needs its text alone.

        :raises ValueError: what ``check`` raises.
        """
        return CheckedJson(storable_json(value))

    def db_value(self, value: Any) -> Any:
        """Give canonical text; Postgres reads it as jsonb."""
        if value is None or isinstance(value, peewee.Node):
            return value
        if isinstance(value, CheckedJson):
            return str(value)
        return json_text(value)

    def python_value(self, value: Any) -> Any:
        """Parse the text; what plain SQL broke comes back as text, for ``check`` to report."""
        if isinstance(value, str | bytes):
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value


class UuidField(peewee.Field):
    """A UUID: ``uuid`` in Postgres, 36 lower-case characters in SQLite, ``str`` in Python.

    Peewee's own field writes 32 hex digits, which Postgres prints otherwise: a key needs one form.
    """

    field_type = "UUID"

    def check(self, value: Any) -> str:
        """Accept a UUID or any text form of one; gives the form with dashes."""
        if isinstance(value, str) and is_plain_uuid(value):  # nearly always
            return value
        if isinstance(value, uuid.UUID):
            return str(value)
        try:
            return str(uuid.UUID(check_text(value)))
        except ValueError:
            raise ValueError(f"not a UUID: {quoted(value)}") from None

    def db_value(self, value: Any) -> Any:
        """Give the 36 characters; anything else goes as it is, to match no row."""
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, str) and not is_plain_uuid(value):
            try:
                return str(uuid.UUID(value))
            except ValueError:
                return value
        return value

    def python_value(self, value: Any) -> Any:
        """Give the 36 characters."""
        return str(value) if isinstance(value, uuid.UUID) else value
