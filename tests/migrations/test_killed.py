"""An upgrade that is killed at any statement leaves a file at the old or the new version."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import database
from dynostore.migrator import Migrator
from dynostore.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
KilledAt = Callable[[int, Callable[[], object]], bool]
Telling = Callable[[Path, Callable[[], object]], list[int]]
ALL_STEPS = [1, 2, 3, 4]


def migrate(path: Path, steps: Path, to: int) -> None:
    db: Any = database.connect(str(path))
    migrator = Migrator(db, steps)
    if to:
        migrator.upgrade(to=to)
    else:
        migrator.downgrade(to=1)
    db.shut()


def state(path: Path, steps: Path) -> tuple[list[int], list[int]]:
    """Give the versions and the counts of runs, files and imports of a sound file."""
    db: Any = database.connect(str(path))
    with db.reading():
        assert db.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute_sql("PRAGMA foreign_key_check").fetchall() == []
        there = set(db.get_tables())
        counts = [
            db.execute_sql(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("runs", "run_files", "imports")
            if table in there
        ]
        triggers = db.execute_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert not counts or [row[0] for row in triggers] == ["mine"]
    versions = [step.number for step in Migrator(db, steps).status() if step.applied_at]
    db.shut()
    return versions, counts


@pytest.fixture
def old(tmp_path: Path, steps: Path, fill: Callable[[Any], None]) -> Path:
    path = tmp_path / "old.db"
    migrate(path, steps, to=1)
    db: Any = database.connect(str(path))
    with db.writing():
        fill(db)
        db.execute_sql(
            "CREATE TRIGGER mine AFTER DELETE ON run_files BEGIN SELECT raise(ABORT, 'no'); END"
        )
    db.shut()
    return path


def kill_everywhere(
    old: Path, steps: Path, killed_at: KilledAt, to: int, numbers: Any
) -> list[list[int]]:
    """Kill a migration at the statements of these numbers; give the versions that were found."""
    seen = []
    before = state(old, steps)
    for number in numbers:
        path = old.parent / f"killed-{number}.db"
        shutil.copy(old, path)
        killed = killed_at(number, lambda path=path: migrate(path, steps, to))  # type: ignore[misc]
        versions, counts = state(path, steps)
        if versions == before[0]:
            assert counts == before[1]
        seen.append(versions)
        migrate(path, steps, to)
        after = state(path, steps)
        for leftover in old.parent.glob(f"{path.name}*"):
            leftover.unlink()
        if not killed:
            assert versions == after[0]
            break
    return seen


@pytest.mark.parametrize("to", [4, 0], ids=["upgrade", "downgrade"])
def test_an_upgrade_killed_at_some_statements(
    old: Path, steps: Path, killed_at: KilledAt, to: int
) -> None:
    if to == 0:
        migrate(old, steps, to=4)
    seen = kill_everywhere(old, steps, killed_at, to, itertools.count(3, 17))
    assert {len(versions) for versions in seen} == {1, 4}


@pytest.mark.slow
@pytest.mark.parametrize("to", [4, 0], ids=["upgrade", "downgrade"])
def test_an_upgrade_killed_at_every_statement(
    old: Path, steps: Path, killed_at: KilledAt, telling_statements: Telling, to: int
) -> None:
    if to == 0:
        migrate(old, steps, to=4)
    path = old.with_name("whole.db")
    shutil.copy(old, path)
    numbers = telling_statements(path, lambda: migrate(path, steps, to))
    assert numbers[-1] > 50
    seen = kill_everywhere(old, steps, killed_at, to, numbers)
    assert {len(versions) for versions in seen} == {1, 4}


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_setting_up_a_file_killed_at_its_statements(
    every: int, tmp_path: Path, killed_at: KilledAt, telling_statements: Telling
) -> None:
    whole = tmp_path / "whole.db"
    numbers = telling_statements(whole, lambda: Store.open(whole).close())
    assert numbers[-1] > 20
    for number in [*numbers[:-1:every], numbers[-1]]:
        path = tmp_path / f"{number}.db"
        killed = killed_at(number, lambda path=path: Store.open(path).close())  # type: ignore[misc]
        with Store.open(path) as store:
            store.runs.create()
            assert store.check() == []
        assert killed == (number < numbers[-1])
