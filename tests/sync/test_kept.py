"""What a sync leaves open for the next one: that it is used, that it ends, and what befalls it."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.sync import kept as kept_module
from dynostore.sync import sync

FORKING = """
import os, sys
from dynostore.store import Store
from dynostore.sync import sync

store = Store.open(sys.argv[1])
sync(store, sys.argv[2])
logs = lambda: [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                if os.path.lexists(f"/proc/self/fd/{n}")].count(sys.argv[1] + "-wal")
child = os.fork()
if not child:
    inherited = logs()
    store.runs.create(run_id="child")
    sync(store, sys.argv[2], direction="pull")
    assert logs() == inherited + 2, "the store's connection and the sync's are the child's own"
    store.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
store.runs.create(run_id="parent")
assert sync(store, sys.argv[2]).tables
store.close()
"""

LEAVING = """
import os, sys
from dynostore.store import Store
from dynostore.sync import sync

store = Store.open(sys.argv[1])
store.runs.create(run_id="a")
sync(store, sys.argv[2])
assert os.path.exists(sys.argv[1] + "-wal")
"""


def _sessions(remote: Any) -> set[int]:
    """Give the syncs' sessions on the server."""
    rows = remote.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'dynostore'"
    )
    return {pid for (pid,) in rows}


def _connections(path: Path) -> int:
    """Count this process's handles of a file's log, one for each connection.

    Those of the file itself SQLite closes with the last connection, for the locks' sake.
    """
    handles = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(handle) for handle in handles if os.path.lexists(handle)]
    return targets.count(f"{path}-wal")


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_sync_goes_on_with_the_session_of_the_one_before(node: Any) -> None:
    node.fill(["a"])
    node.sync()
    before = _sessions(node.remote)
    assert len(before) == 1
    node.fill(["b"])
    node.sync()
    node.sync(direction="both")
    assert _sessions(node.remote) == before
    assert node.remote.count("runs") == 2


def test_a_closed_store_keeps_nothing(remote: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        sync(store, remote.url)
        assert _connections(path) > 0
    _until(lambda: not _sessions(remote))
    assert _connections(path) == 0


def test_a_store_that_nobody_closed_leaves_no_log_behind_its_process(
    remote: Any, tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    path = tmp_path / "s.db"
    process = start_python(LEAVING, path, remote.url)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert not path.with_name("s.db-wal").exists()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM runs").fetchall() == [("a",)]


# From 3.13 on Python says so of the store's own connection, which nobody closed.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_a_store_that_nobody_has_any_more_keeps_nothing(remote: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    def in_passing() -> None:
        sync(Store.open(path), remote.url)

    in_passing()
    gc.collect()
    assert _connections(path) == 0
    _until(lambda: not _sessions(remote))


def test_what_is_kept_is_closed_after_a_while(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "_KEPT_S", 0.1)
    node.fill(["a"])
    before = _connections(node.path)
    node.sync()
    assert _connections(node.path) > before
    _until(lambda: not _sessions(node.remote))
    _until(lambda: _connections(node.path) <= before)
    node.fill(["b"])
    node.sync()
    assert node.remote.count("runs") == 2


def test_a_session_that_the_server_ended_meanwhile_costs_no_second_attempt(
    node: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dynostore.sync")
    node.sync()
    node.remote.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'dynostore'"
    )
    node.fill(["a"])
    node.sync()
    assert node.remote.count("runs") == 1
    assert not caplog.records


def test_a_failed_sync_leaves_nothing_open(node: Any) -> None:
    node.sync()
    assert _sessions(node.remote)
    node.remote.sql("UPDATE dynostore_sync.server SET id = gen_random_uuid()")
    with pytest.raises(errors.IdentityMismatch):
        node.sync()
    _until(lambda: not _sessions(node.remote))


def test_another_server_gets_a_session_of_its_own(node: Any, own_remote: Any) -> None:
    node.sync()
    assert _sessions(node.remote)
    sync(node.store, own_remote.url, adopt=True)
    _until(lambda: not _sessions(node.remote))
    assert len(_sessions(own_remote)) == 1


def test_a_store_that_is_closed_during_a_sync_lets_it_finish(remote: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = Store.open(path)
    store.runs.create(run_id="a")
    told = []

    def close(*_: object) -> None:
        told.append(True)
        store.close()

    report = sync(store, remote.url, progress=close)
    assert told
    assert report.tables[0].sent == 1
    assert remote.count("runs") == 1
    _until(lambda: not _sessions(remote))
    assert _connections(path) == 0


def test_a_sync_keeps_nobody_from_copying_the_log_into_the_file(node: Any) -> None:
    node.fill(["a"])
    node.sync(direction="both")
    with closing(sqlite3.connect(node.path)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can replace an open file there")
def test_a_file_that_took_the_place_of_the_one_before_is_the_one_that_syncs(
    node: Any, tmp_path: Path
) -> None:
    node.fill(["a"])
    node.sync()
    node.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(node.path, tmp_path / "other.db")
    with Store.open(tmp_path / "other.db") as other:
        other.runs.create(run_id="of the other file")
    for suffix in ("-wal", "-shm"):
        node.path.with_name(node.path.name + suffix).unlink(missing_ok=True)
    os.replace(tmp_path / "other.db", node.path)
    sync(node.store, node.remote.url)
    assert ("of the other file",) in node.remote.sql("SELECT id FROM runs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_parents_session_alone(
    remote: Any, tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    process = start_python(FORKING, tmp_path / "s.db", remote.url)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert {key for (key,) in remote.sql("SELECT id FROM runs")} == {"child", "parent"}
