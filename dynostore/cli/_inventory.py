"""What a store is and holds, in numbers, found without upgrading it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from dynostore import __version__, errors, models
from dynostore.cli._session import Session
from dynostore.database import PostgresServer, StoreDatabase
from dynostore.migrator import Migrator

_POSTGRES_SIZE = "SELECT pg_database_size(current_database())"  # Peewee has no word for it


def take_inventory(session: Session) -> dict[str, Any]:
    """Give the facts of the store that the session leads to; reads only.

    :raises StoreNotFound: there is none; the message says who named the place.
    """
    place = session.place()
    try:
        with session.database() as db:
            steps = Migrator(db).status()
            facts = _measured(db)
    except errors.StoreNotFound as exc:
        raise errors.StoreNotFound(
            f"{exc.message} (place named by: {place.source})", hint=exc.hint
        ) from exc
    applied = [step.number for step in steps if step.applied_at]
    return {
        "url": place.shown,
        "found_by": place.source,
        **facts,
        "schema_version": max(applied, default=0),
        "pending": [step.name for step in steps if step.applied_at is None],
        "remote": _remote(session),
        "dynostore_version": __version__,
    }


def _measured(db: StoreDatabase) -> dict[str, Any]:
    with db.reading():
        there = set(db.get_tables())
        rows = {
            model._meta.table_name: int(model.select().count(db))
            for model in models.ALL
            if model._meta.table_name in there
        }
        if isinstance(db, PostgresServer):
            size = int(db.execute_sql(_POSTGRES_SIZE).fetchone()[0])
            engine = f"Postgres {db.server_version // 10000}.{db.server_version % 10000}"
        else:
            size, engine = _file_size(db.path), f"SQLite {sqlite3.sqlite_version}"
    return {"engine": engine, "size_bytes": size, "rows": rows}


def _file_size(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return sum(file.stat().st_size for file in (path, log) if file.exists())


def _remote(session: Session) -> dict[str, str] | None:
    try:
        place = session.remote()
    except errors.ConfigError:
        return None
    return {"url": place.shown, "found_by": place.source}
