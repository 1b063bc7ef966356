"""One page of a list: its window, its order, its filters, and the mark of where the next begins.

Lists are ordered by a time and then by the key, so that a page begins at a place and not at a
number of rows, which others may change meanwhile.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import peewee

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import UtcTimeField, WholeNumberField, check_text, time_text
from dynostore.models.base import Record, checked, key_field

RecordT = TypeVar("RecordT", bound=Record)

_MAX_WINDOW = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class Page(Generic[RecordT]):
    """One page of a list.

    :ivar items: the records, in the list's order.
    :ivar next: give it as ``after`` to get the next page; None on the last one.
    """

    items: list[RecordT]
    next: str | None

    def __iter__(self) -> Iterator[RecordT]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def cursor_after(created_at: dt.datetime | str, key: str) -> str:
    """Give the opaque mark of a place in a list ordered by time and key.

    :param created_at: text that is no instant, which plain SQL put there, has a place in the order
        too; in a list of its own, so that no other mark can pass for one.
    """
    time = time_text(created_at) if isinstance(created_at, dt.datetime) else [created_at]
    text = json.dumps([time, key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[dt.datetime | str, str]:
    """Give back what :func:`cursor_after` was given.

    :raises InvalidValue: not a cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        time, key = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        return _moment(time), check_text(key)
    except (AttributeError, TypeError, ValueError):
        raise errors.InvalidValue(
            "after", f"{quoted(cursor)} is not a cursor of this list"
        ) from None


def _moment(time: str | list[str]) -> dt.datetime | str:
    if isinstance(time, list):
        (text,) = time
        return check_text(text)
    return UtcTimeField().check(dt.datetime.fromisoformat(time))


def check_window(limit: int, offset: int = 0) -> None:
    """Refuse a limit below 1, an offset below 0, and either above a billion.

    :raises InvalidValue: names the argument.
    """
    for name, value, least in (("limit", limit, 1), ("offset", offset, 0)):
        try:
            WholeNumberField(low=least, high=_MAX_WINDOW).check(value)
        except ValueError as exc:
            raise errors.InvalidValue(name, str(exc)) from None


def parse_place(time: peewee.Field, cursor: str) -> tuple[dt.datetime | str, Any]:
    """Give the time and key of a cursor of this table's list.

    :raises InvalidValue: not a cursor, or one of a list with keys of another kind.
    """
    moment, place = parse_cursor(cursor)
    try:
        return moment, key_field(time.model).check(place)
    except ValueError as exc:
        raise errors.InvalidValue("after", str(exc)) from None


def wanted(
    time: peewee.Field,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    **values: Any,
) -> dict[str, Any]:
    """Check filters and give those that want something, by name.

    :raises InvalidValue: names the filter that could fit no row.
    """
    found = checked(time.model, {name: v for name, v in values.items() if v is not None})
    for name, value in (("since", since), ("until", until)):
        if value is not None:
            try:
                found[name] = UtcTimeField().check(value)
            except ValueError as exc:
                raise errors.InvalidValue(name, str(exc)) from None
    return found


def with_filters(query: Any, time: peewee.Field, filters: Mapping[str, Any]) -> Any:
    """Keep the rows that fit what :func:`wanted` gave, or slots for it."""
    for name, value in filters.items():
        if name == "since":
            query = query.where(time >= value)
        elif name == "until":
            query = query.where(time < value)
        else:
            query = query.where(getattr(time.model, name) == value)
    return query


def filtered(
    query: Any,
    time: peewee.Field,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    **values: Any,
) -> Any:
    """Keep the rows whose columns have the wanted values; None wants nothing.

    :param since: keep those whose ``time`` is at or after; aware.
    :param until: keep those whose ``time`` is before; aware.
    :raises InvalidValue: names the filter that could fit no row.
    """
    return with_filters(query, time, wanted(time, since, until, **values))


def beyond(
    query: Any, time: peewee.Field, moment: Any, place: Any, *, oldest_first: bool = False
) -> Any:
    """Keep the rows that come after a place in the order."""
    key = key_field(time.model)
    # The plain bound first: an index is entered there, and by an OR it would not be.
    if oldest_first:
        return query.where((time >= moment) & ((time > moment) | (key > place)))
    return query.where((time <= moment) & ((time < moment) | (key < place)))


def in_order(query: Any, time: peewee.Field, *, oldest_first: bool = False) -> Any:
    """Order by time, newest first, then by descending key; or both the other way round."""
    key = key_field(time.model)
    return query.order_by(*((time, key) if oldest_first else (time.desc(), key.desc())))


def page_of(found: list[RecordT], time: peewee.Field, limit: int) -> Page[RecordT]:
    """Make a page of up to one row more than belongs to it, which tells that there is a next."""
    if len(found) <= limit:
        return Page(found, None)
    last = found[limit - 1]
    key = getattr(last, key_field(time.model).name)
    return Page(found[:limit], cursor_after(getattr(last, time.name), key))
