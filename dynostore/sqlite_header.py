"""What a SQLite file's header says, also where SQLite itself refuses the file, or overlooks it.

SQLite reads the part of a page that is missing at a file's end as zeros, and finds nothing wrong.
The form is that of its file format document, "The Database Header".
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynostore.fleeting import size_of

_HEADER_BYTES = 100
_HEADER = struct.Struct(">16sH6B12I20x2I")
_MAGIC = b"SQLite format 3\0"
_IN_WAL_MODE = 2

_held: dict[tuple[int, int], int] = {}
"""Files, by device and inode, that this process has open as databases too. To close one would drop,
on POSIX, the locks that SQLite holds on it, and another process might take away its log."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The first hundred bytes, as far as they matter here.

    :ivar page_count: pages of the file; 0 where the header does not know.
    :ivar is_wal: the file is in WAL mode.
    """

    page_bytes: int
    page_count: int
    free_pages: int
    application_id: int
    is_wal: bool


def read_header(path: Path) -> Header | None:
    """Give a file's header; None where it is not one of SQLite.

    :raises OSError: it cannot be read.
    """
    content = _first_bytes(path)
    if len(content) < _HEADER_BYTES:
        return None
    values = _HEADER.unpack(content)
    page_bytes = 65536 if values[1] == 1 else values[1]
    if values[0] != _MAGIC or page_bytes < 512 or page_bytes & (page_bytes - 1):
        return None
    # Programs before SQLite 3.7 did not know of the count, and left it as it was.
    known = values[8] == values[20]
    return Header(
        page_bytes, values[9] if known else 0, values[11], values[19], values[3] == _IN_WAL_MODE
    )


def _first_bytes(path: Path) -> bytes:
    if not hasattr(os, "pread"):  # Windows, where a lock belongs to who opened the file
        with open(path, "rb") as file:
            return file.read(_HEADER_BYTES)
    with opened_besides(path) as handle:
        return os.pread(handle, _HEADER_BYTES, 0)


@contextlib.contextmanager
def opened_besides(path: Path) -> Iterator[int]:
    """Open a file for reading that may be open as a database here, and drop no lock on it.

    :return: its descriptor.
    :raises OSError: it cannot be read.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key in _held:
        yield _held[key]
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        if _is_open_besides(handle):
            _held[key] = handle
        else:
            os.close(handle)


def _is_open_besides(handle: int) -> bool:
    mine = os.fstat(handle)
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed again
            if int(name) != handle and os.path.samestat(os.fstat(int(name)), mine):
                return True
    return False


def cut_bytes(path: Path, announced: int) -> int:
    """Give by how much a file is shorter than it announces.

    A file with a log or journal beside it may be behind its header: then nothing can be said.
    """
    missing = announced - path.stat().st_size
    beside = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    if missing <= 0 or any(size_of(log) for log in beside):
        return 0
    return missing


def cut_bytes_of_open(path: Path, execute: Any) -> int:
    """Give the same of a file that is open as a database, and must not be opened besides.

    :param execute: runs a statement, and gives a cursor.
    """
    [(pages,)], [(page_bytes,)] = (
        execute(f"PRAGMA {name}").fetchall() for name in ("page_count", "page_size")
    )
    return cut_bytes(path, pages * page_bytes)
