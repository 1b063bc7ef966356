"""A backup is put in a store's place whole or not at all, and what it replaces is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors, restore
from dynostore.backup import backup_file
from dynostore.restore import restore_file
from dynostore.sync import sync

Call = Callable[..., Any]

READER = """
import sys
from dynostore import Store
with Store.open(sys.argv[1]) as store:
    store.runs.count()
    print("open", flush=True)
    sys.stdin.read()
"""


def ids(path: Path) -> set[str]:
    with Store.open(path) as store:
        assert store.check() == []
        return {run.id for run in store.runs.stream()}


@pytest.fixture
def saved(filled: Path) -> Path:
    """Give a backup from before the run ``late``."""
    copy = filled.with_name("nightly.db")
    backup_file(filled, copy)
    with Store.open(filled) as store:
        store.runs.create(run_id="late")
    return copy


@pytest.fixture
def saved_before_log(filled: Path, leave_log: Callable[[Path], None]) -> Path:
    """Give a backup from before the run ``late``, which is only in the store's log."""
    copy = filled.with_name("nightly.db")
    backup_file(filled, copy)
    leave_log(filled)
    return copy


def test_what_is_replaced_is_kept_with_its_log_under_a_name_that_is_said(
    call: Call, filled: Path, saved_before_log: Path
) -> None:
    saved = saved_before_log
    done = call("--json", "db", "restore", saved, "--yes")
    assert done.code == 0
    kept = [Path(name) for name in done.item["kept"]]
    assert [p.name.partition("Z")[2] for p in kept] == ["", "-wal", "-shm"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    assert ids(kept[0]) - ids(filled) == {"late"}
    assert ids(saved) == ids(filled)
    assert not [path for path in filled.parent.iterdir() if "restoring" in path.name]


def test_it_asks_first_and_a_place_without_a_store_needs_no_asking(
    call: Call, filled: Path, saved: Path
) -> None:
    refused = call("db", "restore", saved)
    assert (refused.code, refused.out) == (2, "")
    assert "would be replaced by" in refused.err
    assert "late" in ids(filled)
    assert call("--db", "new.db", "db", "restore", saved).code == 0
    assert ids(Path("new.db")) == ids(saved)


def test_a_file_that_another_program_has_open_is_not_replaced(
    call: Call, filled: Path, saved: Path, start_python: Callable[..., Any]
) -> None:
    reader = start_python(READER, filled)
    assert reader.stdout.readline() == "open\n"
    with pytest.raises(errors.StoreLocked, match="another program has it open"):
        restore_file(saved, filled, patience_s=0)
    reader.communicate("")
    assert "late" in ids(filled)
    restore_file(saved, filled, patience_s=0)
    assert "late" not in ids(filled)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-6000])


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO dynostore_migration VALUES"
            " ('0099_later', '2026-01-01T00:00:00.000000+00:00')"
        )


def make_foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (damage, 7, "malformed"),
        (make_newer, 6, "newer dynostore"),
        (make_foreign, 6, "dynostore did not make"),
        (lambda path: path.write_bytes(b""), 6, "holds no tables of dynostore"),
        (lambda path: path.write_bytes(b"no database" * 100), 7, "not a database"),
        (Path.unlink, 4, "there is no such file"),
    ],
    ids=["cut", "newer", "foreign", "empty", "text", "missing"],
)
def test_a_backup_that_is_none_is_refused_and_nothing_is_touched(
    call: Call, filled: Path, saved: Path, spoil: Callable[[Path], object], code: int, said: str
) -> None:
    spoil(saved)
    before = {p.name: p.read_bytes() for p in filled.parent.glob("dynostore.db*")}
    done = call("--json", "db", "restore", saved, "--yes")
    assert (done.code, done.out) == (code, "")
    assert said in done.error["message"]
    assert {p.name: p.read_bytes() for p in filled.parent.glob("dynostore.db*")} == before


