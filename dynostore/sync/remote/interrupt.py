"""Lets Ctrl-C end a wait for the server: libpq waits on, and Python hears of it afterwards."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

_waited_for: set[Any] = set()


@contextlib.contextmanager
def interruptible(connection: Any) -> Iterator[None]:
    """Let :func:`interrupts_heard` cancel what this connection of psycopg2's does inside."""
    if connection is None or connection in _waited_for:
        yield
        return
    _waited_for.add(connection)
    try:
        yield
    finally:
        _waited_for.discard(connection)


@contextlib.contextmanager
def interrupts_heard() -> Iterator[None]:
    """Cancel at SIGINT what a server was asked, so that its handler is called now.

    For commands: it takes the process's wake-up descriptor, which an event loop needs for itself.
    Outside of the main thread, where no signal arrives, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hears, told = socket.socketpair()
    told.setblocking(False)
    listener = threading.Thread(
        target=_cancel_when_told, args=(hears,), name="dynostore-interrupt", daemon=True
    )
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        listener.join()
        hears.close()


def _cancel_when_told(hears: socket.socket) -> None:
    while numbers := hears.recv(64):
        for connection in tuple(_waited_for) if signal.SIGINT in numbers else ():
            import psycopg2  # there is a connection of it

            # Gone already, or nobody answers: then the guard of the connection ends the wait.
            with contextlib.suppress(psycopg2.Error):
                connection.cancel()
