"""A database in memory: for tests, and where a schema is wanted without a file."""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee

from dynostore import config
from dynostore.connection_use import Use
from dynostore.sqlite_file import SqliteFile


class MemoryDatabase(SqliteFile):
    """A database in memory, for tests: one connection, behind a lock that a verb holds."""

    def __init__(self, settings: config.Settings) -> None:
        self._verb_lock = threading.RLock()
        super().__init__(Path(":memory:"), settings)
        self._share()

    def _share(self) -> None:
        """Let all threads have one use, as they have one connection."""
        shared = Use()
        self._own_use = types.SimpleNamespace(of_thread=shared)
        self._open = dict.fromkeys(self._open, shared)

    def init(self, database: Any, *args: Any, **kwargs: Any) -> None:
        """Let all threads share one connection."""
        # Peewee chooses the kind of state by an argument of its constructor; threads share one.
        self._state = peewee._ConnectionState()
        super().init(database, *args, **kwargs)

    def _prepare_file(self, create: bool) -> None:
        self.shown = ":memory:"

    def _note_rights(self) -> None:
        pass

    def _target(self) -> str:
        return ":memory:"

    def _require_file(self) -> None:
        pass

    def _new_open_file(self) -> None:
        return None

    def set_wal(self) -> None:
        """Do nothing: memory has no log."""

    def forget_inherited(self) -> None:
        """Keep the connection: a forked child has a copy of the memory, and nobody else's file."""
        self._open_lock = threading.Lock()
        self._lock = threading.Lock()
        self._verb_lock = threading.RLock()
        self._share()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock and the connection."""
        with self._verb_lock, super().reading():
            yield
