"""Lets a forked child be seen by other processes as one that has its parent's files open.

SQLite's locks belong to a process, and a child inherits none. But its SQLite has inherited the
memory of having them, and takes none for the child's own connections. So the parent, or whoever
closed the file later, would take itself for the last one and remove the log into which the child
goes on to write: all of that was lost, and nobody was told.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time

from dynostore import errors

try:
    import fcntl
except ImportError:  # Windows, where nobody forks
    fcntl = None  # type: ignore[assignment]

# "The Lock-Byte Page" and "WAL-Index Locks" in SQLite's documentation of its files: who reads a
# file, and who has its log's index in memory.
_READING = (0x40000002, 510)
_MAPPED = (128, 1)
_PATIENCE_S = 5.0
_WAL = b"\2\2"  # of a file's header, from byte 18 on

_files: dict[str, bool] = {}
_lost: set[str] = set()
_held: list[int] = []  # to close one would drop all locks that this process has on the file


class _Pipe(threading.local):
    """Between a thread that forks and the child: it says that it holds what it inherited."""

    ends: tuple[int, int] | None = None


_pipe = _Pipe()


def begin() -> None:
    """Prepare for a fork."""
    with contextlib.suppress(OSError):  # too many open files: then nobody waits
        _pipe.ends = os.pipe()


def wait_for_child() -> None:
    """Wait in the parent until the child holds its files: only then may they be closed here."""
    if _pipe.ends is None:
        return
    (hears, told), _pipe.ends = _pipe.ends, None
    os.close(told)
    with selectors.DefaultSelector() as selector:
        selector.register(hears, selectors.EVENT_READ)
        selector.select(_PATIENCE_S)
    os.close(hears)


def inherit(path: str, *, read_only: bool) -> None:
    """Note in a forked child that its parent had a file open; :func:`hold` comes next."""
    _files[path] = read_only and _files.get(path, True)


def hold() -> None:
    """Take the locks of a process that has them open on all inherited files, until it ends."""
    try:
        _hold_all()
    finally:
        if _pipe.ends is not None:
            (hears, told), _pipe.ends = _pipe.ends, None
            with contextlib.suppress(OSError):  # the parent is gone, or waits no longer
                os.write(told, b"!")
            os.close(hears)
            os.close(told)


def _hold_all() -> None:
    if fcntl is None:
        return
    for path, read_only in _files.items():
        file = _opened(path)
        # Without a log nobody holds a lock for longer than a transaction.
        if file is None or os.read(file, 20)[18:] != _WAL:
            continue
        is_held = _lock(file, *_READING)
        index = _opened(f"{path}-shm")
        if not (is_held and index is not None and _lock(index, *_MAPPED)) and not read_only:
            _lost.add(path)


def require_inherited(path: str, shown: str) -> None:
    """Do nothing but where a file was closed by the parent before this child could hold it.

    :raises WrongProcess: it was: what SQLite knows of it here is of no use any more.
    """
    if path in _lost:
        raise errors.WrongProcess(
            f"{shown}: was closed in the process that this one was just being forked from",
            hint="open the store in the child alone, or close it when the child has ended",
        )


def _opened(path: str) -> int | None:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    _held.append(file)
    return file


def _lock(file: int, start: int, size: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, size, start)
            return True
        except OSError:  # somebody is just opening it as the first, or closing it as the last
            time.sleep(0.01)
    return False
