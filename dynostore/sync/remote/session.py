"""One session on the shared Postgres: statements and COPY, and an end to waiting for either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from dynostore import config, database
from dynostore.driver_errors import is_from_postgres, sqlstate
from dynostore.sync.remote.interrupt import interruptible
from dynostore.sync.remote.pieces import gathered
from dynostore.sync.remote.stall import Paced, StallGuard
from dynostore.sync.tables import literal

_LOCK_TIMEOUT = "30s"
_KEEPALIVE = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}
"""A connection that is cut without a word is noticed in about 40 seconds."""
_COPY_BYTES = 1 << 18


class Session:
    """One session on the shared Postgres; used by one thread at a time.

    :param pool: whose connection to use, and to give back; one of its own by default.
    :ivar connection: psycopg2's, in autocommit mode: transactions are written out in SQL.
    :ivar guard: sees to it that nobody waits for ever.
    """

    def __init__(self, place: config.Place, pool: database.PostgresServer | None = None) -> None:
        self.place = place
        self.database = database.connect_server(place) if pool is None else pool
        self.database.connect_params = {**_KEEPALIVE, **self.database.connect_params}
        self.connection: Any = None
        self.guard = StallGuard(place.settings.stall_timeout_s)
        self.database.on_open = self.guard.watch

    def connect(self) -> None:
        """Open the session.

        :raises RemoteUnavailable: nobody answers.
        :raises AccessDenied: the credentials are refused.
        """
        with self.answering():
            self.database.connect()
        # Kept, since Peewee's belongs to a thread, and would quietly open another when it breaks.
        self.connection = self.database.connection()
        self.guard.watch(self.connection)
        # No notices: nobody reads them, and they would be sent while a batch is at work. A batch
        # that waited for a row must be judged by what was committed meanwhile, whatever the
        # server's default: REPEATABLE READ missed a tombstone.
        self.execute(
            f"SET lock_timeout = {literal(_LOCK_TIMEOUT)}; SET client_min_messages = error;"
            " SET default_transaction_isolation = 'read committed'"
        )

    def close(self) -> None:
        """End the session; what it had not committed never happened."""
        self.database.drop_connections()
        self.guard.close()

    def leave(self) -> None:
        """End the session, with nothing under way, and give its connection back to the pool."""
        self.database.close()
        self.guard.close()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Wait for the server inside, for as long as anything moves."""
        try:
            with self.guard.waiting(), interruptible(self.connection):
                yield
        except Exception as exc:
            if not self.guard.gave_up:
                raise
            import psycopg2

            # What libpq would raise: by that it is decided what may be tried again.
            raise psycopg2.OperationalError(
                f"nothing was heard of the server for {self.guard.limit_s:g} s"
            ) from exc

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run statements in one round trip; give the rows of the last one."""
        with self.answering(), self.connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def copy_in(self, sql: str, stream: BinaryIO, piece_bytes: int = _COPY_BYTES) -> None:
        """Run a COPY from a stream of bytes; the time that the stream takes is its own."""
        with self.answering(), self.connection.cursor() as cursor:
            cursor.copy_expert(sql, Paced(stream, self.guard), piece_bytes)

    def copy_out(
        self, sql: str, take: Callable[[bytes], None], piece_bytes: int = _COPY_BYTES
    ) -> None:
        """Run a COPY to this side; ``take`` gets pieces of whole rows, on its own time."""
        with (
            self.answering(),
            self.connection.cursor() as cursor,
            gathered(take, self.guard, piece_bytes) as rows,
        ):
            cursor.copy_expert(sql, rows)

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Give the first row, or None."""
        rows = self.execute(sql, values)
        return rows[0] if rows else None

    def rollback(self) -> None:
        """Give up the open transaction; a connection that is gone has done so already."""
        try:
            self.execute("ROLLBACK")
        except Exception as exc:
            if sqlstate(exc) is not None or not is_from_postgres(exc):
                raise
