"""Todo lists: what an agent plans to do, step by step, and how far it has come."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import NoneType
from typing import Any, ClassVar

from dynostore.fields import (
    INT64_MAX,
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    WholeNumberField,
)
from dynostore.models.base import Record
from dynostore.models.sessions import AgentSession

STATUSES = ("pending", "in_progress", "completed", "failed")
STEP_STATUSES = ("PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "SKIPPED")

_Check = Callable[[Any], Any]


def _optional(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"object expected, not {type(value).__name__}")
    return value


def _list_of(check: _Check) -> _Check:
    def check_all(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"list expected, not {type(value).__name__}")
        try:
            return [check(item) for item in value]
        except ValueError:  # once more, to say which
            return [_located(f"[{index}]", check, item) for index, item in enumerate(value)]

    return check_all


def _located(where: str, check: _Check, value: Any) -> Any:
    """Check a part of the plan; say in the error where it stands."""
    try:
        return check(value)
    except ValueError as exc:
        text = str(exc)
        gap = "" if text.startswith(("[", ".")) else ": "
        raise ValueError(f"{where}{gap}{text}") from None


_TEXT, _COUNT = TextField().check, WholeNumberField(low=0).check
_POSITION = WholeNumberField(low=1).check
_STEP_CHECKS: dict[str, _Check] = {
    "position": _POSITION,
    "description": _TEXT,
    "acceptance_criteria": _TEXT,
    "dependencies": _list_of(_POSITION),
    "status": TextField(choices=STEP_STATUSES).check,
    "chosen_tool": _optional(_TEXT),
    "tool_input": _optional(_object),
    "execution_result": _optional(_object),
    "attempts": _COUNT,
    "max_attempts": _COUNT,
    "replan_count": _COUNT,
}
_STEP_DEFAULTS: dict[str, Any] = {
    "acceptance_criteria": "",
    "dependencies": [],  # a check gives a new list
    "status": "PENDING",
    "chosen_tool": None,
    "tool_input": None,
    "execution_result": None,
    "attempts": 0,
    "max_attempts": 3,
    "replan_count": 0,
}


def check_step_value(name: str, value: Any) -> Any:
    """Check one value of a step; an unknown key's may be any JSON.

    :raises ValueError: the value breaks the rule of its key.
    """
    plain = JsonField().check(value)
    return _STEP_CHECKS[name](plain) if name in _STEP_CHECKS else plain


_values_of = operator.itemgetter(*_STEP_CHECKS)
_PLAIN_TYPES = {
    (int, str, str, list, str, tool, given, result, int, int, int)
    for tool in (str, NoneType)
    for given in (dict, NoneType)
    for result in (dict, NoneType)
}


def is_plain_step(step: dict[str, Any]) -> bool:
    """Tell at a glance that a step has all values of the shape, and that each keeps its rule.

    :param step: out of JSON that was checked. Where this is False, only the checks can tell.
    """
    try:
        values = _values_of(step)
    except KeyError:
        return False
    if tuple(map(type, values)) not in _PLAIN_TYPES:
        return False
    position, _, _, dependencies, status, _, _, _, attempts, most, replans = values
    for other in dependencies:
        if type(other) is not int or not 0 < other <= INT64_MAX:
            return False
    return (
        0 < position <= INT64_MAX
        and 0 <= attempts <= INT64_MAX
        and 0 <= most <= INT64_MAX
        and 0 <= replans <= INT64_MAX
        and status in STEP_STATUSES
    )


def _step(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and is_plain_step(value):  # nearly always
        return value
    step = _STEP_DEFAULTS | _object(value)
    for name, check in _STEP_CHECKS.items():
        if name not in step:
            raise ValueError(f".{name}: is missing")
        try:
            step[name] = check(step[name])
        except ValueError:  # once more, to say where
            _located(f".{name}", check, step[name])
    return step


class PlanField(JsonField):
    """A plan: ``items`` (the steps), ``open_questions`` and ``notes``; unknown keys are kept.

    What a plan or step leaves out gets its default, so that a reader finds every key. A step
    without ``position`` has its place in the list, counted from 1. The shape is that of the todo
    lists of Taskforce, on disk since its first version.
    """

    def check(self, value: Any) -> dict[str, Any]:
        """Accept an object of that shape, with each position once."""
        plan = _object(super().check(value))
        items = plan.get("items", [])
        if isinstance(items, list):
            items = [
                {"position": place, **item}
                if isinstance(item, dict) and "position" not in item
                else item
                for place, item in enumerate(items, 1)
            ]
        steps = _located("items", _list_of(_step), items)
        seen: set[int] = set()
        for index, step in enumerate(steps):
            if step["position"] in seen:
                raise ValueError(f"items[{index}].position: {step['position']} is there twice")
            seen.add(step["position"])
        questions = _located("open_questions", _list_of(_TEXT), plan.get("open_questions", []))
        notes = _located("notes", _TEXT, plan.get("notes", ""))
        return {**plan, "items": steps, "open_questions": questions, "notes": notes}


class TodoList(Record):
    """A plan and its progress; old lists know neither their session nor, some, their mission."""

    todolist_id = StringField(max_length=255, primary_key=True)
    session = ReferenceField(
        AgentSession, column_name="session_id", on_delete="CASCADE", backref="+", null=True
    )
    session_id: str | None  # Peewee's name for the key itself
    mission = TextField(null=True)
    plan = PlanField()
    status = StringField(max_length=16, choices=STATUSES)
    created_at = UtcTimeField()
    updated_at = UtcTimeField()
    metadata = JsonField(null=True)

    MERGES: ClassVar = {"updated_at": "max"}

    class Meta:
        table_name = "todo_lists"
        indexes = (
            (("created_at",), False),
            (("updated_at",), False),
        )
