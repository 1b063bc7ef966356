"""What is old is deleted with all that hangs on it, and nothing else is."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import peewee
import pytest

from dynostore import Store, errors
from dynostore.fields import utc_now
from dynostore.models import Conversation, Message, Run
from dynostore.prune import FAMILIES, prune
from dynostore.sync import sync

pytestmark = pytest.mark.once

Call = Callable[..., Any]
NOW = utc_now()


def days_ago(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


def fill(store: Store) -> None:
    """Put in ten of each family, one a day, the youngest just now; runs alternate in status."""
    for day in range(10):
        when = days_ago(day)
        run = Run(
            id=f"r{day}",
            status="error" if day % 2 else "complete",
            source="a",
            created_at=days_ago(30),
            updated_at=when,
        )
        assert store.runs.put_many([run]) == []
        store.runs.add_file(f"r{day}", "a")
        store.runs.add_file(f"r{day}", "b")
        task = store.tasks.create("x", created_at=when)
        store.tasks.log_step(task.task_id, "code", "y")
        store.memories.add("in", "learned", memory_id=f"m{day}", created_at=when)
        talk = Conversation(id=f"c{day}", created_at=days_ago(30), updated_at=when)
        said = Message(
            id=f"00000000-0000-7000-8000-00000000000{day}",
            conversation=talk.id,
            role="user",
            content="hello",
            created_at=when,
        )
        assert store.conversations.put_many([talk, said]) == []


@pytest.fixture
def full(store: Store) -> Store:
    with store.transaction():
        fill(store)
    return store


def ids(store: Store) -> set[str]:
    return {run.id for run in store.runs.stream()}


def test_a_dry_run_counts_what_the_real_one_deletes(full: Store) -> None:
    told = prune(full, before=days_ago(6.5))
    assert (told.done, full.runs.count()) == (False, 10)
    assert told.rows == {
        "runs": 3,
        "run_files": 6,
        "tasks": 3,
        "execution_logs": 3,
        "conversations": 3,
        "messages": 3,
    }
    done = prune(full, before=days_ago(6.5), dry_run=False)
    assert (done.done, done.rows) == (True, told.rows)
    assert ids(full) == {f"r{day}" for day in range(7)}
    assert full.memories.get("m9")  # which only go where they are named
    assert prune(full, before=days_ago(6.5), dry_run=False).rows == {}


def test_the_newest_stay_and_both_conditions_must_hold(full: Store) -> None:
    runs = {"families": ["runs"], "dry_run": False}
    both = prune(full, keep_last=4, before=days_ago(7.5), **cast("Any", runs))
    assert both.rows == {"runs": 2, "run_files": 4}
    assert prune(full, keep_last=6, before=days_ago(0.5), **cast("Any", runs)).rows["runs"] == 2
    assert ids(full) == {f"r{day}" for day in range(6)}
    failed = prune(full, keep_last=1, status="error", **cast("Any", runs))
    assert failed.rows["runs"] == 2
    assert ids(full) == {"r0", "r1", "r2", "r4"}
    assert prune(full, keep_last=50, **cast("Any", runs)).rows == {}
    assert prune(full, families=["memories"], keep_last=9, dry_run=False).rows == {"memories": 1}
    assert full.tasks.count() == 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "how old"),
        ({"keep_last": 0}, "at least 1"),
        ({"before": dt.datetime(2026, 1, 1)}, "no time zone"),
        ({"keep_last": 1, "families": ["walks"]}, "'walks' is none of runs"),
        ({"keep_last": 1, "families": ["runs"], "status": "eror"}, "runs have the statuses"),
        ({"keep_last": 1, "families": ["memories"], "status": "error"}, "have no status"),
        ({"keep_last": 1, "status": "eror"}, "no family knows"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with Store.open(":memory:") as store, pytest.raises(errors.InvalidValue, match=said):
        prune(store, dry_run=False, **wrong)


def test_every_family_is_one_of_the_store_and_can_be_pruned() -> None:
    with Store.open(":memory:") as store:
        assert prune(store, families=list(FAMILIES), keep_last=1).rows == {}
        assert all(hasattr(store, name) for name in FAMILIES)


def test_others_write_between_two_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynostore.prune._FIRST_RECORDS", 2)
    monkeypatch.setattr("dynostore.prune._ROWS_OF_A_BATCH", 6)
    seen = []
    with Store.open(tmp_path / "s.db") as store, Store.open(tmp_path / "s.db") as other:
        fill(store)

        def write(what: str, done: int, total: int | None) -> None:
            other.runs.create(run_id=f"new{done}")
            seen.append((what, done, total))

        prune(store, families=["runs"], before=days_ago(0.5), dry_run=False, progress=write)
        assert len(seen) == 5
        assert seen[-1] == ("pruning runs", 27, 27)
        assert ids(store) == {"r0", *(f"new{done}" for _, done, _ in seen)}


def test_killed_anywhere_it_leaves_whole_records_and_goes_on(
    tmp_path: Path, killed_at: Callable[[int, Callable[[], object]], bool]
) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        fill(store)

    def act() -> None:
        with Store.open(path) as store:
            prune(store, keep_last=1, dry_run=False)

    number = 20
    while killed_at(number, act):
        with Store.open(path) as store:
            assert store.check() == []
            assert all(len(store.runs.files(run.id)) == 2 for run in store.runs.stream())
        number += 7
    with Store.open(path) as store:
        assert ids(store) == {"r0"}
        assert store.tasks.count() == len([*store.conversations.list_conversations()]) == 1


def test_the_deletions_sync(tmp_path: Path, postgres_url: str) -> None:
    with Store.open(tmp_path / "s.db") as store, Store.open(tmp_path / "b.db") as other:
        fill(store)
        sync(store, postgres_url)
        sync(other, postgres_url, direction="both")
        assert len(ids(other)) == 10
        prune(store, before=days_ago(4.5), dry_run=False)
        for node in (store, other):
            assert sync(node, postgres_url, direction="both").exit_code == 0
        assert ids(other) == {f"r{day}" for day in range(5)}
        with Store.open(postgres_url, warm=False) as server:
            assert ids(server) == ids(other)
            assert server.tasks.count() == 5


class Note(peewee.Model):
    id = peewee.CharField(primary_key=True)
    run = peewee.ForeignKeyField(Run, column_name="run_id", backref="+", null=True)

    class Meta:
        table_name = "notes"


class Tag(peewee.Model):
    id = peewee.CharField(primary_key=True)
    run = peewee.ForeignKeyField(Run, column_name="run_id", backref="+", on_delete="CASCADE")

    class Meta:
        table_name = "tags"


def test_rows_of_tables_of_ones_own_go_along_or_keep_their_record(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db", models=[Note, Tag]) as store:
        fill(store)
        with store.bound():
            Note.create(id="n", run="r9")
            Note.create(id="free", run=None)
            Tag.create(id="t", run="r8")
        done = prune(store, families=["runs"], keep_last=1, dry_run=False)
        assert done.rows == {"runs": 8, "run_files": 16, "tags": 1}
        assert ids(store) == {"r0", "r9"}


def test_the_command_shows_first_and_deletes_after_a_yes(call: Call, tmp_path: Path) -> None:
    with Store.open(tmp_path / "dynostore.db") as store:
        fill(store)
    told = call("prune", "--older-than", "156h", "--family", "runs,tasks")
    assert told.code == 0
    assert [line.split() for line in told.out.splitlines()] == [
        ["table", "rows"],
        ["runs", "3"],
        ["run_files", "6"],
        ["tasks", "3"],
        ["execution_logs", "3"],
    ]
    assert "add --yes" in told.err
    assert json.loads(call("--json", "prune", "--keep-last", "1").out)["done"] is False
    done = call("--json", "prune", "--older-than", "156h", "--family", "runs,tasks", "--yes")
    assert json.loads(done.out)["done"] is True
    assert "nothing is old enough" in call("prune", "--older-than", "100d").err
    for wrong in (["prune"], ["prune", "--keep-last", "0"], ["prune", "--older-than", "soon"]):
        assert call(*wrong).code == 2
    assert call("--db", f"dir:{tmp_path}", "prune", "--keep-last", "1").code == 2
