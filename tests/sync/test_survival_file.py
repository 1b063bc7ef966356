"""Disks that are full or read-only, clocks that jump, upgrades with unsent changes, huge rows."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors, fields, migration_steps, migrator
from dynostore.sync import sync, sync_status
from dynostore.sync.local.journal import Journal
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once


# -- disks ---------------------------------------------------------------------------------------


def _mount(directory: Path, *options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", str(directory)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give the directory of a disk of 32 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if os.name != "posix" or os.geteuid() or shutil.which("mount") is None:
        pytest.skip("needs the right to mount a small disk")
    _mount(directory, "-o", "size=32m")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextlib.contextmanager
def _full(disk: Path, *, but_for: int = 0) -> Iterator[None]:
    """Fill a disk up, but for some bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - but_for))
    try:
        yield
    finally:
        ballast.unlink()


def test_a_full_disk_stops_a_push_before_its_batch_and_the_next_completes_it(
    small_disk: Path, make_node: Any, remote: Any, check: Any
) -> None:
    node = make_node(path=small_disk / "node.db")
    node.fill(["a", "b"], files=2)
    node.sync()
    node.store.runs.update("a", source="changed")
    node.fill(["c"], files=2)

    def write_and_sync() -> None:
        while True:  # until the pages that the file has already are used up
            node.fill([f"more-{node.count('runs')}"])
            node.sync()

    with _full(small_disk), pytest.raises(errors.StoreUnwritable, match="disk is full") as caught:
        write_and_sync()
    assert caught.value.exit_code == 1
    assert node.sync().exit_code == 0
    check.all(node)


