"""What all repositories share: bulk writing of whole records, pages, ids by their beginning."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.fields import time_text
from dynostore.models.base import Record, checked, key_field

RecordT = TypeVar("RecordT", bound=Record)

_BATCH_RECORDS = 500
_MAX_VARIABLES = 30_000  # SQLite's default limit of bound values is 32,766


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


@dataclasses.dataclass(frozen=True)
class Refused:
    """A record that :meth:`Repository.put_many` did not write, and why."""

    record: Record
    reason: str


def cursor_after(created_at: dt.datetime, key: str) -> str:
    """Give the opaque mark of a place in a list ordered by time and key."""
    text = json.dumps([time_text(created_at), key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[dt.datetime, str]:
    """Give back what :func:`cursor_after` was given.

    :raises InvalidValue: not a cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        time, key = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        return dt.datetime.fromisoformat(time), str(key)
    except (ValueError, TypeError, UnicodeError):
        raise errors.InvalidValue("after", f"{cursor!r} is not a cursor of this list") from None


def check_window(limit: int, offset: int = 0) -> None:
    """Refuse a limit below 1 or an offset below 0.

    :raises InvalidValue: names the argument.
    """
    if limit < 1:
        raise errors.InvalidValue("limit", f"{limit} is less than 1")
    if offset < 0:
        raise errors.InvalidValue("offset", f"{offset} is negative")


class Repository:
    """The base of a family's repository.

    :cvar MODELS: the family's tables, parents before children.
    :cvar NOT_FOUND: the family's not-found error.
    """

    MODELS: tuple[type[Record], ...] = ()
    NOT_FOUND: type[errors.NotFound] = errors.NotFound

    def __init__(self, database: StoreDatabase) -> None:
        self._db = database

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole records as they are given: times, versions and all.

        New ones are inserted, existing ones replaced by key, in batches of one transaction each. A
        child may follow its parent in the same call. Where a key is given twice the last one wins.

        :return: the records that break a rule or whose parent is missing; all others are stored.
        :raises InvalidValue: a record of another family.
        """
        refused: list[Refused] = []
        iterator = iter(records)
        while batch := list(itertools.islice(iterator, _BATCH_RECORDS)):
            by_model: dict[type[Record], list[tuple[Record, dict[str, Any]]]] = {
                model: [] for model in self.MODELS
            }
            for record in batch:
                model = type(record)
                if model not in by_model:
                    raise errors.InvalidValue("records", f"{model.__name__} is of another family")
                try:
                    row = checked(model, _complete(record))
                except errors.InvalidValue as exc:
                    refused.append(Refused(record, str(exc)))
                else:
                    by_model[model].append((record, row))
            with self._db.writing():
                for model, rows in by_model.items():
                    refused.extend(self._put_rows(model, rows))
        return refused

    def _put_rows(
        self, model: type[Record], rows: Sequence[tuple[Record, dict[str, Any]]]
    ) -> list[Refused]:
        """Upsert checked rows; where the database refuses a batch, halve it down to the bad one."""
        if not rows:
            return []
        key = key_field(model).name
        unique = {row[key]: row for _, row in rows}
        width = len(model._meta.columns)
        try:
            for part in _chunked(list(unique.values()), max(1, _MAX_VARIABLES // width)):
                with self._db.writing():
                    self._upsert(model, part)
            return []
        except errors.ConstraintFailed as exc:
            if len(unique) == 1:
                return [Refused(record, exc.message) for record, _ in rows]
        middle = len(rows) // 2
        return self._put_rows(model, rows[:middle]) + self._put_rows(model, rows[middle:])

    def _upsert(self, model: type[Record], rows: list[dict[str, Any]]) -> None:
        # Never INSERT OR REPLACE: it deletes the row first, and its children with it.
        meta = model._meta
        others = [field for field in meta.sorted_fields if not field.primary_key]
        query = model.insert_many(rows).on_conflict(
            conflict_target=[key_field(model)], preserve=others
        )
        query.as_rowcount().execute(self._db)

    def _first(self, query: Any) -> Any:
        with self._db.reading():
            return next(iter(query.limit(1).execute(self._db)), None)

    def _full_id(self, model: type[RecordT], prefix: str) -> str:
        """Give the one id that begins with ``prefix``; a whole id is the beginning of itself.

        :raises NotFound: the family's; no id begins so.
        :raises AmbiguousId: several do.
        """
        key = key_field(model)
        with self._db.reading():
            query = (
                model.select(key)
                .where(key.startswith(prefix))
                .order_by(key)
                .limit(6)
                .tuples()
                .execute(self._db)
            )
            found = [row[0] for row in query]
        if prefix in found or len(found) == 1:
            return prefix if prefix in found else str(found[0])
        name = model._meta.table_name
        if not found:
            raise self.NOT_FOUND(f"{name}: there is no {prefix!r}", id=prefix)
        shown = ", ".join(str(i) for i in found[:5]) + (", ..." if len(found) > 5 else "")
        raise errors.AmbiguousId(f"{name}: {prefix!r} is the beginning of {shown}", ids=found)


def _complete(record: Record) -> dict[str, Any]:
    data = record.__data__
    return {name: data.get(name) for name in type(record)._meta.fields}


def _chunked(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
