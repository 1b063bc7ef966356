from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynostore import config, database, errors
from dynostore.store import Store

NOBODY = 65534


def pragma(store: Store, name: str) -> Any:
    with store.database.reading():
        return store.database.execute_sql(f"PRAGMA {name}").fetchone()[0]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def without_rights(directory: Path) -> Iterator[None]:
    """Be a user who may look into the directory and change nothing there."""
    directory.chmod(0o555)
    try:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        directory.chmod(0o755)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Give a directory that every user may enter; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="dynostore-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# the file


def test_the_file_and_its_log_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    before = os.umask(0)
    try:
        with Store.open(path) as store:
            store.runs.create()
            for name in ("s.db", "s.db-wal", "s.db-shm"):
                assert mode_of(tmp_path / name) == 0o600, name
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600


@pytest.mark.parametrize(("name", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_every_connection_has_the_pragmas(tmp_path: Path, name: str, number: int) -> None:
    place = config.Place(
        str(tmp_path / "s.db"), "test", config.Settings(synchronous=name, busy_timeout_s=4.5)
    )
    expected = {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": number,
        "journal_size_limit": 64 * 1024 * 1024,
        "cache_size": -16 * 1024,
        "busy_timeout": 4500,
        "application_id": database.APPLICATION_ID,
        "recursive_triggers": 0,
    }
    found: list[dict[str, Any]] = []
    with Store.at(place) as store:
        found.append({key: pragma(store, key) for key in expected})
        thread = threading.Thread(
            target=lambda: found.append({key: pragma(store, key) for key in expected})
        )
        thread.start()
        thread.join()
    assert found == [expected, expected]


def test_the_log_is_gone_after_the_last_close(tmp_path: Path) -> None:
    Store.open(tmp_path / "s.db").close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db", "s.db.lock"]


def test_a_missing_directory_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnwritable, match="does not exist") as caught:
        Store.open(tmp_path / "a" / "s.db")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'a'}"


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnwritable, match="is a directory"):
        Store.open(tmp_path)


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_file_is_no_store_and_nothing_is_made_beside_it(
    special_files: dict[str, Path], read_only: bool
) -> None:
    for kind, path in special_files.items():
        before = sorted(os.listdir(path.parent))
        with pytest.raises(errors.StoreUnwritable, match=f"{path}: is {kind}, not a file") as told:
            Store.open(path, read_only=read_only)
        assert told.value.hint == "dynostore --db FILE info"
        assert sorted(os.listdir(path.parent)) == before


def test_a_name_that_the_system_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / ("n" * 300), tmp_path / "file" / "s.db"):
        with pytest.raises(errors.StoreUnwritable):
            Store.open(path)
    with pytest.raises(errors.ConfigError):
        Store.open(f"{tmp_path}/nul\0")


