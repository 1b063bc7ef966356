from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee
import pytest

import dynostore
from dynostore import config, connections, errors
from dynostore.models import Run
from dynostore.store import Store


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Do the work in threads at once; raise what any of them raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def test_open_on_nothing_makes_a_working_store_in_this_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with dynostore.Store.open() as store:
        run = store.runs.create()
        assert store.place.source == "default"
    assert (tmp_path / "dynostore.db").is_file()
    with Store.open() as store:
        assert list(store.runs.list()) == [run]


def test_the_place_is_found_in_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "settings.yaml"
    path.write_text("profiles: {a: {url: a.db, synchronous: FULL}}")
    with Store.open(profile="a", config=path) as store:
        assert store.database.settings.synchronous == "FULL"
    assert (tmp_path / "a.db").is_file()


# threads


def test_threads_share_a_store(store: Store) -> None:
    in_threads(8, lambda: [store.runs.create(source="x") for _ in range(25)])
    assert store.runs.count(source="x") == 200


def test_a_threads_connection_is_closed_when_it_ends(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.runs.count()
        open_before = len(store.database._open)
        inside: list[int] = []

        def read() -> None:
            store.runs.count()
            inside.append(len(store.database._open))

        for _ in range(5):
            in_threads(1, read)
        gc.collect()
        assert inside == [open_before + 1] * 5
        assert len(store.database._open) == open_before
        assert len(list(tmp_path.glob("*-wal"))) == 1
    assert list(tmp_path.glob("*-wal")) == []


def test_closing_ends_every_threads_connection_from_any_thread(store_url: str) -> None:
    store = Store.open(store_url, warm=False)
    ready, closed, seen = threading.Barrier(3), threading.Event(), []

    def use() -> None:
        store.runs.create()
        ready.wait()
        closed.wait()
        try:
            store.runs.count()
        except errors.StoreClosed as exc:
            seen.append(exc)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    in_threads(1, store.close)
    closed.set()
    for thread in threads:
        thread.join()
    assert len(seen) == 2
    store.close()


def test_closing_under_a_running_transaction_is_said_as_closed(store_url: str) -> None:
    store = Store.open(store_url, warm=False)
    inside, closed = threading.Event(), threading.Event()
    caught: list[BaseException] = []

    def write() -> None:
        try:
            with store.transaction():
                store.runs.create(run_id="lost")
                inside.set()
                closed.wait()
                store.runs.create()
        except BaseException as exc:
            caught.append(exc)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait()
    store.close()
    closed.set()
    thread.join()
    assert [type(exc) for exc in caught] == [errors.StoreClosed]
    with Store.open(store_url, warm=False) as again:
        assert again.runs.count() == 0


_CLOSED_IN_USE = """
import sys, threading, time
from dynostore import Store
from dynostore.errors import StoreClosed
store = Store.open(sys.argv[1], warm=False)
for _ in range(50):
    store.runs.create()
ended = []
def use():
    try:
        while True:
            store.runs.create()
            store.runs.list()
            with store.transaction():
                store.runs.put_many(store.runs.list().items)
    except StoreClosed:
        ended.append(True)
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(float(sys.argv[2]))
store.close()
for thread in threads:
    thread.join()
assert len(ended) == 4
"""


def test_closing_while_other_threads_are_at_work_ends_their_verbs_and_not_the_process(
    store_url: str,
) -> None:
    for number in range(6):
        for url in (store_url, "sqlite:///:memory:"):
            pause_s = str(0.1 + number / 100)
            subprocess.run([sys.executable, "-c", _CLOSED_IN_USE, url, pause_s], check=True)
    with Store.open(store_url) as store:
        assert store.check() == []


def test_closing_inside_a_transaction_undoes_it_and_is_said_as_closed(store_url: str) -> None:
    def close_inside(store: Store, depth: int) -> None:
        with store.transaction():
            store.runs.create()
            if depth:
                close_inside(store, depth - 1)
            else:
                store.close()

    for depth in (0, 1, 2):
        with pytest.raises(errors.StoreClosed):
            close_inside(Store.open(store_url, warm=False), depth)
    with Store.open(store_url, warm=False) as again:
        assert again.runs.count() == 0


def test_every_verb_after_close_says_so(store_url: str) -> None:
    store = Store.open(store_url, warm=False)
    run = store.runs.create()
    store.close()
    store.close()
    verbs: list[Callable[[], object]] = [
        store.runs.create,
        lambda: store.runs.get(run.id),
        lambda: store.runs.put_many([run]),
        lambda: list(store.runs.stream()),
        lambda: store.transaction().__enter__(),
        lambda: store.bound().__enter__(),
        store.check,
        store.migrator.status,
        store.migrator.upgrade,
    ]
    for verb in verbs:
        with pytest.raises(errors.StoreClosed) as caught:
            verb()
        assert caught.value.hint == "open it again"


def test_a_store_that_is_forgotten_leaves_no_connection(postgres: Any, postgres_url: str) -> None:
    Store.open(postgres_url).runs.create()
    gc.collect()
    name = urlsplit(postgres_url).path[1:]
    for _ in range(100):
        found = postgres.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        if found == [(0,)]:
            break
    assert found == [(0,)]


def test_a_store_opened_twice_is_two_stores(store: Store, store_url: str) -> None:
    with Store.open(store_url, warm=False) as other:
        run = other.runs.create()
    assert list(store.runs.list()) == [run]


def test_two_stores_in_one_program_do_not_mix(tmp_path: Path, store: Store) -> None:
    with Store.open(tmp_path / "other.db") as other:
        other.runs.create(run_id="there")
        store.runs.create(run_id="here")
        with store.transaction(), suppress(RuntimeError), other.transaction():
            store.runs.create(run_id="kept")
            other.runs.create(run_id="undone")
            raise RuntimeError
        assert sorted(run.id for run in store.runs.list()) == ["here", "kept"]
        assert sorted(run.id for run in other.runs.list()) == ["there"]


# Peewee's own style


def test_models_are_bound_inside_bound_and_nowhere_else(store: Store) -> None:
    store.runs.create(run_id="r")
    with store.bound():
        assert Run.select().count() == 1
        assert Run.get_by_id("r").id == "r"
    with pytest.raises(Exception, match="database"):
        Run.select().count()


# check


def test_check_finds_what_plain_sql_broke(tmp_path: Path) -> None:
    import sqlite3

    with Store.open(tmp_path / "s.db") as store:
        store.runs.create(run_id="r")
        store.runs.add_file("r", "a")
        assert store.check() == store.check(full=False) == []
        with closing(sqlite3.connect(tmp_path / "s.db")) as plain:
            plain.execute("DELETE FROM runs")
            plain.commit()
        assert store.check() == ["run_files: row 1 refers to a missing row of runs"]


def test_a_failed_open_leaves_no_connection(tmp_path: Path) -> None:
    before = len(connections.databases)
    with pytest.raises(errors.StoreNotFound):
        Store.open(tmp_path / "s.db", create=False)
    (tmp_path / "text").write_text("text")
    with pytest.raises(errors.StoreCorrupt):
        Store.at(config.Place(str(tmp_path / "text"), "test"))
    gc.collect()
    assert len(connections.databases) <= before
    assert list(tmp_path.glob("*-*")) == []


def test_binding_leaves_models_alone_that_refer_to_ours_and_are_another_databases(
    store: Store,
) -> None:
    theirs = peewee.SqliteDatabase(":memory:")

    class Note(peewee.Model):
        run = peewee.ForeignKeyField(Run)

        class Meta:
            database = theirs

    with store.bound():
        assert Note._meta.database is theirs
    assert Note._meta.database is theirs
