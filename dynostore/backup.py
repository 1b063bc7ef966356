"""A copy of a SQLite file that is known to be good, taken while others write."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from dynostore import errors
from dynostore.driver_errors import translated
from dynostore.file_copy import copy_bytes, hold_moment
from dynostore.fleeting import size_of
from dynostore.in_use import refuse_database_in_use, refuse_itself
from dynostore.rights import no_file, sqlite_target
from dynostore.sqlite_header import cut_bytes_of_open, opened_besides

UNFINISHED = ".backing-up"
"""Behind a backup's name while it is made; unlike ``.tmp`` nobody else's file ends so."""

_OF_A_COPY = ("synchronous = OFF", "locking_mode = EXCLUSIVE")
"""Nobody sees the copy before it is whole and flushed."""

_FLUSH_EVERY_S = 0.05


def backup_file(source: Path, destination: Path, *, is_locked: bool = False) -> None:
    """Copy a SQLite file, WAL included, and check the copy before it gets its name.

    The copy is one consistent moment. It is made in one step, since a step-wise backup starts
    again at every write of another process. An existing ``destination`` is replaced at the end.

    :param is_locked: the caller holds the write lock, and has written nothing.
    :raises StoreUnwritable: no room, the place cannot be written, or it is no file, as a directory
        or a device, or one in use; nothing was left there.
    :raises StoreLocked: another backup to the same place is being made.
    :raises StoreCorrupt: the source is damaged; nothing was left there.
    :raises IntegrityFailure: the copy is not equal or not sound; nothing was left there.
    """
    _refuse_no_file(destination)
    temporary = destination.with_name(destination.name + UNFINISHED)
    try:
        require_room(destination, bytes_of(source), "a backup")
        refuse_itself(destination, source)
        refuse_database_in_use(destination)
        with _alone(temporary):
            try:
                _make_empty(temporary)
                _copy(source, temporary, destination, is_locked)
                os.replace(temporary, destination)
            finally:
                _remove(temporary)
    except OSError as exc:
        if isinstance(exc, errors.DynostoreError):
            raise
        raise errors.StoreUnwritable(f"{destination}: {exc.strerror or exc}") from exc


def _refuse_no_file(destination: Path) -> None:
    try:
        kind = no_file(destination)
    except OSError as exc:
        raise errors.StoreUnwritable(f"{destination}: {exc.strerror or exc}") from exc
    if kind is None:
        return
    name = str(destination / "backup.db") if os.path.isdir(destination) else "FILE"
    raise errors.StoreUnwritable(
        f"{destination}: is {kind}, and a backup is a file",
        hint=f"dynostore db backup {shlex.quote(name)}",
    )


@contextlib.contextmanager
def _alone(temporary: Path) -> Iterator[None]:
    """Keep another backup out, which would give this one's name to its own unfinished copy."""
    import filelock  # imported late: most opens make no backup

    lock = filelock.FileLock(f"{temporary}.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as exc:
        raise errors.StoreLocked(
            f"{temporary}: another backup to the same place is being made", hint="try again"
        ) from exc
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(f"{temporary}.lock")


def _copy(source: Path, temporary: Path, destination: Path, is_locked: bool) -> None:
    log_copy = temporary.with_name(temporary.name + "-wal")
    with (
        translated(str(destination)),
        _flushing(temporary),
        opened_besides(source) as handle,
        _opened(sqlite_target(source.absolute(), read_only=True)) as origin,
    ):
        log_bytes = hold_moment(origin, source, is_locked=is_locked)
        if missing := cut_bytes_of_open(source, origin.execute):
            raise errors.StoreCorrupt(
                f"{source}: was truncated: {missing:,} bytes of it are missing",
                hint="dynostore db restore BACKUP",
            )
        if log_bytes is not None:
            copy_bytes(handle, temporary)
        if log_bytes:
            _make_empty(log_copy)
            with open(source.with_name(source.name + "-wal"), "rb") as log:
                copy_bytes(log.fileno(), log_copy, log_bytes)
        with _opened(f"{temporary.absolute().as_uri()}?mode=rwc") as copy:
            for pragma in _OF_A_COPY:
                copy.execute(f"PRAGMA {pragma}")
            if log_bytes is None:
                # A journal of what nobody sees yet would be half of the time.
                copy.execute("PRAGMA journal_mode = OFF")
                origin.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute(f"PRAGMA mmap_size = {temporary.stat().st_size}")
            _compare(origin, copy, destination)


@contextlib.contextmanager
def _flushing(path: Path) -> Iterator[None]:
    """Have a file on the disk at the end; the disk begins while it is still being written.

    :raises OSError: the disk has not taken it.
    """
    written, failures = threading.Event(), []

    def flush() -> None:
        try:
            with open(path, "rb+") as file:
                while not written.wait(_FLUSH_EVERY_S):
                    os.fsync(file.fileno())
                os.fsync(file.fileno())
        except OSError as exc:
            failures.append(exc)

    flusher = threading.Thread(target=flush)
    flusher.start()
    try:
        yield
    finally:
        written.set()
        flusher.join()
    # Told once to whoever has the file open at the time, and to nobody later.
    for failure in failures:
        raise failure


def _make_empty(path: Path) -> None:
    """Make the file before SQLite does, which would let everyone read it until it is done."""
    _remove(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _remove(path: Path) -> None:
    # Its logs too: what a killed copy left would be played into the next one.
    for suffix in ("", "-journal", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def bytes_of(path: Path) -> int:
    """Give what a file takes up on the disk with its write-ahead log.

    :raises OSError: there is no such file.
    """
    return path.stat().st_size + size_of(path.with_name(path.name + "-wal"))


def require_room(path: Path, needed_bytes: int, purpose: str) -> None:
    """Refuse what would not fit into a file's directory.

    :param purpose: for the message: ``a backup``.
    :raises StoreUnwritable: says how much is needed and how much is free.
    """
    if not path.parent.is_dir():
        raise errors.StoreUnwritable(f"{path}: its directory does not exist")
    free = shutil.disk_usage(path.parent).free
    if free < needed_bytes:
        raise errors.StoreUnwritable(
            f"{path}: {needed_bytes:,} bytes needed for {purpose}, {free:,} free",
            hint="make room, or move the store to a larger disk",
        )


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _compare(origin: sqlite3.Connection, copy: sqlite3.Connection, destination: Path) -> None:
    verdict = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise errors.IntegrityFailure(f"{destination}: the copy is damaged: {verdict}")
    names = [
        name
        for (name,) in origin.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
        )
    ]
    for name in names:
        table = '"' + name.replace('"', '""') + '"'
        counts = [c.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for c in (origin, copy)]
        if counts[0] != counts[1]:
            raise errors.IntegrityFailure(
                f"{destination}: {name} has {counts[1]} rows in the copy, {counts[0]} in the store"
            )
