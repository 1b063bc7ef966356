"""Where an export goes: a file or directory that is there whole or not at all, or a stream."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dynostore import errors
from dynostore.durable import flush_directory

_BUFFER_BYTES = 1024 * 1024


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name at the end, when all of it is on the disk.

    Whatever happens inside, ``path`` holds what it held, or all that was written. Through a link
    the file that it leads to is written; a pipe or a device is written as it stands. Only its owner
    can read a new file, as it is with the store.

    :param replace: False: a file that is there is an error.
    :raises AlreadyExists: there is one.
    :raises StoreUnwritable: the place cannot be written, or the disk is full.
    """
    place = Path(os.path.realpath(path))
    with _writable(path):
        # Not the real path: a pipe that is already open, as /dev/stdout may be, has none.
        if _is_special(path):
            with open(path, "wb", buffering=_BUFFER_BYTES) as stream:
                yield stream
            return
        if place.is_dir():
            raise errors.StoreUnwritable(f"{path}: is a directory")
        if not replace:
            refuse_existing(path)
        handle, name = tempfile.mkstemp(".tmp", f".{place.name[:50]}.", place.parent)
        try:
            with open(handle, "wb", buffering=_BUFFER_BYTES) as file:
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(name, stat.S_IMODE(place.stat().st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        flush_directory(place.parent)


@contextlib.contextmanager
def whole_directory(path: Path, *, replace: bool) -> Iterator[Path]:
    """Give an empty directory to fill, whose files get their places when all of them are there.

    Where ``path`` is new it appears with all of its files; where it is not, file after file is
    replaced at the end, and others in it stay.

    :param replace: False: a directory that holds anything is an error.
    :raises AlreadyExists: it does.
    :raises StoreUnwritable: the place cannot be written, or the disk is full.
    """
    place = Path(os.path.realpath(path))
    with _writable(path):
        if place.exists() and not place.is_dir():
            raise errors.StoreUnwritable(f"{path}: is a file, and a directory is to be written")
        if not replace and place.is_dir() and os.listdir(place):
            refuse_existing(path)
        temporary = Path(tempfile.mkdtemp(".tmp", f".{place.name}.", place.parent))
        try:
            yield temporary
            if place.exists():
                for file in sorted(temporary.iterdir()):
                    os.replace(file, place / file.name)
            else:
                os.replace(temporary, place)
            flush_directory(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        flush_directory(place.parent)


@contextlib.contextmanager
def whole_stream(stream: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Give a stream, flushed at the end.

    :raises BrokenPipeError: its reader went away.
    :raises StoreUnwritable: it cannot take it all, as on a full disk.
    """
    with _writable(name):
        yield stream
        stream.flush()


def refuse_existing(path: Path) -> None:
    """Refuse a place where something is.

    :raises AlreadyExists: there is.
    """
    if os.path.lexists(path):
        raise errors.AlreadyExists(f"{path}: is there already", hint="add --yes to replace it")


@contextlib.contextmanager
def _writable(shown: Path | str) -> Iterator[None]:
    try:
        yield
    except (errors.DynostoreError, BrokenPipeError):
        raise
    except OSError as exc:
        raise errors.StoreUnwritable(f"{shown}: {exc.strerror or exc}") from exc


def _is_special(place: Path) -> bool:
    return place.exists() and not place.is_file() and not place.is_dir()
