"""What this user may do with a file, and how SQLite is to open it by that."""

from __future__ import annotations

import os
from pathlib import Path


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
