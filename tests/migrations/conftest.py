"""Databases at any version, steps to take them there, and what their schema is."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import database, migrator
from dynostore.models import Import, Run, RunFile

Schema = dict[str, Any]
T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Give a directory with the first real step and three of our own, which the tests may change.

    0002 adds columns, one of them not null; 0003 rebuilds a parent table; 0004 deletes rows.
    """
    directory = tmp_path / "steps"
    shutil.copytree(Path(__file__).parent / "steps", directory)
    first = migrator.step_names()[0]
    shutil.copy(migrator.directory() / f"{first}.py", directory)
    return directory


@pytest.fixture(params=["sqlite", "postgres"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a database without any table: on SQLite, then on Postgres."""
    if request.param == "sqlite":
        return str(tmp_path / "blank.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def blank(blank_url: str) -> Iterator[Any]:
    """Give the database of ``blank_url``."""
    db = database.connect(blank_url)
    yield db
    db.shut()


@pytest.fixture
def fill() -> Callable[[Any], None]:
    """Give a function that puts twenty runs with two files each, and imports, into version 1."""

    def insert(db: Any) -> None:
        files = []
        for number in range(20):
            db.execute(
                Run.insert(
                    id=f"r{number}",
                    status="complete",
                    source="s",
                    created_at=T0,
                    updated_at=T0,
                    jetstream_id=f"J{number}",
                    input_filename="i.csv",
                    metadata={"n": [number]},
                )
            )
            for name in ("a", "b"):
                key = f"00000000-0000-0000-0000-{number:011}{name}"
                files.append({"id": key, "run": f"r{number}", "filename": name, "created_at": T0})
            key = f"00000000-0000-0000-0000-{number:012}"
            status = "skipped" if number % 2 else "created"
            db.execute(
                Import.insert(id=key, kind="k", source_path="p", status=status, imported_at=T0)
            )
        db.execute(RunFile.insert_many(files))

    return insert


@pytest.fixture
def schema_of() -> Callable[[Any], Schema]:
    """Give a function that says all of a database's tables that two ways to make them could vary.

    Names of constraints are left out: Postgres makes them up.
    """

    def schema(db: Any) -> Schema:
        read = _sqlite_table if db.dialect == "sqlite" else _postgres_table
        with db.reading():
            return {table: read(db, table) for table in db.get_tables()}

    return schema


def _sqlite_table(db: Any, table: str) -> Schema:
    def rows(pragma: str, name: str) -> list[Any]:
        return list(db.execute_sql(f'PRAGMA {pragma}("{name}")').fetchall())

    return {
        "columns": [row[1:] for row in rows("table_info", table)],
        "indexes": sorted(
            (index[2], [row[2] for row in rows("index_info", index[1])])
            for index in rows("index_list", table)
        ),
        "references": sorted(row[2:] for row in rows("foreign_key_list", table)),
    }


_POSTGRES_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid), c.collname
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_POSTGRES_INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = %s ORDER BY 1"
_POSTGRES_CONSTRAINTS = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY 1
"""


def _postgres_table(db: Any, table: str) -> Schema:
    def rows(sql: str) -> list[Any]:
        return list(db.execute_sql(sql, (table,)).fetchall())

    return {
        "columns": rows(_POSTGRES_COLUMNS),
        "indexes": [definition.partition(" ON ")[2] for (definition,) in rows(_POSTGRES_INDEXES)],
        "references": rows(_POSTGRES_CONSTRAINTS),
    }
