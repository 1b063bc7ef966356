"""A SQLite file as a database, for all threads and for forks; says what the file system refuses."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import peewee

from dynostore import config, errors, forked
from dynostore.connection_use import OwnUse, ThreadGuard, Use
from dynostore.connections import CommonDatabase, Savepoint, Transaction, databases, inherited
from dynostore.open_file import OpenFile, require_file
from dynostore.rights import no_file, sqlite_target, unwritable_part

APPLICATION_ID = 0x64796E6F
"""``dyno``: SQLite's header field that tells ``file(1)`` and us whose file this is."""

JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
CHECKPOINT_PAGES = 4_000
"""Pages in the log before they are copied into the file: 16 MiB, a quarter of the limit above.

By SQLite's own 1,000 the pages that every write changes are copied four times as often; saving
states of 20 KB took between 8 and 33 % longer. A thousand scattered rows are two thousand pages."""

_CACHE_KIB = 16 * 1024
"""What a connection may keep in memory. By SQLite's own 2 MiB a conversation of 1,000 messages
among many others is read from the file again at each look."""


SQLITE_TYPES = {**peewee.SqliteDatabase.field_types, "UTCTIME": "TEXT"}


def sqlite_pragmas(settings: config.Settings) -> tuple[tuple[str, str | int], ...]:
    """Give the pragmas that every connection to a file sets."""
    return (
        ("foreign_keys", "ON"),
        ("synchronous", settings.synchronous),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("journal_size_limit", JOURNAL_SIZE_LIMIT_BYTES),
        ("cache_size", -_CACHE_KIB),
    )


