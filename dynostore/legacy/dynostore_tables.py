"""The tables of another store of ours, whatever its version, as one moment of it shows them."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from dynostore import errors
from dynostore.config import Settings, is_postgres
from dynostore.fields import (
    FlagField,
    JsonField,
    RealField,
    ReferenceField,
    UtcTimeField,
    UuidField,
)
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_sqlite import broken_reason, opened_sqlite
from dynostore.migration_steps import HISTORY_TABLE, step_names
from dynostore.models.base import Record, key_field
from dynostore.postgres_server import PostgresServer

Cells = tuple[Any, ...]
"""A row as the driver gives it, in the order of the model's columns; None where there is none."""

_PARENTS_AT_ONCE = 250
_ROWS_AT_ONCE = 1000
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class _Connection(Protocol):
    """What is asked of a database: one moment of it."""

    mark: str

    def stream(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Give the rows of a query by pieces."""
        ...

    def columns(self, table: str) -> list[str]:
        """Give a table's columns; none where there is no such table."""
        ...


class StoreTables:
    """A store's tables: only what both sides know of.

    :ivar models: those tables that are there, parents before children.
    """

    def __init__(self, connection: _Connection, models: Sequence[type[Record]], shown: str) -> None:
        self._connection = connection
        self._refuse_newer(shown)
        self._columns: dict[type[Record], str] = {}
        for model in models:
            there = set(connection.columns(str(model._meta.table_name)))
            if key_field(model).column_name in there:
                self._columns[model] = ", ".join(
                    f'"{name}"' if name in there else "NULL" for name in model._meta.columns
                )
        self.models = [*self._columns]

    def _refuse_newer(self, shown: str) -> None:
        if not self._connection.columns(HISTORY_TABLE):
            raise Unreadable("is no store of dynostore")
        steps = [
            name for (name,) in self._connection.stream(f"SELECT name FROM {HISTORY_TABLE}", ())
        ]
        unknown = sorted({*steps} - {*step_names()})
        if unknown:
            raise errors.SchemaTooNew(
                f"{shown}: was upgraded by a newer dynostore ({', '.join(unknown)})",
                hint="pip install --upgrade dynostore",
                steps=unknown,
            )

    def pages(self, model: type[Record]) -> Iterator[list[Cells]]:
        """Give all rows of a table in the order of their keys, by pages."""
        key = key_field(model).column_name
        key_at = [*model._meta.columns].index(key)
        after: list[Any] = []
        while True:
            beyond = f'WHERE "{key}" > {self._connection.mark}' if after else ""
            sql = f'{self._select(model)} {beyond} ORDER BY "{key}" LIMIT {_PARENTS_AT_ONCE}'
            page = [*self._connection.stream(sql, after)]
            if page:
                yield page
            if len(page) < _PARENTS_AT_ONCE:
                return
            after = [page[-1][key_at]]

    def below(self, model: type[Record], field: Any, keys: Sequence[Any]) -> Iterator[Cells]:
        """Give the rows that belong to some parents, in the order of the parents, then of keys."""
        marks = ", ".join([self._connection.mark] * len(keys))
        order = f'ORDER BY "{field.column_name}", "{key_field(model).column_name}"'
        sql = f'{self._select(model)} WHERE "{field.column_name}" IN ({marks}) {order}'
        return self._connection.stream(sql, keys)

    def orphans(self, model: type[Record], field: Any) -> Iterator[Any]:
        """Give the keys of the rows whose parent is not there."""
        parent, column = field.rel_model._meta.table_name, field.column_name
        table = model._meta.table_name
        there = (
            f'SELECT 1 FROM "{parent}" AS p '
            f'WHERE p."{field.rel_field.column_name}" = "{table}"."{column}"'
        )
        key = key_field(model).column_name
        sql = f'SELECT "{key}" FROM "{table}" WHERE "{column}" IS NOT NULL AND NOT EXISTS ({there})'
        return (key for (key,) in self._connection.stream(sql, ()))

    def count(self, model: type[Record]) -> int:
        """Count the rows of a table."""
        rows = self._connection.stream(f'SELECT count(*) FROM "{model._meta.table_name}"', ())
        return int(next(rows)[0])

    def _select(self, model: type[Record]) -> str:
        return f'SELECT {self._columns[model]} FROM "{model._meta.table_name}"'


class Cast:
    """Makes the values of a table's rows of what a driver gives."""

    def __init__(self, model: type[Record]) -> None:
        self._columns = tuple(model._meta.columns)
        self._converters = [
            (name, _CONVERTERS.get(type(field)) or field.python_value)
            for name, column in model._meta.columns.items()
            for field in [column.rel_field if isinstance(column, ReferenceField) else column]
            if isinstance(field, UtcTimeField | JsonField | UuidField | FlagField | RealField)
        ]

    def __call__(self, cells: Cells) -> dict[str, Any]:
        """Give the values by column; what is no value of its column stays, to be refused."""
        values = dict(zip(self._columns, cells, strict=True))
        for name, convert in self._converters:
            if values[name] is not None:
                values[name] = convert(values[name])
        return values


def _as_flag(cell: Any) -> Any:
    return bool(cell) if cell in (0, 1) else cell


def _as_real(cell: Any) -> Any:
    return float(cell) if isinstance(cell, int) else cell


_CONVERTERS = {FlagField: _as_flag, RealField: _as_real}


@contextlib.contextmanager
def opened(source: str, models: Sequence[type[Record]]) -> Iterator[StoreTables]:
    """Open another store, a file or a Postgres database, for reading only.

    :raises Unreadable: it is no store of ours, or cannot be read.
    :raises SchemaTooNew: it belongs to a newer dynostore.
    :raises DynostoreError: the server cannot be reached, or refuses.
    """
    if is_postgres(source):
        with _opened_postgres(source) as connection:
            yield StoreTables(connection, models, connection.shown)
    else:
        with opened_sqlite(source) as file:
            yield StoreTables(_Sqlite(file.connection), models, source)


class _Sqlite:
    mark = "?"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # One moment: what is written meanwhile is for the next time.
        connection.execute("BEGIN")

    def stream(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(sql, values)
        except sqlite3.DatabaseError as exc:
            raise Unreadable(broken_reason(exc)) from exc

    def columns(self, table: str) -> list[str]:
        return [name for (name,) in self.stream("SELECT name FROM pragma_table_info(?)", (table,))]


@contextlib.contextmanager
def _opened_postgres(url: str) -> Iterator[_Postgres]:
    database = PostgresServer(url, Settings(), read_only=True)
    try:
        with database.reading(), database.atomic():
            database.execute_sql(_SNAPSHOT)
            yield _Postgres(database)
    finally:
        database.shut()


class _Postgres:
    mark = "%s"

    def __init__(self, database: PostgresServer) -> None:
        self.shown = database.shown
        self._database = database
        self._names = (f"dynostore_{number}" for number in itertools.count())

    def stream(self, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        # Not psycopg2's named cursors: it has none on a connection that Peewee has set up.
        name, execute = next(self._names), self._database.execute_sql
        execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", values)
        while rows := execute(f"FETCH {_ROWS_AT_ONCE} FROM {name}").fetchall():
            yield from rows
        execute(f"CLOSE {name}")

    def columns(self, table: str) -> list[str]:
        sql = (
            "SELECT attname FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        )
        return [name for (name,) in self.stream(sql, [f'"{table}"'])]