def test_a_store_that_cannot_be_opened_is_restored(
    call: Call, filled: Path, saved: Path, flip: Callable[[Path, int], None]
) -> None:
    flip(filled, 0)
    damaged = filled.read_bytes()
    assert call("runs", "list").code == 7
    done = call("--json", "db", "restore", saved, "--yes")
    assert Path(done.item["kept"][0]).read_bytes() == damaged
    assert ids(filled) == ids(saved)


def die_at(number: int, die: Callable[[], object]) -> None:
    """Let this process die before its write or removal of this number, in restoring."""
    left = iter(range(number, 0, -1))

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if next(left) == 1:
                die()
            return function(*args)

        return call

    for name in ("_write_at", "_flush", "_remove_beside"):
        setattr(restore, name, dying(getattr(restore, name)))
    shutil.copyfileobj = dying(shutil.copyfileobj)


def copied(names: Path, to: Path) -> Path:
    """Copy a file and what lies beside it into an empty directory."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for path in names.parent.glob(f"{names.name}*"):
        shutil.copy(path, to)
    return to / names.name


def test_killed_at_any_step_it_leaves_one_of_the_two_or_a_file_that_is_refused(
    filled: Path, saved_before_log: Path, tmp_path: Path, kill_child: Callable[..., bool]
) -> None:
    left_over, number = set(), 1
    while True:
        store = copied(filled, tmp_path / "at work")
        if not kill_child(number, die_at, lambda: restore_file(saved_before_log, store)):  # noqa: B023
            break
        try:
            found = ids(copied(store, tmp_path / "look"))
            left_over.add("former" if "late" in found else "restored")
        except errors.StoreCorrupt:
            left_over.add("refused")
        if number % 4 == 0:  # from what was left it can be done again
            restore_file(saved_before_log, store)
            assert "late" not in ids(store)
        number += 1
    assert "late" not in ids(store)
    assert number > 8
    assert left_over == {"former", "refused", "restored"}


def test_the_next_sync_notices_and_overwrites_nothing(filled: Path, postgres_url: str) -> None:
    copy = filled.with_name("nightly.db")
    with Store.open(filled) as store:
        sync(store, postgres_url)
        node = store.database.execute_sql("SELECT node_id FROM sync_meta").fetchone()
        store.backup(copy)
        store.runs.set_status("r1", "complete")
        store.runs.delete("r2")
        store.runs.create(run_id="later")
        sync(store, postgres_url)
    restore_file(copy, filled)
    with Store.open(filled) as store:
        assert store.runs.get("r2").id == "r2"
        store.runs.create(run_id="after")
        report = sync(store, postgres_url, direction="both")
        assert report.exit_code == 0
        assert store.database.execute_sql("SELECT node_id FROM sync_meta").fetchone() != node
        with Store.open(postgres_url, warm=False) as server:
            assert [*server.runs.stream()] == [*store.runs.stream()]
            assert server.runs.get("r1").status == "complete"
            found = {run.id for run in server.runs.stream()}
        assert {"later", "after"} <= found
        assert "r2" not in found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the room is limited by a POSIX call")
def test_no_room_leaves_everything_as_it_was(
    filled: Path, saved: Path, start_python: Callable[..., Any]
) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from dynostore import errors
from dynostore.restore import restore_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    restore_file(Path(sys.argv[1]), Path(sys.argv[2]))
except errors.StoreUnwritable as exc:
    print(exc.exit_code, flush=True)
"""
    before = {p.name: p.read_bytes() for p in filled.parent.iterdir()}
    child = start_python(script, saved, filled)
    assert child.communicate()[0] == "1\n"
    after = {p.name: p.read_bytes() for p in filled.parent.iterdir()}
    assert {n: c for n, c in after.items() if n in before} == before
    assert set(after) - set(before) <= {f"{saved.name}-wal", f"{saved.name}-shm"}


def test_a_backup_in_a_stores_place_has_its_log_again_once_a_command_has_opened_it(
    call: Call, filled: Path, saved: Path, postgres_url: str
) -> None:
    # Without the log a sync waits for its own snapshot, and every reader for the writer.
    call("db", "restore", saved, "--yes")
    assert call("sync", "--to", postgres_url).code == 0
    with closing(sqlite3.connect(filled)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
