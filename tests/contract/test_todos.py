"""The contract of ``Todos``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.models import TodoList
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
IMPOSSIBLE_IDS: list[Any] = ["", "nul\0", "\ud800", "i" * 500, 5, None]
STEP: dict[str, Any] = {
    "position": 1,
    "description": "Read",
    "acceptance_criteria": "file read",
    "dependencies": [],
    "status": "COMPLETED",
    "chosen_tool": "file_read",
    "tool_input": {"path": "data.csv"},
    "execution_result": {"success": True},
    "attempts": 1,
    "max_attempts": 3,
    "replan_count": 0,
}
PLAN: dict[str, Any] = {
    "items": [STEP, {**STEP, "position": 2, "status": "PENDING", "dependencies": [1]}],
    "open_questions": ["Which port → 8000?"],
    "notes": "ask first",
}


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def whole_list(todolist_id: str, **values: Any) -> TodoList:
    row = {"plan": PLAN, "status": "pending", "created_at": T0, "updated_at": T0}
    return TodoList(todolist_id=todolist_id, **row | values)


@contextlib.contextmanager
def refused(field: str, value: Any, place: str = "") -> Iterator[None]:
    """Expect a refusal that names field and place; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = (exc.field, exc.reason[: len(place)])
    assert found == (field, place), f"{field}={value!r}"


def test_a_new_list_is_pending_and_of_no_session_with_an_empty_plan(store: Store) -> None:
    made = store.todos.create()
    assert (made.status, made.session_id, made.mission) == ("pending", None, None)
    assert made.plan == {"items": [], "open_questions": [], "notes": ""}
    assert made.created_at == made.updated_at
    assert store.todos.load(made.todolist_id) == made


def test_what_create_gives_is_what_load_gives(store: Store) -> None:
    store.sessions.create(session_id="s")
    values: dict[str, Any] = {
        "session_id": "s",
        "mission": "Analyze data.csv",
        "plan": PLAN,
        "status": "in_progress",
        "metadata": {"from": "planner"},
    }
    made = store.todos.create(todolist_id="t", created_at=T0, **values)
    whole = {"todolist_id": "t", "created_at": T0, "updated_at": T0, **values}
    assert store.todos.load("t").values() == made.values() == whole


def test_what_a_plan_leaves_out_gets_its_default(store: Store) -> None:
    plan = {"items": [{"description": "a"}, {"description": "b", "attempts": 2}]}
    defaults: dict[str, Any] = {
        "acceptance_criteria": "",
        "dependencies": [],
        "status": "PENDING",
        "chosen_tool": None,
        "tool_input": None,
        "execution_result": None,
        "attempts": 0,
        "max_attempts": 3,
        "replan_count": 0,
    }
    made = store.todos.create(plan=plan)
    assert made.plan["items"] == [
        {**defaults, "position": 1, "description": "a"},
        {**defaults, "position": 2, "description": "b", "attempts": 2},
    ]
    made.plan["items"][0]["dependencies"].append(9)
    assert store.todos.create(plan=plan).plan["items"][0]["dependencies"] == []


def test_keys_that_the_shape_does_not_know_are_kept(store: Store) -> None:
    plan = {**PLAN, "items": [{**STEP, "notes": {"sub": [1]}}], "base_version": 1}
    made = store.todos.create(plan=plan)
    assert store.todos.load(made.todolist_id).plan == plan


BAD_PLANS: list[tuple[str, Any]] = [
    ("object expected", []),
    ("object expected", "plan"),
    ("items: list expected", {"items": {}}),
    ("items[0]: object expected", {"items": ["Read"]}),
    ("items[0].description: is missing", {"items": [{"position": 1}]}),
    ("items[1].position: 1 is there twice", {"items": [STEP, STEP]}),
    ("items[1].status: unknown value 'DONE'", {"items": [STEP, {**STEP, "status": "DONE"}]}),
    ("items[0].position: ", {"items": [{**STEP, "position": 0}]}),
    ("items[0].position: ", {"items": [{**STEP, "position": "1"}]}),
    ("items[0].description: ", {"items": [{**STEP, "description": None}]}),
    ("items[0].acceptance_criteria: ", {"items": [{**STEP, "acceptance_criteria": ["a"]}]}),
    ("items[0].dependencies: ", {"items": [{**STEP, "dependencies": 1}]}),
    ("items[0].dependencies[1]: ", {"items": [{**STEP, "dependencies": [1, "2"]}]}),
    ("items[0].chosen_tool: ", {"items": [{**STEP, "chosen_tool": 5}]}),
    ("items[0].tool_input: ", {"items": [{**STEP, "tool_input": "path"}]}),
    ("items[0].execution_result: ", {"items": [{**STEP, "execution_result": True}]}),
    ("items[0].attempts: ", {"items": [{**STEP, "attempts": -1}]}),
    ("items[0].max_attempts: ", {"items": [{**STEP, "max_attempts": 1.5}]}),
    ("items[0].replan_count: ", {"items": [{**STEP, "replan_count": True}]}),
    ("open_questions: list expected", {"open_questions": "none"}),
    ("open_questions[0]: ", {"open_questions": [1]}),
    ("notes: ", {"notes": None}),
    ("not JSON", {"notes": float("nan")}),
]


