"""Reads a database for damage and contradictions: quickly, or all that can be compared."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import peewee

from dynostore import errors, models
from dynostore.database import MemoryDatabase
from dynostore.driver_errors import original, translate
from dynostore.migrator import Migrator
from dynostore.sqlite_dependents import quoted
from dynostore.sqlite_header import cut_bytes_of_open

_FULL_TEXT = (
    "SELECT name FROM sqlite_master WHERE type = 'table'"
    " AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%' ORDER BY name"
)
_ORPHANS = """
    SELECT count(*) FROM {child} c WHERE c.{column} IS NOT NULL
    AND NOT EXISTS (SELECT FROM {parent} p WHERE p.{key} = c.{column})
"""


def find_problems(db: Any, *, full: bool = True) -> list[str]:
    """Say what is damaged or contradicts itself; an empty list: nothing was found.

    Reads everything: seconds for each gigabyte.

    :param full: compare indexes with their tables, and the full-text index with its own parts; on
        Postgres look for rows whose parent is missing, which a restore without checks leaves.
    :raises StoreCorrupt: the file cannot even be read as a database.
    :raises NotOurs: it belongs to another program.
    """
    with db.reading():
        steps = Migrator(db).status()
        problems = [f"migration {step.name} is pending" for step in steps if not step.applied_at]
        if db.dialect == "sqlite":
            problems += find_damage(db, full=full)
        elif full:
            problems += _orphans(db)
    return problems


def find_damage(db: Any, *, full: bool) -> list[str]:
    """Say what is wrong with a SQLite file and the references in it, whatever its version.

    :param full: as :func:`find_problems` takes it.
    """
    pragma = "integrity_check" if full else "quick_check"
    problems: list[str] = []
    if not isinstance(db, MemoryDatabase):
        with _telling_damage(db, "the file cannot be read", problems):
            if missing := cut_bytes_of_open(db.path, db.execute_sql):
                problems.append(f"the file was truncated: {missing:,} bytes of it are missing")
    with _telling_damage(db, "the file cannot be read to its end", problems):
        for (line,) in db.execute_sql(f"PRAGMA {pragma}"):
            if line != "ok":
                # One line may tell several, below each other.
                problems.append(" ".join(str(line).split()))
    with _telling_damage(db, "references cannot be followed", problems):
        for table, rowid, parent, _ in db.execute_sql("PRAGMA foreign_key_check"):
            problems.append(f"{table}: row {rowid} refers to a missing row of {parent}")
    if full and not db.read_only:
        with _telling_damage(db, "full-text indexes cannot be read", problems):
            problems += _full_text(db)
    return problems


@contextlib.contextmanager
def _telling_damage(db: Any, what: str, problems: list[str]) -> Iterator[None]:
    """Make damage that ends a look one more problem: what was found before it counts."""
    try:
        yield
    except (peewee.DatabaseError, sqlite3.DatabaseError) as exc:
        if not isinstance(translate(exc, db.shown), errors.StoreCorrupt):
            raise
        problems.append(f"{what}: {original(exc)}")


def _full_text(db: Any) -> Iterator[str]:
    """Let each full-text index look at itself, which SQLite's own check does from 3.44 on."""
    if sqlite3.sqlite_version_info >= (3, 44):
        return
    for (name,) in db.execute_sql(_FULL_TEXT).fetchall():
        table = quoted(name)
        try:
            with db.atomic():
                db.execute_sql(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        except peewee.DatabaseError as exc:
            yield f"{name}: the full-text index is damaged: {exc}"


def _orphans(db: Any) -> Iterator[str]:
    there = set(db.get_tables())
    for model in models.ALL:
        child = str(model._meta.table_name)
        for field in model._meta.sorted_fields:
            if not isinstance(field, peewee.ForeignKeyField) or child not in there:
                continue
            parent = str(field.rel_model._meta.table_name)
            statement = _ORPHANS.format(
                child=quoted(child),
                column=quoted(field.column_name),
                parent=quoted(parent),
                key=quoted(field.rel_field.column_name),
            )
            [(count,)] = db.execute_sql(statement).fetchall()
            if count:
                yield f"{child}: {count:,} rows refer to missing rows of {parent}"
