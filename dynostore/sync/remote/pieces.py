"""Takes what COPY sends row by row, and passes it on in pieces of many whole rows.

psycopg2 calls ``write`` for each row. A function in Python takes longer for that than all else that
happens to the row; a buffer in C does not.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from dynostore.sync.remote.stall import StallGuard


class Pieces(io.RawIOBase):
    """What stands behind the buffer of :func:`gathered`.

    :ivar failed: whoever takes the rows wants no more of them.
    """

    def __init__(self, take: Callable[[bytes], None], guard: StallGuard) -> None:
        self._take = take
        self._guard = guard
        self._rest = b""
        self.failed = False

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Take the buffer's bytes, which end anywhere."""
        piece = self._rest + bytes(data)
        end = piece.rfind(b"\n") + 1
        self._rest = piece[end:]
        if end and not self.failed:
            before = self._guard.set_clock(running=False)
            try:
                self._take(piece[:end])
            except BaseException:
                self.failed = True  # the buffer is emptied once more when it is closed
                raise
            finally:
                self._guard.set_clock(running=before)
        return len(data)


def gathered(
    take: Callable[[bytes], None], guard: StallGuard, piece_bytes: int
) -> io.BufferedWriter:
    """Give a stream for COPY; to be flushed at the end.

    :param take: gets some rows, newlines included; the time that it takes is not the connection's.
    """
    return io.BufferedWriter(Pieces(take, guard), piece_bytes)
