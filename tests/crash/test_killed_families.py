"""A verb of any family that is killed at any statement has done all of its work, or none."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import fields, models
from dynostore.store import Store

pytestmark = pytest.mark.slow

Act = Callable[[Store], object]

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TASK = "00000000-0000-7000-8000-000000000001"
STEP: Any = {"step_id": 1, "thought": "t"}
WORDS = {"title": "t", "as_a": "a", "i_want": "b", "so_that": "c", "created_at": T0}
# Of what a verb makes without being told a key: the key is another one each time.
KEYS_OF_ITS_OWN = {
    *("messages.id", "execution_history.id", "ideation_messages.id", "execution_logs.log_id"),
}


def stories(*keys: str) -> Any:
    return [{"key": key, **WORDS, "acceptance_criteria": ["x" * 3000]} for key in keys]


def fill(store: Store) -> None:
    """Record one thing of each family and another one of the same kind, children too."""
    for name in ("old", "other"):
        store.sessions.save_state(name, {"text": "x" * 9000}, status="old")
        for number in range(3):
            store.sessions.save_state(name, number)
        store.todos.create(
            session_id=name, plan={"items": [{"description": "d"}]}, todolist_id=name
        )
        store.history.append_many(name, [STEP] * 3)
        store.conversations.create_conversation(conversation_id=name, created_at=T0)
        store.conversations.add_messages(name, [{"role": "user", "content": "x" * 999}] * 20)
        ideation = store.ideation
        ideation.sessions.create(session_id=name, project_name=name)
        ideation.messages.create(name, "user", "text")
        ideation.requirements.create(name, "text", key="REQ-001")
        ideation.maturity.save(name, 1.5, "concept")
        ideation.drafts.save(name, "title", key="PRD-001")
        ideation.stories.save(name, stories("US-001", "US-002", "US-003"))
    for key in (TASK, TASK[:-1] + "2"):
        store.tasks.create("work", task_id=key)
        store.tasks.approve(key)
        store.tasks.start(key)
        for _ in range(3):
            store.tasks.log_step(key, "code", "x" * 999)


ACTS: dict[str, Act] = {
    "save_state": lambda store: store.sessions.save_state(
        "old", {"text": "y" * 9000}, 4, status="new", mission="m"
    ),
    "save_state of a new session": lambda store: store.sessions.save_state("new", 1, user_id="kim"),
    "prune_states": lambda store: store.sessions.prune_states(2),
    "delete_state": lambda store: store.sessions.delete_state("old"),
    "update_step": lambda store: store.todos.update_step("old", 1, status="COMPLETED"),
    "append_many": lambda store: store.history.append_many("old", [STEP] * 40),
    "add_message": lambda store: store.conversations.add_message("old", "user", "y" * 9000),
    "add_messages": lambda store: store.conversations.add_messages(
        "old", [{"role": "user", "content": "y" * 999}] * 40
    ),
    "delete_conversation": lambda store: store.conversations.delete_conversation("old"),
    "log_step": lambda store: store.tasks.log_step(TASK, "code", "y" * 999),
    "complete": lambda store: store.tasks.complete(TASK, external_ai_used={"cost_usd": 1.5}),
    "tasks.delete": lambda store: store.tasks.delete(TASK),
    "stories.save": lambda store: store.ideation.stories.save("old", stories("US-002", "US-009")),
    "drafts.save": lambda store: store.ideation.drafts.save("old", "new", key="PRD-001"),
    "maturity.save": lambda store: store.ideation.maturity.save("old", 85, "complete"),
    "delete_by_session": lambda store: store.ideation.messages.delete_by_session("old"),
    "ideation.sessions.update": lambda store: store.ideation.sessions.update(
        "old", expected_version=1, status="closed"
    ),
    "ideation.sessions.delete": lambda store: store.ideation.sessions.delete("old"),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "s.db"
    with Store.open(path) as store:
        fill(store)
    return path


def content(path: Path) -> dict[str, list[Any]]:
    """Give every row by plain SQL, but for what the store makes up by itself: times, some keys."""
    found = {}
    with closing(sqlite3.connect(path)) as connection:
        for model in models.ALL:
            table = model._meta.table_name
            names = ", ".join(
                name
                for name, field in model._meta.columns.items()
                if not isinstance(field, fields.UtcTimeField)
                and f"{table}.{name}" not in KEYS_OF_ITS_OWN
            )
            found[table] = sorted(connection.execute(f"SELECT {names} FROM {table}"), key=repr)
    return found


def perform(path: Path, act: Act) -> None:
    with Store.open(path) as store:
        act(store)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("name", ACTS)
def test_all_or_nothing_is_left_of(
    name: str,
    original: Path,
    tmp_path: Path,
    killed_at: Callable[[int, Callable[[], object]], bool],
) -> None:
    act = ACTS[name]
    done = tmp_path / "done.db"
    shutil.copy(original, done)
    perform(done, act)
    before, after = content(original), content(done)
    assert before != after
    undone = 0
    for number in itertools.count(1):
        path = tmp_path / f"{number}.db"
        shutil.copy(original, path)
        killed = killed_at(number, lambda path=path: perform(path, act))  # type: ignore[misc]
        with Store.open(path) as store:
            assert store.check() == []
        found = content(path)
        assert found in (before, after)
        if found == before:
            undone += 1
            perform(path, act)
            assert content(path) == after
        if not killed:
            break
    assert found == after
    assert undone > 3
