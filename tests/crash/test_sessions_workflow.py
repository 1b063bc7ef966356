"""A session outlives its processes, and many processes may save it at once; on both databases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import errors
from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

PROCESSES = 8
SAVES = 12

FIRST_DAY = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    state = {"mission": "Analyze data.csv", "answers": {}}
    version = store.sessions.save_state("work", state, mission="Analyze data.csv", user_id="kim")
    plan = {"items": [{"description": "Read"}, {"description": "Report", "dependencies": [1]}]}
    todo = store.todos.create(session_id="work", plan=plan, status="in_progress")
    store.todos.update_step(todo.todolist_id, 1, status="COMPLETED", attempts=1)
    store.history.append("work", step_id=1, thought="read it first", action="file_read data.csv")
    store.memories.add("large CSV files", "read them in chunks", tool_name="file_read")
    state["answers"]["filename"] = "data.csv"
    state["todolist_id"] = todo.todolist_id
    store.sessions.save_state("work", state, expected_version=version)
print("ok", flush=True)
"""

NEXT_DAY = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    saved = store.sessions.load_state("work")
    assert saved.state["answers"] == {"filename": "data.csv"}
    todolist_id = saved.state["todolist_id"]
    assert store.todos.get_step(todolist_id, 1)["status"] == "COMPLETED"
    assert [e.thought for e in store.history.list("work", step_id=1)] == ["read it first"]
    (memory,) = store.memories.search("csv", tool_name="file_read")
    store.memories.update(memory.memory_id, confidence=memory.confidence + 1)
    store.todos.update_step(todolist_id, 2, status="COMPLETED")
    store.todos.update(todolist_id, status="completed")
    store.history.append_many("work", [{"step_id": 2, "action": "write"}, {"observation": "ok"}])
    saved.state["answers"]["port"] = 8000
    store.sessions.save_state("work", saved.state, saved.version, status="completed")
print("ok", flush=True)
"""

SAVER = """
import sys
from dynostore.errors import StaleWrite
from dynostore.store import Store

url, name, saves = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store.open(url, warm=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(saves):
        store.sessions.save_state("log", [name, number])
    counted = 0
    while counted < saves:
        saved = store.sessions.load_state("counter")
        try:
            store.sessions.save_state("counter", saved.state + 1, saved.version)
        except StaleWrite:
            continue
        counted += 1
print("ok", flush=True)
"""


def run(start_python: StartPython, script: str, *arguments: object) -> None:
    output, problems = start_python(script, *arguments).communicate()
    assert (output.strip(), problems) == ("ok", "")


def test_a_session_goes_on_in_another_process_and_goes_with_all_that_hangs_on_it(
    store_url: str, start_python: StartPython
) -> None:
    run(start_python, FIRST_DAY, store_url)
    run(start_python, NEXT_DAY, store_url)
    with Store.open(store_url, warm=False) as store:
        session = store.sessions.get("work")
        assert (session.status, session.user_id) == ("completed", "kim")
        assert store.sessions.versions("work") == [1, 2, 3]
        (todo,) = store.todos.list(session_id="work")
        assert [step["status"] for step in todo.plan["items"]] == ["COMPLETED"] * 2
        assert [entry.step_id for entry in store.history.list("work")] == ["1", "2", None]
        store.sessions.delete_state("work")
        assert store.sessions.load_state("work") is None
        with pytest.raises(errors.TodoListNotFound):
            store.todos.load(todo.todolist_id)
        with pytest.raises(errors.SessionNotFound):
            store.history.list("work")
        assert [memory.confidence for memory in store.memories.list()] == [1]
        assert store.check() == []


def test_eight_processes_save_one_session_and_versions_count_exactly(
    store_url: str, start_python: StartPython
) -> None:
    with Store.open(store_url, warm=False) as store:
        store.sessions.save_state("counter", 0)
        # Nobody has made the session "log": all of them do.
        processes = [start_python(SAVER, store_url, n, SAVES) for n in range(PROCESSES)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, problems = process.communicate()
            assert (output.strip(), problems) == ("ok", "")
        total = PROCESSES * SAVES
        assert store.sessions.versions("log") == list(range(1, total + 1))
        saved = [tuple(state.state) for state in store.sessions.states("log", limit=total)]
        assert sorted(saved) == [(str(n), k) for n in range(PROCESSES) for k in range(SAVES)]
        newest = store.sessions.load_state("counter")
        assert newest is not None
        assert (newest.state, newest.version) == (total, total + 1)
        assert store.check() == []


def test_a_saver_killed_at_any_statement_leaves_the_old_or_the_new_state(
    killed_at: Callable[[int, Callable[[], object]], bool], tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.sessions.save_state("s", 0, status="old")

    def save() -> None:
        with Store.open(profile="agent", config=profile(tmp_path, str(path), 1)) as store:
            store.sessions.save_state("s", "new", status="new")

    number = 1
    while killed_at(number, save):
        with Store.open(path) as store:
            assert store.check() == []
            newest = store.sessions.load_state("s")
            assert newest is not None
            found = (
                store.sessions.get("s").status,
                newest.state,
                len(store.sessions.versions("s")),
            )
            assert found in (("old", 0, 1), ("new", "new", 1))
            if found[0] == "new":
                store.sessions.delete_state("s")
                store.sessions.save_state("s", 0, status="old")
        number += 1
    assert number > 10


def profile(directory: Path, url: str, keep_states: Any) -> Path:
    path = directory / "dynostore.yaml"
    path.write_text(f"profiles:\n  agent: {{url: '{url}', keep_states: {keep_states}}}\n")
    return path


def test_a_profile_with_keep_states_prunes_on_saving(store_url: str, tmp_path: Path) -> None:
    config = profile(tmp_path, store_url, 2)
    with Store.open(profile="agent", config=config, warm=False) as store:
        store.sessions.save_state("other", {})
        for number in range(1, 6):
            assert store.sessions.save_state("s", number) == number
        assert store.sessions.versions("s") == [4, 5]
        assert store.sessions.versions("other") == [1]
    with Store.open(store_url, warm=False) as store:
        store.sessions.save_state("s", 6)
        assert store.sessions.versions("s") == [4, 5, 6]
