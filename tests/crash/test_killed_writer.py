"""A writer that is killed at any statement leaves a sound file, at the old or the new content."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dynostore import errors, repositories
from dynostore.ids import derived_id
from dynostore.models import Run, RunFile
from dynostore.store import Store

pytestmark = pytest.mark.slow

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KilledAt = Callable[[int, Callable[[], object]], bool]


def records() -> list[Any]:
    """Three batches of runs and files."""
    made: list[Any] = []
    for number in range(16):
        run_id = f"bulk-{number:03}"
        made.append(Run(id=run_id, status="complete", source="x", created_at=T0, updated_at=T0))
        for name in ("a", "b"):
            key = derived_id("run_files", run_id, name)
            made.append(RunFile(id=key, run=run_id, filename=name, created_at=T0))
    return made


def create(store: Store) -> None:
    with suppress(errors.AlreadyExists):
        store.runs.create(run_id="new", created_at=T0, metadata={"text": "x" * 9000})


def update(store: Store) -> None:
    store.runs.update("old", status="complete", results_summary={"n": 1}, current_stage=None)


def delete(store: Store) -> None:
    with suppress(errors.RunNotFound):
        store.runs.delete("old")


def add_files(store: Store) -> None:
    with suppress(errors.AlreadyExists):
        store.runs.add_files("old", [{"filename": f"new/{n}", "created_at": T0} for n in range(3)])


def put_many(store: Store) -> None:
    assert store.runs.put_many(records()) == []


def several_verbs(store: Store) -> None:
    with suppress(errors.AlreadyExists), store.transaction():
        store.runs.create(run_id="new", created_at=T0)
        store.runs.add_file("new", "a", created_at=T0)
        store.runs.delete("old")


ONE_TRANSACTION = (create, update, delete, add_files, several_verbs)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "s.db"
    with Store.open(path) as store:
        store.runs.create(run_id="old", created_at=T0, metadata={"text": "y" * 9000})
        store.runs.add_files("old", [{"filename": n, "created_at": T0} for n in ("a", "b")])
        store.runs.create(run_id="other", created_at=T0)
    return path


def content(store: Store) -> list[Any]:
    """Give every row but for the moments that the store itself sets."""
    runs = [run.values() | {"updated_at": None} for run in store.runs.stream()]
    return [(run, [f.values() for f in store.runs.files(run["id"])]) for run in runs]


def perform(path: Path, act: Callable[[Store], None]) -> None:
    with Store.open(path) as store:
        act(store)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("act", [*ONE_TRANSACTION, put_many], ids=lambda act: act.__name__)
def test_a_writer_killed_at_every_statement_of(
    act: Callable[[Store], None],
    original: Path,
    tmp_path: Path,
    killed_at: KilledAt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repositories.base, "_BATCH_RECORDS", 20)
    done = tmp_path / "done.db"
    shutil.copy(original, done)
    with Store.open(done) as store:
        before = content(store)
        act(store)
        after = content(store)
    assert before != after
    seen = {"before": 0, "after": 0, "between": 0}
    for number in itertools.count(1):
        path = tmp_path / f"{number}.db"
        shutil.copy(original, path)
        killed = killed_at(number, lambda path=path: perform(path, act))  # type: ignore[misc]
        with Store.open(path) as store:
            assert store.check() == []
            found = content(store)
            seen["before" if found == before else "after" if found == after else "between"] += 1
            act(store)
            assert content(store) == after
            assert store.check() == []
        if not killed:
            break
    assert found == after
    assert seen["before"] > 3
    # Only the bulk verb is several transactions, and says so.
    assert (seen["between"] > 0) == (act is put_many)
