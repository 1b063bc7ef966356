"""Somebody else's Postgres database, read in one snapshot that holds up no writer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from dynostore.config import Settings
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_tables import Cells, Table, quoted
from dynostore.postgres_server import PostgresServer

_PAGE_ROWS = 500
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# The first schema of the search path that has a table of the name is the one that a program sees.
_COLUMNS = """
SELECT c.relname, a.attname, t.typname, t.typcategory,
       array_position(current_schemas(false), n.nspname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false))
ORDER BY 5, 1, a.attnum
"""
_AS_THEY_ARE = {"int2", "int4", "int8", "bool", "float4", "float8"}


@contextlib.contextmanager
def opened_postgres(url: str) -> Iterator[PostgresTables]:
    """Open a database for reading only.

    :raises DynostoreError: the server cannot be reached, or refuses.
    """
    database = PostgresServer(url, Settings(), read_only=True)
    try:
        with database.reading(), database.atomic():
            database.execute_sql(_SNAPSHOT)
            yield PostgresTables(database)
    finally:
        database.shut()


class PostgresTables:
    """The tables of one database; :class:`~dynostore.legacy.source_tables.SourceTables`.

    Every cell that is no number comes as text, in the form in which the server writes it.
    """

    def __init__(self, database: PostgresServer) -> None:
        self._database = database
        self._cursors = 0
        columns: dict[str, list[tuple[str, str]]] = {}
        places: dict[str, int] = {}
        for table, column, kind, category, place in self._rows(_COLUMNS):
            if places.setdefault(table, place) == place:
                columns.setdefault(table, []).append((column, _expression(column, kind, category)))
        self.tables = {
            name: Table(name, tuple(c for c, _ in found), tuple(e for _, e in found))
            for name, found in sorted(columns.items())
        }

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        cursor = self._database.execute_sql(sql, values)
        return list(cursor.fetchall()) if cursor.description else []

    def scan(self, table: Table) -> Iterator[Cells]:
        """Give all rows, in the server's order."""
        return self._stream(table, "")

    def matching(self, table: Table, column: str, values: Sequence[Any]) -> list[Cells]:
        """Give the rows with one of some values."""
        # Compared as the column's own type, so that an index serves.
        marks = ", ".join(["%s"] * len(values))
        sql = f"{_select(table)} WHERE {quoted(column)} IN ({marks})"
        return [dict(zip(table.columns, row, strict=True)) for row in self._rows(sql, values)]

    def without_parent(self, table: Table, column: str, parent: Table, key: str) -> Iterator[Cells]:
        """Give the rows that refer to no row."""
        there = (
            f"SELECT 1 FROM {quoted(parent.name)} AS p "
            f"WHERE p.{quoted(key)}::text = {quoted(table.name)}.{quoted(column)}::text"
        )
        return self._stream(table, f"WHERE NOT EXISTS ({there})")

    def _stream(self, table: Table, condition: str) -> Iterator[Cells]:
        """Give rows by pages, which a cursor of the server holds ready."""
        # In SQL: psycopg2's own named cursors ask for a transaction that psycopg2 began.
        self._cursors += 1
        cursor = f"dynostore_{self._cursors}"
        self._rows(f"DECLARE {cursor} NO SCROLL CURSOR FOR {_select(table)} {condition}")
        try:
            while page := self._rows(f"FETCH {_PAGE_ROWS} FROM {cursor}"):
                for row in page:
                    yield dict(zip(table.columns, row, strict=True))
        except UnicodeDecodeError as exc:  # a database whose encoding is SQL_ASCII
            raise Unreadable(f"{table.name}: text that is not UTF-8: {exc}") from None

    def repeated(self, table: Table, column: str) -> set[str]:
        """Give the UUIDs that stand in several rows."""
        text = f"lower(replace({quoted(column)}::text, '-', ''))"
        sql = f"SELECT {text} FROM {quoted(table.name)} GROUP BY 1 HAVING count(*) > 1"
        return {value for (value,) in self._rows(sql) if value is not None}

    def count(self, table: Table) -> int:
        """Count the rows."""
        return int(self._rows(f"SELECT count(*) FROM {quoted(table.name)}")[0][0])


def _select(table: Table) -> str:
    return f"SELECT {', '.join(table.expressions)} FROM {quoted(table.name)}"


def _expression(column: str, kind: str, category: str) -> str:
    """Ask for a column in a form that every value of its type has.

    A driver's own conversion fails with times such as infinity, and takes arrays apart.
    """
    name = quoted(column)
    if kind in _AS_THEY_ARE:
        return name
    return f"to_jsonb({name})::text" if category in ("A", "N", "C") else f"{name}::text"