class SqliteSavepoint(Savepoint):
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
    snapshot_begins = ("DEFERRED",)
    path: Path
    _unwritable: Path | None = None

    def _note_rights(self) -> None:
        """Be for reading only where this user may not write; see :func:`unwritable_part`."""
        if not self.read_only:
            self._unwritable = unwritable_part(self.path)
            self.read_only = self._unwritable is not None

    def require_writable(self) -> None:
        """Do nothing where the file may be written to; see :meth:`CommonDatabase.require_writable`.

        :raises StoreUnwritable: the file or its directory may not be, or it was not opened for it.
        """
        if self._unwritable is None:
            super().require_writable()
            return
        what = "file" if self._unwritable == self.path else f"directory {self._unwritable}"
        raise errors.StoreUnwritable(
            f"{self.shown}: can only be read: the {what} may not be written to by this user",
            hint=f"ask its owner for the right (chmod), or write to a copy: "
            f"dynostore --db {shlex.quote(self.shown)} db backup COPY",
        )

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction; one that is to write, only where the file has its name still.

        :raises StoreNotFound: the file was removed, renamed or replaced.
        """
        if lock_type is None and (file := self._open_file()) is not None:
            file.require_its_name()
        super().begin(lock_type)  # type: ignore[misc]  # Peewee's, which stands behind in the MRO

    def _open_file(self) -> OpenFile | None:
        """Give what the connection has open; None where nothing can happen to that."""
        raise NotImplementedError

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

    May be shared by threads; each has a connection of its own. Opened for reading only too where
    this user may not write to the file or make its log beside it; see :func:`unwritable_part`.
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
        self._own_use: OwnUse | types.SimpleNamespace = OwnUse()
        self._open: dict[sqlite3.Connection, Use] = {}
        self._open_lock = threading.Lock()
        self._prepare_file(create and not read_only)
        self._note_rights()
        target = self._target()
        super().__init__(
            target,
            uri=self.read_only,
            # BEGIN DEFERRED fails with "database is locked" whenever a reader becomes a writer
            # behind another one, at once and whatever the timeout says.
            lock_type="IMMEDIATE",
            timeout=settings.busy_timeout_s,
            check_same_thread=False,
            cached_statements=256,
        )
        databases.add(self)

    def _prepare_file(self, create: bool) -> None:
        try:
            self._make_file(create)
        except OSError as exc:
            if isinstance(exc, errors.DynostoreError):
                raise
            raise errors.StoreUnwritable(f"{self.shown}: {exc.strerror}") from exc

    def _make_file(self, create: bool) -> None:
        if kind := no_file(self.path):
            name = str(Path(self.shown) / "dynostore.db") if self.path.is_dir() else "FILE"
            raise errors.StoreUnwritable(
                f"{self.shown}: is {kind}, not a file",
                hint=f"dynostore --db {shlex.quote(name)} info",
            )
        if self.path.exists():
            return
        if not create:
            raise errors.StoreNotFound(
                f"{self.shown}: there is no store here yet",
                hint=f"dynostore --db {shlex.quote(self.shown)} init",
            )
        if not self.path.parent.is_dir():
            raise errors.StoreUnwritable(
                f"{self.shown}: the directory {self.path.parent} does not exist",
                hint=f"mkdir -p {shlex.quote(str(self.path.parent))}",
            )
        # SQLite would make it with the umask's mode; WAL and SHM inherit this one.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def write_rows(self, text: Callable[[int], str], rows: Sequence[Sequence[Any]]) -> None:
        """Execute a statement over many rows; see :meth:`CommonDatabase.write_rows`."""
        # One row each. A statement with several could fail behind its first, so that SQLite copies
        # each page before changing it; and where the table has triggers, all the rows as well.
        sql = text(1)
        self._log_query(sql, None)
        self._state.conn.executemany(sql, rows)

    def transaction(self, *args: Any, **kwargs: Any) -> Transaction:
        """Give a transaction that only this process can end."""
        return Transaction(self, *args, **kwargs)

    def _target(self) -> str:
        return sqlite_target(self.path, read_only=self.read_only)

    def _connect(self) -> sqlite3.Connection:
        self._refuse_if_shut()
        self._require_file()
        connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]  # not in the stubs
        try:
            self._configure(connection)
            self._state.file = self._new_open_file()
        except BaseException:
            connection.close()
            raise
        with self._open_lock:
            self._open[connection] = self._own_use.of_thread
        self._state.guard = ThreadGuard(self, connection)
        return connection

    def _require_file(self) -> None:
        require_file(str(self.path), self.shown)  # else SQLite would make an empty one

    def _new_open_file(self) -> OpenFile | None:
        return None if self.read_only else OpenFile(str(self.path), self.shown)

    def _open_file(self) -> OpenFile | None:
        state = self._state
        file: OpenFile | None = None if state.closed else state.file
        return file

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
            self._open.pop(connection, None)
        connection.close()

    def forget_inherited(self) -> None:
        """Start anew in a forked child, leaving the parent's connections alone."""
        self.forks += 1
        if self._open:
            forked.inherit(str(self.path), read_only=self.read_only)
        inherited.extend([self._open, getattr(self._state, "guard", None)])
        self._own_use = OwnUse()
        self._open = {}
        self._open_lock = threading.Lock()
        self._lock = threading.Lock()
        self._state.reset()

    def shut(self) -> None:
        """Close every thread's connection; using the database again is an error.

        A thread in the middle of a verb is interrupted, and closes its own when it leaves it.
        """
        self._shut = True
        with self._open_lock:
            connections = dict(self._open)
        for connection, use in connections.items():
            if use.owner == threading.get_ident():
                self.discard(connection)
            elif use.lock.acquire(blocking=False):
                try:
                    self.discard(connection)
                finally:
                    use.lock.release()
            else:
                with contextlib.suppress(sqlite3.ProgrammingError):  # closed by its thread
                    connection.interrupt()
        # Of a database in memory it is everybody's.
        if self._own_use.of_thread.owner in (None, threading.get_ident()):
            self._state.reset()

    def changeable_tables(self) -> list[str]:
        """Give the tables that a migration could change, ours or not."""
        return [name for name in self.get_tables() if not name.startswith("sqlite_")]

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold a connection and translate the driver's errors."""
        use = self._own_use.of_thread
        use.begin()
        try:
            with self._verb():
                yield
        finally:
            if use.end() and self._shut:
                self._close_of(use)

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Let others close the connection inside, where the caller's own code runs."""
        use = self._own_use.of_thread
        if use.end() and self._shut:
            self._close_of(use)
        try:
            yield
        finally:
            use.begin()

    def _close_of(self, use: Use) -> None:
        with self._open_lock:
            left = [connection for connection, of in self._open.items() if of is use]
        for connection in left:
            self.discard(connection)
