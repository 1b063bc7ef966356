"""Gives the room of what was deleted back to the disk, after making sure that there is enough."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from dynostore import errors, models
from dynostore.backup import bytes_of, require_room
from dynostore.database import MemoryDatabase, PostgresServer, SqliteFile

_POSTGRES_SIZE = "SELECT pg_database_size(current_database())"  # Peewee has no word for it


@dataclasses.dataclass(frozen=True)
class Vacuumed:
    """What a vacuum has gained.

    :ivar before_bytes: of the file with its log, or of the whole Postgres database.
    """

    before_bytes: int
    after_bytes: int

    @property
    def gained_bytes(self) -> int:
        """What is free now and was not before; negative where others wrote meanwhile."""
        return self.before_bytes - self.after_bytes


def vacuum(db: Any) -> Vacuumed:
    """Write a SQLite file anew without its free pages; on Postgres, let it reuse the dead rows.

    Other writers of a file wait until it is done: seconds for each gigabyte. Readers do not; but
    while one of them still sees the file as it was before, its old pages must stay.
    Postgres keeps nobody waiting, and gives back only what is free at the end of a table.

    :raises StoreUnwritable: no room for a second copy of the file and for its log, or no right.
    :raises StoreLocked: another process writes, for longer than the timeout; or one reads for as
        long, so that the old content is still in the file, beside the new.
    :raises ConfigError: a store in memory.
    """
    if isinstance(db, PostgresServer):
        return _vacuum_postgres(db)
    if not isinstance(db, SqliteFile) or isinstance(db, MemoryDatabase):
        raise errors.ConfigError(f"{db.shown}: only a SQLite file or Postgres can be vacuumed")
    db.require_writable()
    before_bytes = bytes_of(db.path)
    _require_room(db.path)
    with db.reading():
        execute: Any = db.execute_sql  # Peewee's stubs do not type it
        execute("VACUUM")
        [(busy, *_)] = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if busy:
        raise errors.StoreLocked(
            f"{db.shown}: was written anew, but somebody still reads the old content, "
            "which is in the file for as long",
            hint="close the programs that have the store open, and run it again",
        )
    return Vacuumed(before_bytes, bytes_of(db.path))


def _require_room(path: Path) -> None:
    """SQLite writes the new content to a temporary file, and from there through the log."""
    size_bytes = path.stat().st_size
    elsewhere = Path(os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir())
    together = elsewhere.stat().st_dev == path.parent.stat().st_dev
    require_room(path, size_bytes * (2 if together else 1), "a vacuum")
    if not together:
        require_room(elsewhere / path.name, size_bytes, "a vacuum's temporary file")


def _vacuum_postgres(db: PostgresServer) -> Vacuumed:
    with db.reading():
        execute: Any = db.execute_sql
        there = set(db.get_tables())
        before_bytes = int(execute(_POSTGRES_SIZE).fetchone()[0])
        for model in models.ALL:
            name = model._meta.table_name
            if name in there:
                execute(f'VACUUM (ANALYZE) "{name}"')
        after_bytes = int(execute(_POSTGRES_SIZE).fetchone()[0])
    return Vacuumed(before_bytes, after_bytes)
