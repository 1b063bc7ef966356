"""A URL becomes a Peewee database, of one of two kinds that the rest of the package uses alike.

Both have :meth:`reading` and :meth:`writing`, which hold a connection for one verb and translate
the driver's errors, :meth:`shut`, which closes everything from any thread, and ``shown``, the
address without its password.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dynostore import config, errors
from dynostore.connections import CommonDatabase
from dynostore.memory_database import MemoryDatabase
from dynostore.postgres_server import (
    POSTGRES_TYPES,
    PostgresServer,
    configure_session,
    require_psycopg2,
    session_settings,
)
from dynostore.rights import sqlite_target
from dynostore.sqlite_file import (
    APPLICATION_ID,
    CHECKPOINT_PAGES,
    JOURNAL_SIZE_LIMIT_BYTES,
    SqliteCommon,
    SqliteFile,
    sqlite_pragmas,
)

__all__ = [
    "APPLICATION_ID",
    "CHECKPOINT_PAGES",
    "JOURNAL_SIZE_LIMIT_BYTES",
    "POSTGRES_TYPES",
    "CommonDatabase",
    "MemoryDatabase",
    "PostgresServer",
    "SqliteCommon",
    "SqliteFile",
    "StoreDatabase",
    "configure_session",
    "connect",
    "connect_server",
    "require_psycopg2",
    "session_settings",
    "sqlite_pragmas",
    "sqlite_target",
]

StoreDatabase = SqliteFile | PostgresServer


def connect(
    url: str,
    settings: config.Settings | None = None,
    *,
    read_only: bool = False,
    create: bool = True,
) -> StoreDatabase:
    """Give the database behind a URL or plain path; a SQLite file is made if it is missing.

    Postgres is not asked before the first use.

    :raises StoreNotFound: no such file, and ``create`` is off or ``read_only`` on.
    :raises StoreUnwritable: the file's directory does not exist or cannot be written.
    :raises MissingExtra: a Postgres URL without psycopg2.
    """
    settings = settings or config.Settings()
    if config.is_postgres(url):
        return PostgresServer(url, settings, read_only=read_only)
    path = config.sqlite_path(url)
    if path is None:
        return MemoryDatabase(settings)
    return SqliteFile(Path(path), settings, read_only=read_only, create=create)


def connect_server(place: config.Place) -> PostgresServer:
    """Give the shared server at a place, with one connection; it is not asked before its first use.

    :raises ConfigError: the place is none; nothing was made there.
    :raises MissingExtra: psycopg2 is missing.
    """
    if not config.is_postgres(place.url):
        raise errors.ConfigError(
            f"{place.shown}: a store syncs with a Postgres server",
            hint="dynostore sync --to postgresql://user@host/database",
        )
    return PostgresServer(place.url, dataclasses.replace(place.settings, pool_max=1))
