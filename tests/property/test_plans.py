"""A step that is taken at a glance is one that every check lets pass as it is."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from dynostore.fields import INT64_MAX
from dynostore.legacy import taskforce_todos
from dynostore.legacy.base import Unreadable
from dynostore.legacy.taskforce_draft import Clock
from dynostore.models import todos
from dynostore.models.todos import STEP_STATUSES, PlanField, is_plain_step

numbers = st.sampled_from([0, 1, 2, 3, INT64_MAX, INT64_MAX + 1, -1, 1.0, True, "1", None])
positions = st.integers(1, 4)
plain = {
    "position": positions,
    "description": st.text("aé\n", max_size=3),
    "acceptance_criteria": st.text("aé\n", max_size=3),
    "dependencies": st.lists(positions, max_size=3),
    "status": st.sampled_from(STEP_STATUSES),
    "chosen_tool": st.none() | st.just("shell"),
    "tool_input": st.none() | st.just({"a": 1}),
    "execution_result": st.none() | st.just({"b": []}),
    "attempts": st.integers(0, 3),
    "max_attempts": st.integers(0, 3),
    "replan_count": st.integers(0, 3),
}
odd = st.sampled_from(["open", "", {}, [], [1.0], [0], [True], ["x"]]) | numbers
changes = st.dictionaries(st.sampled_from([*plain, "more"]), odd, max_size=2)
steps = st.builds(
    lambda step, changed, gone: {k: v for k, v in (step | changed).items() if k not in gone},
    st.fixed_dictionaries(plain),
    changes,
    st.sets(st.sampled_from([*plain]), max_size=1),
)
plans = st.lists(steps | odd, max_size=4)


def outcome(make: Any, *given: Any) -> str:
    try:
        return repr(make(*given))
    except (ValueError, Unreadable) as exc:
        return f"refused: {exc}"


def test_a_step_as_the_tool_writes_it_is_plain() -> None:
    step = todos._STEP_DEFAULTS
    assert is_plain_step(step | {"position": 1, "description": "Read"})
    assert not is_plain_step(step)


@settings(max_examples=500)
@given(items=plans)
def test_a_plan_is_checked_alike_at_a_glance_and_value_by_value(items: list[Any]) -> None:
    check = PlanField().check
    at_a_glance = outcome(lambda: sorted_plan(check({"items": items})))
    with mock.patch.object(todos, "is_plain_step", return_value=False):
        assert at_a_glance == outcome(lambda: sorted_plan(check({"items": items})))


@settings(max_examples=500)
@given(items=plans)
def test_a_list_of_taskforce_is_read_alike_at_a_glance_and_value_by_value(items: list[Any]) -> None:
    def read() -> Any:
        document = {"todolist_id": "t", "items": copy.deepcopy(items), "created_at": "2026-01-02"}
        draft = taskforce_todos.read_todo(document, "t", Clock(None), 0.0)
        return draft.values, draft.metadata, draft.warnings

    at_a_glance = outcome(read)
    with mock.patch.object(taskforce_todos, "is_plain_step", return_value=False):
        assert at_a_glance == outcome(read)


def sorted_plan(plan: dict[str, Any]) -> Any:
    return [sorted(step.items()) for step in plan["items"]], plan["open_questions"], plan["notes"]
