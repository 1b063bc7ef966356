"""Imports that are killed: the next one completes them, whatever the family and the moment."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, importer
from dynostore.importer import import_from
from dynostore.models import ALL, Import
from dynostore.models.base import key_field
from dynostore.samples.seed import seed

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
_SHORTER = (
    "DELETE FROM messages WHERE rowid % 100 > 0",
    "DELETE FROM tasks WHERE rowid > 3",
    "DELETE FROM runs WHERE rowid > 2",
)
KilledAt = Callable[[int, Callable[[], object]], bool]


def contents(path: Path) -> list[Any]:
    """Give all that a store holds but the moments of importing; it is sound."""
    rows: list[Any] = []
    with Store.open(path) as store, store.database.reading():
        assert store.check() == []
        for model in ALL:
            for record in model.select().order_by(key_field(model)).execute(store.database):
                values = record.values()
                if model is Import:
                    del values["imported_at"]
                rows.append(values)
    return rows


class Trial:
    """One source of every family, imported in many small batches."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source.db"
        with Store.open(self.source) as store:
            seed(store, now=NOW)
            for statement in _SHORTER:
                store.database.execute_sql(statement)
        self._empty = directory / "empty.db"
        Store.open(self._empty).close()
        self._path = directory / "killed.db"
        self.expected = self.imported()

    def imported(self) -> list[Any]:
        """Import without interruption; give the result."""
        self._begin()
        self._import()
        return contents(self._path)

    def killed(self, number: int, killed_at: KilledAt) -> bool:
        """Kill an import at its nth statement, and repeat it; tell whether it was killed."""
        self._begin()
        was_killed = killed_at(number, self._import)
        before = contents(self._path)
        assert all(row in self.expected for row in before), number  # whole records, nothing else
        self._import()
        assert contents(self._path) == self.expected, number
        return was_killed

    def telling_statements(
        self, telling: Callable[[Path, Callable[[], object]], list[int]]
    ) -> list[int]:
        """Give the numbers of the statements to kill an import at."""
        self._begin()
        return telling(self._path, self._import)

    def _begin(self) -> None:
        for rest in self._path.parent.glob(f"{self._path.name}*"):
            rest.unlink()
        shutil.copy(self._empty, self._path)

    def _import(self) -> None:
        with Store.open(self._path) as store:
            import_from(self.source, store)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Give a source that is imported in batches of eight records."""
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 8)
    return Trial(tmp_path)


def test_an_import_of_all_families_that_was_killed_is_completed_by_the_next(
    trial: Trial, killed_at: KilledAt
) -> None:
    assert [trial.killed(number, killed_at) for number in (60, 150)] == [True, True]


@pytest.mark.slow
def test_an_import_of_all_families_killed_at_any_statement_is_completed_by_the_next(
    trial: Trial, killed_at: KilledAt, telling_statements: Any
) -> None:
    *numbers, end = trial.telling_statements(telling_statements)
    assert end > 200
    for number in numbers:
        assert trial.killed(number, killed_at)
    assert not trial.killed(end, killed_at)
