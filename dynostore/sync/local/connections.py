"""The sync's own connections to a file: one that writes, and one that reads what is sent."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dynostore import forked
from dynostore.config import Settings
from dynostore.connections import inherited
from dynostore.database import CHECKPOINT_PAGES, JOURNAL_SIZE_LIMIT_BYTES
from dynostore.open_file import require_file


class FileConnections:
    """Connections that are opened when they are first asked for, and serve one sync at a time."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._file_number: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def writer(self) -> sqlite3.Connection:
        """Give the connection that writes, to the file that has the name now.

        :raises StoreNotFound: there is none any more.
        """
        found = require_file(str(self._path), str(self._path))
        if found != self._file_number:
            self.close()
        self._file_number = found
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    @contextlib.contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads, with bytes for text; it leaves no transaction behind."""
        reader, self._reader = self._reader or self._connect(), None
        try:
            reader.text_factory = bytes
            yield reader
            reader.rollback()
        except BaseException:
            reader.close()
            raise
        self._reader = reader

    def close(self) -> None:
        """Close what is open; what is asked for later is opened anew."""
        for connection in (self._writer, self._reader):
            if connection is not None:
                connection.close()
        self._writer = self._reader = None

    def forget_inherited(self) -> None:
        """Start anew in a forked child, leaving the parent's connections alone."""
        if self._writer or self._reader:
            forked.inherit(str(self._path), read_only=False)
        inherited.append((self._writer, self._reader))
        self._writer = self._reader = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._settings.busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES}")
        return connection
