"""What a state file of Taskforce says, as a session with one state.

``{"session_id", "timestamp", "state_data": {..., "_version", "_updated_at"}}``: nothing in it is
guaranteed. The state is taken as it stands, counters of the older tool included. A flat document,
``agent_state.json``, is the state itself.
"""

from __future__ import annotations

from typing import Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.taskforce_draft import Clock, Draft, as_count
from dynostore.models.sessions import AgentSession, SessionState

UNKNOWN_STATUS = "unknown"
_LONGEST_USER = 255
_LONGEST_STATUS = 50


def read_state(document: dict[str, Any], name: str, clock: Clock, modified_s: float) -> Draft:
    """Give the session that a document holds, its state as the only child.

    :param name: the file's, without ``.json``: the session's id, as far as the tool is concerned.
    :raises Unreadable: it is none, or the store could not hold it.
    """
    draft = Draft(AgentSession, "session_id", clock, modified_s)
    rest = dict(document)
    if "state_data" in rest:
        state = rest.pop("state_data")
    elif "_version" in rest or "_updated_at" in rest:
        state, rest = document, {"session_id": rest.get("session_id")}
    else:
        raise Unreadable("state_data: is missing")
    if state is None:
        raise Unreadable("state_data: is null")
    facts = state if isinstance(state, dict) else {}
    saved = draft.time(
        ("timestamp", rest.pop("timestamp", None)), ("_updated_at", facts.get("_updated_at"))
    ) or draft.file_time("timestamp")
    said_id = rest.pop("session_id", None)
    draft.set_key(said_id, name, saved)
    if draft.key != name:
        draft.keep("file", name)
    draft.metadata |= {key: value for key, value in rest.items() if key not in draft.metadata}
    draft.values |= {
        "user_id": _text(facts.get("user_id"), _LONGEST_USER),
        "mission": _text(facts.get("mission")),
        "status": _text(facts.get("status"), _LONGEST_STATUS) or UNKNOWN_STATUS,
        "created_at": saved,
        "updated_at": saved,
    }
    row = {
        "version": as_count(facts.get("_version")) or 1,
        "state": state,
        "saved_at": saved,
        "metadata": None,
    }
    draft.add_child(SessionState, str(row["version"]), row)
    return draft


def todolist_of(draft: Draft) -> str | None:
    """Give the id of the todo list that a session's state names."""
    state = draft.children[0][1]["state"]
    found = state.get("todolist_id") if isinstance(state, dict) else None
    return found if isinstance(found, str) and found else None


def _text(value: Any, longest: int | None = None) -> str | None:
    """Give text that fits; anything else stays in the state alone."""
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        return None
    return value
