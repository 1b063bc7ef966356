"""Gives up a connection over which nothing moves any more, though something keeps it open.

A proxy whose other side is gone goes on acknowledging what it is sent: to TCP, whose keepalives
and timeouts see nothing else, the connection is well. libpq has no time limit for a reply.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

try:
    import fcntl
    import termios
except ImportError:  # Windows: what moves is seen by the pieces that are read and written alone
    fcntl = termios = None  # type: ignore[assignment]

_LOOKS = 10  # at a connection, before its time is up
# Linux's struct tcp_info: bytes acknowledged by the other side, bytes received from it.
_TCP_COUNTERS = struct.Struct("=120xQQ")


class StallGuard:
    """Watches one connection while it is waited for, and shuts it down once it stands still.

    Whoever waits gets libpq's error for a connection that is gone. What counts is what moves: a
    slow link is let be.

    :param limit_s: how long nothing may move; 0: for ever.
    :ivar gave_up: the connection was shut down.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.gave_up = False
        self._connection: Any = None
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._patience = 1
        self._waiting = False
        self._beats = 0

    def watch(self, connection: Any) -> None:
        """Begin to look at one of psycopg2's connections."""
        if not self.limit_s or connection is self._connection:
            return
        self._connection = connection
        if self._socket is not None:
            self._socket.close()
        # A handle of its own: libpq's may be closed, and its number be another's, at any moment.
        self._socket = socket.fromfd(connection.fileno(), -1, -1)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="dynostore-stall", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Let go of the connection, which is closed only then."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the time run inside."""
        before = self.set_clock(running=True)
        try:
            yield
        finally:
            self.set_clock(running=before)

    def set_clock(self, *, running: bool) -> bool:
        """Let the time run, or stop it for what is not the connection's; tell whether it ran."""
        before = self._waiting
        self._beats += 1
        self._waiting = running
        return before

    @contextlib.contextmanager
    def patient(self, factor: int) -> Iterator[None]:
        """Allow the server some times the time inside, for work of which nothing is heard."""
        self._patience = factor
        try:
            yield
        finally:
            self._patience = 1

    def _look(self) -> None:
        last: tuple[int, ...] = ()
        since = time.monotonic()
        while not self._done.wait(self.limit_s / _LOOKS):
            seen = (self._beats, *_counters(self._socket))
            if seen != last or not self._waiting:
                last, since = seen, time.monotonic()
            elif time.monotonic() - since > self.limit_s * self._patience:
                self.gave_up = True
                if self._socket is not None:
                    with contextlib.suppress(OSError):
                        self._socket.shutdown(socket.SHUT_RDWR)
                return


class Paced:
    """A stream for COPY whose pieces are not waited for on the connection's time."""

    def __init__(self, stream: BinaryIO, guard: StallGuard) -> None:
        self._stream = stream
        self._guard = guard

    def read(self, size: int) -> bytes:
        """Give what is to be sent."""
        before = self._guard.set_clock(running=False)
        try:
            return self._stream.read(size)
        finally:
            self._guard.set_clock(running=before)


def _counters(sock: socket.socket | None) -> tuple[int, ...]:
    """Give numbers that change while anything moves; none where the system has no such numbers."""
    if sock is None:
        return ()
    with contextlib.suppress(OSError, AttributeError, struct.error):
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_COUNTERS.size)
        return _TCP_COUNTERS.unpack(info)
    with contextlib.suppress(OSError, AttributeError):
        left = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
        return struct.unpack("=i", left)
    return ()
