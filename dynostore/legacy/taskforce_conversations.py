"""What Taskforce's ``conversations/`` says: an entry of ``index.json`` and a list of messages each.

The messages have an order and not always times: each gets one that keeps them in it.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.taskforce_draft import Clock, Draft, as_text
from dynostore.models.conversations import ROLES, Conversation, Message

ROLE_WORDS = {
    **{role: role for role in ROLES},
    "human": "user",
    "ai": "assistant",
    "agent": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
    "function": "tool",
    "tool_result": "tool",
}
"""The roles of other programs' messages, as ours."""

_TICK = dt.timedelta(microseconds=1)
_TIMES = ("timestamp", "created_at", "time", "ts")
_COLUMNS = {"conversation_id", "topic", "started_at", "last_activity"}


def read_index(document: Any) -> dict[str, dict[str, Any]]:
    """Give an index's entries by conversation.

    :raises Unreadable: it is no index.
    """
    if isinstance(document, dict) and isinstance(document.get("conversations"), list):
        document = document["conversations"]
    if not isinstance(document, list):
        raise Unreadable(f"a list is expected at the top, not {type(document).__name__}")
    entries = {}
    for place, entry in enumerate(document):
        said = entry.get("conversation_id") if isinstance(entry, dict) else None
        if not isinstance(said, str) or not said:
            raise Unreadable(f"[{place}].conversation_id: is missing")
        entries[said] = entry
    return entries


def read_conversation(
    entry: dict[str, Any] | None, messages: Any, name: str, clock: Clock, modified_s: float
) -> Draft:
    """Give a conversation with its messages as children.

    :param entry: what the index says of it; None: nothing.
    :param messages: the list of the messages.
    :param name: of its directory.
    :raises Unreadable: the messages are none.
    """
    if isinstance(messages, dict) and isinstance(messages.get("messages"), list):
        messages = messages["messages"]
    if not isinstance(messages, list):
        raise Unreadable(f"a list is expected at the top, not {type(messages).__name__}")
    draft = Draft(Conversation, "id", clock, modified_s)
    entry = {} if entry is None else entry
    draft.metadata = {key: value for key, value in entry.items() if key not in _COLUMNS}
    started = draft.time(("started_at", entry.get("started_at")))
    latest = draft.time(("last_activity", entry.get("last_activity")))
    first = next((time for time in map(_Times(draft).of, messages[:1]) if time), None)
    created = started or first or latest or draft.file_time("started_at")
    topic = entry.get("topic")
    if topic is not None and not isinstance(topic, str):
        draft.keep("topic", topic)
    draft.set_key(entry.get("conversation_id"), name, created)
    draft.values |= {
        "title": None if topic is None else as_text(topic),
        "created_at": created,
    }
    last = _add_messages(draft, messages, created)
    draft.values["updated_at"] = max(latest or created, last or created)
    return draft


def _add_messages(draft: Draft, messages: list[Any], started: dt.datetime) -> dt.datetime | None:
    times = _Times(draft)
    previous: dt.datetime | None = None
    for place, message in enumerate(messages):
        key, row = _message(draft, message, place)
        said = times.of(message)
        moment = said or (started if previous is None else previous + _TICK)
        if previous is not None and moment <= previous:
            moment = previous + _TICK
        if moment != said:
            times.changed += 1
        row["created_at"] = previous = moment
        draft.add_child(Message, key, row)
    if times.changed:
        draft.warnings.append(
            f"{times.changed} of {len(messages)} messages have no time of their own, or one that "
            "is not after the message before; their order is kept"
        )
    return previous


class _Times:
    """Reads the times of messages, under whichever key."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.changed = 0

    def of(self, message: Any) -> dt.datetime | None:
        for name in _TIMES if isinstance(message, dict) else ():
            if message.get(name):
                try:
                    return self._draft.clock.read(message[name])
                except ValueError:
                    return None  # the message keeps it in its metadata
        return None


def _message(draft: Draft, message: Any, place: int) -> tuple[str, dict[str, Any]]:
    """Give what is a message's own, and its row without the time."""
    rest = dict(message) if isinstance(message, dict) else {"message": message}
    said_role, content = rest.get("role"), rest.get("content")
    word = said_role.lower() if isinstance(said_role, str) else ""
    role = ROLE_WORDS.get(word, "system")
    if word not in ROLE_WORDS:
        draft.warnings.append(f"message {place}: role {said_role!r:.40} is not known; is 'system'")
    if role == said_role:
        del rest["role"]
    if isinstance(content, str):
        del rest["content"]
    elif isinstance(message, str):
        content, rest = message, {}
    elif content is None:
        content = ""
    old_id = rest.get("message_id", rest.get("id"))
    row = {"role": role, "content": as_text(content), "metadata": rest or None}
    return f"{place}\x1f{old_id if isinstance(old_id, str) else ''}", row
