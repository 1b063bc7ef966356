"""The stores that the contract is tested on: on each database a plain and an asynchronous one.

The tests are written for the plain one. :class:`BlockingStore` gives the asynchronous one its form:
every verb of a thread is awaited in one task, which stands for that thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from dynostore.aio import AsyncStore, AsyncVerbs
from dynostore.store import Store

_Work = Callable[[], Coroutine[Any, Any, Any]]


class EventLoop:
    """An event loop in a thread of its own, with one task for each thread that asks it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._local = threading.local()
        self._tasks: list[Future[None]] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    def call(self, work: _Work) -> Any:
        """Await what ``work`` gives, in the task of this thread."""
        if not hasattr(self._local, "asked"):
            self._local.asked = _Asked(self._loop)
            answering = asyncio.run_coroutine_threadsafe(self._local.asked.answer(), self._loop)
            self._tasks.append(answering)
        return self._local.asked.put(work).result()

    def iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        """Give what an asynchronous iterator gives."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self.call(lambda: anext(items))  # type: ignore[arg-type]

    def stop(self) -> None:
        """End the tasks and the thread."""
        for task in self._tasks:
            task.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Asked:
    """What a thread asks its task to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: asyncio.Queue[tuple[_Work, Future[Any]]] = asyncio.Queue()

    def put(self, work: _Work) -> Future[Any]:
        answer: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._work.put_nowait, (work, answer))
        return answer

    async def answer(self) -> None:
        while True:
            work, answer = await self._work.get()
            try:
                answer.set_result(await work())
            except Exception as exc:
                answer.set_exception(exc)


class _Blocking:
    """An asynchronous repository, with verbs that block."""

    def __init__(self, loop: EventLoop, verbs: AsyncVerbs) -> None:
        self._loop, self._verbs = loop, verbs

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._verbs, name)
        if isinstance(member, AsyncVerbs):
            return _Blocking(self._loop, member)
        if inspect.isasyncgenfunction(member):
            return lambda *args, **kwargs: self._loop.iterate(member(*args, **kwargs))
        assert inspect.iscoroutinefunction(member), f"{name} is not asynchronous"
        return lambda *args, **kwargs: self._loop.call(lambda: member(*args, **kwargs))


class _BlockingDatabase:
    """What reports use of a store's database."""

    def __init__(self, loop: EventLoop, store: AsyncStore) -> None:
        self._loop, self._store = loop, store
        self.dialect = store.database.dialect

    def reading(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        def execute(verbs: Any) -> Any:
            with verbs.database.reading():
                return verbs.database.execute_sql(sql, params)

        return self._loop.call(lambda: self._store.run(execute))


class BlockingStore:
    """An :class:`AsyncStore` in the form of a :class:`Store`."""

    def __init__(self, url: str) -> None:
        self._loop = EventLoop()

        async def opened() -> AsyncStore:
            return await AsyncStore.open(url)

        try:
            self._store: AsyncStore = self._loop.call(opened)
        except BaseException:
            self._loop.stop()
            raise
        self._url, self.place = url, self._store.place
        self.database = _BlockingDatabase(self._loop, self._store)

    def __getattr__(self, name: str) -> _Blocking:
        return _Blocking(self._loop, getattr(self._store, name))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        held = self._store.transaction()
        self._loop.call(held.__aenter__)
        try:
            yield
        except BaseException as exc:
            error = exc
            self._loop.call(lambda: held.__aexit__(type(error), error, error.__traceback__))
            raise
        self._loop.call(lambda: held.__aexit__(None, None, None))

    @contextlib.contextmanager
    def bound(self) -> Iterator[Any]:
        """Look into the database beside the store; an asynchronous one binds no models."""
        with Store.open(self._url, warm=False) as beside, beside.bound() as database:
            yield database

    def check(self) -> list[str]:
        return list(self._loop.call(self._store.check))

    def close(self) -> None:
        try:
            self._loop.call(self._store.close)
        finally:
            self._loop.stop()


# Families that also live in files of older tools, and how such a directory is called.
_IN_FILES = {"test_runs": "runs", "test_sessions": ".taskforce", "test_todos": ".taskforce"}
# Thousands of files that are each flushed to the disk.
_SLOW_IN_FILES = {
    "test_put_many_takes_twenty_thousand_records_with_bad_ones_among_them",
    "test_the_default_page_has_fifty_runs_and_a_stream_all",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Say which stores each contract is tested on."""
    if "store_url" not in metafunc.fixturenames:
        return
    addresses = ["sqlite", "postgres"]
    kinds: list[Any] = [(address, "plain") for address in addresses]
    # The same verbs once more; what is its own about them is in tests/unit/test_aio.py.
    kinds += [pytest.param(a, "async", marks=pytest.mark.slow) for a in addresses]
    if _module_of(metafunc.module) in _IN_FILES:
        slow = metafunc.function.__name__ in _SLOW_IN_FILES
        addresses.append("dir")
        kinds.append(pytest.param("dir", "plain", marks=[pytest.mark.slow] if slow else []))
    if _module_of(metafunc.module) == "test_ideation":
        addresses.append("redis")
        kinds.append(("redis", "plain"))
    if "store" in metafunc.fixturenames:
        metafunc.parametrize(("store_url", "store"), kinds, indirect=True)
    else:
        metafunc.parametrize("store_url", addresses, indirect=True)


def _module_of(module: Any) -> str:
    return str(module.__name__.rpartition(".")[2])


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """Give the address of an empty store: on SQLite, on Postgres, in files or in Redis."""
    if request.param == "dir":
        return f"dir:{tmp_path / _IN_FILES[_module_of(request.module)]}"
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'store.db')}"
    return str(request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
def store(request: pytest.FixtureRequest, store_url: str) -> Iterator[Any]:
    """Give an open, empty store of each kind; whatever a test did, it is sound."""
    if request.param == "plain":
        opened: Any = Store.open(store_url, warm=False)
    else:
        opened = BlockingStore(store_url)
    with contextlib.closing(opened):
        yield opened
        assert opened.check() == []
