"""Copies a SQLite file in WAL mode as it lies there, at the speed of any other file.

SQLite's own backup reads and writes page by page, which takes three times as long. What it is built
on serves here too (sqlite.org/walformat.html): while a reader holds a moment, a checkpoint puts
nothing into the file that is later than that moment, and nobody begins the log anew. So the file,
copied while others write, with the log of that moment over it, is the database of that moment: a
page that a checkpoint was changing meanwhile is in the log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dynostore.sqlite_header import opened_besides

_PATIENCE_S, _LOOK_EVERY_S = 2.0, 0.0005
_PIECE_BYTES = 1 << 24

# Of the log's index, in the machine's byte order: the page's size, the frames that are committed,
# and, behind a second copy of all that, the frames that a checkpoint has put into the file.
_INDEX = struct.Struct("=14xHI76xI")
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24

_Take = Callable[[int, int, int, int], int]
"""Copies bytes from one file to another, at an offset, so many at most; gives how many."""


def hold_moment(origin: sqlite3.Connection, source: Path, *, is_locked: bool) -> int | None:
    """Let a reader hold the present moment; writers wait for a blink.

    :param origin: reads ``source``, and is in no transaction.
    :param is_locked: the caller holds the write lock, and has written nothing.
    :return: how much of the log belongs to that moment, in bytes; it stays as it is for as long as
        the moment is held. None: the file cannot be copied as it lies: it is not in WAL mode, or
        cannot be locked. The moment is held all the same.
    """
    [(mode,)] = origin.execute("PRAGMA journal_mode").fetchall()
    with contextlib.ExitStack() as stack:
        # On Windows a lock keeps others from reading the bytes that it is on.
        can = mode == "wal" and os.name != "nt"
        if can and not is_locked:
            can = _lock(stack.enter_context(contextlib.closing(_writer(source))))
        origin.execute("BEGIN")
        # BEGIN alone holds nothing: the moment begins here.
        origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return _log_bytes(source) if can else None


def _log_bytes(source: Path) -> int | None:
    """Give how much of the log is committed and not yet in the file; None: it cannot be told.

    A reader of a moment that is in the file already would not keep others from beginning the log
    anew; a checkpoint cannot have ended between: the reader came first, and frames only get fewer.
    """
    with opened_besides(source.with_name(source.name + "-shm")) as handle:
        content = os.pread(handle, _INDEX.size, 0)
    if len(content) < _INDEX.size or content[:48] != content[48:96]:
        return None
    page_bytes, frames, in_the_file = _INDEX.unpack(content)
    if frames == in_the_file:
        return 0
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    return int(_LOG_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_bytes))


def _writer(source: Path) -> sqlite3.Connection:
    # as_uri() quotes what would end the path or begin parameters.
    return sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=0,
    )


def _lock(writer: sqlite3.Connection) -> bool:
    """Keep writers out; False: the file is read-only, or somebody writes for long."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                return False
        else:
            return True
        # SQLite itself would look ten times in a second, and hardly ever find it free.
        time.sleep(_LOOK_EVERY_S)


def copy_bytes(source: int, target: Path, count_bytes: int | None = None) -> None:
    """Copy an open file over another one, from its beginning to wherever it ends by then.

    :param source: a file descriptor.
    :param count_bytes: only so much of it.
    """
    with open(target, "rb+") as file:
        offset, end = 0, count_bytes if count_bytes is not None else sys.maxsize
        take: _Take = _by_the_system if hasattr(os, "copy_file_range") else _by_hand
        while offset < end:
            try:
                count = take(source, file.fileno(), offset, min(_PIECE_BYTES, end - offset))
            except OSError:
                if take is _by_hand:
                    raise
                take = _by_hand  # the two file systems cannot do it between them
                continue
            if not count:
                return
            offset += count


def _by_the_system(source: int, target: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset, offset)


def _by_hand(source: int, target: int, offset: int, count: int) -> int:
    piece = os.pread(source, min(count, 1 << 20), offset)
    return os.pwrite(target, piece, offset) if piece else 0
