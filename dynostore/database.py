"""A URL becomes a Peewee database: pragmas, pool, threads and forks are settled here.

Two classes with the same four words for the rest of the package: :meth:`reading` and
:meth:`writing` hold a connection for one verb and translate the driver's errors, :meth:`shut`
closes everything from any thread, ``shown`` is the address without its password.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from dynostore import config, errors
from dynostore.driver_errors import connection_failure, translated

APPLICATION_ID = 0x64796E6F
"""``dyno``: SQLite's header field that tells ``file(1)`` and us whose file this is."""

JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024

SQLITE_TYPES = {**peewee.SqliteDatabase.field_types, "UTCTIME": "TEXT"}
POSTGRES_TYPES = {
    **peewee.PostgresqlDatabase.field_types,
    "UTCTIME": "TIMESTAMPTZ",
    "COLLATION": ' COLLATE "C"',
    # Plain Peewee integers would be 32 bits wide here and 64 in SQLite.
    "INT": "BIGINT",
    "SMALLINT": "BIGINT",
}
_sql_log = logging.getLogger("dynostore.sql")
_databases: weakref.WeakSet[Any] = weakref.WeakSet()
# Connections that a child inherited. Closing a server's would end the parent's session, and
# closing a file's would drop the parent's locks, so they are kept until the child ends.
_inherited: list[Any] = []


def _forget_after_fork() -> None:
    for database in list(_databases):
        database.forget_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def connect(
    url: str,
    settings: config.Settings | None = None,
    *,
    read_only: bool = False,
    create: bool = True,
) -> StoreDatabase:
    """Give the database behind a URL or plain path; a SQLite file is made if it is missing.

    Postgres is not asked before the first use.

    :raises StoreNotFound: no such file, and ``create`` is off or ``read_only`` on.
    :raises StoreUnwritable: the file's directory does not exist or cannot be written.
    :raises MissingExtra: a Postgres URL without psycopg2.
    """
    settings = settings or config.Settings()
    if config.is_postgres(url):
        return PostgresServer(url, settings, read_only=read_only)
    path = config.sqlite_path(url)
    if path is None:
        return MemoryDatabase(settings)
    return SqliteFile(Path(path), settings, read_only=read_only, create=create)


class CommonDatabase:
    """What all kinds share: logging without values, and refusal after the end."""

    shown: str
    read_only: bool
    reading: Any  # each kind holds its connection in its own way
    atomic: Any  # Peewee's
    _shut = False
    _state: Any  # Peewee's: the thread's connection and open transactions
    _connections: Any  # the pool's
    _in_use: Any

    def _log_query(self, sql: str, params: Any) -> None:
        # Peewee's own log holds the values; they are people's data.
        if _sql_log.isEnabledFor(logging.DEBUG):
            _sql_log.debug("%s", sql)

    def _refuse_if_shut(self) -> None:
        if self._shut:
            raise errors.StoreClosed(f"{self.shown}: the store is closed", hint="open it again")

    def _none_free(self, connections: int) -> errors.StoreLocked:
        return errors.StoreLocked(
            f"{self.shown}: all {connections} connections are in use",
            hint="raise pool_max in dynostore.yaml",
        )

    @contextlib.contextmanager
    def _verb(self) -> Iterator[None]:
        self._refuse_if_shut()
        try:
            with translated(self.shown):
                yield
        except errors.DynostoreError:
            # Another thread closed the store in the middle of this verb.
            self._refuse_if_shut()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold a connection inside a transaction, or a savepoint of the one that is open."""
        if self.read_only:
            raise errors.StoreUnwritable(
                f"{self.shown}: was opened for reading only", hint="open it without read_only"
            )
        with self.reading(), self.atomic():
            yield


def sqlite_pragmas(settings: config.Settings) -> tuple[tuple[str, str | int], ...]:
    """Give the pragmas that every connection to a file sets."""
    return (
        ("foreign_keys", "ON"),
        ("synchronous", settings.synchronous),
        ("journal_size_limit", JOURNAL_SIZE_LIMIT_BYTES),
    )


def sqlite_target(path: Path, *, read_only: bool) -> str:
    """Give what SQLite is to open: the path, or a ``file:`` URI that only reads.

    :param path: absolute.
    """
    if not read_only:
        return str(path)
    # as_uri() quotes what would end the path or begin parameters.
    target = f"{path.as_uri()}?mode=ro"
    log = path.with_name(path.name + "-wal")
    writable = os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if not writable and not log.exists():
        # Even a reader makes the log's index beside the file. Where that cannot be and there is
        # no log, nobody is writing, and SQLite may take the file for unchanging.
        target += "&immutable=1"
    return target


class _ThreadGuard:
    """Closes a thread's connection when the thread ends, by being dropped with its locals."""

    def __init__(self, database: SqliteFile, connection: sqlite3.Connection) -> None:
        self._database = weakref.ref(database)
        self._connection = connection
        self._pid = os.getpid()

    def __del__(self) -> None:
        database = self._database()
        if self._pid != os.getpid():
            return
        if database is not None:
            database.discard(self._connection)
        else:
            self._connection.close()


