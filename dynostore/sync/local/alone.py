"""One sync of a file at a time, and nothing beside it that changes what a sync is about to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dynostore import errors
from dynostore.migrator import file_lock
from dynostore.sqlite_file import SqliteFile


@contextmanager
def alone(file: SqliteFile) -> Iterator[None]:
    """Hold this file's sync lock, which the system frees when the process dies.

    :raises SyncRunning: somebody else has it.
    """
    try:
        with file_lock(file.path, "sync-lock", timeout_s=0):
            yield
    except errors.StoreLocked as exc:
        if exc.data.get("suffix") != "sync-lock":
            raise
        raise errors.SyncRunning(
            f"{file.shown}: another sync of this file is running", hint="try again when it is done"
        ) from exc
