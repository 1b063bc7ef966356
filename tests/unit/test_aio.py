"""What an asynchronous store does beyond the contract: tasks, cancellation, closing, sharing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import operator
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import errors
from dynostore.aio import AsyncStore, get_store, lifespan
from dynostore.aio_postgres import AsyncPostgresServer
from dynostore.config import Place, Settings
from dynostore.models import Run
from dynostore.repositories.base import Repository
from dynostore.store import Store, Verbs

SECRET = "a-value-that-nobody-may-log"


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's coroutine in an event loop that complains of what is left over."""
    return asyncio.run(main(), debug=True)


async def opened(url: str, **settings: Any) -> AsyncStore:
    """Open an empty store with settings of the test's own."""
    return await AsyncStore.at(Place(url, "test", Settings(**settings)))


async def steps(count: int) -> None:
    """Let the event loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ids(store: AsyncStore) -> list[str]:
    return sorted([run.id async for run in store.runs.stream()])


# the verbs


def verbs_of(repository: Repository, path: str) -> Iterator[tuple[str, Any]]:
    """Give each public verb by its path from the store."""
    for name in dir(repository):
        member = getattr(repository, name)
        if isinstance(member, Repository):
            yield from verbs_of(member, f"{path}.{name}")
        elif inspect.ismethod(member) and not name.startswith("_"):
            yield f"{path}.{name}", member


def test_every_public_verb_of_a_store_can_be_awaited_or_iterated(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStore.open(tmp_path / "s.db") as store:
            families = {k: v for k, v in vars(store._verbs).items() if isinstance(v, Repository)}
            found = [verb for name in families for verb in verbs_of(families[name], name)]
            assert len(found) > 80
            assert set(families) == set(AsyncStore.__annotations__)
            for path, verb in found:
                member: Any = operator.attrgetter(path)(store)
                assert inspect.signature(member) == inspect.signature(verb)
                if inspect.isgeneratorfunction(verb):
                    assert inspect.isasyncgenfunction(member), path
                else:
                    assert inspect.iscoroutinefunction(member), path

    run(main)


def test_what_no_repository_has_no_asynchronous_one_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncStore.open(tmp_path / "s.db") as store:
            for name in ("nonsense", "_db", "_page"):
                with pytest.raises(AttributeError, match=name):
                    getattr(store.runs, name)

    run(main)


def test_streams_are_read_with_async_for_and_hold_no_connection(store_url: str) -> None:
    async def main() -> None:
        async with await opened(store_url, pool_max=1, pool_min=0) as store:
            for number in range(3):
                await store.runs.create(run_id=f"r{number}")
            async for found in store.runs.stream():
                # With one connection this would wait for ever if the stream held it.
                assert await store.runs.get(found.id) == found
            with pytest.raises(errors.ConversationNotFound):
                async for _ in store.conversations.stream_messages("none"):
                    pass

    run(main)


def test_several_verbs_run_as_one_piece_of_synchronous_code(store_url: str) -> None:
    def work(verbs: Verbs) -> int:
        with verbs.database.writing():
            verbs.runs.create(run_id="a")
            verbs.runs.create(run_id="b")
        return verbs.runs.count()

    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            assert await store.run(work) == 2

    run(main)


def test_the_store_is_opened_by_await_too_and_closed_as_often_as_one_likes(store_url: str) -> None:
    async def main() -> None:
        store = await AsyncStore.open(store_url)
        await store.runs.create()
        await store.close()
        await store.close()
        with pytest.raises(errors.StoreClosed):
            await store.runs.list()
        with pytest.raises(errors.StoreClosed):
            async with store.transaction():
                pass

    run(main)


# tasks and transactions


def test_tasks_do_not_see_each_others_transactions(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            inside, seen = asyncio.Event(), asyncio.Event()

            async def write() -> None:
                async with store.transaction():
                    await store.runs.create(run_id="r")
                    assert await store.runs.count() == 1
                    inside.set()
                    await seen.wait()
                    raise KeyError

            async def read() -> None:
                await inside.wait()
                assert await store.runs.count() == 0
                seen.set()

            found = await asyncio.gather(write(), read(), return_exceptions=True)
            assert [type(result) for result in found] == [KeyError, type(None)]
            assert await store.runs.count() == 0

    run(main)


def test_a_task_that_is_started_inside_a_transaction_is_outside_of_it(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            with contextlib.suppress(KeyError):
                async with store.transaction():
                    await store.runs.create(run_id="r")
                    counting = asyncio.create_task(store.runs.count())
                    assert await counting == 0
                    raise KeyError
            assert await store.runs.count() == 0

    run(main)


def test_a_hundred_tasks_lose_no_update_and_wait_in_order(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await store.sessions.create(session_id="s")

            async def save(number: int) -> None:
                async with store.transaction():
                    state = await store.sessions.load_state("s")
                    total = 0 if state is None else state.state["total"]
                    await steps(number % 5)
                    await store.sessions.save_state("s", {"total": total + number})

            # On Postgres a reader does not wait for a writer: lock what is read.
            one_at_a_time = asyncio.Lock()

            async def save_locked(number: int) -> None:
                if store.database.dialect == "sqlite":
                    await save(number)
                else:
                    async with one_at_a_time:
                        await save(number)

            await asyncio.gather(*(save_locked(number) for number in range(100)))
            newest = await store.sessions.load_state("s")
            assert newest is not None
            assert (newest.version, newest.state["total"]) == (100, sum(range(100)))

    run(main)


def test_more_tasks_than_connections_wait_and_then_say_so(store_url: str) -> None:
    async def main() -> None:
        store = await opened(
            store_url, pool_max=2, pool_min=0, busy_timeout_s=0.3, connect_timeout_s=3
        )
        free = asyncio.Event()

        def hold(verbs: Verbs) -> None:
            from playhouse.pwasyncio import await_

            with verbs.database.reading():
                verbs.runs.count()
                await_(free.wait())

        async with store:
            holders = [asyncio.create_task(store.run(hold)) for _ in range(8)]
            await asyncio.sleep(0.1)
            waiting = asyncio.create_task(store.runs.count())
            with pytest.raises(errors.StoreLocked, match="connections are in use"):
                await waiting
            free.set()
            await asyncio.gather(*holders, return_exceptions=True)
            assert await store.runs.count() == 0

    run(main)


def test_no_time_limit_for_connecting_is_none_and_a_server_that_is_silent_is_said(
    postgres_url: str,
) -> None:
    async def main() -> None:
        async with await opened(postgres_url, connect_timeout_s=0, pool_min=0) as store:
            assert await store.runs.count() == 0
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
            url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x?sslmode=disable"
            db = AsyncPostgresServer(url, Settings(connect_timeout_s=1, busy_timeout_s=0))
            with pytest.raises(errors.RemoteUnavailable, match="no answer in time"):
                await db.run(Verbs(db).runs.count)
            await db.shut()

    run(main)


def test_a_store_belongs_to_the_event_loop_that_opened_it(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            with pytest.raises(errors.DynostoreError, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(store.runs.count()))
            assert await store.runs.count() == 0

    run(main)


# cancellation


def test_a_verb_that_is_cancelled_anywhere_was_done_wholly_or_not_at_all(store_url: str) -> None:
    async def main() -> None:
        store = await opened(store_url, pool_max=2, pool_min=0, busy_timeout_s=2)
        done = cut = number = 0
        async with store:
            await store.conversations.create_conversation(conversation_id="c")
            while done < 3:  # until the verb is always faster than the cancellation
                verb = asyncio.create_task(store.conversations.add_messages("c", two(number)))
                await steps(number)
                verb.cancel()
                try:
                    await verb
                    done += 1
                except asyncio.CancelledError:
                    cut += 1
                texts = [m.content for m in await store.conversations.get_all_messages("c")]
                assert texts.count(f"{number}a") == texts.count(f"{number}b") <= 1
                number += 1
            assert cut > 5
            assert sum(len(state.transactions) for state in states(store)) == 0

    def two(number: int) -> Any:
        return [{"role": "user", "content": f"{number}{letter}"} for letter in "ab"]

    run(main)


def states(store: AsyncStore) -> Any:
    return store.database._state._states.values()


def test_a_transaction_that_is_cancelled_anywhere_leaves_nothing_and_no_lock(
    store_url: str,
) -> None:
    async def main() -> None:
        store = await opened(store_url, pool_max=2, pool_min=0, busy_timeout_s=2)
        async with store:
            for number in range(40):
                finished = False

                async def work(number: int = number) -> None:
                    nonlocal finished
                    async with store.transaction():
                        await store.runs.create(run_id=f"a{number}")
                        async with store.transaction():
                            await store.runs.create(run_id=f"b{number}")
                    finished = True

                task = asyncio.create_task(work())
                await steps(number * 2)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                there = [key for key in await ids(store) if key[1:] == str(number)]
                assert there in ([], [f"a{number}", f"b{number}"])
                assert there or not finished
                # Nobody holds the lock: another program writes at once.
                with Store.open(store_url, warm=False) as other:
                    other.runs.create(run_id=f"other{number}")

    run(main)


def test_a_verb_may_be_given_up_inside_a_transaction_that_goes_on(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            async with store.transaction():
                await store.runs.create(run_id="kept")
                for count in range(12):
                    given_up = asyncio.timeout(0)
                    with contextlib.suppress(TimeoutError):
                        async with given_up:
                            await steps(count)
                            await store.runs.create(run_id=f"gone{count}")
                await store.runs.create(run_id="kept too")
            assert {"kept", "kept too"} <= set(await ids(store))

    run(main)


def test_a_transaction_whose_beginning_is_cancelled_was_not_begun(store_url: str) -> None:
    def work(verbs: Verbs, number: int) -> None:
        with verbs.database.reading():  # which holds the connection on
            with contextlib.suppress(asyncio.CancelledError):
                verbs.runs.create(run_id=f"a{number}")
            verbs.runs.create(run_id=f"b{number}")

    async def main() -> None:
        async with await opened(store_url, busy_timeout_s=2) as store:
            assert await ids(store) == []  # from now on there is a connection
            cut = 0
            for number in range(30):
                task = asyncio.create_task(store.run(functools.partial(work, number=number)))
                await steps(number)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                    cut += f"a{number}" not in await ids(store)
                    assert f"b{number}" in await ids(store)
            assert cut > 0

    run(main)


async def transfer(store: AsyncStore, random: Random) -> None:
    """Move some confidence from one memory to another, with much that is given up or undone."""
    payer, payee = random.sample(range(4), 2)
    async with store.transaction():
        for number in sorted((payer, payee)):  # rows are locked in one order
            await store.memories.update(f"m{number}", lesson="moving")
        amount = random.randrange(50)
        found = await store.memories.get(f"m{payer}")
        await store.memories.update(f"m{payer}", confidence=found.confidence - amount)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.random() * 0.004), store.transaction():
                await store.memories.update(f"m{payee}", confidence=9999)
                await asyncio.sleep(1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.random() * 0.004):
                await store.memories.search("x")
        found = await store.memories.get(f"m{payee}")
        await store.memories.update(f"m{payee}", confidence=found.confidence + amount)


def test_tasks_that_are_cancelled_at_random_lose_and_make_nothing(store_url: str) -> None:
    async def move(store: AsyncStore, random: Random) -> int:
        done = 0
        for _ in range(12):
            # The long ones come to their end, so that some always do.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.choice([0.001, 0.01, 0.03, 60])):
                    await transfer(store, random)
                    done += 1
        return done

    async def main() -> None:
        random = Random(7)
        async with await opened(store_url, pool_max=4, pool_min=0) as store:
            for number in range(4):
                await store.memories.add("x", "x", memory_id=f"m{number}", confidence=100)
            done = await asyncio.gather(*(move(store, random) for _ in range(10)))
            found = [memory.confidence for memory in await store.memories.list()]
            assert sum(found) == 400
            assert found != [100] * 4
            assert 0 < sum(done) < 120
            assert await store.check() == []

    run(main)


SLOW_COMMIT = """
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER pause AFTER INSERT ON runs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION pause()
"""


def test_a_commit_that_is_cancelled_ends_its_transaction(postgres: Any, postgres_url: str) -> None:
    def work(verbs: Verbs) -> None:
        with verbs.database.reading():  # which holds the connection on
            with pytest.raises(asyncio.CancelledError):
                verbs.runs.create(run_id="a")
            verbs.runs.create(run_id="b")

    def commits(verbs: Verbs) -> bool:
        sql = "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND wait_event = 'PgSleep'"
        with verbs.database.reading():
            return verbs.database.execute_sql(sql).fetchone() is not None

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            postgres.execute(SLOW_COMMIT, urlsplit(postgres_url).path[1:])
            task = asyncio.create_task(store.run(work))
            while not await store.run(commits):
                assert not task.done()
            task.cancel()
            await task
            assert await ids(store) == ["a", "b"]

    run(main)


def test_a_reading_verb_may_be_given_up_inside_a_transaction_that_goes_on(
    postgres_url: str,
) -> None:
    def read(verbs: Verbs) -> None:
        with verbs.database.reading():
            verbs.database.execute_sql("SELECT pg_sleep(0.2)")

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            async with store.transaction():
                await store.runs.create(run_id="before")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await store.run(read)
                await store.runs.create(run_id="after")
            assert await ids(store) == ["after", "before"]

    run(main)


def test_a_transaction_that_an_error_has_undone_does_not_end_as_if_it_were_kept(
    postgres_url: str,
) -> None:
    def fail(verbs: Verbs) -> None:
        with verbs.database.reading():
            verbs.database.execute_sql("SELECT 1 / 0")

    async def go_on_after_an_error(store: AsyncStore) -> None:
        async with store.transaction():
            await store.runs.create(run_id="r")
            with pytest.raises(errors.ConstraintFailed):
                await store.run(fail)

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            with pytest.raises(errors.DynostoreError, match="nothing of the transaction"):
                await go_on_after_an_error(store)
            assert await ids(store) == []
            await store.runs.create(run_id="s")
            assert await ids(store) == ["s"]

    run(main)


def test_who_waits_for_another_programs_lock_can_be_cancelled_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    async def main() -> None:
        async with AsyncStore.open(path) as store:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                before = time.monotonic()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await store.runs.create(run_id="cancelled")
                assert time.monotonic() - before < 5  # the lock's own timeout is 30 s
                other.execute("COMMIT")
                other.execute("BEGIN IMMEDIATE")  # nobody took the lock behind our back
                other.execute("ROLLBACK")
            await store.runs.create(run_id="later")
            assert await ids(store) == ["later"]

    run(main)


def test_a_lock_that_another_program_holds_for_too_long_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    async def main() -> None:
        store = await opened(str(path), busy_timeout_s=0.3)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            async with store:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(errors.StoreLocked, match="another process is writing"):
                    await store.runs.create()
                assert await store.runs.count() == 0  # readers go on

    run(main)


def test_a_task_that_writes_for_too_long_is_said_to_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(str(tmp_path / "s.db"), busy_timeout_s=0.2)
        async with store, store.transaction():
            with pytest.raises(errors.StoreLocked, match="another task is writing"):
                await asyncio.create_task(store.runs.create())

    run(main)


# the end


def test_no_thread_and_no_connection_is_left_after_closing(store_url: str, postgres: Any) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await asyncio.gather(*(store.runs.create() for _ in range(20)))
            assert store.database._pool is not None

    before = threading.active_count()
    run(main)
    gc.collect()
    assert threading.active_count() <= before
    if store_url.startswith("postgres"):
        sql = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dynostore' "
            "AND datname = current_database()"
        )
        deadline = time.monotonic() + 5  # the server notices in its own time
        while (found := postgres.execute(sql, urlsplit(store_url).path[1:])) != [(0,)]:
            assert time.monotonic() < deadline, found


def test_verbs_under_way_end_before_the_store_is_closed(store_url: str) -> None:
    async def main() -> None:
        store = await AsyncStore.open(store_url)
        writing = [asyncio.create_task(store.runs.create(run_id=f"r{n}")) for n in range(4)]
        while not any(state.conn for state in states(store)):
            await asyncio.sleep(0)
        await store.close()
        found = await asyncio.gather(*writing, return_exceptions=True)
        assert {type(result) for result in found} <= {errors.StoreClosed, Run}
        made = [result.id for result in found if not isinstance(result, BaseException)]
        assert made
        with Store.open(store_url, warm=False) as again:
            assert sorted(run.id for run in again.runs.list()) == sorted(made)

    run(main)


def test_closing_inside_a_transaction_undoes_it_and_is_said_as_closed(
    store_url: str, postgres: Any
) -> None:
    async def close_inside(store: AsyncStore, depth: int) -> None:
        async with store.transaction():
            await store.runs.create()
            if depth:
                await close_inside(store, depth - 1)
            else:
                await store.close()

    async def main() -> None:
        for depth in (0, 1, 2):
            store = await AsyncStore.open(store_url)
            with pytest.raises(errors.StoreClosed):
                await close_inside(store, depth)
            assert store.database._pool is None
        async with AsyncStore.open(store_url) as store:
            assert await store.runs.count() == 0

    run(main)


def test_a_program_that_closes_its_loop_and_no_store_ends_all_the_same(tmp_path: Path) -> None:
    script = (
        "import asyncio; from dynostore.aio import AsyncStore\n"
        "loop = asyncio.new_event_loop()\n"
        "store = loop.run_until_complete(AsyncStore.open('s.db').__aenter__())\n"
        "loop.run_until_complete(store.runs.create())\n"
        "print(loop.run_until_complete(store.runs.count()))\n"
        "loop.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    with Store.open(tmp_path / "s.db") as store:
        assert store.runs.count() == 1


def test_a_program_that_forgets_to_close_ends_all_the_same(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from dynostore.aio import get_store\n"
        "async def main():\n"
        "    async for store in get_store():\n"
        "        await store.runs.create()\n"
        "        print(await store.runs.count())\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={"DYNOSTORE_URL": str(tmp_path / "s.db"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db", "s.db.lock"]


# what cannot be


def test_a_store_in_memory_is_refused_with_what_to_do_instead() -> None:
    async def main() -> None:
        with pytest.raises(errors.ConfigError, match="in memory") as caught:
            await AsyncStore.open(":memory:")
        assert "temporary directory" in str(caught.value.hint)

    run(main)


def test_a_missing_file_is_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    async def main() -> None:
        refusals: list[dict[str, Any]] = [
            {"create": False},
            {"migrate": False},
            {"read_only": True},
        ]
        for refusing in refusals:
            with pytest.raises(errors.StoreNotFound):
                await AsyncStore.open(tmp_path / "s.db", **refusing)
        assert list(tmp_path.iterdir()) == []

    run(main)


def test_a_read_only_store_refuses_every_write(store_url: str) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await store.runs.create(run_id="r")
        async with AsyncStore.open(store_url, read_only=True) as store:
            assert await ids(store) == ["r"]
            with pytest.raises(errors.StoreUnwritable, match="reading only"):
                await store.runs.create()
            with pytest.raises(errors.StoreUnwritable):
                await store.run(lambda verbs: delete_all(verbs))
            assert await ids(store) == ["r"]

    def delete_all(verbs: Verbs) -> None:
        with verbs.database.reading():
            verbs.database.execute_sql("DELETE FROM runs")

    run(main)


@pytest.mark.parametrize("name", ["greenlet", "aiosqlite", "asyncpg"])
def test_without_the_extra_it_is_named_where_it_is_needed(name: str, tmp_path: Path) -> None:
    url = "postgresql://user@localhost/x" if name == "asyncpg" else str(tmp_path / "s.db")
    script = (
        f"import asyncio, sys; sys.modules[{name!r}] = None\n"
        "from dynostore.errors import MissingExtra\n"
        "async def main():\n"
        f"    from dynostore.aio import AsyncStore; await AsyncStore.open({url!r})\n"
        "try: asyncio.run(main())\n"
        "except MissingExtra as exc: print(exc.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "pip install 'dynostore[async]'\n"


# the drivers


def test_the_logs_have_no_values(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await store.runs.create(run_id="r", metadata={"secret": SECRET})
            with contextlib.suppress(errors.AlreadyExists):
                await store.runs.create(run_id="r", source=SECRET)
            async with store.transaction():
                await store.runs.update("r", source=SECRET)
            await store.runs.get("r")

    with caplog.at_level(logging.DEBUG):
        run(main)
    assert 'INSERT INTO "runs"' in caplog.text
    assert SECRET not in caplog.text


def test_nothing_is_logged_above_debug(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with AsyncStore.open(store_url) as store:
            await store.runs.create(run_id="r")
            task = asyncio.create_task(store.runs.create(run_id="s"))
            await steps(5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(errors.AlreadyExists):
                await store.runs.create(run_id="r")

    Store.open(store_url, warm=False).close()  # it tells of its migrations
    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert caplog.text == ""


def test_every_connection_to_a_file_has_the_pragmas(tmp_path: Path) -> None:
    expected = {
        "foreign_keys": 1,
        "synchronous": 2,
        "journal_size_limit": 64 * 1024 * 1024,
        "cache_size": -16 * 1024,
        "journal_mode": "wal",
    }

    def look(verbs: Verbs) -> dict[str, Any]:
        with verbs.database.reading():
            return {
                name: verbs.database.execute_sql(f"PRAGMA {name}").fetchone()[0]
                for name in expected
            }

    async def main() -> None:
        store = await opened(str(tmp_path / "s.db"), synchronous="FULL")
        async with store:
            found = await asyncio.gather(*(store.run(look) for _ in range(5)))
            assert found == [expected] * 5

    run(main)


def test_sessions_speak_our_forms_also_when_they_are_used_again(
    postgres: Any, postgres_url: str
) -> None:
    name = urlsplit(postgres_url).path[1:]
    for setting, value in (("timezone", "Asia/Kathmandu"), ("datestyle", "SQL, DMY")):
        postgres.execute(f"ALTER DATABASE {name} SET {setting} TO '{value}'")

    def ask(verbs: Verbs) -> Any:
        sql = (
            "SELECT current_setting('TimeZone'), current_setting('DateStyle'), "
            "'2026-01-02T03:04:05+00'::timestamptz, '{\"a\": \"1\"}'::jsonb, "
            "'A0EEBC999C0B4EF8BB6D6BB9BD380A11'::uuid, pg_backend_pid()"
        )
        with verbs.database.reading():
            return verbs.database.execute_sql(sql).fetchall()[0]

    async def main() -> tuple[Any, Any]:
        async with await opened(postgres_url, pool_max=1, pool_min=0) as store:
            return await store.run(ask), await store.run(ask)

    first, second = run(main)
    with Store.open(postgres_url, warm=False) as store:
        expected = ask(store)
    assert first == second
    assert first[:5] == expected[:5]
    assert [type(value) for value in first] == [type(value) for value in expected]
    assert isinstance(first, tuple)


def test_a_lost_connection_is_never_replaced_inside_a_transaction(
    postgres: Any, postgres_url: str
) -> None:
    def pid(verbs: Verbs) -> int:
        return int(verbs.database.execute_sql("SELECT pg_backend_pid()").fetchone()[0])

    async def cut_off(store: AsyncStore) -> None:
        async with store.transaction():
            await store.runs.create(run_id="before")
            postgres.execute(f"SELECT pg_terminate_backend({await store.run(pid)})")
            for _ in range(3):
                with pytest.raises(errors.RemoteUnavailable):
                    await store.runs.create(run_id="after")

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            with pytest.raises(errors.RemoteUnavailable):
                await cut_off(store)
            assert await ids(store) == []
            await store.runs.create(run_id="new")  # the next one has another connection
            assert await ids(store) == ["new"]

    run(main)


LOST = "the connection was lost inside a transaction; nothing of it was written"


async def leave(store: AsyncStore) -> None:
    """Leave the transaction as if nothing had happened."""


async def write(store: AsyncStore) -> None:
    await store.runs.create(run_id="after")


async def read(store: AsyncStore) -> None:
    await store.runs.count()


async def write_nested(store: AsyncStore) -> None:
    async with store.transaction():
        await write(store)


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("go_on", [leave, write, read, write_nested])
def test_a_transaction_says_that_its_connection_was_lost(
    go_on: Callable[[AsyncStore], Coroutine[Any, Any, None]],
    noticed: bool,
    postgres: Any,
    postgres_url: str,
) -> None:
    async def cut_off(store: AsyncStore) -> None:
        async with store.transaction():
            await write_and_be_cut_off(store, postgres, noticed=noticed)
            await go_on(store)

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            with pytest.raises(errors.RemoteUnavailable) as caught:
                await cut_off(store)
            if noticed or go_on is not leave:
                assert LOST in str(caught.value)
                assert caught.value.hint == "try again"
            else:  # it may have been asked to commit before the loop heard of the end
                assert re.search(f"{LOST}|whether it was written is not known", str(caught.value))
            assert await ids(store) == []

    run(main)


async def write_and_be_cut_off(store: AsyncStore, postgres: Any, *, noticed: bool) -> None:
    """Write, and let an administrator end the session of this task's transaction.

    :param noticed: wait until the loop has heard of it.
    """

    def pid(verbs: Verbs) -> int:
        return int(verbs.database.execute_sql("SELECT pg_backend_pid()").fetchone()[0])

    await store.runs.create(run_id="before")
    postgres.execute(f"SELECT pg_terminate_backend({await store.run(pid)}, 5000)")
    if noticed:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("noticed", [True, False])
def test_an_error_of_the_programs_own_passes_where_the_connection_was_lost(
    noticed: bool, postgres: Any, postgres_url: str
) -> None:
    async def cut_off(store: AsyncStore) -> None:
        async with store.transaction():
            await write_and_be_cut_off(store, postgres, noticed=noticed)
            raise ZeroDivisionError

    async def main() -> None:
        async with AsyncStore.open(postgres_url) as store:
            with pytest.raises(ZeroDivisionError):
                await cut_off(store)
            assert await ids(store) == []

    run(main)


def test_a_restarted_server_costs_at_most_the_verbs_that_were_running(
    start_postgres: Callable[[], Any],
) -> None:
    server = start_postgres()
    url = server.url_of(server.create())

    async def main() -> None:
        async with AsyncStore.open(url) as store:
            await asyncio.gather(*(store.runs.create() for _ in range(5)))
            await asyncio.to_thread(server.stop)
            with pytest.raises(errors.RemoteUnavailable):
                await store.runs.count()
            await asyncio.to_thread(server.start)
            assert await store.runs.count() == 5

    run(main)


# the one that programs share


@pytest.fixture
def configured(store_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DYNOSTORE_URL", store_url)
    return store_url


async def given() -> AsyncStore:
    """Do what a web framework does with a dependency that is a generator."""
    dependency = get_store()
    store = await anext(dependency)
    with pytest.raises(StopAsyncIteration):
        await anext(dependency)
    return store


def test_all_who_ask_at_once_get_the_one_store_of_the_configured_place(configured: str) -> None:
    async def main() -> None:
        stores = await asyncio.gather(*(given() for _ in range(10)))
        assert len({id(store) for store in stores}) == 1
        assert stores[0].place.url == configured
        await stores[0].runs.create(run_id="r")
        assert await given() is stores[0]

    run(main)


async def _count_is(expected: int) -> None:
    store = await given()
    assert await store.runs.count() == expected


def test_the_shared_store_is_closed_when_its_event_loop_ends(configured: str) -> None:
    seen: list[AsyncStore] = []

    async def main() -> None:
        seen.append(await given())
        await seen[0].runs.create()

    run(main)
    assert seen[0].database._pool is None

    async def other() -> None:
        assert await given() is not seen[0]

    run(other)


def test_a_lifespan_opens_the_shared_store_before_and_closes_it_after(configured: str) -> None:
    async def main() -> None:
        async with lifespan(object()):
            store = await given()
            await store.runs.create(run_id="r")
        with pytest.raises(errors.StoreClosed):
            await store.runs.count()
        async with lifespan():
            assert await ids(await given()) == ["r"]

    run(main)


def test_one_who_gives_up_does_not_keep_the_others_from_the_shared_store(configured: str) -> None:
    async def main() -> None:
        first = asyncio.create_task(given())
        second = asyncio.create_task(given())
        await steps(2)
        first.cancel()
        store = await second
        assert await store.runs.count() == 0
        assert first.cancelled()

    run(main)


def test_a_store_that_could_not_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNOSTORE_URL", str(tmp_path / "missing" / "s.db"))

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(errors.StoreUnwritable):
                await given()
        (tmp_path / "missing").mkdir()
        assert await (await given()).runs.count() == 0

    run(main)
