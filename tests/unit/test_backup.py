from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import sys
from collections import namedtuple
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import errors
from dynostore.backup import UNFINISHED, backup_file
from dynostore.file_copy import hold_moment
from dynostore.restore import restore_file
from dynostore.store import Store

WRITER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1]) as store:
    for number in range(100_000):
        with store.transaction():
            run = store.runs.create(source="a")
            store.runs.add_file(run.id, "x")
        if number == 20:
            print("going", flush=True)
"""


UPDATER = """
import random, sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
db.execute("PRAGMA synchronous = OFF")
db.execute("PRAGMA wal_autocheckpoint = 20")
for number in range(1, 1_000_000):
    dice = random.Random(number)
    db.execute("BEGIN IMMEDIATE")
    for _ in range(20):
        db.execute("UPDATE a SET v = ? WHERE id = ?", (number, dice.randrange(1000)))
    db.execute("UPDATE last SET t = ?", (number,))
    db.execute("COMMIT")
    if number == 20:
        print("going", flush=True)
"""


def filled(path: Path, runs: int = 50) -> Path:
    with Store.open(path) as store:
        for number in range(runs):
            store.runs.create(run_id=f"r{number}", metadata={"text": "é" * 300})
            store.runs.add_file(f"r{number}", "a/b")
    return path


def beside(path: Path) -> list[str]:
    """Give the names of the files but for SQLite's own ones of the store."""
    names = (p.name for p in path.iterdir())
    return sorted(name for name in names if not name.startswith(("s.db-", "s.db.lock")))


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_backup_is_a_store_with_the_same_content(tmp_path: Path) -> None:
    source, copy = filled(tmp_path / "s.db"), tmp_path / "copy #1?.db"
    with Store.open(source) as store:
        store.runs.create()  # still in the log
        assert store.backup(copy) == copy
        with Store.open(copy) as other:
            assert list(other.runs.stream()) == list(store.runs.stream())
            assert other.check() == []
    assert content(copy) == content(source)


def test_a_backup_is_one_file_of_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        backup_file(filled(tmp_path / "s.db", 1), tmp_path / "copy.db")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert beside(tmp_path) == ["copy.db", "s.db"]


def test_a_backup_is_one_moment_while_another_process_writes(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    source = tmp_path / "s.db"
    Store.open(source).close()
    writer = start_python(WRITER, source)
    assert writer.stdout.readline() == "going\n"
    counts = []
    for number in range(15):
        copy = tmp_path / f"copy{number}.db"
        backup_file(source, copy)
        with closing(sqlite3.connect(copy)) as connection:
            counts.append(
                connection.execute(
                    "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM run_files)"
                ).fetchone()
            )
    assert writer.poll() is None
    assert all(runs == files > 0 for runs, files in counts)
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_backup_holds_every_page_of_one_moment_while_checkpoints_go_on(
    tmp_path: Path, start_python: Callable[..., Any], mode: str
) -> None:
    source, copy = tmp_path / "s.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v INTEGER, pad TEXT)")
        connection.executemany(
            "INSERT INTO a VALUES (?, 0, ?)", [(n, "-" * 700) for n in range(1000)]
        )
        connection.execute("CREATE TABLE last AS SELECT 0 AS t")
        connection.commit()
    writer = start_python(UPDATER, source)
    assert writer.stdout.readline() == "going\n"
    values, done = [0] * 1000, 0
    for _ in range(12):
        backup_file(source, copy)
        with closing(sqlite3.connect(copy)) as connection:
            last = connection.execute("SELECT t FROM last").fetchone()[0]
            found = [v for (v,) in connection.execute("SELECT v FROM a ORDER BY id")]
        for number in range(done + 1, last + 1):
            dice = random.Random(number)
            for _ in range(20):
                values[dice.randrange(1000)] = number
        assert found == values
        done = last
    assert writer.poll() is None
    assert done > 20


