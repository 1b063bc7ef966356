"""The verbs of a store for asynchronous programs: the same ones, with await in front.

No verb is written here. The repositories run as they are, in a greenlet that gives the event loop
back to the others whenever they wait for the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import peewee

from dynostore import config, errors
from dynostore.aio_database import require_driver
from dynostore.aio_postgres import AsyncPostgresServer
from dynostore.aio_sqlite import AsyncSqliteFile
from dynostore.aio_verbs import AsyncVerbs as AsyncVerbs
from dynostore.own_models import OwnModels
from dynostore.repositories.base import Repository
from dynostore.store import Store, Verbs

AsyncDatabase = AsyncSqliteFile | AsyncPostgresServer
if TYPE_CHECKING:
    from dynostore.aio_contracts import (
        AsyncConversations,
        AsyncHistory,
        AsyncIdeation,
        AsyncImports,
        AsyncMemories,
        AsyncRuns,
        AsyncSessions,
        AsyncTasks,
        AsyncTodos,
    )
    from dynostore.search.hits import Hits

P = ParamSpec("P")
T = TypeVar("T")


class AsyncStore:
    """A store for the tasks of one event loop, with the repositories of :class:`Store`.

    Every verb is awaited: ``await store.runs.create(source="manual")``; what is a stream there is
    to be read with ``async for``. Each task has a transaction of its own. A verb that is cancelled
    was done wholly or not at all.

    :ivar place: where the store is and who said so.
    :ivar database: the Peewee database; its methods are to be called inside :meth:`run`.
    """

    # Set by name; a test compares them with the repositories of Store.
    runs: AsyncRuns
    tasks: AsyncTasks
    sessions: AsyncSessions
    todos: AsyncTodos
    history: AsyncHistory
    memories: AsyncMemories
    conversations: AsyncConversations
    ideation: AsyncIdeation
    imports: AsyncImports

    def __init__(self, place: config.Place, db: AsyncDatabase) -> None:
        self.place = place
        self.database = db
        self._loop = asyncio.get_running_loop()
        self._end = _closed_in_the_end(db)
        self._verbs = Verbs(db)
        for name, repository in vars(self._verbs).items():
            if isinstance(repository, Repository):
                setattr(self, name, AsyncVerbs(self._call, repository))

    @classmethod
    def open(
        cls,
        url_or_path: str | os.PathLike[str] | None = None,
        *,
        profile: str | None = None,
        config: str | os.PathLike[str] | None = None,
        migrate: bool = True,
        models: Sequence[type[peewee.Model]] = (),
        migrations: str | os.PathLike[str] | None = None,
        read_only: bool = False,
        create: bool = True,
    ) -> Opening:
        """Open a store as :meth:`Store.open` does: ``async with AsyncStore.open(...) as store``.

        Made, upgraded and looked at by :class:`Store`, in a thread; so a Postgres store needs the
        extra ``postgres`` too.

        :raises ConfigError: a database in memory.
        """

        async def opened() -> AsyncStore:
            place = await asyncio.to_thread(_locate, url_or_path, profile, config)
            own = OwnModels.of(models, migrations)
            return await cls.at(place, own=own, migrate=migrate, read_only=read_only, create=create)

        return Opening(opened)

    @classmethod
    async def at(
        cls,
        place: config.Place,
        *,
        own: OwnModels | None = None,
        migrate: bool = True,
        read_only: bool = False,
        create: bool = True,
    ) -> Self:
        """Open a store at a place that was found already; see :meth:`open`."""
        make = _maker_of(place)
        look = functools.partial(
            Store.at,
            place,
            own=own,
            migrate=migrate,
            read_only=read_only,
            create=create,
            warm=False,
        )
        await asyncio.to_thread(lambda: look().close())
        db = make(read_only=read_only)
        store = cls(place, db)
        await anext(store._end)
        try:
            await db.start()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Close every connection, as often as you like; verbs under way have 5 seconds to end."""
        await self._end.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(self, work: Callable[[Verbs], T]) -> T:
        """Run synchronous code on the verbs, without blocking the event loop while it waits.

        For what takes a store and several verbs at once: ``await store.run(lambda verbs:
        answer(verbs, "failed-tasks"))``. Only the verbs and ``verbs.database`` may wait in it.
        """
        return await self._call(work, self._verbs)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if asyncio.get_running_loop() is not self._loop:
            raise errors.DynostoreError(
                f"{self.place.shown}: the store belongs to another event loop",
                hint="open one in each event loop",
            )
        return await self.database.run(work, *args, **kwargs)  # type: ignore[no-any-return]

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Make all verbs of this task inside one transaction. Nested, it is a savepoint.

        Tasks that are started inside are outside of it.
        """
        held = self.database.writing()
        await self._call(held.__enter__)
        try:
            yield
        except BaseException as exc:
            await self._call(held.__exit__, type(exc), exc, exc.__traceback__)
            raise
        await self._call(held.__exit__, None, None, None)

    async def search(
        self,
        query: str,
        *,
        kinds: str | Sequence[str] | None = None,
        limit: int = 20,
        marks: tuple[str, str] = ("[", "]"),
    ) -> Hits:
        """Give the records that hold every word of a text, best first; see :meth:`Store.search`.

        The first search's index is made in a thread, or inside the task's transaction.
        """
        from dynostore import search

        search.check_arguments(query, kinds, limit, marks)
        if await self._call(search.is_ready, self.database):
            notes = []
        elif await self._call(self.database.in_transaction):
            notes = await self._call(search.index_of(self.database).ensure)
        else:
            read_only = self.database.read_only
            notes = await self._in_thread(
                lambda store: search.index_of(store.database).ensure(), read_only=read_only
            )
        hits = await self._call(
            search.find, self.database, query, kinds=kinds, limit=limit, marks=marks
        )
        return dataclasses.replace(hits, notes=[*notes, *hits.notes])

    async def check(self, *, full: bool = True) -> list[str]:
        """Look for damage and contradictions; see :meth:`Store.check`."""
        return await self._in_thread(lambda store: store.check(full=full))

    async def backup(self, path: str | os.PathLike[str]) -> Path:
        """Copy the file while others write; see :meth:`Store.backup`."""
        return await self._in_thread(lambda store: store.backup(path))

    async def _in_thread(self, work: Callable[[Store], T], *, read_only: bool = True) -> T:
        def do() -> T:
            with Store.at(self.place, migrate=False, read_only=read_only, warm=False) as store:
                return work(store)

        return await asyncio.to_thread(do)


def _maker_of(place: config.Place) -> Callable[..., AsyncDatabase]:
    """Give what makes the database of a place; nothing is opened before its first use.

    :raises ConfigError: a database in memory.
    :raises MissingExtra: the driver is missing.
    """
    if config.is_postgres(place.url):
        require_driver("asyncpg")
        return functools.partial(AsyncPostgresServer, place.url, place.settings)
    path = config.sqlite_path(place.url)
    if path is None:
        raise errors.ConfigError(
            "a store in memory cannot be asynchronous: it is one connection, and each task needs "
            "its own",
            hint="open a file in a temporary directory",
        )
    require_driver("aiosqlite")
    return functools.partial(AsyncSqliteFile, Path(path), place.settings)


async def _closed_in_the_end(db: AsyncDatabase) -> AsyncGenerator[None]:
    """Wait, and close the database when the wait is ended.

    An event loop that shuts down ends every generator that waits; one that waits no more, for the
    store was dropped, ends too. Else the threads of a forgotten store would hold up the program.
    """
    try:
        yield
    finally:
        await db.shut()


def _locate(
    url: str | os.PathLike[str] | None,
    profile: str | None,
    config_file: str | os.PathLike[str] | None,
) -> config.Place:
    # AsyncStore.open has an argument named like the module.
    return config.locate(url, profile=profile, config=config_file)


class Opening:
    """A store that is about to be opened: to be awaited, or entered with ``async with``."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._store: AsyncStore | None = None

    def __await__(self) -> Generator[Any, None, AsyncStore]:
        return self._opened().__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> AsyncStore:
        self._store = await self
        return self._store

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._store is not None:
            await self._store.close()


