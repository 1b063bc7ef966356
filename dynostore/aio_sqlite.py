"""A SQLite file for asynchronous programs: connections in threads, one of which writes."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynostore import config, errors
from dynostore.aio_database import CLOSE_GRACE_S, AsyncCommon, pwasyncio, to_the_end
from dynostore.database import SqliteCommon, sqlite_pragmas, sqlite_target
from dynostore.open_file import OpenFile, require_file

_CONNECTIONS = 8  # each is a thread
_LOCK_POLL_S = 0.1


class _FileConnection(pwasyncio.AsyncSqliteConnection):  # type: ignore[misc]  # untyped base
    """A connection whose statement is one trip to its thread, and is never left half done."""

    def __init__(self, connection: Any, busy_timeout_s: float, file: OpenFile | None) -> None:
        super().__init__(connection)
        self._busy_timeout_s = busy_timeout_s
        self.file = file

    async def _execute(self, sql: str, params: Any = None) -> Any:
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                return await self._execute_once(sql, params or ())
            except sqlite3.OperationalError as exc:
                # SQLite itself waits for a tenth of a second alone: a thread that waits for the
                # lock cannot be interrupted, and a cancelled task should not wait for it.
                busy = getattr(exc, "sqlite_errorname", "").startswith("SQLITE_BUSY")
                if not busy or self.conn.in_transaction or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.01)

    async def _execute_once(self, sql: str, params: Any) -> Any:
        raw, inside = self.conn._conn, self.conn.in_transaction

        # aiosqlite logs what it is given to call: this name, and not the values.
        def execute() -> Any:
            cursor = raw.execute(sql, params)
            try:
                return pwasyncio.CursorAdapter(
                    cursor.fetchall(),
                    lastrowid=cursor.lastrowid,
                    rowcount=cursor.rowcount,
                    description=cursor.description,
                )
            finally:
                cursor.close()

        try:
            return await self.conn._execute(execute)
        except asyncio.CancelledError:
            # The thread executes it all the same, and whatever comes after it is done later.
            await to_the_end(self.conn._execute(_pass))
            if not inside and self.conn.in_transaction:
                await to_the_end(self.conn.rollback())
            raise


def _pass() -> None:
    """Do nothing, after all that the thread was given before."""


class _FilePool(pwasyncio.AsyncSqlitePool):  # type: ignore[misc]  # untyped base
    """Connections to a file, opened when they are needed."""

    _opened = 0

    def __init__(self, database: AsyncSqliteFile, **parameters: Any) -> None:
        super().__init__(database.database, **parameters)
        self._file, self._shown = str(database.path), database.shown
        self._read_only = database.read_only

    async def initialize(self) -> _FilePool:
        """Open nothing yet."""
        return self

    async def acquire(self, timeout: float | None = None) -> Any:
        """Give a free connection, or a new one, or wait for one.

        :raises TimeoutError: none became free.
        """
        if self._queue.empty() and self._opened < self._pool_size:
            self._opened += 1
            opening = asyncio.ensure_future(self._create_connection())
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(self._keep)
                raise
            except BaseException:
                self._opened -= 1
                raise
        async with asyncio.timeout(timeout):
            return await self._queue.get()

    def _keep(self, opening: asyncio.Future[Any]) -> None:
        """Keep a connection whose task was cancelled while it was opened."""
        if opening.cancelled() or opening.exception() is not None:
            self._opened -= 1
        else:
            self._queue.put_nowait(opening.result())

    async def _create_connection(self) -> _FileConnection:
        parameters = {**self._connect_params}
        busy_timeout_s = parameters.pop("timeout")
        opening = pwasyncio.aiosqlite.connect(
            self._database,
            isolation_level=None,
            timeout=min(busy_timeout_s, _LOCK_POLL_S),
            **parameters,
        )
        require_file(self._file, self._shown)  # else SQLite would make an empty one
        # A store that nobody closes, in a loop that was closed without ado, would keep the program
        # from ending. Before aiosqlite 0.22 the connection was the thread.
        getattr(opening, "_thread", opening).daemon = True
        connection = await opening
        try:
            await self._on_connect(connection)
            file = None if self._read_only else OpenFile(self._file, self._shown)
        except BaseException:
            await connection.close()
            raise
        return _FileConnection(connection, busy_timeout_s, file)

    async def close(self) -> None:
        """Close the connections as they become free; later ones close when they are released."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE_S):
                while self._opened:
                    await self._close_conn(await self._queue.get())
                    self._opened -= 1
        await super().close()


class AsyncSqliteFile(SqliteCommon, AsyncCommon, pwasyncio.AsyncSqliteDatabase):  # type: ignore[misc]  # untyped base
    """One SQLite file for the tasks of one event loop; they write one after the other."""

    def __init__(self, path: Path, settings: config.Settings, *, read_only: bool = False) -> None:
        self.path = path.absolute()
        self.shown = str(path)
        self.settings = settings
        self.read_only = read_only
        self._note_rights()
        # Who waits here waits in order and holds no connection; SQLite's own lock is polled, and
        # the unlucky wait for ever.
        self._turn = asyncio.Lock()
        super().__init__(
            sqlite_target(self.path, read_only=self.read_only),
            pragmas=sqlite_pragmas(settings),
            uri=self.read_only,
            lock_type="IMMEDIATE",
            timeout=settings.busy_timeout_s,
            cached_statements=256,
            pool_size=_CONNECTIONS,
        )

    def in_sqlite_transaction(self) -> bool:
        """Tell whether SQLite is in a transaction; it may have ended the one that we began."""
        return bool(self._state.conn.conn.in_transaction)

    def _open_file(self) -> OpenFile | None:
        file: OpenFile | None = self._state.conn and self._state.conn.file
        return file

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the turn to write, and a connection inside a transaction or a savepoint of it."""
        if self.in_transaction():
            with super().writing():
                yield
            return
        pwasyncio.await_(self._take_turn())
        try:
            with super().writing():
                yield
        finally:
            self._turn.release()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self.settings.busy_timeout_s):
                await self._turn.acquire()
        except TimeoutError as exc:
            raise errors.StoreLocked(
                f"{self.shown}: another task is writing and did not finish in time",
                hint="try again",
            ) from exc

    async def _create_pool_async(self) -> _FilePool:
        pool = _FilePool(
            self,
            pool_size=self._pool_size,
            on_connect=self._add_conn_hooks,
            timeout=self._timeout,
            **self.connect_params,
        )
        return await pool.initialize()

    async def _pool_acquire(self, pool: _FilePool) -> Any:
        try:
            return await pool.acquire(timeout=self.settings.busy_timeout_s)
        except TimeoutError as exc:
            raise self._none_free(self._pool_size) from exc
