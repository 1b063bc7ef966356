"""Makes what was done in a directory outlast a power failure, which may undo a mere rename."""

from __future__ import annotations

import os
from pathlib import Path


def flush_directory(path: str | Path) -> None:
    """Flush a directory's own entries to the disk; where none can be opened (Windows), do nothing.

    :raises OSError: it cannot be opened or flushed.
    """
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
