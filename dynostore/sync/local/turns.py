"""Lets the syncs of one process take turns at what SQLite does row by row.

At each row SQLite lets go of the interpreter. Where other threads wait for it, to get hold of it
again takes longer than the row: twenty syncs at once took a quarter more of this process's time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from dynostore.connections import databases


class Turns:
    """Counts the syncs that run; while they are several, one thread at a time has its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._syncs = 0
        databases.add(self)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count as a sync inside."""
        with self._lock:
            self._syncs += 1
        try:
            yield
        finally:
            with self._lock:
                self._syncs -= 1

    def turn(self) -> contextlib.AbstractContextManager[object]:
        """Give what is entered for many rows; inside nothing may be waited for."""
        # A sync alone reads and writes at the same time, which SQLite does without the interpreter.
        return self._lock if self._syncs > 1 else contextlib.nullcontext()

    def forget_inherited(self) -> None:
        """Start anew in a forked child, where none of the parent's syncs runs."""
        self._lock, self._syncs = threading.Lock(), 0


turns = Turns()
