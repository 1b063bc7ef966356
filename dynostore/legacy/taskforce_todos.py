"""What a todo list of Taskforce says: its steps in the shape of a plan, words and all.

Keys that the shape does not know stay in the step; what had to be changed to fit is kept as it was
read, under ``as_read`` in the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.taskforce_draft import Clock, Draft, as_count, as_text
from dynostore.models.todos import STEP_STATUSES, TodoList, is_plain_step

STATUS_WORDS = {
    **{status.replace("_", ""): status for status in STEP_STATUSES},
    "OPEN": "PENDING",
    "TODO": "PENDING",
    "DONE": "COMPLETED",
    "COMPLETE": "COMPLETED",
    "FAIL": "FAILED",
    "ERROR": "FAILED",
    "SKIP": "SKIPPED",
}
"""The older tool's words for a step's state, without case, hyphens, underscores and spaces."""

_COLUMNS = {
    "todolist_id",
    "mission",
    "items",
    "open_questions",
    "notes",
    "created_at",
    "updated_at",
}
_ABSENT = object()


def read_todo(document: dict[str, Any], name: str, clock: Clock, modified_s: float) -> Draft:
    """Give the todo list that a document holds; it knows no session.

    :param name: the id that the file's name says.
    :raises Unreadable: it is none, or the store could not hold it.
    """
    if not {"items", "todolist_id"} & set(document):
        raise Unreadable("items: is missing")
    draft = Draft(TodoList, "todolist_id", clock, modified_s)
    draft.metadata = {key: value for key, value in document.items() if key not in _COLUMNS}
    created = draft.time(("created_at", document.get("created_at")))
    updated = draft.time(("updated_at", document.get("updated_at")))
    created = created or updated or draft.file_time("created_at")
    draft.set_key(document.get("todolist_id"), name, created)
    mission = document.get("mission")
    if mission is not None and not isinstance(mission, str):
        draft.keep("mission", mission)
    as_read: dict[str, Any] = {}
    steps = _steps(document.get("items"), as_read, draft.warnings)
    draft.values |= {
        "session_id": None,
        "mission": None if mission is None else as_text(mission),
        "plan": {
            "items": steps,
            "open_questions": _questions(document.get("open_questions"), as_read),
            "notes": _notes(document.get("notes"), as_read),
        },
        "status": status_of(steps),
        "created_at": created,
        "updated_at": updated or created,
    }
    if as_read:
        draft.keep("as_read", as_read)
    return draft


def status_of(steps: list[dict[str, Any]]) -> str:
    """Give the state of a whole list, of which the older tool says nothing."""
    words = {step["status"] for step in steps}
    if words <= {"PENDING"}:
        return "pending"
    if words & {"PENDING", "IN_PROGRESS"}:
        return "in_progress"
    return "failed" if "FAILED" in words else "completed"


def _steps(items: Any, as_read: dict[str, Any], warnings: list[str]) -> list[dict[str, Any]]:
    if isinstance(items, dict):
        as_read["items"] = "an object, by position or name"
        items = [{"name": k, **v} if isinstance(v, dict) else v for k, v in items.items()]
    elif items is not None and not isinstance(items, list):
        as_read["items"] = items
        items = None
    steps = []
    for place, item in enumerate(items or [], 1):
        changed: dict[str, Any] = {}
        steps.append(_step(item, changed, warnings, place))
        if changed:
            as_read.setdefault("steps", {})[str(place)] = changed
    _number(steps, as_read, warnings)
    return steps


def _step(item: Any, changed: dict[str, Any], warnings: list[str], place: int) -> dict[str, Any]:
    """Give a step in the shape of a plan, with what it was where it did not fit."""
    if isinstance(item, dict) and is_plain_step(item):  # nearly always
        return dict(item)
    if not isinstance(item, dict):
        changed["item"] = item
        item = {"description": as_text(item)}
    step = dict(item)
    for name, fit in _FITS.items():
        said = item.get(name, _ABSENT)
        step[name] = fit(None if said is _ABSENT else said)
        if said is not _ABSENT and (step[name] != said or type(step[name]) is not type(said)):
            changed[name] = said
    word = item.get("status")
    if word is not None and _known_status(word) is None:
        warnings.append(f"step {place}: status {word!r:.80} is not known; PENDING is taken")
    return step


def _number(steps: list[dict[str, Any]], as_read: dict[str, Any], warnings: list[str]) -> None:
    """Give each step a position of its own: what is missing or there twice comes after the rest."""
    said = [as_count(step.get("position")) for step in steps]
    taken = {position for position in said if position}
    if len(taken) == len(steps) and all(type(step["position"]) is int for step in steps):
        return
    taken.clear()
    last = max((position for position in said if position), default=0)
    for place, (step, position) in enumerate(zip(steps, said, strict=True), 1):
        if not position or position in taken:
            old = step.get("position", _ABSENT)
            position = place if place not in {*taken, *filter(None, said)} else last + 1
            if old is not _ABSENT:
                as_read.setdefault("steps", {}).setdefault(str(place), {})["position"] = old
                warnings.append(f"step {place}: position {old!r:.40} cannot be; is {position} now")
        taken.add(position)
        last = max(last, position)
        step["position"] = position


def _known_status(word: Any) -> str | None:
    if not isinstance(word, str):
        return None
    if word in STATUS_WORDS:  # nearly always
        return STATUS_WORDS[word]
    return STATUS_WORDS.get(re.sub(r"[\s_-]", "", word).upper())


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return "" if value is None else as_text(value)


def _tool(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _object(value: Any) -> dict[str, Any] | None:
    return value if value is None or isinstance(value, dict) else {"value": value}


def _positions(value: Any) -> list[int]:
    items = value if isinstance(value, list) else [value]
    found = (as_count(int(i) if isinstance(i, str) and i.isdecimal() else i) for i in items)
    return [position for position in found if position]


def _count(default: int) -> Callable[[Any], int]:
    def fit(value: Any) -> int:
        found = as_count(value)
        return default if found is None else found

    return fit


_FITS: dict[str, Callable[[Any], Any]] = {
    "description": _text,
    "acceptance_criteria": _text,
    "dependencies": _positions,
    "status": lambda word: _known_status(word) or "PENDING",
    "chosen_tool": _tool,
    "tool_input": _object,
    "execution_result": _object,
    "attempts": _count(0),
    "max_attempts": _count(3),
    "replan_count": _count(0),
}


def _questions(value: Any, as_read: dict[str, Any]) -> list[str]:
    items = [] if value is None else value if isinstance(value, list) else [value]
    found = [as_text(item) for item in items]
    if value is not None and found != value:
        as_read["open_questions"] = value
    return found


def _notes(value: Any, as_read: dict[str, Any]) -> str:
    found = _text(value)
    if value is not None and found != value:
        as_read["notes"] = value
    return found
