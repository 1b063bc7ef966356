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
import sys
import uuid
from collections.abc import Callable, Sequence
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


def writer_of(field: Any) -> Callable[[Any], Any]:
    """Give what checks a value for a field and makes of it what both drivers take, in one step.

    What nearly all values are is seen at a glance, at half the cost; only others are asked more.

    :return: a function of a value that is not None, which raises what the field's ``check`` does.
    """
    if isinstance(field, ReferenceField):
        return writer_of(field.rel_field)
    if type(field) is JsonField:
        return storable_json  # spares parsing the text that was just written
    if isinstance(field, UtcTimeField):
        return _time_writer(field.checked_text)
    if isinstance(field, _Text):
        return _text_writer(field)
    if isinstance(field, RealField):
        return _real_writer(field.check)
    if isinstance(field, WholeNumberField | FlagField | UuidField):
        check: Callable[[Any], Any] = field.check
        return check
    return lambda value: field.db_value(field.check(value))


def _text_writer(field: _Text) -> Callable[[Any], Any]:
    check, allowed = field.check, frozenset(field.allowed)
    if allowed:
        return lambda value: value if type(value) is str and value in allowed else check(value)
    most = getattr(field, "max_length", None) or sys.maxsize

    def write(value: Any) -> str:
        is_plain = type(value) is str and 0 < len(value) <= most
        return value if is_plain and value.isascii() and "\0" not in value else check(value)

    return write


def _time_writer(checked_text: Callable[[Any], str]) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        if type(value) is dt.datetime and value.tzinfo is dt.UTC:
            return value.isoformat(timespec="microseconds")
        return checked_text(value)

    return write


def _real_writer(check: Callable[[Any], float]) -> Callable[[Any], float]:
    def write(value: Any) -> float:
        return value if type(value) is float and math.isfinite(value) else check(value)

    return write


_KINDS = {
    "TEXT": "text",
    "VARCHAR": "text",
    "BIGINT": "integer",
    "INT": "integer",
    "SMALLINT": "integer",
    "DOUBLE": "real",
    "FLOAT": "real",
    "UTCTIME": "time",
    "DATETIME": "datetime",
    "DATE": "date",
    "JSON": "json",
    "UUID": "uuid",
    "BOOL": "boolean",
    "BLOB": "bytes",
}


def stored_field(field: Any) -> Any:
    """Give the field whose values a column holds: of a foreign key, the key that it refers to."""
    while isinstance(field, peewee.ForeignKeyField):
        field = field.rel_field
    return field


def kind_of(field: Any) -> str | None:
    """Give what both databases make of a field's values; None: nothing that is the same on both.

    :return: text, integer, real, time (an instant), datetime (without a zone), date, json, uuid,
        boolean or bytes. Peewee's own UUIDField is text: it writes 32 digits without dashes, and
        reads nothing else.
    """
    plain = stored_field(field)
    if type(plain).field_type == "UUID" and not isinstance(plain, UuidField):
        return "text"
    return _KINDS.get(plain.field_type)


def length_of(field: Any) -> int | None:
    """Give how many characters a text column takes; None where there is no limit."""
    plain = stored_field(field)
    if isinstance(plain, peewee.UUIDField):
        return 32
    return getattr(plain, "max_length", None)
