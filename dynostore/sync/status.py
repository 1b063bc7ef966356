"""What waits to be synced, since when nothing moved, and what is wrong; reads only the file."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from dynostore.database import SqliteFile, sqlite_target
from dynostore.driver_errors import translated
from dynostore.fields import UtcTimeField
from dynostore.models.base import key_field
from dynostore.store import Store
from dynostore.sync.local.changes import require_file
from dynostore.sync.tables import quoted


@dataclasses.dataclass(frozen=True)
class SyncStatus:
    """The state of one file's sync.

    :ivar node_id: None before the first sync.
    :ivar waiting: rows to send, by table; tables without any are left out.
    :ivar oldest_at: the earliest time that stands in the rows that wait, UTC text; a deleted row
        has none.
    :ivar last_success_at: when rows last moved, UTC text; a sync with nothing to do writes nothing.
    :ivar last_error: of the last sync, None when it succeeded.
    """

    node_id: str | None
    node_name: str | None
    server_id: str | None
    waiting: dict[str, int]
    oldest_at: str | None
    conflicts: int
    rejects: int
    last_success_at: str | None
    last_error: str | None
    last_error_at: str | None

    @property
    def exit_code(self) -> int:
        """1 when something waits or needs a person, else 0."""
        return int(bool(self.waiting or self.conflicts or self.rejects or self.last_error))

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys."""
        return dataclasses.asdict(self)


def sync_status(store: Store) -> SyncStatus:
    """Tell how far the file is behind, without asking the server; writes nothing.

    Before the first sync every row waits.

    :raises ConfigError: the store is not a SQLite file.
    """
    database = require_file(store)
    with translated(database.shown), closing(_opened(database)) as connection:
        if not _has_table(connection, "sync_meta"):
            waiting = _all_rows(store, connection)
            oldest = _oldest(store, connection, waiting, every_row=True)
            return SyncStatus(None, None, None, waiting, oldest, 0, 0, None, None, None)
        row = connection.execute(
            "SELECT node_id, node_name, server_id, last_success_at, last_error, last_error_at"
            " FROM sync_meta"
        ).fetchone()
        waiting = dict(
            connection.execute(
                "SELECT tbl, count(DISTINCT key) FROM sync_log WHERE tbl IS NOT NULL"
                " GROUP BY tbl ORDER BY tbl"
            ).fetchall()
        )
        return SyncStatus(
            node_id=row[0],
            node_name=row[1],
            server_id=row[2],
            waiting=waiting,
            oldest_at=_oldest(store, connection, waiting, every_row=False),
            conflicts=_count(connection, "sync_conflict"),
            rejects=_count(connection, "sync_reject"),
            last_success_at=row[3],
            last_error=row[4],
            last_error_at=row[5],
        )


def _oldest(
    store: Store, connection: sqlite3.Connection, waiting: Iterable[str], *, every_row: bool
) -> str | None:
    """Give the earliest time of the rows that wait: when they were last written, where they say."""
    found = []
    for model in store.replicated:
        name = model._meta.table_name
        times = [n for n, f in model._meta.columns.items() if isinstance(f, UtcTimeField)]
        if name in waiting and times:
            column = "updated_at" if "updated_at" in times else times[0]
            key = quoted(key_field(model).column_name)
            which = "" if every_row else f" WHERE {key} IN (SELECT key FROM sync_log WHERE tbl = ?)"
            row = connection.execute(
                f"SELECT min({quoted(column)}) FROM {quoted(name)}{which}",
                () if every_row else (name,),
            ).fetchone()
            found += [row[0]] if isinstance(row[0], str) else []
    return min(found, default=None)


def _opened(database: SqliteFile) -> sqlite3.Connection:
    return sqlite3.connect(
        sqlite_target(database.path, read_only=True),
        uri=True,
        timeout=database.settings.busy_timeout_s,
    )


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
    )
    return found.fetchone() is not None


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])


def _all_rows(store: Store, connection: sqlite3.Connection) -> dict[str, int]:
    names = [model._meta.table_name for model in store.replicated]
    counts = {n: _count(connection, n) for n in names if _has_table(connection, n)}
    return {name: count for name, count in counts.items() if count}
