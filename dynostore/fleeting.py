"""Looks at files that another program may remove at any moment, as SQLite removes its logs."""

from __future__ import annotations

import os
from pathlib import Path


def size_of(path: str | Path) -> int:
    """Give a file's size in bytes; 0 where none is seen."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Tell whether two names lead to one file; False where either is seen to lead to none."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