@pytest.mark.skipif(sys.platform == "win32", reason="there SQLite's own backup is used")
def test_a_file_in_wal_mode_is_copied_as_it_lies_and_any_other_page_by_page(tmp_path: Path) -> None:
    source = filled(tmp_path / "s.db", 1)
    for mode, expected in (("WAL", True), ("DELETE", False)):
        with closing(sqlite3.connect(source)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        with closing(sqlite3.connect(source, isolation_level=None)) as origin:
            assert (hold_moment(origin, source, is_locked=False) is not None) is expected
    with closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        backup_file(source, tmp_path / "copy.db")
        other.execute("ROLLBACK")
    assert content(tmp_path / "copy.db") == content(source)


def test_an_older_backup_is_replaced_only_by_a_good_one(tmp_path: Path) -> None:
    source, copy = filled(tmp_path / "s.db", 3), tmp_path / "copy.db"
    backup_file(source, copy)
    first = content(copy)
    with Store.open(source) as store:
        store.runs.create()
    source_bytes = source.read_bytes()
    source.write_bytes(source_bytes[:-4096] + b"\xff" * 4096)
    with pytest.raises((errors.StoreCorrupt, errors.IntegrityFailure)):
        backup_file(source, copy)
    assert content(copy) == first
    source.write_bytes(source_bytes)
    backup_file(source, copy)
    assert content(copy) != first


@pytest.mark.parametrize("damage", ["header", "middle", "end", "cut", "empty"])
def test_a_damaged_source_is_reported_and_nothing_is_left(tmp_path: Path, damage: str) -> None:
    source = filled(tmp_path / "s.db", 200)
    content = bytearray(source.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray(b"no database at all" * 100)
    else:
        start = {"header": 0, "middle": len(content) // 2, "end": len(content) - 8192}[damage]
        content[start : start + 8192] = b"\xff" * 8192
    source.write_bytes(content)
    before = source.read_bytes()
    with pytest.raises((errors.StoreCorrupt, errors.IntegrityFailure)) as caught:
        backup_file(source, tmp_path / "copy.db")
    assert caught.value.exit_code == 7
    assert beside(tmp_path) == ["s.db"]
    assert source.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = filled(tmp_path / "s.db", 1)
    (tmp_path / "directory").mkdir()
    for destination in (tmp_path / "none" / "copy.db", tmp_path / "directory"):
        with pytest.raises(errors.StoreUnwritable, match=destination.name):
            backup_file(source, destination)
    assert beside(tmp_path) == ["directory", "s.db"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path, special_files: dict[str, Path]) -> None:
    source = filled(tmp_path / "s.db", 1)
    for kind, path in special_files.items():
        before = path.stat().st_ino
        with pytest.raises(errors.StoreUnwritable, match=f"is {kind}, and a backup is a file"):
            backup_file(source, path)
        with pytest.raises(errors.StoreUnwritable, match=f"is {kind}, and a store is a file"):
            restore_file(source, path)
        assert path.stat().st_ino == before
        assert list(path.parent.glob(f"{path.name}?*")) == []


def test_a_missing_source_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnwritable):
        backup_file(tmp_path / "none.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(errors.StoreUnwritable, match="1 free") as caught:
        backup_file(filled(tmp_path / "s.db", 1), tmp_path / "copy.db")
    assert caught.value.hint
    assert not (tmp_path / "copy.db").exists()


def test_a_database_in_use_is_never_overwritten(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s.db", 1), filled(tmp_path / "other.db", 2)
    with Store.open(other) as store, Store.open(source) as own:
        store.runs.create()
        own.runs.create()
        for destination, message in ((other, "in use"), (source, "is the store itself")):
            with pytest.raises(errors.StoreUnwritable, match=message):
                own.backup(destination)
        assert store.check() == own.check() == []
        assert (store.runs.count(), own.runs.count()) == (3, 2)


def test_what_a_killed_backup_left_does_no_harm(tmp_path: Path) -> None:
    source = filled(tmp_path / "s.db", 5)
    unfinished = tmp_path / f"copy.db{UNFINISHED}"
    unfinished.write_bytes(b"half of a page")
    (tmp_path / f"{unfinished.name}-journal").write_bytes(
        b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\1" * 600
    )
    backup_file(source, tmp_path / "copy.db")
    assert content(tmp_path / "copy.db") == content(source)
    assert beside(tmp_path) == ["copy.db", "s.db"]


def test_somebody_elses_file_beside_the_backup_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "copy.db.tmp").write_text("mine")
    backup_file(filled(tmp_path / "s.db", 1), tmp_path / "copy.db")
    assert (tmp_path / "copy.db.tmp").read_text() == "mine"


def test_only_a_file_can_be_backed_up(tmp_path: Path, postgres_url: str) -> None:
    for url in (":memory:", "sqlite://", postgres_url):
        with Store.open(url, warm=False) as store, pytest.raises(errors.ConfigError) as caught:
            store.backup(tmp_path / "copy.db")
        assert "pg_dump" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_database_in_use_is_never_overwritten(tmp_path: Path) -> None:
    source, other = filled(tmp_path / "s.db", 1), filled(tmp_path / "other.db", 2)
    (tmp_path / "link.db").symlink_to(other)
    with Store.open(other) as store:
        store.runs.create()
        for name, message in (("link.db", "in use"), ("s.db-wal", "belongs to the store itself")):
            with pytest.raises(errors.StoreUnwritable, match=message):
                backup_file(source, tmp_path / name)
