"""The first bytes of a file, read once for all who ask whose it is."""

from __future__ import annotations

import os

from dynostore.legacy.source_sqlite import HEADER

_HEAD_BYTES = 64 * 1024
_TEXTS = (".json", ".jsonl", ".ndjson", ".txt", ".yml", ".yaml")
"""How those end that are mostly asked for more than whether they are a database."""


class FileHead:
    """How a file begins.

    :ivar path: absolute.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._first: bytes | None = None
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        """The first 64 KiB; nothing where it cannot be read."""
        if self._data is None:
            self._data = _read(self.path, _HEAD_BYTES)
        return self._data

    @property
    def is_sqlite(self) -> bool:
        """Whether it begins as a database of SQLite does."""
        if self._data is None and self.path.endswith(_TEXTS):
            return self.data.startswith(HEADER)
        if self._first is None:
            # Asked of every file of a tree: most are not read any further.
            self._first = self._data or _read(self.path, len(HEADER))
        return self._first.startswith(HEADER)


def _read(path: str, most_bytes: int) -> bytes:
    # A file object would take three times as long.
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return b""
    try:
        return os.read(handle, most_bytes)
    except OSError:  # a directory
        return b""
    finally:
        os.close(handle)
