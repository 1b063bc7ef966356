"""What a file is, what this user may do with it, and how SQLite is to open it by that."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def no_file(path: Path) -> str | None:
    """Give what is at a place where no database can be, as ``a pipe``; None: a file, or nothing.

    SQLite takes any of these for an empty database, and makes its log beside it.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: NUL in the name
        return None
    return next((kind for is_it, kind in _KINDS if is_it(mode)), None)


def sqlite_target(path: Path, *, read_only: bool) -> str:
    """Give what SQLite is to open: the path, or a ``file:`` URI that only reads.

    :param path: absolute.
    """
    if not read_only:
        return str(path)
    # as_uri() quotes what would end the path or begin parameters.
    target = f"{path.as_uri()}?mode=ro"
    if not _may_write(path.parent) and not _beside(path, "-wal").exists():
        # Even a reader makes the log's index beside the file. Where that cannot be and there is
        # no log, nobody is writing, and SQLite may take the file for unchanging.
        target += "&immutable=1"
    return target


def may(path: str | os.PathLike[str], mode: int) -> bool:
    """Tell whether the user that this process acts for has the rights of a mode, as ``os.W_OK``."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _may_write(path: Path) -> bool:
    return may(path, os.W_OK)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def unwritable_part(path: Path) -> Path | None:
    """Give what keeps this user from writing to a file: itself or its directory; None: nothing.

    :param path: of a file that is there, absolute.
    """
    if not _may_write(path):
        return path
    # A log that is there with its index can be written without the directory.
    if _may_write(path.parent) or all(_may_write(_beside(path, end)) for end in ("-wal", "-shm")):
        return None
    return path.parent