def test_a_plan_of_another_shape_is_refused_with_the_place(store: Store) -> None:
    store.todos.put_many([whole_list("t")])
    for place, plan in BAD_PLANS:
        with refused("plan", plan, place):
            store.todos.create(plan=plan)
        with refused("plan", plan, place):
            store.todos.update("t", plan=plan)
        (bounced,) = store.todos.put_many([whole_list("t", plan=plan)])
        assert bounced.reason.startswith(f"plan: {place}")
    assert list(store.todos.list()) == [whole_list("t")]


def test_a_bad_value_is_refused_by_its_field_and_nothing_written(store: Store) -> None:
    store.todos.put_many([whole_list("t")])
    bad: list[tuple[str, Any]] = [
        ("status", "PENDING"),
        ("status", None),
        ("plan", None),
        ("mission", 5),
        ("metadata", {"x": float("inf")}),
        ("updated_at", T0),
        ("nonsense", 1),
    ]
    for field, value in bad:
        values: Any = {field: value}
        with refused(field, value):
            store.todos.create(**values)
        with refused(field, value):
            store.todos.update("t", **values)
    for todolist_id in IMPOSSIBLE_IDS[:-1]:
        with refused("todolist_id", todolist_id):
            store.todos.create(todolist_id=todolist_id)
    assert list(store.todos.list()) == [whole_list("t")]


def test_a_taken_id_is_refused(store: Store) -> None:
    store.todos.create(todolist_id="t", mission="first")
    with pytest.raises(errors.AlreadyExists, match="'t'"):
        store.todos.create(todolist_id="t")
    assert store.todos.load("t").mission == "first"


def test_every_verb_says_that_a_list_is_unknown(store: Store) -> None:
    store.todos.create(todolist_id="other")
    verbs: list[Callable[[Any], object]] = [
        lambda todolist_id: store.todos.load(todolist_id),
        lambda todolist_id: store.todos.update(todolist_id, status="failed"),
        lambda todolist_id: store.todos.delete(todolist_id),
        lambda todolist_id: store.todos.get_step(todolist_id, 1),
        lambda todolist_id: store.todos.update_step(todolist_id, 1, status="FAILED"),
    ]
    for verb in verbs:
        for todolist_id in ("none", *IMPOSSIBLE_IDS):
            with pytest.raises(errors.TodoListNotFound):
                verb(todolist_id)
    with pytest.raises(errors.TodoListNotFound):
        store.todos.resolve("none")
    assert store.todos.resolve("oth") == "other"


def test_an_unknown_session_is_no_place_for_a_list(store: Store) -> None:
    store.todos.create(todolist_id="t")
    verbs: list[Callable[[Any], object]] = [
        lambda session_id: store.todos.create(session_id=session_id),
        lambda session_id: store.todos.update("t", session_id=session_id),
        lambda session_id: store.todos.list(session_id=session_id),
    ]
    for verb in verbs:
        with pytest.raises(errors.SessionNotFound):
            verb("none")
    assert store.todos.load("t").session_id is None
    assert len(store.todos.list()) == 1


def test_update_changes_what_is_passed_and_nothing_else(store: Store) -> None:
    store.sessions.create(session_id="s")
    store.todos.put_many([whole_list("t", mission="m", metadata=[1])])
    changes: list[dict[str, Any]] = [
        {"session_id": "s"},
        {"mission": None},
        {"plan": {"items": [STEP], "open_questions": [], "notes": ""}},
        {"status": "failed"},
        {"metadata": None},
        {"session_id": None},
    ]
    for change in changes:
        before = store.todos.load("t").values()
        changed = store.todos.update("t", **change)
        assert changed == store.todos.load("t")
        assert changed.updated_at > before["updated_at"]
        assert changed.values() == before | change | {"updated_at": changed.updated_at}


