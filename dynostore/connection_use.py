"""Which thread is at work with its connection to a file, so that nobody closes it meanwhile."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynostore.sqlite_file import SqliteFile


class Use:
    """Whether a thread is at work with its connection, so that no other may close it.

    Python's sqlite3 looks after no such thing: the process would end.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: int | None = None
        self._depth = 0

    def begin(self) -> None:
        """Keep others from closing; waits for one who is at it."""
        if not self._depth:
            self.lock.acquire()
            self.owner = threading.get_ident()
        self._depth += 1

    def end(self) -> bool:
        """Let others close, if this is the outermost; tell whether it is."""
        self._depth -= 1
        if self._depth:
            return False
        self.owner = None
        self.lock.release()
        return True


class OwnUse(threading.local):
    """Each thread's use of its connection."""

    def __init__(self) -> None:
        self.of_thread = Use()


class ThreadGuard:
    """Closes a thread's connection when the thread ends, by being dropped with its locals."""

    def __init__(self, database: SqliteFile, connection: sqlite3.Connection) -> None:
        self._database = weakref.ref(database)
        self._connection = connection
        self._pid = os.getpid()

    def __del__(self) -> None:
        database = self._database()
        if self._pid != os.getpid():
            return
        if database is not None:
            database.discard(self._connection)
        else:
            self._connection.close()
