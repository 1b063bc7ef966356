"""``dynostore sessions``: states, todo lists and history by command, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

PLAN = {"items": [{"description": "Read"}, {"description": "Report", "dependencies": [1]}]}


@pytest.fixture
def work(store_file: Path) -> str:
    """A session with two states, a todo list and some history, in ``./dynostore.db``."""
    with Store.open(store_file) as store:
        store.sessions.save_state("work", {"step": 1}, user_id="kim", mission="Analyze")
        store.sessions.save_state("work", {"step": 2, "who": "Zoë"})
        store.todos.create(todolist_id="todo", session_id="work", plan=PLAN)
        store.todos.create(todolist_id="tofu", status="completed")
        store.history.append("work", step_id=1, thought="first")
        store.history.append("work", step_id=2, action="then")
        store.sessions.create(session_id="worn", status="done")
    return "work"


def test_list_gives_whole_records_newest_first(call: Callable[..., Any], work: str) -> None:
    done = call("sessions", "list", "--json")
    assert (done.code, done.err) == (0, "")
    assert [item["session_id"] for item in done.items] == ["worn", "work"]
    assert set(done.items[0]) == {
        "session_id",
        "user_id",
        "mission",
        "status",
        "created_at",
        "updated_at",
        "metadata",
    }
    assert call("sessions", "list").out.split()[:3] == ["id", "status", "user"]

    def ids(*words: str) -> list[str]:
        return [item["session_id"] for item in call("--json", "sessions", "list", *words).items]

    assert ids("--user-id", "kim") == ["work"]
    assert ids("--status", "done") == ["worn"]
    assert ids("--until", "1d") == []
    assert ids("--since", "1d", "--limit", "0") == ["worn", "work"]


def test_show_gives_the_versions_by_the_beginning_of_the_id(
    call: Callable[..., Any], work: str
) -> None:
    item = call("sessions", "show", "work", "--json").item
    assert (item["mission"], item["versions"]) == ("Analyze", [1, 2])
    assert "[1, 2]" in call("sessions", "show", "work").out


def test_create_update_and_rm_do_what_the_verbs_do(call: Callable[..., Any]) -> None:
    done = call(
        "sessions", "create", "--id", "mine", "--user-id", "kim", "--mission", "m",
        "--status", "waiting", "--metadata", "[1]", "--created-at", "2025-12-06T00:03:47Z",
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "mine\n", "")
    changed = call("--json", "sessions", "update", "min", "--status", "x", "--clear", "mission")
    assert (changed.item["status"], changed.item["mission"]) == ("x", None)
    created = dt.datetime(2025, 12, 6, 0, 3, 47, tzinfo=dt.UTC)
    with Store.open("dynostore.db") as store:
        session = store.sessions.get("mine")
        assert (session.created_at, session.user_id, session.metadata) == (created, "kim", [1])
    done = call("sessions", "rm", "mi")
    assert (done.code, done.out) == (2, "")
    assert "would remove mine (x, 0 states)" in done.err
    assert call("sessions", "rm", "mi", "--yes").code == 0
    assert call("--json", "sessions", "list").items == []


def test_a_state_is_printed_as_json_alone(call: Callable[..., Any], work: str) -> None:
    done = call("sessions", "state", "work")
    assert (done.code, json.loads(done.out)) == (0, {"step": 2, "who": "Zoë"})
    assert json.loads(call("sessions", "state", "work", "--version", "1").out) == {"step": 1}
    item = call("--json", "sessions", "state", "work").item
    assert (item["version"], item["state"]["step"]) == (2, 2)
    for words in (["worn"], ["work", "--version", "3"]):
        done = call("--json", "sessions", "state", *words)
        assert (done.code, done.error["code"]) == (4, "state_not_found")


def test_states_are_listed_newest_first(call: Callable[..., Any], work: str) -> None:
    assert [i["version"] for i in call("--json", "sessions", "states", "work").items] == [2, 1]
    page = json.loads(call("--json", "sessions", "states", "work", "--limit", "1").out)
    rest = call("--json", "sessions", "states", "work", "--after", page["next"], "--limit", "0")
    assert [i["version"] for i in rest.items] == [1]
    assert '{"step": 1}' in call("sessions", "states", "work").out


def test_a_state_is_saved_under_the_expected_version(
    call: Callable[..., Any], workplace: Path
) -> None:
    (workplace / "state.json").write_text('{"n": 1}', encoding="utf-8")
    done = call("sessions", "save-state", "new", "@state.json", "--status", "running")
    assert (done.code, done.out, done.err) == (0, "1\n", "")
    done = call("--json", "sessions", "save-state", "new", '{"n": 2}', "--expected-version", "1")
    assert done.item == {"session_id": "new", "version": 2}
    done = call("--json", "sessions", "save-state", "new", "{}", "--expected-version", "1")
    assert (done.code, done.out) == (1, "")
    assert done.error["code"] == "stale_write"
    assert "at version 2, not 1" in done.error["message"]
    # The hint can be run.
    assert json.loads(call(*done.error["hint"].split()[1:]).out) == {"n": 2}
    assert call("sessions", "save-state", "new", "null").code == 2
    assert call("--json", "sessions", "show", "new").item["status"] == "running"


def test_prune_says_what_it_keeps_and_how_many_went(call: Callable[..., Any], work: str) -> None:
    done = call("sessions", "prune", "--keep-last", "1")
    assert (done.code, done.out) == (2, "")
    assert "would keep the 1 newest states of every session" in done.err
    assert call("sessions", "prune", "--keep-last", "1", "--session", "worn", "-y").out == "0\n"
    assert call("--json", "sessions", "prune", "--keep-last", "1", "-y").item == {"removed": 1}
    assert call("--json", "sessions", "show", "work").item["versions"] == [2]
    assert call("sessions", "prune", "--keep-last", "0", "--yes").code == 2


def test_todo_lists_are_made_shown_changed_and_removed(
    call: Callable[..., Any], work: str, workplace: Path
) -> None:
    todos = ("--json", "sessions", "todos")
    assert [i["todolist_id"] for i in call(*todos, "list").items] == ["tofu", "todo"]
    assert [i["todolist_id"] for i in call(*todos, "list", "--session", "work").items] == ["todo"]
    assert [i["todolist_id"] for i in call(*todos, "list", "--status", "completed").items] == [
        "tofu"
    ]
    assert call("sessions", "todos", "list").out.split()[:3] == ["id", "status", "session"]
    text = call("sessions", "todos", "show", "tod").out
    assert "Report" in text
    assert "open_questions" in text
    assert len(call(*todos, "show", "todo").item["plan"]["items"]) == 2
    (workplace / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    made = call(
        "sessions", "todos", "create", "--id", "new", "--session", "work", "--plan", "@plan.json"
    )
    assert (made.code, made.out) == (0, "new\n")
    item = call(*todos, "update", "new", "--status", "failed", "--metadata", "[1]").item
    assert (item["status"], item["metadata"], item["session_id"]) == ("failed", [1], "work")
    assert call(*todos, "update", "new", "--clear", "metadata").item["metadata"] is None
    done = call("sessions", "todos", "rm", "new", "tofu")
    assert "would remove new (failed, 2 steps)" in done.err
    assert call("sessions", "todos", "rm", "new", "tofu", "--yes").code == 0
    assert [i["todolist_id"] for i in call(*todos, "list").items] == ["todo"]


def test_a_step_is_shown_and_changed_by_its_position(call: Callable[..., Any], work: str) -> None:
    step = ("--json", "sessions", "todos", "step", "todo")
    assert call(*step, "2").item["dependencies"] == [1]
    changed = call(*step, "2", "--status", "COMPLETED", "--execution-result", '{"ok": true}').item
    assert (changed["status"], changed["execution_result"]) == ("COMPLETED", {"ok": True})
    assert call(*step, "2").item == changed
    assert call(*step, "1").item["status"] == "PENDING"
    assert call(*step, "3").error["code"] == "step_not_found"


def test_history_is_listed_oldest_first_and_added_to(call: Callable[..., Any], work: str) -> None:
    done = call("sessions", "history", "append", "work", "--step-id", "2", "--observation", "ok")
    assert (done.code, len(done.out)) == (0, 37)
    history = ("--json", "sessions", "history", "list", "work")
    assert [i["step_id"] for i in call(*history).items] == ["1", "2", "2"]
    assert [i["action"] for i in call(*history, "--step-id", "2").items] == ["then", None]
    assert "first" in call("sessions", "history", "list", "work").out


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "nobody"], 4, "session_not_found"),
        (["show", "wor"], 2, "ambiguous_id"),
        (["update", "nobody", "--status", "x"], 4, "session_not_found"),
        (["update", "work", "--status", "x" * 51], 2, "invalid_value"),
        (["update", "work"], 2, "usage"),
        (["update", "work", "--mission", "m", "--clear", "mission"], 2, "usage"),
        (["rm", "--yes", "work", "nobody"], 4, "session_not_found"),
        (["create", "--id", "work"], 1, "already_exists"),
        (["states", "nobody"], 4, "session_not_found"),
        (["save-state", "x" * 256, "{}"], 2, "invalid_value"),
        (["prune", "--keep-last", "1", "--session", "nobody", "--yes"], 4, "session_not_found"),
        (["todos", "show", "nothing"], 4, "todo_list_not_found"),
        (["todos", "list", "--session", "nobody"], 4, "session_not_found"),
        (["todos", "create", "--session", "nobody"], 4, "session_not_found"),
        (["todos", "create", "--plan", '{"items": 5}'], 2, "invalid_value"),
        (["todos", "step", "todo", "1", "--status", "DONE"], 2, "usage"),
        (["todos", "rm", "--yes", "to"], 2, "ambiguous_id"),
        (["history", "list", "nobody"], 4, "session_not_found"),
        (["history", "append", "nobody"], 4, "session_not_found"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], work: str, words: list[str], code: int, name: str
) -> None:
    before = [call("--json", *s).out for s in (["sessions", "list"], ["sessions", "todos", "list"])]
    done = call("--json", "sessions", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    after = [call("--json", *s).out for s in (["sessions", "list"], ["sessions", "todos", "list"])]
    assert after == before


def test_all_of_it_works_on_postgres(call: Callable[..., Any], migrated_postgres_url: str) -> None:
    at = ("--db", migrated_postgres_url, "--json", "sessions")
    assert call(*at, "save-state", "s", '{"a": 1}').item["version"] == 1
    assert call(*at, "save-state", "s", '{"a": 2}').item["version"] == 2
    assert call(*at, "state", "s").item["state"] == {"a": 2}
    assert call(*at, "prune", "--keep-last", "1", "--yes").item == {"removed": 1}
    made = call(*at, "todos", "create", "--session", "s", "--plan", json.dumps(PLAN)).item
    step = call(*at, "todos", "step", made["todolist_id"][:-4], "1", "--status", "SKIPPED").item
    assert step["status"] == "SKIPPED"
    # The keys of jsonb come by length; what is printed comes as from a file.
    text = call(
        "--db", migrated_postgres_url, "sessions", "todos", "step", made["todolist_id"], "1"
    )
    names = [line.split()[0] for line in text.out.splitlines()]
    assert names == sorted(names)
    call(*at, "save-state", "s", '{"long": 1, "b": {"long": 1, "z": 2}}')
    text = call("--db", migrated_postgres_url, "sessions", "state", "s")
    assert "".join(text.out.split()) == '{"b":{"long":1,"z":2},"long":1}'
    assert '{"b": {"long": 1, "z": 2}, "long": 1}' in call(*at[:2], "sessions", "states", "s").out
    assert call(*at, "history", "append", "s", "--thought", "t").code == 0
    assert call(*at, "rm", "s", "--yes").code == 0
    assert call(*at, "todos", "list").items == []
