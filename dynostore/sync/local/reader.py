"""A look at the file's sync tables for people; asks no server, writes nothing, waits for nobody."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from dynostore.driver_errors import translated
from dynostore.rights import sqlite_target
from dynostore.store import Store
from dynostore.sync.local.changes import require_file


@contextlib.contextmanager
def reading(store: Store) -> Iterator[sqlite3.Connection | None]:
    """Hold a connection that only reads; None where the file was never synced.

    Text that is no UTF-8 is read with marks in place of what cannot be shown.

    :raises ConfigError: the store is not a SQLite file.
    """
    file = require_file(store)
    with (
        translated(file.shown),
        contextlib.closing(
            sqlite3.connect(
                sqlite_target(file.path, read_only=True),
                uri=True,
                timeout=file.settings.busy_timeout_s,
            )
        ) as connection,
    ):
        connection.text_factory = lambda value: value.decode("utf-8", "replace")
        found = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_meta'"
        )
        yield connection if found.fetchone() else None
