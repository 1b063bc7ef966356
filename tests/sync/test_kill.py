"""A push that is killed at any statement, on either side: the next one finishes the work."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


class _Scene:
    """A file and a database before a push, to be had again as often as one likes."""

    def __init__(self, postgres: Any, make: Callable[..., Any], directory: Path) -> None:
        self._postgres = postgres
        self._make = make
        self._file = directory / "before.db"
        self._directory = directory
        self._template = ""
        self._numbers = itertools.count(1)

    def prepare(self, act: Callable[[Any], None], remote: Any) -> None:
        node = self._make(path=self._file)
        act(node)
        node.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        node.close()
        self._template = remote.url.partition("?")[0].rpartition("/")[2]

    def fresh(self) -> Any:
        path = self._directory / f"node-{next(self._numbers)}.db"
        shutil.copy(self._file, path)
        name = self._postgres.create(self._template)
        return self._make(path=path, to=name)

    def forget(self, node: Any) -> None:
        node.close()
        self._postgres.drop(node.remote.url.partition("?")[0].rpartition("/")[2])
        for path in self._directory.glob(node.path.name + "*"):
            path.unlink()


@pytest.fixture
def scene(postgres: Any, make_node: Any, remote: Any, tmp_path: Path) -> Iterator[_Scene]:
    def make(*, path: Path, to: str | None = None) -> Any:
        where = remote if to is None else type(remote)(postgres.url_of(to))
        return make_node(path=path, to=where)

    yield _Scene(postgres, make, tmp_path)


def _first_push(node: Any) -> None:
    node.fill(FIRST_IDS, files=2)
    node.fill(["unborn"])
    node.store.runs.delete("unborn")


def _second_push(node: Any) -> None:
    node.fill(FIRST_IDS, files=2)
    node.sync()
    _change_everything(node)


SCENES = {"first push": _first_push, "mixed changes": _second_push}


def _statements(scene: _Scene, doomed: Any) -> int:
    node = scene.fresh()
    lived = doomed.push(node.path, node.remote.url, rows=BATCH_ROWS)
    scene.forget(node)
    assert not lived["died"]
    return int(lived["statements"])


def _kill_and_finish(
    scene: _Scene,
    doomed: Any,
    check: Any,
    at: int,
    then: Callable[[Any], None] | None = None,
) -> bool:
    node = scene.fresh()
    try:
        died = doomed.push(node.path, node.remote.url, at=at, rows=BATCH_ROWS)["died"]
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
        scene.forget(node)


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("then", [None, _change_while_interrupted], ids=["quiet", "writing"])
def test_a_push_killed_at_some_statements_is_finished_by_the_next(
    kind: str, then: Any, scene: _Scene, doomed: Any, check: Any, remote: Any, dice: Any
) -> None:
    if then and kind == "first push":
        pytest.skip("those rows are there in the other scene")
    scene.prepare(SCENES[kind], remote)
    total = _statements(scene, doomed)
    step = total // 10
    for at in range(dice.randrange(1, step), total, step):
        assert _kill_and_finish(scene, doomed, check, at, then)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("then", [None, _change_while_interrupted], ids=["quiet", "writing"])
def test_a_push_killed_at_every_statement_is_finished_by_the_next(
    kind: str, then: Any, scene: _Scene, doomed: Any, check: Any, remote: Any
) -> None:
    if then and kind == "first push":
        pytest.skip("those rows are there in the other scene")
    scene.prepare(SCENES[kind], remote)
    total = _statements(scene, doomed)
    assert total > 100
    for at in range(1, total):
        _kill_and_finish(scene, doomed, check, at, then)