_shared: dict[asyncio.AbstractEventLoop, asyncio.Task[AsyncStore]] = {}


async def get_store() -> AsyncIterator[AsyncStore]:
    """Give this process's store at the configured place: a dependency for FastAPI.

    ``Annotated[AsyncStore, Depends(get_store)]`` is all it takes. The store is opened by the first
    one who asks, or by :func:`lifespan`, which also closes it; without that it is closed when the
    event loop shuts down.
    """
    yield await _shared_store()


@contextlib.asynccontextmanager
async def lifespan(app: object = None) -> AsyncIterator[None]:
    """Open the store that :func:`get_store` gives, and close it in the end.

    For ``FastAPI(lifespan=lifespan)``: an upgrade is done, or refused, before the first request.
    """
    store = await _shared_store()
    try:
        yield
    finally:
        del _shared[asyncio.get_running_loop()]
        await store.close()


async def _shared_store() -> AsyncStore:
    loop = asyncio.get_running_loop()
    for ended in [other for other in _shared if other.is_closed()]:
        del _shared[ended]
    opening = _shared.get(loop)
    if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
        opening = _shared[loop] = loop.create_task(_open_shared())
    # Of several who ask at once one may give up; the others still wait for it.
    return await asyncio.shield(opening)


async def _open_shared() -> AsyncStore:
    return await AsyncStore.open()
