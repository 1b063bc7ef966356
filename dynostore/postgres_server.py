"""A Postgres server as a database: the pool, stale connections, and what refuses to connect."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import peewee
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from dynostore import config, errors
from dynostore.connections import (
    CommonDatabase,
    Savepoint,
    Transaction,
    all_databases,
    databases,
    inherited,
)
from dynostore.driver_errors import TOO_MANY_CONNECTIONS, connection_failure, lost, undone

POSTGRES_TYPES = {
    **peewee.PostgresqlDatabase.field_types,
    "UTCTIME": "TIMESTAMPTZ",
    "COLLATION": ' COLLATE "C"',
    # Plain Peewee integers would be 32 bits wide here and 64 in SQLite.
    "INT": "BIGINT",
    "SMALLINT": "BIGINT",
    # So would its floats, and lose half of their digits.
    "FLOAT": "DOUBLE PRECISION",
}

_WHERE = ("host", "hostaddr", "port", "service")
_UNTIL_FREE_S = (0.02, 0.1, 0.4)
"""The pauses in which the server notices that a connection was closed."""
_IDLE, _IN_ERROR = 0, 3  # psycopg2.extensions.TRANSACTION_STATUS_*, which are libpq's PQTRANS_*


class PostgresServer(CommonDatabase, PooledPostgresqlDatabase):  # type: ignore[misc]  # untyped base
    """A Postgres database behind a pool of connections; stale ones are dropped at check-out.

    :ivar on_open: called with each new connection before its first statement, if not None.
    """

    dialect = "postgres"
    field_types = POSTGRES_TYPES
    snapshot_begins = (2,)  # REPEATABLE READ, as psycopg2 numbers it

    def __init__(self, url: str, settings: config.Settings, *, read_only: bool = False) -> None:
        require_psycopg2()
        self.url = url
        self.shown = config.mask(url)
        self.settings = settings
        self.read_only = read_only
        self.parameters = {
            "connect_timeout": settings.connect_timeout_s,
            "application_name": "dynostore",
            **config.postgres_parameters(url),
        }
        self._configured: weakref.WeakSet[Any] = weakref.WeakSet()
        self.on_open: Callable[[Any], None] | None = None
        connect_parameters = {k: v for k, v in self.parameters.items() if k != "dbname"}
        super().__init__(
            self.parameters["dbname"],
            max_connections=settings.pool_max,
            stale_timeout=settings.pool_stale_s,
            timeout=settings.busy_timeout_s,
            **connect_parameters,
        )
        databases.add(self)

    def _connect(self) -> Any:
        self._refuse_if_shut()
        connection = super()._connect()
        if connection not in self._configured:
            try:
                if self.on_open is not None:
                    self.on_open(connection)
                configure_session(connection, read_only=self.read_only)
            except BaseException:
                self._close(connection, close_conn=True)
                raise
            self._configured.add(connection)
        return connection

    def _is_closed(self, conn: Any) -> bool:
        """Tell whether a connection from the pool is no good any more.

        Peewee asks the server, which is a round trip for each verb. That the server has ended a
        session it says unasked, and then it has arrived.
        """
        import psycopg2

        try:
            conn.poll()  # takes in why it was ended
            conn.poll()  # finds the end itself
        except psycopg2.Error:
            return True
        return bool(conn.closed) or conn.info.transaction_status != _IDLE

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Connect this thread, telling a missing server from refused credentials.

        Where the server has none left, what this process keeps idle there is closed first.
        """
        gave_way = False
        for pause_s in (*_UNTIL_FREE_S, None):
            try:
                return self._connect_or_ask_again(reuse_if_open)
            except (errors.RemoteUnavailable, errors.AccessDenied) as exc:
                gave_way = gave_way or (_may_be_full(exc) and self._close_idle_of_others())
                if pause_s is None or not gave_way or not _may_be_full(exc):
                    raise
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _close_idle_of_others(self) -> bool:
        """Close what this process's other pools keep idle there; tell whether that was any."""
        idle = [
            other
            for other in all_databases()
            if isinstance(other, PostgresServer)
            and other._connections
            and all(other.parameters.get(n) == self.parameters.get(n) for n in _WHERE)
        ]
        for other in idle:
            other.close_idle()
        return bool(idle)

    def _connect_or_ask_again(self, reuse_if_open: bool) -> bool:
        try:
            return self._connect_or_explain(reuse_if_open)
        except errors.AccessDenied as exc:
            if exc.data["sqlstate"]:
                raise
            # The server answers without saying what is wrong: it may have been starting up a
            # moment ago, or it refuses the password.
            return self._connect_or_explain(reuse_if_open)

    def _connect_or_explain(self, reuse_if_open: bool) -> bool:
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded as exc:
            raise self._none_free(self.settings.pool_max) from exc
        except peewee.OperationalError as exc:
            raise connection_failure(exc, self.parameters, self.shown) from exc
        except peewee.ProgrammingError as exc:
            # libpq does not know a parameter of the URL.
            raise errors.ConfigError(f"{self.shown}: {exc}") from exc

    def warm(self, count: int) -> None:
        """Open connections ahead, up to ``count`` idle ones.

        :raises RemoteUnavailable: the server does not answer.
        """
        with self.reading():
            opened = []
            try:
                for _ in range(count - 1):
                    opened.append(self._connect())
            finally:
                for connection in opened:
                    self._close(connection)

    def changeable_tables(self) -> list[str]:
        """Give the tables that a migration could change; others may not even be readable."""
        return [
            name
            for (name,) in self.execute_sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
                "AND pg_has_role(tableowner, 'USAGE')"
            )
        ]

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one of the pool's connections for this thread and translate the driver's errors."""
        depth = getattr(self._state, "verbs", 0)
        with self._verb():
            if self.is_closed():
                self.connect()
            self._state.verbs = depth + 1
            try:
                yield
            finally:
                self._state.verbs = depth
                if depth == 0 and not self.in_transaction():
                    self.close()

    def transaction(self, *args: Any, **kwargs: Any) -> Transaction:
        """Give a transaction that only this process can end."""
        return Transaction(self, *args, **kwargs)

    def savepoint(self) -> Savepoint:
        """Give a savepoint of the open transaction, which only this process can end."""
        return Savepoint(self)

    def commit(self) -> None:
        """Commit, or say that an error inside has undone the transaction already."""
        connection = self._state.conn
        if connection is not None and connection.closed:
            raise lost(self.shown)
        if connection is not None and connection.info.transaction_status == _IN_ERROR:
            raise undone(self.shown)
        try:
            super().commit()
        except peewee.PeeweeException as exc:
            if connection is not None and connection.closed:
                raise lost(self.shown, committing=True) from exc
            raise

    def rollback(self) -> None:
        """Roll back, unless the server did it by itself when the connection was lost."""
        try:
            super().rollback()
        except peewee.PeeweeException:
            if self._state.conn is None or not self._state.conn.closed:
                raise

    def forget_inherited(self) -> None:
        """Start anew in a forked child, leaving the parent's sessions alone."""
        self.forks += 1
        inherited.extend([self._state.conn, self._connections, self._in_use])
        self._lock = threading.Lock()
        self._pool_lock = threading.RLock()
        self._pool_available = threading.Condition(self._pool_lock)
        self._connections, self._in_use = [], {}
        self._state.reset()
        self._state.verbs = 0

    def shut(self) -> None:
        """Close every connection, idle or in use; using the database again is an error."""
        self._shut = True
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close every connection, idle or in use, with what is not committed."""
        self._state.transactions = []
        self.close_all()


def _may_be_full(failure: errors.DynostoreError) -> bool:
    """Tell whether there may have been no connection left.

    To a user who gives a password the server says so only behind it, where nobody has asked.
    """
    return failure.data.get("sqlstate") in (TOO_MANY_CONNECTIONS, "")


def configure_session(connection: Any, *, read_only: bool = False) -> None:
    """Make one psycopg2 connection speak our forms: UTC, jsonb as text, ISO dates.

    jsonb stays text because :class:`~dynostore.fields.JsonField` parses it for both databases; a
    driver that parsed it would make the string ``"1"`` and the number ``1`` look the same.
    """
    import psycopg2.extras

    psycopg2.extras.register_default_jsonb(connection, loads=_as_text)
    with connection.cursor() as cursor:
        cursor.execute(
            "; ".join(
                f"SET {name} TO '{value}'"
                for name, value in session_settings(read_only=read_only).items()
            )
        )


def session_settings(*, read_only: bool = False) -> dict[str, str]:
    """Give the settings of a Postgres session, whatever the server's defaults are."""
    return {
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "default_transaction_read_only": "on" if read_only else "off",
    }


def _as_text(text: str) -> str:
    return text


def require_psycopg2() -> None:
    """Say which extra is missing, before Peewee says something else.

    :raises MissingExtra: psycopg2 is not installed.
    """
    try:
        import psycopg2  # noqa: F401
    except ImportError as exc:
        raise errors.MissingExtra(
            "Postgres needs the extra 'postgres'", hint="pip install 'dynostore[postgres]'"
        ) from exc
