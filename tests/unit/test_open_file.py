"""A file that is removed, renamed or replaced under an open store: it says so."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dynostore import errors, open_file
from dynostore.aio import AsyncStore
from dynostore.store import Store

pytestmark = pytest.mark.skipif(os.name == "nt", reason="an open file stays where it is")


@pytest.fixture(autouse=True)
def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each transaction, however soon it follows."""
    monkeypatch.setattr(open_file, "_LOOK_EVERY_S", 0.0)


def remove(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def rename_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    Store.open(other).close()
    other.replace(path)


WAYS: dict[Callable[[Path], None], str] = {
    remove: "was removed or renamed",
    rename: "was removed or renamed",
    rename_directory: "was removed or renamed",
    replace: "was replaced by another one",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a store, in a directory of its own."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "s.db"


@pytest.mark.parametrize("away", WAYS)
def test_a_store_does_not_write_to_a_file_without_its_name(
    away: Callable[[Path], None], path: Path
) -> None:
    with Store.open(path) as store:
        store.runs.create(run_id="a")
        away(path)
        for _ in range(2):
            with pytest.raises(errors.StoreNotFound, match=f"s.db: the file {WAYS[away]}") as gone:
                store.runs.create(run_id="b")
        assert f"--db {path} db restore" in str(gone.value.hint)
        with pytest.raises(errors.StoreNotFound), store.transaction():
            pytest.fail("the transaction began")
        assert [run.id for run in store.runs.list()] == ["a"]  # it can still be read


@pytest.mark.parametrize("away", WAYS)
def test_an_asynchronous_store_does_not_either(away: Callable[[Path], None], path: Path) -> None:
    async def main() -> None:
        async with AsyncStore.open(path) as store:
            await store.runs.create(run_id="a")
            away(path)
            with pytest.raises(errors.StoreNotFound, match=f"s.db: the file {WAYS[away]}"):
                await store.runs.create(run_id="b")
            assert await store.runs.count() == 1

    asyncio.run(main())


def test_another_connection_makes_no_empty_file_where_one_was_removed(path: Path) -> None:
    caught: list[BaseException] = []

    def read(store: Store) -> None:
        try:
            store.runs.count()
        except errors.StoreNotFound as exc:
            caught.append(exc)

    async def several() -> None:
        async with AsyncStore.open(path) as store:
            path.unlink()
            with pytest.raises(errors.StoreNotFound):
                await store.runs.count()

    with Store.open(path) as store:
        path.unlink()
        thread = threading.Thread(target=read, args=(store,))
        thread.start()
        thread.join()
    assert caught
    asyncio.run(several())
    assert not path.exists()


def test_a_file_that_is_put_back_is_written_to_again(path: Path) -> None:
    with Store.open(path) as store:
        rename(path)
        with pytest.raises(errors.StoreNotFound):
            store.runs.create(run_id="a")
        path.with_name("elsewhere.db").rename(path)
        store.runs.create(run_id="b")
    with Store.open(path) as store:
        assert [run.id for run in store.runs.list()] == ["b"]


def test_a_thread_that_closed_its_connection_may_open_the_new_file(path: Path) -> None:
    with Store.open(path) as store:
        store.database.close()
        replace(path)
        store.runs.create(run_id="new")
    with Store.open(path) as store:
        assert store.runs.count() == 1


def test_the_file_is_looked_at_ten_times_a_second_at_most(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(file: str, shown: str) -> int:
        looks.append(shown)
        return 0

    monkeypatch.setattr(open_file, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(open_file, "require_file", look)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    file = open_file.OpenFile(str(path), "s.db")
    for _ in range(100):
        file.require_its_name()
        clock[0] += 0.01
    assert 9 <= len(looks) <= 11
