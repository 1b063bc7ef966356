"""What Taskforce's ``skills.json`` says: lessons by id, each a memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.taskforce_draft import Clock, Draft, as_count, as_text
from dynostore.models.memories import Memory

_COLUMNS = {"id", "context", "lesson", "tool_name", "created_at"}
_LONGEST_TOOL = 255


def read_skills(document: Any) -> Iterator[tuple[str, Any]]:
    """Give the skills of a file by name: its keys, or the places in a list.

    :raises Unreadable: neither an object nor a list.
    """
    if isinstance(document, dict):
        if isinstance(document.get("skills"), dict | list):
            document = document["skills"]
            return read_skills(document)
        return iter(document.items())
    if isinstance(document, list):
        return ((str(place), item) for place, item in enumerate(document))
    raise Unreadable(f"an object is expected at the top, not {type(document).__name__}")


def read_memory(skill: Any, name: str, clock: Clock, modified_s: float) -> Draft:
    """Give the memory that a skill is; its confidence is how often it helped, the nearest there is.

    :param name: its key in the file.
    :raises Unreadable: it is none.
    """
    if not isinstance(skill, dict):
        raise Unreadable(f"an object is expected, not {type(skill).__name__}")
    draft = Draft(Memory, "memory_id", clock, modified_s)
    draft.metadata = {key: value for key, value in skill.items() if key not in _COLUMNS}
    if skill.get("lesson") is None and skill.get("context") is None:
        raise Unreadable("lesson and context: are missing")
    created = draft.time(
        ("created_at", skill.get("created_at")), ("last_used", skill.get("last_used"))
    ) or draft.file_time("created_at")
    draft.set_key(skill.get("id"), name, created)
    tool = skill.get("tool_name")
    if tool is not None and (not isinstance(tool, str) or len(tool) > _LONGEST_TOOL):
        draft.keep("tool_name", tool)
        tool = None
    for column in ("context", "lesson"):
        said = skill.get(column)
        if said is not None and not isinstance(said, str):
            draft.keep(column, said)
        draft.values[column] = "" if said is None else as_text(said)
    draft.values |= {
        "tool_name": tool,
        "confidence": as_count(skill.get("success_count")) or 0,
        "created_at": created,
    }
    return draft