def test_a_step_is_found_by_its_position(store: Store) -> None:
    items = [{**STEP, "position": position} for position in (30, 10, 20)]
    store.todos.create(todolist_id="t", plan={"items": items})
    assert store.todos.get_step("t", 10) == items[1]
    positions: list[Any] = [1, 0, "10", None, True]
    for position in positions:
        with pytest.raises(errors.StepNotFound):
            store.todos.get_step("t", position)
        with pytest.raises(errors.StepNotFound):
            store.todos.update_step("t", position, status="FAILED")


def test_updating_a_step_changes_what_is_passed_and_nothing_else(store: Store) -> None:
    store.todos.put_many([whole_list("t")])
    changes = {"status": "COMPLETED", "execution_result": {"ok": [1]}, "attempts": 2, "seen": "x"}
    step = store.todos.update_step("t", 2, **changes)
    assert step == store.todos.get_step("t", 2) == PLAN["items"][1] | changes
    found = store.todos.load("t")
    assert found.updated_at > T0
    assert found.plan == {**PLAN, "items": [STEP, step]}
    assert found.status == "pending"


def test_a_bad_step_value_is_refused_by_its_key(store: Store) -> None:
    store.todos.put_many([whole_list("t")])
    bad: list[tuple[str, Any]] = [
        ("status", "DONE"),
        ("description", None),
        ("dependencies", [0]),
        ("tool_input", []),
        ("attempts", -1),
        ("seen", float("nan")),
        ("seen", "\0"),
    ]
    for name, value in bad:
        with refused(name, value):
            store.todos.update_step("t", 1, **{"notes": "kept out", name: value})
    assert store.todos.load("t") == whole_list("t")


def test_writers_of_different_steps_lose_nothing(store: Store) -> None:
    items = [{"description": str(n)} for n in range(4)]
    store.todos.create(todolist_id="t", plan={"items": items})
    failures: list[BaseException] = []

    def write(position: int) -> None:
        try:
            for number in range(1, 16):
                store.todos.update_step("t", position, attempts=number)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(n,)) for n in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [step["attempts"] for step in store.todos.load("t").plan["items"]] == [15] * 4


def test_lists_of_a_session_come_newest_first_by_pages(store: Store) -> None:
    store.sessions.create(session_id="s")
    lists = [
        whole_list(
            f"t{n:02}",
            created_at=at(n % 4),
            session="s" if n % 2 else None,
            status="failed" if n % 3 else "completed",
        )
        for n in range(16)
    ]
    assert store.todos.put_many(lists) == []
    lists.sort(key=lambda t: (t.created_at, t.todolist_id), reverse=True)
    assert list(store.todos.list()) == lists
    mine = [t for t in lists if t.session_id == "s"]
    page = store.todos.list(session_id="s", limit=3)
    found = page.items
    while page.next is not None:
        page = store.todos.list(session_id="s", limit=3, after=page.next)
        found = found + page.items
    assert found == mine
    assert list(store.todos.list(session_id="s", offset=6)) == mine[6:]
    wanted = [t for t in mine if t.status == "completed"]
    assert list(store.todos.list(session_id="s", status="completed")) == wanted
    with refused("status", "PENDING"):
        store.todos.list(status="PENDING")


def test_a_deleted_list_is_gone_and_its_session_stays(store: Store) -> None:
    store.sessions.create(session_id="s")
    store.todos.create(todolist_id="t", session_id="s")
    store.todos.delete("t")
    assert list(store.todos.list(session_id="s")) == []
    assert store.sessions.get("s").session_id == "s"


def test_put_many_takes_old_lists_and_gives_back_orphans(store: Store) -> None:
    old = whole_list("1f0c8b0e6a394a0e9f2b0d5f7a1f2c33", updated_at=at(-9))
    orphan = whole_list("t", session="missing")
    bounced = store.todos.put_many([old, orphan])
    assert [r.reason for r in bounced] == ["session_id: there is no 'missing' in sessions"]
    assert list(store.todos.list()) == [old]
