"""A push that is killed at any statement, on either side: the next one finishes the work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

BATCH_ROWS = 3
FIRST_IDS = [f"old-{n}" for n in range(9)]


def _change_everything(node: Any) -> None:
    """Insert, update, delete parents with children, re-create keys, change and delete children."""
    runs = node.store.runs
    node.fill(["new-0", "new-1", "new-2", "new-3"], files=1, metadata={"fresh": True})
    for key in ("old-0", "old-1", "old-2"):
        runs.update(key, progress_percent=50, current_stage="später\t\\N\n")
    runs.delete("old-3")  # with its files
    runs.delete("old-4")
    node.fill(["old-4"], files=2, source="again")  # the same keys once more
    node.sql("UPDATE run_files SET size_bytes = 7 WHERE run_id = 'old-5'")
    node.sql("DELETE FROM run_files WHERE run_id = 'old-6' AND filename = 'output/1.csv'")
    runs.add_file("old-6", "output/1.csv", size_bytes=99)
    node.sql("DELETE FROM run_files WHERE run_id = 'old-7'")
    node.fill(["unborn"])
    runs.delete("unborn")
    node.sql("UPDATE runs SET id = 'moved' WHERE id = 'new-3'", foreign_keys=False)
    node.sql("UPDATE run_files SET run_id = 'moved' WHERE run_id = 'new-3'")


def _change_while_interrupted(node: Any) -> None:
    """Change, delete and re-create rows of the batch that nobody knows the end of."""
    runs = node.store.runs
    for key in ("new-0", "old-0", "old-4"):
        runs.update(key, current_stage="after the kill")
    runs.delete("new-1")
    runs.delete("old-1")
    runs.delete("new-2")
    node.fill(["new-2", "old-3", "later"], files=2, source="after the kill")
    node.sql("UPDATE run_files SET size_bytes = 70 WHERE run_id IN ('old-5', 'old-6')")


_KEPT = ("server", "node", "node_history", "tombstone", "archive", "tick")


class _Scene:
    """A file and a server as they were before a push, to be had again as often as one likes."""

    def __init__(self, make: Callable[..., Any], remote: Any, directory: Path) -> None:
        self._make = make
        self._remote = remote
        self._file = directory / "before.db"
        self._path = directory / "node.db"
        self._server_was_empty = True

    def prepare(self, act: Callable[[Any], None]) -> None:
        node = self._make(path=self._file, to=self._remote)
        act(node)
        node.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        node.close()
        self._server_was_empty = not self._remote.tables()
        if not self._server_was_empty:
            self._save_server()

    def _save_server(self) -> None:
        copies = [f"CREATE TABLE saved.{n} AS TABLE dynostore_sync.{n};" for n in _KEPT]
        copies += [f"CREATE TABLE saved.{n} AS TABLE {n};" for n in ("runs", "run_files")]
        self._remote.sql("CREATE SCHEMA saved;" + "".join(copies))

    def _reset_server(self) -> None:
        # A database made anew each time would take most of the suite's time.
        if self._server_was_empty:
            self._remote.sql(
                "DROP SCHEMA IF EXISTS dynostore_sync CASCADE; DROP SCHEMA public CASCADE;"
                " CREATE SCHEMA public"
            )
            return
        names = [f"dynostore_sync.{name}" for name in _KEPT]
        back = [
            f"INSERT INTO {n} OVERRIDING SYSTEM VALUE SELECT * FROM saved.{n.rpartition('.')[2]};"
            for n in [*names, "runs", "run_files"]
        ]
        self._remote.sql(
            "BEGIN; SET LOCAL dynostore_sync.apply = 'on';"
            f" TRUNCATE runs, run_files, {', '.join(names)}; {''.join(back)} COMMIT"
        )

    def fresh(self) -> Any:
        self._reset_server()
        for path in self._path.parent.glob(self._path.name + "*"):
            path.unlink()
        shutil.copy(self._file, self._path)
        return self._make(path=self._path, to=self._remote)


@pytest.fixture
def scene(make_node: Any, empty_remote: Any, tmp_path: Path) -> _Scene:
    return _Scene(make_node, empty_remote, tmp_path)


def _first_push(node: Any) -> None:
    node.fill(FIRST_IDS[:5], files=1)
    node.fill(["unborn"])
    node.store.runs.delete("unborn")


def _second_push(node: Any) -> None:
    node.fill(FIRST_IDS, files=2)
    node.sync()
    _change_everything(node)


SCENARIOS = pytest.mark.parametrize(
    ("before", "then"),
    [(_first_push, None), (_second_push, None), (_second_push, _change_while_interrupted)],
    ids=["first push", "mixed changes", "mixed changes and more after the kill"],
)


def _statements(scene: _Scene, doomed: Any, *, telling: bool = False) -> int:
    node = scene.fresh()
    lived = doomed.push(node.path, node.remote.url, rows=BATCH_ROWS, telling=telling)
    node.close()
    assert not lived["died"]
    return int(lived["statements"])


def _kill_and_finish(
    scene: _Scene,
    doomed: Any,
    check: Any,
    at: int,
    then: Callable[[Any], None] | None = None,
    **options: Any,
) -> bool:
    node = scene.fresh()
    try:
        died = doomed.push(node.path, node.remote.url, at=at, rows=BATCH_ROWS, **options)["died"]
        if then is not None:
            then(node)
        report = node.sync(rows=BATCH_ROWS)
        assert report.exit_code == 0
        check.all(node)
        assert node.sync().up_to_date
        return bool(died)
    except BaseException as exc:
        exc.add_note(f"killed at statement {at}")
        raise
    finally:
        node.close()


@SCENARIOS
def test_a_push_killed_at_some_statements_is_finished_by_the_next(
    before: Any, then: Any, scene: _Scene, doomed: Any, check: Any, dice: Any
) -> None:
    scene.prepare(before)
    total = _statements(scene, doomed)
    step = total // 4
    for at in range(dice.randrange(1, step), total, step):
        assert _kill_and_finish(scene, doomed, check, at, then)


CONFLICTS = ["old-0", "old-1", "old-2"]


def _push_with_conflicts_and_rejects(node: Any) -> None:
    node.fill([*FIRST_IDS, "bad"], files=1, source="first")
    node.sync()
    node.remote.sql("UPDATE runs SET source = 'server' WHERE id IN ('old-0', 'old-1')")
    node.remote.sql("DELETE FROM run_files WHERE run_id = 'old-2'")
    node.remote.sql("DELETE FROM runs WHERE id = 'old-2'")
    node.sql("UPDATE runs SET source = 'here' WHERE id IN ('old-0', 'old-2', 'old-5')")
    node.sql("DELETE FROM run_files WHERE run_id IN ('old-1', 'old-2')")
    node.store.runs.delete("old-1")
    node.sql("UPDATE runs SET metadata = '{' WHERE id = 'bad'")
    node.fill(["new-0", "new-1"])


def test_conflicts_and_rejects_of_a_push_that_is_killed_are_listed_once(
    scene: _Scene, doomed: Any, dice: Any
) -> None:
    scene.prepare(_push_with_conflicts_and_rejects)
    total = _statements(scene, doomed)
    step = total // 12
    for at in range(dice.randrange(1, step), total, step):
        node = scene.fresh()
        assert doomed.push(node.path, node.remote.url, at=at, rows=BATCH_ROWS)["died"]
        node.sync(rows=BATCH_ROWS)
        assert sorted(c["key"] for c in node.conflicts()) == CONFLICTS, at
        assert list(node.rejects()) == ["bad"], at
        assert node.remote.sql(
            "SELECT id, source FROM runs WHERE source <> 'first' ORDER BY id"
        ) == [
            ("new-0", "manual"), ("new-1", "manual"), ("old-0", "server"), ("old-1", "server"),
            ("old-2", "here"), ("old-5", "here"),
        ]  # fmt: skip
        lost = node.remote.sql(
            "SELECT key FROM dynostore_sync.archive WHERE why LIKE '%lost%' ORDER BY key"
        )
        assert lost == [("old-0",), ("old-1",)], at
        assert node.sync().up_to_date
        node.close()


@pytest.mark.slow
@SCENARIOS
def test_a_push_killed_around_and_within_every_transaction_is_finished_by_the_next(
    before: Any, then: Any, scene: _Scene, doomed: Any, check: Any
) -> None:
    scene.prepare(before)
    total = _statements(scene, doomed, telling=True)
    assert total > 50, total
    for at in range(1, total):
        _kill_and_finish(scene, doomed, check, at, then, telling=True)