def test_what_could_not_be_written_down_here_is_not_committed_there(
    node: Any, remote: Any, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows travel while the file is being written: their COMMIT has to wait for it."""
    waited: list[bool] = []

    def fail_late(*arguments: object) -> None:
        for _ in range(50):
            waited.append(remote.count("runs") == 0)
            threading.Event().wait(0.01)
        raise sqlite3.OperationalError("disk I/O error")

    node.fill(["a", "b"])
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "add_pending", fail_late)
        with pytest.raises(errors.DynostoreError, match="disk I/O error"):
            node.sync()
    assert all(waited)
    assert remote.count("runs") == 0
    assert node.sync().exit_code == 0
    check.all(node)


def test_a_disk_that_fills_up_during_a_pull_keeps_what_was_there(
    small_disk: Path, make_node: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node(path=small_disk / "two.db")
    two.fill(["mine"], files=1)
    two.sync()
    one.sync(direction="pull")
    one.fill([f"n{n}" for n in range(300)], metadata={"text": "x" * 20_000})
    one.sync()
    full = _full(small_disk, but_for=3_000_000)
    with full, pytest.raises(errors.StoreUnwritable, match="disk is full") as caught:
        two.sync(direction="both", rows=50)
    assert caught.value.exit_code == 1
    assert two.store.check() == []
    assert 1 < two.store.runs.count() < 301, "some batches fitted"
    assert two.sync(direction="both", rows=50).exit_code == 0
    assert two.sync(direction="both").up_to_date
    check.all(two)


_BELOW_A_LIMIT = """
import resource, signal, sys
from dynostore import Store, errors
from dynostore.sync import sync
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Store.open(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    try:
        sync(store, sys.argv[2], direction="both")
    except errors.StoreUnwritable as exc:
        print(exc.exit_code)
"""


def test_a_file_that_may_not_grow_stops_a_pull_and_the_next_completes_it(
    make_node: Any, remote: Any, start_python: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    two.fill(["mine"])
    two.sync()
    one.sync(direction="pull")
    one.fill([f"n{n}" for n in range(50)], metadata={"text": "x" * 20_000})
    one.sync()
    process = start_python(_BELOW_A_LIMIT, two.path, remote.url, two.path.stat().st_size + 200_000)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("1\n", 0), err
    assert two.sync(direction="both").exit_code == 0
    check.all(two)


def test_a_disk_that_became_read_only_changes_nothing_anywhere(
    small_disk: Path, make_node: Any, remote: Any, check: Any
) -> None:
    node = make_node(path=small_disk / "node.db")
    node.fill(["a"])
    node.sync()
    node.fill(["b"])
    before = remote.state()
    node.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    def open_and_sync() -> None:
        with Store.open(node.path) as store:
            sync(store, remote.url, direction="both")

    with pytest.raises(errors.StoreUnwritable) as caught:
        open_and_sync()
    assert caught.value.exit_code == 1
    assert remote.state() == before
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    again = make_node(path=node.path)
    assert again.sync().exit_code == 0
    check.all(again)


# -- clocks --------------------------------------------------------------------------------------


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give a function that sets this process's clock ahead by some hours, or back."""

    def later() -> dt.datetime:
        return dt.datetime.now(dt.UTC) + SHIFT  # type: ignore  # noqa: F821, PGH003 - set below

    def shift(hours: float) -> None:
        monkeypatch.setattr(fields, "SHIFT", dt.timedelta(hours=hours), raising=False)
        # Its code, since everybody imports the function by its name.
        monkeypatch.setattr(fields.utc_now, "__code__", later.__code__)

    return shift


@pytest.mark.parametrize(
    ("ones", "twos"), [(24, -24), (-24, 24)], ids=["the first ahead", "the second ahead"]
)
def test_clocks_a_day_apart_and_stepping_back_decide_nothing(
    ones: float, twos: float, make_node: Any, remote: Any, set_clock: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")

    def turn(node: Any, hours: float, act: Callable[[], object]) -> Any:
        set_clock(hours)
        node.sync(direction="both")
        act()
        return node.sync(direction="both")

    turn(one, ones, lambda: one.fill(["a", "b", "c", "d"], source="one"))
    turn(two, twos, lambda: None)
    # Who had seen the other's version wins, whatever the times say.
    turn(two, twos, lambda: two.store.runs.update("a", source="two"))
    turn(one, ones, lambda: one.store.runs.update("a", current_stage="one's again"))
    turn(one, ones - 72, lambda: one.store.runs.update("a", source="one, and stepped back"))
    turn(two, twos, lambda: two.store.runs.delete("b"))
    turn(one, ones - 72, lambda: one.fill(["b"], source="made again"))
    # Of two who had not, the first to arrive does.
    set_clock(twos)
    two.store.runs.update("c", source="two, first")
    set_clock(ones)
    one.store.runs.update("c", source="one, second")
    two.sync()
    assert one.sync(direction="both").exit_code == 3
    assert turn(two, twos - 1000, lambda: None).exit_code == 0
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert verify(node.store, remote.url, deep=True).exit_code == 0
    assert {run.id: (run.source, run.current_stage) for run in two.store.runs.list()} == {
        "a": ("one, and stepped back", "one's again"),
        "b": ("made again", None),
        "c": ("two, first", None),
        "d": ("one", None),
    }
    assert [c["image"]["source"] for c in one.conflicts()] == ["one, second"]
    assert two.conflicts() == []
    assert sync_status(one.store).exit_code == 1


# -- upgrades ------------------------------------------------------------------------------------

_REBUILD = '''"""A rebuild of a parent table."""

from dynostore.fields import StringField, TextField


def up(migrator, db):
    migrator.migrate(
        migrator.alter_column_type("runs", "input_filename", StringField(max_length=500, null=True))
    )


def down(migrator, db):
    migrator.migrate(migrator.alter_column_type("runs", "input_filename", TextField(null=True)))
'''


def test_unsent_changes_outlast_an_upgrade_of_either_side(
    make_node: Any,
    empty_remote: Any,
    check: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = make_node("one", to=empty_remote), make_node("two", to=empty_remote)
    one.fill([f"r{n}" for n in range(6)], files=2, source="first")
    for node in (one, two):
        node.sync(direction="both")
    one.store.runs.update("r0", source="one")
    one.store.runs.delete("r1")
    one.fill(["new"], files=2)
    two.store.runs.update("r2", source="two")
    two.store.runs.delete("r3")
    empty_remote.sql("UPDATE runs SET source = 'plain SQL' WHERE id = 'r4'")
    unsent = [sorted(set(node.logged())) for node in (one, two)]
    stamps = empty_remote.stamps()
    for node in (one, two):
        node.close()
    steps = tmp_path / "steps"
    shutil.copytree(migrator.directory(), steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "0999_rebuild.py").write_text(_REBUILD)
    for module in (migration_steps, migrator):
        monkeypatch.setattr(module, "directory", lambda: steps)

    one, two = (make_node(path=node.path, to=empty_remote) for node in (one, two))
    assert [sorted(set(node.logged())) for node in (one, two)] == unsent
    with pytest.raises(errors.SchemaBehind):
        one.sync(direction="both")
    assert empty_remote.stamps() == stamps
    assert one.sync(direction="both", upgrade_server=True, tables=["tasks"]).exit_code == 0
    assert empty_remote.stamps() == stamps, "an upgrade gives no row another version"
    for node in (one, two, one):
        assert node.sync(direction="both").exit_code == 0
    for node in (one, two):
        check.all(node)
    assert {run.id: run.source for run in one.store.runs.list()} == {
        "r0": "one", "r2": "two", "r4": "plain SQL", "r5": "first", "new": "manual",
    }  # fmt: skip


# -- a huge row ----------------------------------------------------------------------------------

_MIB = 1024 * 1024


@pytest.mark.slow
def test_a_row_of_100_mib_is_set_aside_here_and_all_others_are_sent(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a", "huge", "z"])
    node.sql("UPDATE runs SET current_stage = hex(zeroblob(?)) WHERE id = 'huge'", (50 * _MIB,))
    assert node.sync().exit_code == 3
    assert node.rejects()["huge"][3] == "54000"
    assert remote.sql("SELECT id FROM runs ORDER BY id") == [("a",), ("z",)]
    assert node.sync().up_to_date
    node.store.runs.update("huge", current_stage=None)
    assert node.sync().exit_code == 0
    check.all(node)


@pytest.mark.slow
def test_a_row_of_100_mib_that_plain_sql_wrote_comes_and_goes(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a", "huge", "z"])
    node.sync()
    remote.sql(
        "UPDATE runs SET current_stage = repeat(E'x\\\\y\\n', %s) WHERE id = 'huge'", (_MIB * 25,)
    )
    assert node.sync(direction="both").exit_code == 0
    assert node.sql("SELECT length(current_stage) FROM runs WHERE id = 'huge'") == [(_MIB * 100,)]
    assert verify(node.store, remote.url, deep=True).exit_code == 0
    remote.sql("UPDATE runs SET current_stage = NULL WHERE id = 'huge'")
    assert node.sync(direction="both").exit_code == 0
    check.all(node)
    remote.sql("UPDATE runs SET current_stage = repeat('x', %s) WHERE id = 'huge'", (_MIB * 100,))
    remote.sql("DELETE FROM run_files; DELETE FROM runs WHERE id = 'huge'")
    assert node.sync(direction="both").exit_code == 0
    check.equal(node)
    check.settled(node)
    assert node.count("runs") == 2