class SqliteSavepoint(peewee._savepoint):
    """A savepoint that knows that SQLite may have rolled back the whole transaction by itself.

    It does so on a full disk and on I/O errors; rolling back once more would hide the reason, and
    going on would write outside of any transaction.
    """

    def _begin(self) -> None:
        if not self.db.in_sqlite_transaction():
            raise errors.StoreUnwritable(
                f"{self.db.shown}: the transaction was undone by an earlier error", hint="try again"
            )
        super()._begin()  # type: ignore[misc]  # not in the stubs

    def rollback(self, begin: bool = True) -> None:
        """Roll back to here, unless SQLite rolled back everything by itself."""
        if self.db.in_sqlite_transaction():
            super().rollback(begin)


class SqliteCommon(CommonDatabase):
    """What every SQLite database of ours does in a transaction that SQLite may end by itself."""

    dialect = "sqlite"
    field_types = SQLITE_TYPES

    def in_sqlite_transaction(self) -> bool:
        """Tell whether SQLite is in a transaction; it may have ended the one that we began."""
        return bool(self._state.conn.in_transaction)

    def savepoint(self) -> SqliteSavepoint:
        """Give a savepoint of the open transaction."""
        return SqliteSavepoint(self)

    def rollback(self) -> None:
        """Roll back, unless SQLite did it by itself."""
        if self.in_sqlite_transaction():
            super().rollback()  # type: ignore[misc]  # Peewee's, which stands behind in the MRO


class SqliteFile(SqliteCommon, peewee.SqliteDatabase):
    """One SQLite file: WAL, foreign keys on, every write transaction IMMEDIATE.

    May be shared by threads; each has a connection of its own.
    """

    def __init__(
        self,
        path: Path,
        settings: config.Settings,
        *,
        read_only: bool = False,
        create: bool = True,
    ) -> None:
        self.path = path.absolute()
        self.shown = str(path)
        self.settings = settings
        self.read_only = read_only
        self._open: set[sqlite3.Connection] = set()
        self._open_lock = threading.Lock()
        self._prepare_file(create and not read_only)
        target = self._target()
        super().__init__(
            target,
            uri=read_only,
            # BEGIN DEFERRED fails with "database is locked" whenever a reader becomes a writer
            # behind another one, at once and whatever the timeout says.
            lock_type="IMMEDIATE",
            timeout=settings.busy_timeout_s,
            check_same_thread=False,
            cached_statements=256,
        )
        _databases.add(self)

    def _prepare_file(self, create: bool) -> None:
        try:
            self._make_file(create)
        except OSError as exc:
            if isinstance(exc, errors.DynostoreError):
                raise
            raise errors.StoreUnwritable(f"{self.shown}: {exc.strerror}") from exc

    def _make_file(self, create: bool) -> None:
        if self.path.is_dir():
            raise errors.StoreUnwritable(f"{self.shown}: is a directory, not a file")
        if self.path.exists():
            return
        if not create:
            raise errors.StoreNotFound(
                f"{self.shown}: there is no store here yet",
                hint=f"dynostore --db {self.shown} init",
            )
        if not self.path.parent.is_dir():
            raise errors.StoreUnwritable(
                f"{self.shown}: the directory {self.path.parent} does not exist",
                hint=f"mkdir -p {self.path.parent}",
            )
        # SQLite would make it with the umask's mode; WAL and SHM inherit this one.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _target(self) -> str:
        return sqlite_target(self.path, read_only=self.read_only)

    def _connect(self) -> sqlite3.Connection:
        self._refuse_if_shut()
        connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]  # not in the stubs
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        with self._open_lock:
            self._open.add(connection)
        self._state.guard = _ThreadGuard(self, connection)
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        for name, value in sqlite_pragmas(self.settings):
            connection.execute(f"PRAGMA {name} = {value}")

    def set_wal(self) -> None:
        """Turn on the write-ahead log; the file remembers it.

        Not done on connecting: somebody else's or a newer file must not be changed before it was
        recognised, and the migrator calls this once it knows. On a fresh file it needs an
        exclusive lock, for which SQLite does not wait: we do.
        """
        connection: sqlite3.Connection = self.connection()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + self.settings.busy_timeout_s
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as exc:
                name = getattr(exc, "sqlite_errorname", "")
                if not name.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _close(self, conn: sqlite3.Connection) -> None:
        self.discard(conn)

    def discard(self, connection: sqlite3.Connection) -> None:
        """Close one connection; harmless when it is closed already."""
        with self._open_lock:
            self._open.discard(connection)
        connection.close()

    def forget_inherited(self) -> None:
        """Start anew in a forked child, leaving the parent's connections alone."""
        _inherited.extend([self._open, getattr(self._state, "guard", None)])
        self._open = set()
        self._open_lock = threading.Lock()
        self._lock = threading.Lock()
        self._state.reset()

    def shut(self) -> None:
        """Close every thread's connection; using the database again is an error."""
        self._shut = True
        with self._open_lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()
        self._state.reset()

    def changeable_tables(self) -> list[str]:
        """Give the tables that a migration could change, ours or not."""
        return [name for name in self.get_tables() if not name.startswith("sqlite_")]

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold a connection and translate the driver's errors."""
        with self._verb():
            yield


