"""Keeps what a sync has opened, on both sides, for one that soon follows it.

To connect, and to let the server and SQLite look everything up for the first time, is three
quarters of what a sync with nothing to do costs.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

from dynostore import config
from dynostore.connections import databases
from dynostore.database import PostgresServer, SqliteFile, connect_server
from dynostore.store import Store
from dynostore.sync.local.connections import FileConnections

_KEPT_S = 5.0
"""So short that of a hundred programs which sync every minute few are connected at a time."""


class Kept:
    """Both sides of one store's syncs; open for a few seconds after each, or until the store ends.

    :ivar connections: to the file.
    """

    def __init__(self, file: SqliteFile) -> None:
        self.connections = FileConnections(file.path, file.settings)
        self._place: config.Place | None = None
        self._server: PostgresServer | None = None
        # Reentrant: what is collected meanwhile may be a store whose end this is.
        self._lock = threading.RLock()
        self._is_used = self._is_ended = False
        self._clock: threading.Timer | None = None
        databases.add(self)

    @contextlib.contextmanager
    def used(self, place: config.Place) -> Iterator[PostgresServer]:
        """Have both sides for one sync; give the server, whose pool holds what was kept.

        They are closed behind a sync that fails, and where the store was closed meanwhile.

        :raises ConfigError: the place is no Postgres.
        """
        with self._lock:
            self._is_used = True
            self._stop_clock()
        is_sound = False
        try:
            yield self._server_at(place)
            is_sound = True
        finally:
            with self._lock:
                self._is_used = False
                if is_sound and not self._is_ended:
                    self._start_clock()
                else:
                    self._close()

    def end(self) -> None:
        """Close both sides; where a sync uses them, behind it."""
        with self._lock:
            self._is_ended = True
            self._close_unused()

    def forget_inherited(self) -> None:
        """Start anew in a forked child, which has no clock; the server looks after itself."""
        self.connections.forget_inherited()
        self._lock = threading.RLock()
        self._is_used, self._clock = False, None

    def _server_at(self, place: config.Place) -> PostgresServer:
        if self._server is None or place != self._place:
            if self._server is not None:
                self._server.close_idle()
            self._server, self._place = connect_server(place), place
        return self._server

    def _start_clock(self) -> None:
        self._clock = threading.Timer(_KEPT_S, self._time_is_up)
        self._clock.name, self._clock.daemon = "dynostore-kept", True
        self._clock.start()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    def _time_is_up(self) -> None:
        with self._lock:
            self._close_unused()

    def _close_unused(self) -> None:
        if not self._is_used:
            self._stop_clock()
            self._close()

    def _close(self) -> None:
        self.connections.close()
        if self._server is not None:
            self._server.close_idle()


_kept: weakref.WeakKeyDictionary[Store, Kept] = weakref.WeakKeyDictionary()


def kept_for(store: Store, file: SqliteFile) -> Kept:
    """Give what the syncs of a store keep; by whoever syncs its file, alone."""
    if store not in _kept:
        _kept[store] = kept = Kept(file)
        store.at_close(kept.end)
        # A store that nobody closed ends with its last reference, at the latest with the process:
        # else the file's log would stay behind, and with it what a copy of the file alone lacks.
        weakref.finalize(store, kept.end)
    return _kept[store]
