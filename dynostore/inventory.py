"""What a store is and holds, in numbers, found without upgrading it."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping

import peewee

from dynostore import models
from dynostore.database import PostgresServer, StoreDatabase
from dynostore.fleeting import size_of
from dynostore.migrator import Migrator

_OURS = {str(model._meta.table_name) for model in models.ALL}
_BOOKKEEPING = ("dynostore_", "sync_", "sqlite_")
_POSTGRES_SIZE = "SELECT pg_database_size(current_database())"  # Peewee has no word for it


@dataclasses.dataclass(frozen=True)
class Inventory:
    """The facts of one store.

    :ivar engine: the database's name and version.
    :ivar size_bytes: of the file with its write-ahead log, or of the whole Postgres database.
    :ivar rows: by table, parents before children, then by name those of the user's own tables;
        those of pending migrations are left out.
    :ivar schema_version: number of the last migration that was applied; 0 where there is none.
    :ivar pending: names of the migrations that this program has and the store has not.
    """

    engine: str
    size_bytes: int
    rows: Mapping[str, int]
    schema_version: int
    pending: list[str]


def take_inventory(db: StoreDatabase) -> Inventory:
    """Look at a store of any version; reads only.

    Counts every row: seconds where there are millions.

    :raises NotOurs: the database belongs to another program.
    """
    steps = Migrator(db).status()
    with db.reading():
        there = set(db.get_tables())
        own = sorted(name for name in there - _OURS if not name.startswith(_BOOKKEEPING))
        rows = {
            model._meta.table_name: int(model.select().count(db))
            for model in models.ALL
            if model._meta.table_name in there
        } | {name: int(peewee.Table(name).select().count(db)) for name in own}
        if isinstance(db, PostgresServer):
            size_bytes = int(db.execute_sql(_POSTGRES_SIZE).fetchone()[0])
            engine = f"Postgres {db.server_version // 10000}.{db.server_version % 10000}"
        else:
            log = db.path.with_name(db.path.name + "-wal")
            size_bytes = size_of(db.path) + size_of(log)
            engine = f"SQLite {sqlite3.sqlite_version}"
    return Inventory(
        engine=engine,
        size_bytes=size_bytes,
        rows=rows,
        schema_version=max((step.number for step in steps if step.applied_at), default=0),
        pending=[step.name for step in steps if step.applied_at is None],
    )
