"""Which rows leave a store, and in which order: at one moment of it, in flat memory."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import peewee

from dynostore import errors, models
from dynostore.canonical_json import is_storable_text
from dynostore.database import StoreDatabase
from dynostore.driver_errors import is_undecodable
from dynostore.errors import quoted
from dynostore.fields import FlagField, JsonField, UtcTimeField, UuidField, time_text
from dynostore.models.base import Record, key_field
from dynostore.repositories import (
    ConversationRepository,
    HistoryRepository,
    IdeationRepository,
    MemoryRepository,
    RunRepository,
    SessionRepository,
    TaskRepository,
    TodoRepository,
)

Row = dict[str, Any]
"""A row's values by column, as JSON can say them: times are text, NULL is None."""

_FIRST_PAGE_ROWS = 50
_MOST_PAGE_ROWS = 1_000
_PAGE_BYTES = 4 * 1024 * 1024
_TABLES: Mapping[str, type[Record]] = {
    str(model._meta.table_name): model for model in models.REPLICATED
}
FAMILIES: Mapping[str, tuple[str, ...]] = {
    family: tuple(str(model._meta.table_name) for model in repository.MODELS)
    for family, repository in {
        "runs": RunRepository,
        "tasks": TaskRepository,
        "sessions": SessionRepository,
        "todos": TodoRepository,
        "history": HistoryRepository,
        "memories": MemoryRepository,
        "conversations": ConversationRepository,
        "ideation": IdeationRepository,
    }.items()
}
"""The tables of each family, by the name of the store's attribute."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows to take: by default all of all tables.

    What belongs to a record, such as the files of a run, goes with it.

    :ivar tables: their names; empty: all.
    :ivar since: records created at or after; aware.
    :ivar until: records created before; aware.
    :ivar keys: whole keys by the name of their table, which refers to no other one; where any are
        given, nothing else is taken.
    """

    tables: Sequence[str] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    keys: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def models(self, *, with_parents: bool) -> list[type[Record]]:
        """Give the tables to write, parents before children.

        :param with_parents: take the tables too that the chosen ones refer to.
        :raises ConfigError: there is no such table.
        """
        for name in (*self.tables, *self.keys):
            if name not in _TABLES:
                raise errors.ConfigError(f"tables: {quoted(name)} is none of {', '.join(_TABLES)}")
        wanted = [_TABLES[name] for name in self.tables or _TABLES]
        if with_parents:
            wanted += [parent for model in wanted for parent in model._meta.refs.values()]
        return [model for model in models.REPLICATED if model in wanted and self._may_hold(model)]

    def _may_hold(self, model: type[Record]) -> bool:
        roots = {str(parent._meta.table_name) for parent in (model, *model._meta.refs.values())}
        return not self.keys or not roots.isdisjoint(self.keys)

    def condition(self, model: type[Record]) -> Any:
        """Give what a table's rows must fulfil, for Peewee; None: nothing."""
        if not self.keys and self.since is None and self.until is None:
            return None
        own = self._own_condition(model)
        for field, parent in model._meta.refs.items():
            chosen = parent.select(key_field(parent)).where(self.condition(parent))
            mine = field.in_(chosen)
            return (field.is_null() & own) | mine if field.null else mine
        return own

    def _own_condition(self, model: type[Record]) -> Any:
        if self.keys:
            keys = [*self.keys.get(str(model._meta.table_name), ())]
            chosen = key_field(model).in_(keys) if keys else peewee.SQL("1 = 0")
        else:
            chosen = peewee.SQL("1 = 1")
        created: Any = model._meta.columns.get("created_at")
        if created is not None and self.since is not None:
            chosen &= created >= self.since
        if created is not None and self.until is not None:
            chosen &= created < self.until
        return chosen


def read_rows(db: StoreDatabase, model: type[Record], condition: Any) -> Iterator[list[Row]]:
    """Give a table's rows by ascending key, in pages of a few megabytes.

    Each page is asked for by the key that the last one ended with, so that no cursor is held open
    and a server sends no more than a page ahead. Call it inside ``db.snapshot()``.
    """
    key = key_field(model)
    columns = [(name, _plain_value(field)) for name, field in model._meta.columns.items()]
    key_at = [name for name, _ in columns].index(key.column_name)
    size, last = _FIRST_PAGE_ROWS, None
    while True:
        query = model.select(*model._meta.columns.values())
        if condition is not None:
            query = query.where(condition)
        if last is not None:
            query = query.where(key > last)
        # Not Peewee's own rows: it asks every column of every row to convert itself.
        sql, parameters = db.get_sql_context().sql(query.order_by(key).limit(size)).query()
        found = _page(db, sql, parameters, key_at)
        if found:
            last = found[-1][key_at]
            yield [
                {
                    name: value if plain is None or value is None else plain(value)
                    for (name, plain), value in zip(columns, row, strict=True)
                }
                for row in found
            ]
        if len(found) < size:
            return
        size = _next_size(size, found)


def _page(
    db: StoreDatabase, sql: str, parameters: Sequence[Any], key_at: int
) -> list[Sequence[Any]]:
    """Give the rows of a page; bytes in text that are not UTF-8 are half surrogate pairs.

    Such a row has no form to leave in, and is to keep no other one from leaving.
    """
    try:
        return [*db.execute_sql(sql, parameters).fetchall()]
    except (errors.DynostoreError, peewee.OperationalError, sqlite3.OperationalError) as exc:
        if not is_undecodable(exc):
            raise
        connection = db.connection()
        connection.text_factory = _escaped  # not always: Python's own decoder takes half the time
        try:
            found = [*db.execute_sql(sql, parameters).fetchall()]
        finally:
            connection.text_factory = str
        if not all(is_storable_text(str(row[key_at])) for row in found):
            raise  # no page could be asked for behind such a key
        return found


def _escaped(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _next_size(size: int, found: Sequence[Sequence[Any]]) -> int:
    page_bytes = sum(len(value) for row in found for value in row if isinstance(value, str))
    fitting = size * _PAGE_BYTES // max(page_bytes, 1)
    return max(1, min(fitting, size * 4, _MOST_PAGE_ROWS))


def _plain_value(field: Any) -> Callable[[Any], Any] | None:
    """Give what makes JSON of a driver's value, other than None; None: it is so already."""
    while isinstance(field, peewee.ForeignKeyField):
        field = field.rel_field
    if isinstance(field, JsonField):
        return field.python_value
    if isinstance(field, UtcTimeField):
        return lambda value: time_text(value) if isinstance(value, dt.datetime) else value
    if isinstance(field, FlagField):
        return lambda value: bool(value) if value in (0, 1) else value
    if isinstance(field, UuidField):
        return str
    return None
