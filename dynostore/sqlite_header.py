"""The first hundred bytes of a SQLite file, read without SQLite, which overlooks a cut last page.

SQLite reads the part of a page that is missing at a file's end as zeros, and finds nothing wrong.
The form is that of its file format document, "The Database Header".
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">16sH6B12I20x2I")
_IN_WAL_MODE = 2


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
    with open(path, "rb") as file:
        content = file.read(100)
    if len(content) < 100:
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


def missing_bytes(path: Path) -> int:
    """Give how much shorter a file is than its header says; 0 where it is whole, or not SQLite's.

    A file with a log or journal beside it may be behind its header: then nothing can be said, and
    SQLite itself will notice.

    :raises OSError: it cannot be read.
    """
    header = read_header(path)
    if header is None:
        return 0
    missing = header.page_count * header.page_bytes - path.stat().st_size
    beside = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    if missing <= 0 or any(log.exists() and log.stat().st_size for log in beside):
        return 0
    return missing
