"""What a row of Chiffon's tables says, as a task or as a step of one."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dynostore.fields import time_text
from dynostore.ids import derived_id
from dynostore.legacy.base import Unreadable
from dynostore.legacy.cells import CellReader, as_json, as_uuid, key_text, shown_value
from dynostore.legacy.source_tables import Cells
from dynostore.models.tasks import (
    AGENT_TYPES,
    MAX_DURATION_MS,
    STATUSES,
    STEP_STATUSES,
    SUMMARY_CHARACTERS,
)

KIND = "chiffon"

TASK_STATUSES = {
    **{word: word for word in STATUSES},
    **dict.fromkeys(("queued", "queue", "todo", "open", "new", "paused"), "pending"),
    **dict.fromkeys(("running", "in_progress", "started"), "executing"),
    **dict.fromkeys(("complete", "success", "succeeded", "done"), "completed"),
    **dict.fromkeys(("fail", "error"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "denied"), "rejected"),
}
"""Words for a task's state as ours. ``paused`` is outside of Chiffon's own list, and written
nevertheless: such a task waits to be taken up."""

STEP_WORDS = {
    **{word: word for word in STEP_STATUSES},
    **dict.fromkeys(("pending", "executing", "in_progress", "started"), "running"),
    **dict.fromkeys(("complete", "success", "succeeded", "done"), "completed"),
    **dict.fromkeys(("fail", "error"), "failed"),
}

_LONGEST_NAME = 255
# Documents of later versions, which are no columns of ours: JSON, or an array of Postgres.
_LATER_DOCUMENTS = ("services_touched", "outcome", "suggestions")


def task_key(raw: Any, created: dt.datetime | str, *, is_unique: bool = True) -> str:
    """Give the key of a task: its own UUID, else one made of its id and when it was created."""
    own = as_uuid(raw) if is_unique else None
    return own or _derived("tasks", raw, created)


def _derived(table: str, raw: Any, created: dt.datetime | str) -> str:
    moment = created if isinstance(created, str) else time_text(created)
    return derived_id(table, KIND, f"{key_text(raw)}\x1f{moment}")


def status_of(cells: CellReader, words: dict[str, str]) -> str:
    """Take the state; a word that is not exactly ours is kept beside.

    :raises Unreadable: missing, or a word that is not known.
    """
    said = cells.raw("status")
    if isinstance(said, str) and words.get(said) == said:  # nearly always
        return said
    word = said.strip().lower().replace("-", "_").replace(" ", "_") if isinstance(said, str) else ""
    status = words.get(word)
    if status is None:
        if said is None:
            raise Unreadable("status: is missing")
        raise Unreadable(f"status: unknown value {shown_value(said)!r}; one of {', '.join(words)}")
    if status != said:
        cells.keep("status", said, None if status == word else f"{said!r} is taken as {status!r}")
    return status


def task_values(cells: CellReader, steps: list[Cells], *, is_unique: bool) -> dict[str, Any]:
    """Give the columns of a task.

    :param steps: the rows of its steps, asked for a time where the task has none.
    :raises Unreadable: it has no state or no time that could be told.
    """
    raw = cells.raw("task_id")
    values = {
        "project_id": cells.uuid("project_id"),
        "request_text": cells.text("request_text"),
        "created_by": cells.text("created_by", _LONGEST_NAME),
        "status": status_of(cells, TASK_STATUSES),
        "created_at": cells.time("created_at"),
        "approved_at": cells.time("approved_at"),
        "completed_at": cells.time("completed_at"),
        "estimated_resources": cells.json("estimated_resources"),
        "actual_resources": cells.json("actual_resources"),
        "external_ai_used": cells.json("external_ai_used"),
        "error_message": cells.text("error_message"),
    }
    if values["request_text"] is None:
        cells.warn("request_text: is missing; left empty")
        values["request_text"] = ""
    if values["created_at"] is None:
        values["created_at"] = _first_time(cells, values, steps)
    key = task_key(raw, values["created_at"], is_unique=is_unique)
    if key != as_uuid(raw):
        cells.keep("task_id", raw)
    later = {name: _document(cells, name) for name in _LATER_DOCUMENTS}
    extra = {name: value for name, value in later.items() if value is not None}
    return {"task_id": key, **values, "metadata": metadata_of(cells, extra)}


def _first_time(cells: CellReader, task: dict[str, Any], steps: list[Cells]) -> dt.datetime:
    found = [task["approved_at"], task["completed_at"]]
    found += [CellReader(step).time("timestamp") for step in steps]
    moments: list[dt.datetime] = [moment for moment in found if moment is not None]
    if not moments:
        raise Unreadable("created_at: is missing, and there is no other time in the task")
    cells.warn("created_at: is missing; the earliest other time of the task is taken")
    return min(moments)


def _document(cells: CellReader, name: str) -> Any:
    """Take a cell that is JSON in one version and plain text in another."""
    raw = cells.raw(name)
    if not isinstance(raw, str):
        return as_json(raw)
    reader = CellReader({name: raw})
    found = reader.json(name)
    return as_json(raw) if reader.aside else found


def metadata_of(cells: CellReader, extra: dict[str, Any]) -> dict[str, Any] | None:
    """Give what no column took: cells of other columns, and those that did not fit theirs."""
    metadata = {**cells.rest(), **extra}
    if cells.aside:
        # The old value of a column of ours, below a name that no column of theirs has.
        metadata["legacy"] = cells.aside
    return metadata or None


def step_values(cells: CellReader, task: dict[str, Any], *, is_unique: bool) -> dict[str, Any]:
    """Give the columns of a step.

    :param task: the values of its task.
    :raises Unreadable: what the store asks for is missing or unknown; names the column.
    """
    raw = cells.raw("log_id")
    cells.raw("task_id")
    values = {
        "task_id": task["task_id"],
        "step_number": cells.whole("step_number", low=0),
        "agent_type": _agent_of(cells),
        "action": cells.text("action"),
        "status": status_of(cells, STEP_WORDS),
        "output_summary": cells.text("output_summary", SUMMARY_CHARACTERS),
        "output_full": cells.json("output_full"),
        "timestamp": cells.time("timestamp"),
        "duration_ms": cells.whole("duration_ms", low=0, high=MAX_DURATION_MS),
    }
    if values["step_number"] is None:
        said = cells.aside.get("step_number")
        raise Unreadable(f"step_number: is missing or no number of a step: {said!r:.80}")
    if values["action"] is None:
        cells.warn("action: is missing; left empty")
        values["action"] = ""
    if values["timestamp"] is None:
        cells.warn("timestamp: is missing; the time of the task is taken")
        values["timestamp"] = task["created_at"]
    own = as_uuid(raw) if is_unique else None
    if own is None:
        cells.keep("log_id", raw)
        own = _derived("execution_logs", raw, values["timestamp"])
    return {"log_id": own, **values, "metadata": metadata_of(cells, {})}


def _agent_of(cells: CellReader) -> str:
    said = cells.raw("agent_type")
    word = said.strip().lower() if isinstance(said, str) else said
    if word not in AGENT_TYPES:
        names = ", ".join(AGENT_TYPES)
        raise Unreadable(f"agent_type: unknown value {shown_value(said)!r}; one of {names}")
    if word != said:
        cells.keep("agent_type", said)
    return str(word)