@pytest.mark.parametrize("content", [b"xx", b"just some text\n" * 1000, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(errors.StoreCorrupt, match="not a database") as caught:
        Store.open(path)
    assert caught.value.exit_code == 7
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db"]


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        for _ in range(200):
            store.runs.create(metadata={"text": "x" * 500})
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    with Store.open(path) as store:
        try:
            problems = store.check()
        except errors.StoreCorrupt as exc:
            problems = [str(exc)]
    assert problems


def test_a_missing_file_is_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    without: list[dict[str, Any]] = [{"create": False}, {"read_only": True}, {"migrate": False}]
    for options in without:
        with pytest.raises(errors.StoreNotFound) as caught:
            Store.open(path, **options)
        assert caught.value.exit_code == 4
        assert caught.value.hint == f"dynostore --db {path} init"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_rights_is_an_error_of_ours(open_directory: Path) -> None:
    with without_rights(open_directory), pytest.raises(errors.StoreUnwritable):
        Store.open(open_directory / "s.db")


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.runs.create(run_id="kept")
        with store.database.reading():
            pages = pragma(store, "page_count")
            store.database.execute_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(errors.StoreUnwritable, match="disk is full"):
            store.runs.create(metadata={"text": "x" * 100_000})
        with store.database.reading():
            assert not store.database.in_transaction()

        def go_on_regardless() -> None:
            with store.transaction():
                store.runs.create(run_id="undone")
                with pytest.raises(errors.StoreUnwritable, match="disk is full"):
                    store.runs.create(metadata={"text": "x" * 100_000})
                store.runs.create(run_id="outside of any transaction")

        with pytest.raises(errors.StoreUnwritable, match="undone by an earlier error"):
            go_on_regardless()
        store.database.execute_sql("PRAGMA max_page_count = 1000000")
        assert [run.id for run in store.runs.list()] == ["kept"]
        store.runs.create()
        assert store.check() == []


# addresses


@pytest.mark.parametrize("name", ["plain.db", "a b#c%41?d.db", "ü-走.db", "-x.db", 'it\'s "q".db'])
def test_any_file_name_is_a_store_for_writing_and_reading(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for address in (str(path), path):
        with Store.open(address) as store:
            store.runs.create()
    with Store.open(path, read_only=True) as store:
        assert store.runs.count() == 2
    assert path.is_file()


def test_relative_addresses_stay_where_they_were_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for number, address in enumerate(["s.db", "sqlite:///s.db", f"sqlite:///{tmp_path}/s.db"]):
        monkeypatch.chdir(tmp_path)
        with Store.open(address) as store:
            monkeypatch.chdir(tmp_path / "elsewhere")
            store.runs.create()
            thread = threading.Thread(target=store.runs.create)
            thread.start()
            thread.join()
            assert store.runs.count() == 2 * number + 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_memory_is_one_database_for_all_threads() -> None:
    with Store.open(":memory:") as store, Store.open("sqlite://") as other:
        threads = [
            threading.Thread(target=lambda: [store.runs.create() for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.runs.count() == 400
        assert other.runs.count() == 0
        assert store.check() == []


# reading only


def test_a_read_only_store_refuses_every_write(store_url: str) -> None:
    with Store.open(store_url, warm=False) as store:
        run = store.runs.create(run_id="r")
    with Store.open(store_url, read_only=True, warm=False) as store:
        writes: list[Callable[[], object]] = [
            store.runs.create,
            lambda: store.runs.update("r", source="x"),
            lambda: store.runs.delete("r"),
            lambda: store.runs.add_file("r", "a"),
            lambda: store.runs.put_many([run]),
        ]
        for write in writes:
            with pytest.raises(errors.StoreUnwritable, match="opened for reading only"):
                write()
        with pytest.raises(errors.StoreUnwritable), store.database.reading():
            store.database.execute_sql("DELETE FROM runs")
        assert list(store.runs.list()) == [run]


def test_who_may_not_write_to_a_store_can_read_it_in_an_event_loop_too(
    open_directory: Path,
) -> None:
    aio = pytest.importorskip("dynostore.aio")

    async def fill() -> None:  # with rights, for it imports what only this user may read
        async with aio.AsyncStore.open(open_directory / "s.db") as store:
            await store.runs.create(run_id="r")

    async def read() -> None:
        async with aio.AsyncStore.open(open_directory / "s.db") as store:
            assert (await store.runs.get("r")).id == "r"
            with pytest.raises(errors.StoreUnwritable, match="may not be written to by this user"):
                await store.runs.create()

    asyncio.run(fill())
    (open_directory / "s.db").chmod(0o444)
    with without_rights(open_directory):
        asyncio.run(read())


def test_a_store_on_a_read_only_directory_can_be_read(open_directory: Path) -> None:
    path = open_directory / "s.db"
    with Store.open(path) as store:
        store.runs.create(run_id="r")
    path.chmod(0o644)
    with without_rights(open_directory), Store.open(path, read_only=True) as store:
        assert store.runs.get("r").id == "r"
        assert store.check() == []
    assert sorted(p.name for p in open_directory.iterdir()) == ["s.db", "s.db.lock"]


def test_a_reader_sees_what_a_writer_does(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        writer.runs.create()
        assert reader.runs.count() == 1


# logging


def test_the_log_has_the_statements_and_never_a_value(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        run = store.runs.create(source="qqq-source", metadata={"key": "qqq-metadata"})
        store.runs.update(run.id, current_stage="qqq-stage")
        list(store.runs.list(source="qqq-source"))
    statements = [r.getMessage() for r in caplog.records if r.name == "dynostore.sql"]
    assert any(text.startswith("INSERT INTO") for text in statements)
    assert any(text.startswith("UPDATE") for text in statements)
    assert "qqq" not in caplog.text
    assert run.id not in caplog.text


def test_nothing_is_logged_above_debug(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        store.runs.create()
    assert caplog.records == []


# driver errors


def test_a_lock_that_is_held_for_too_long_is_said(tmp_path: Path) -> None:
    place = config.Place(str(tmp_path / "s.db"), "test", config.Settings(busy_timeout_s=0.1))
    with Store.at(place) as store, closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.StoreLocked) as caught:
            store.runs.create()
        assert caught.value.exit_code == 5
        other.execute("ROLLBACK")
        store.runs.create()


def test_plain_sql_through_the_store_has_errors_of_ours(store: Store) -> None:
    store.runs.create(run_id="r")
    statements = {
        "INSERT INTO runs SELECT * FROM runs": errors.AlreadyExists,
        "UPDATE runs SET status = NULL": errors.ConstraintFailed,
        "INSERT INTO run_files (id, run_id, filename, created_at) VALUES "
        "('00000000-0000-0000-0000-000000000000', 'none', 'f', '2026-01-01T00:00:00Z')": (
            errors.ConstraintFailed
        ),
        "SELECT * FROM nothing": errors.DynostoreError,
    }
    for statement, kind in statements.items():
        with pytest.raises(errors.DynostoreError) as caught, store.transaction():
            store.database.execute_sql(statement)
        assert type(caught.value) is kind, statement
        assert caught.value.__cause__ is not None
