"""What the databases of asynchronous stores share: Peewee's own code, in a greenlet that awaits.

They have the words of :mod:`dynostore.database` for repositories, to be used inside ``run``. Every
task has a connection of its own for as long as a verb or a transaction lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any

from dynostore import config, errors
from dynostore.database import CommonDatabase
from dynostore.driver_errors import lost

try:
    from playhouse import pwasyncio as pwasyncio
except ImportError as missing:
    raise errors.MissingExtra(
        "asynchronous stores need the extra 'async'", hint="pip install 'dynostore[async]'"
    ) from missing

CLOSE_GRACE_S = 5.0


def require_driver(name: str) -> None:
    """Say which extra is missing, before Peewee says something else.

    :param name: ``aiosqlite`` or ``asyncpg``.
    :raises MissingExtra: it is not installed.
    """
    if getattr(pwasyncio, name) is None:
        raise errors.MissingExtra(
            f"this asynchronous store needs {name}, of the extra 'async'",
            hint="pip install 'dynostore[async]'",
        )


async def to_the_end(awaitable: Awaitable[Any]) -> None:
    """Await something however often this task is cancelled meanwhile."""
    work = asyncio.ensure_future(awaitable)
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(work)
    work.result()


async def undivided(awaitable: Awaitable[Any]) -> Any:
    """Await something to its end; only then say that this task was cancelled meanwhile."""
    work = asyncio.ensure_future(awaitable)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):  # who is cancelled does not ask how it ended
            await to_the_end(work)
        raise


class AsyncCommon(CommonDatabase):
    """What both kinds share: connections that come from a pool for one verb, and go back."""

    settings: config.Settings
    is_closed: Any  # Peewee's and pwasyncio's, which stand behind in the MRO
    connect: Any
    close: Any
    in_transaction: Any
    close_pool: Any
    run: Any
    _ensure_pool: Any
    _pool_acquire: Any

    async def start(self) -> None:
        """Open the pool and what it holds ahead.

        :raises RemoteUnavailable: the server does not answer.
        """
        await self._ensure_pool()

    async def shut(self) -> None:
        """Close every connection; verbs under way have 5 seconds to end, new ones are refused."""
        self._shut = True
        await self.close_pool()

    def _refuse_if_shut(self) -> None:
        if self.is_closed():  # who holds a connection may still end what was begun
            super()._refuse_if_shut()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one of the pool's connections for this task and translate the driver's errors."""
        with self._verb():
            outermost = self.is_closed()
            if outermost:
                self.connect()
            try:
                yield
            finally:
                if outermost and not self.in_transaction():
                    self.close()

    async def aconnect(self) -> Any:
        """Give this task's connection; inside a transaction never another one than before.

        :raises StoreClosed: there is none, and there will be none.
        """
        connection = self._state.conn
        if connection is not None and not connection.stale():
            return connection
        self._refuse_if_shut()
        if self.in_transaction():
            raise lost(self.shown)
        return await super().aconnect()  # type: ignore[misc]  # pwasyncio's

    async def _acquire_conn_async(self) -> Any:
        pool = await self._ensure_pool()
        connection = await self._pool_acquire(pool)
        connection._pool = pool
        return connection

    async def _release_conn(self, connection: Any) -> None:
        # Cancelled in the middle, it would leave the pool one connection short for ever.
        release: Any = super()._release_conn(connection)  # type: ignore[misc]  # pwasyncio's
        work = asyncio.ensure_future(release)
        self._state._release_tasks.add(work)
        work.add_done_callback(self._state._release_tasks.discard)
        await asyncio.shield(work)