class MemoryDatabase(SqliteFile):
    """A database in memory, for tests: one connection, behind a lock that a verb holds."""

    def __init__(self, settings: config.Settings) -> None:
        self._verb_lock = threading.RLock()
        super().__init__(Path(":memory:"), settings)

    def init(self, database: Any, *args: Any, **kwargs: Any) -> None:
        """Let all threads share one connection."""
        # Peewee chooses the kind of state by an argument of its constructor; threads share one.
        self._state = peewee._ConnectionState()
        super().init(database, *args, **kwargs)

    def _prepare_file(self, create: bool) -> None:
        self.shown = ":memory:"

    def _target(self) -> str:
        return ":memory:"

    def set_wal(self) -> None:
        """Do nothing: memory has no log."""

    def forget_inherited(self) -> None:
        """Keep the connection: a forked child has a copy of the memory, and nobody else's file."""
        self._open_lock = threading.Lock()
        self._lock = threading.Lock()
        self._verb_lock = threading.RLock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock and the connection."""
        with self._verb_lock, super().reading():
            yield


class PostgresServer(CommonDatabase, PooledPostgresqlDatabase):  # type: ignore[misc]  # untyped base
    """A Postgres database behind a pool of connections; stale ones are dropped at check-out."""

    dialect = "postgres"
    field_types = POSTGRES_TYPES

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
        connect_parameters = {k: v for k, v in self.parameters.items() if k != "dbname"}
        super().__init__(
            self.parameters["dbname"],
            max_connections=settings.pool_max,
            stale_timeout=settings.pool_stale_s,
            timeout=settings.busy_timeout_s,
            **connect_parameters,
        )
        _databases.add(self)

    def _connect(self) -> Any:
        self._refuse_if_shut()
        connection = super()._connect()
        if connection not in self._configured:
            try:
                configure_session(connection, read_only=self.read_only)
            except BaseException:
                self._close(connection, close_conn=True)
                raise
            self._configured.add(connection)
        return connection

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Connect this thread, telling a missing server from refused credentials."""
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

    def forget_inherited(self) -> None:
        """Start anew in a forked child, leaving the parent's sessions alone."""
        _inherited.extend([self._state.conn, self._connections, self._in_use])
        self._lock = threading.Lock()
        self._pool_lock = threading.RLock()
        self._pool_available = threading.Condition(self._pool_lock)
        self._connections, self._in_use = [], {}
        self._state.reset()
        self._state.verbs = 0

    def shut(self) -> None:
        """Close every connection, idle or in use; using the database again is an error."""
        self._shut = True
        self._state.transactions = []
        self.close_all()


StoreDatabase = SqliteFile | PostgresServer


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
