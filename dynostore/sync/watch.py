"""Syncs whenever something changes, here or on the server, until it is told to stop.

Local changes are noticed by ``PRAGMA data_version``, which reads nothing of the file; remote ones
by LISTEN, and where that cannot be had, or is lost, by syncing every so often.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import random
import selectors
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from dynostore import config, errors
from dynostore.driver_errors import is_from_postgres
from dynostore.fields import time_text, utc_now
from dynostore.store import Store
from dynostore.sync.local.changes import require_file
from dynostore.sync.remote.session import Session
from dynostore.sync.run import Direction, Stopped, SyncReport, sync

CHANNEL = "dynostore_sync"
"""The server notifies it of every number that its clock hands out; the payload is the number."""

_LOOK_EVERY_S = 0.2
_LONGEST_PAUSE_S = 60.0
_TRY_AGAIN = (errors.RemoteUnavailable, errors.StoreLocked)


@dataclasses.dataclass(frozen=True)
class Round:
    """One sync of a watch.

    :ivar report: None: it failed.
    :ivar again_in_s: the pause before the next attempt, where this one failed.
    :ivar stopped: the watch was told to stop in the middle of it: the report says what was done
        until then, and the next sync does the rest.
    """

    at: dt.datetime
    report: SyncReport | None
    error: errors.DynostoreError | None = None
    again_in_s: float | None = None
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys."""
        return {
            "at": time_text(self.at),
            "report": None if self.report is None else self.report.to_json(),
            "error": self.error and {"code": self.error.code, "message": self.error.message},
            "again_in_s": self.again_in_s,
            "stopped": self.stopped,
        }


def watch(
    store: Store,
    remote: str | config.Place,
    *,
    stop: threading.Event,
    tell: Callable[[Round], None],
    interval_s: float = 60.0,
    direction: Direction = "push",
    **options: Any,
) -> None:
    """Sync at once, and then whenever something changed, until ``stop`` is set.

    What is lost on the way is tried again, after a pause that doubles with each failure up to a
    minute. A sync that is under way when ``stop`` is set ends behind its present batch.

    :param tell: called after each sync, with what it did; also after one that was stopped.
    :param interval_s: the longest time between two syncs.
    :param options: what :func:`dynostore.sync.sync` takes besides.
    :raises DynostoreError: what no second attempt gets past.
    """
    place = config.Place.of(remote)
    file = require_file(store)
    failures = 0
    with (
        contextlib.closing(_Changes(file.path)) as changes,
        contextlib.closing(_Listener(place, wanted=direction != "push")) as listener,
    ):
        while not stop.is_set():
            # Both before the sync: what comes while it runs must not be missed.
            changes.note()
            listener.open()
            began = utc_now()
            try:
                report = sync(
                    store, place, direction=direction, progress=_stopping(stop), **options
                )
            except Stopped as exc:
                tell(Round(began, exc.report, stopped=True))
                return
            except _TRY_AGAIN as exc:
                failures += 1
                pause_s = min(2.0 ** (failures - 1), _LONGEST_PAUSE_S)
                pause_s *= random.uniform(0.5, 1.0)  # noqa: S311 - many must not come at once
                tell(Round(began, None, exc, round(pause_s, 1)))
                stop.wait(pause_s)
                continue
            failures = 0
            tell(Round(began, report))
            listener.seen(changes.clock())
            _wait(stop, changes, listener, time.monotonic() + interval_s)


def _stopping(stop: threading.Event) -> Callable[[str, int], None]:
    def check(*_: object) -> None:
        if stop.is_set():
            raise Stopped

    return check


def _wait(stop: threading.Event, changes: _Changes, listener: _Listener, deadline: float) -> None:
    while not stop.is_set() and time.monotonic() < deadline:
        if changes.something_new() or listener.heard(_LOOK_EVERY_S):
            return


class _Changes:
    """Notices what other connections write into the file."""

    def __init__(self, path: Any) -> None:
        self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)
        self._version = -1
        self._logged = 0

    def close(self) -> None:
        self._connection.close()

    def note(self) -> None:
        """Remember the present state: what comes later is new."""
        self._version = self._data_version()
        self._logged = self._last_logged()

    def something_new(self) -> bool:
        """Tell whether rows changed since; the sync's own writes log none."""
        version = self._data_version()
        if version == self._version:
            return False
        self._version = version
        logged, before = self._last_logged(), self._logged
        self._logged = logged
        return logged > before

    def clock(self) -> int:
        """Give the greatest number of the server's that the file has seen."""
        if not self._has_tables():
            return 0
        row = self._connection.execute(
            "SELECT coalesce((SELECT max(cursor) FROM sync_table), 0),"
            " coalesce((SELECT max(clock) FROM sync_history), 0)"
        ).fetchone()
        return int(max(row))

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _last_logged(self) -> int:
        if not self._has_tables():
            return 0
        row = self._connection.execute(
            "SELECT coalesce(max(seq), 0) FROM sync_log WHERE tbl IS NOT NULL"
        ).fetchone()
        return int(row[0])

    def _has_tables(self) -> bool:
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sync_log'")
        return found.fetchone() is not None


class _Listener:
    """Hears of the numbers that the server's clock hands out; deaf where it cannot."""

    def __init__(self, place: config.Place, *, wanted: bool) -> None:
        self._place = place
        self._wanted = wanted
        self._session: Session | None = None
        self._seen = 0

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def seen(self, number: int) -> None:
        """Take what was synced up to a number for old news."""
        self._seen = number

    def open(self) -> None:
        """Listen from now on, where that can be had."""
        if self._wanted and self._session is None:
            session = Session(self._place)
            try:
                session.connect()
                session.execute(f"LISTEN {CHANNEL}")
            except Exception as exc:
                session.close()
                if not is_from_postgres(exc) and not isinstance(exc, errors.DynostoreError):
                    raise
            else:
                self._session = session

    def heard(self, timeout_s: float) -> bool:
        """Wait a moment; tell whether somebody else's number was handed out meanwhile."""
        if self._session is None:
            time.sleep(timeout_s)
            return False
        connection = self._session.connection
        try:
            # Not select(), which takes no descriptor above 1,023: a large program's may well be.
            with selectors.DefaultSelector() as selector:
                selector.register(connection, selectors.EVENT_READ)
                if not selector.select(timeout_s):
                    return False
            connection.poll()
        except Exception as exc:
            self.close()  # the next sync will tell what is wrong
            if not is_from_postgres(exc) and not isinstance(exc, (OSError, ValueError)):
                raise
            return True
        numbers = [int(notice.payload) for notice in connection.notifies]
        connection.notifies.clear()
        return any(number > self._seen for number in numbers)
