"""Puts a backup in a store's place, and keeps what it replaces.

The file is written over, not renamed: a program that opens it at that moment, and waits for our
lock, would go on with the renamed file under the name of the new one, and SQLite would mix their
logs. Killed half-way, it leaves a file that no SQLite opens, never a mixture of two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dynostore import errors
from dynostore.backup import backup_file, bytes_of, require_room
from dynostore.config import Settings
from dynostore.database import SqliteFile
from dynostore.durable import flush_directory
from dynostore.fields import utc_now
from dynostore.fleeting import is_same_file
from dynostore.migrator import Migrator
from dynostore.rights import no_file

_BESIDE = ("-wal", "-shm", "-journal")
_LOCKS_AT, _LOCKS_BYTES = 0x40000000, 512
"""Where SQLite's locks lie (its file format document, "The Lock-Byte Page"): whoever has a file
in WAL mode open holds one of them all the time."""

_PATIENCE_S = 3.0
_PIECE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a backup is.

    :ivar size_bytes: of its file, write-ahead log included.
    :ivar schema_version: number of the last migration that was applied.
    """

    path: Path
    size_bytes: int
    schema_version: int


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a restore did.

    :ivar kept: the files that were replaced, under their new names; empty where there were none.
    """

    contents: Contents
    kept: list[Path]


def examine_backup(path: Path) -> Contents:
    """Find out what a file is that is to be put in a store's place; its rows are not read.

    :raises StoreNotFound: there is no such file.
    :raises NotOurs: it is no store, or holds nothing.
    :raises SchemaTooNew: a newer dynostore has made it.
    :raises StoreCorrupt: it is no database.
    """
    if not path.exists():
        raise errors.StoreNotFound(f"{path}: there is no such file")
    file = SqliteFile(path, Settings(), read_only=True, create=False)
    try:
        steps = Migrator(file).status()
    finally:
        file.shut()
    if unknown := [step.name for step in steps if not step.known]:
        raise errors.SchemaTooNew(
            f"{path}: was made by a newer dynostore ({', '.join(unknown)})",
            hint="pip install --upgrade dynostore",
            steps=unknown,
        )
    version = max((step.number for step in steps if step.applied_at), default=0)
    if not version:
        raise errors.NotOurs(f"{path}: holds no tables of dynostore")
    return Contents(path, bytes_of(path), version)


def restore_file(backup: Path, destination: Path, *, patience_s: float = _PATIENCE_S) -> Restored:
    """Make a store's file what a backup holds, and keep the former one beside it, log and all.

    The backup is copied and the copy is checked before anything is touched. Killed later, it leaves
    the former file or one that is refused as damaged, with all of the former one beside it.

    Close the stores that this process has open on the file first: a process does not see its own
    locks.

    :param destination: a SQLite file, damaged or not, or a place where there is none.
    :param patience_s: how long to wait for programs that have the file open.
    :raises StoreNotFound: there is no such backup.
    :raises SchemaError: the backup is another program's, or a newer dynostore's.
    :raises StoreCorrupt: the backup is damaged.
    :raises IntegrityFailure: so was its copy.
    :raises StoreLocked: somebody has the file open.
    :raises StoreUnwritable: there is no room, or no right to write, or ``destination`` is no file,
        as a directory or a device. In all these cases nothing was changed.
    """
    examine_backup(backup)
    if is_same_file(destination, backup):
        raise errors.StoreUnwritable(f"{destination}: is the backup itself")
    checked = destination.with_name(destination.name + ".restoring")
    try:
        if kind := no_file(destination):
            raise errors.StoreUnwritable(
                f"{destination}: is {kind}, and a store is a file",
                hint="name the store: dynostore --db FILE db restore BACKUP",
            )
        backup_file(backup, checked)
        contents = dataclasses.replace(examine_backup(checked), path=backup)
        kept = _put_in_place(checked, destination, patience_s)
    except OSError as exc:
        if isinstance(exc, errors.DynostoreError):
            raise
        raise errors.StoreUnwritable(f"{destination}: {exc.strerror or exc}") from exc
    finally:
        checked.unlink(missing_ok=True)
    return Restored(contents, kept)


def _put_in_place(checked: Path, destination: Path, patience_s: float) -> list[Path]:
    if not destination.exists():
        kept = _keep(destination)
        _remove_beside(destination)
        os.replace(checked, destination)
        flush_directory(destination.absolute().parent)
        return kept
    require_room(destination, bytes_of(destination), "keeping the former file")
    with open(destination, "rb+") as file, _alone(file, destination, patience_s):
        kept = _keep(destination)
        _overwrite(file, checked, destination)
    return kept


@contextlib.contextmanager
def _alone(file: BinaryIO, path: Path, patience_s: float) -> Iterator[None]:
    """Keep every SQLite out of a file; the locks go when it is closed."""
    deadline = time.monotonic() + patience_s
    while not _locked(file):
        if time.monotonic() > deadline:
            raise errors.StoreLocked(
                f"{path}: another program has it open",
                hint="close the programs that use it, dynostore sync --watch too; then again",
            )
        time.sleep(0.05)
    yield


def _locked(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_LOCKS_AT)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, _LOCKS_BYTES)
        else:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKS_BYTES, _LOCKS_AT)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _keep(path: Path) -> list[Path]:
    """Copy a file and what lies beside it to names of their own, and give these."""
    stem = f"{path.name}.replaced-{utc_now():%Y%m%dT%H%M%S%f}Z"
    kept = []
    for suffix in ("", *_BESIDE):
        source = path.with_name(path.name + suffix)
        if source.exists():
            # With the same endings, so that SQLite finds the log of the file that was kept.
            copy = path.with_name(stem + suffix)
            handle = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(handle, "wb") as written, open(source, "rb") as read:
                shutil.copyfileobj(read, written, _PIECE_BYTES)
                written.flush()
                os.fsync(written.fileno())
            kept.append(copy)
    return kept


def _overwrite(file: BinaryIO, checked: Path, path: Path) -> None:
    """Write a checked copy over a locked file; its beginning, without which it is none, last."""
    with open(checked, "rb") as source:
        first = source.read(_PIECE_BYTES)
        _write_at(file, 0, bytes(min(len(first), os.fstat(file.fileno()).st_size)))
        _flush(file)
        # Only now: beside a whole file this would lose what its log holds.
        _remove_beside(path)
        file.seek(len(first))
        shutil.copyfileobj(source, file, _PIECE_BYTES)
        file.truncate(os.fstat(source.fileno()).st_size)
        _flush(file)
        _write_at(file, 0, first)
        _flush(file)


def _write_at(file: BinaryIO, offset: int, content: bytes) -> None:
    file.seek(offset)
    file.write(content)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove_beside(path: Path) -> None:
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
