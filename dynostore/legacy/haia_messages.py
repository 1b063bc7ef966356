"""Messages on their way to rows: their keys, who spoke, and an order that equal times keep."""

from __future__ import annotations

import datetime as dt
from typing import Any

from dynostore.fields import time_text
from dynostore.ids import derived_id
from dynostore.legacy.base import Unreadable
from dynostore.legacy.cells import CellReader, key_text, shown_value
from dynostore.models.conversations import ROLES

KIND = "haia"
LONGEST_ID = 255

_ROLES = {
    **{word: word for word in ROLES},
    "human": "user",
    **dict.fromkeys(("ai", "bot", "model", "agent"), "assistant"),
    "developer": "system",
    "function": "tool",
}
_MICROSECOND = dt.timedelta(microseconds=1)
_LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)


def derived_key(table: str, raw: Any, created: dt.datetime | str) -> str:
    """Give the key of a row whose own id is a number, or not unique.

    :param created: its time; what stands for one where it has none.
    """
    moment = created if isinstance(created, str) else time_text(created)
    return derived_id(table, KIND, f"{key_text(raw)}\x1f{moment}")


def role_of(cells: CellReader, *names: str) -> str:
    """Take the first of some cells that says who spoke.

    :raises Unreadable: none does, or with a word that is not known.
    """
    said = None
    for name in names:
        value = cells.raw(name)
        if said is None:
            said = value
        elif value is not None and value != said:
            cells.keep(name, value)
    word = said.strip().lower() if isinstance(said, str) else None
    role = _ROLES.get(word) if word is not None else None
    if role is None:
        what = "is missing" if said is None else f"unknown value {shown_value(said)!r}"
        raise Unreadable(f"{names[0]}: {what}; one of {', '.join(_ROLES)}")
    if role != said:
        cells.keep(names[0], said, None if role == word else f"{said!r} is taken as {role!r}")
    return role


class MessageOrder:
    """Keeps messages of equal time in the order in which they were said.

    The store sorts by time, then by key, and keys made of hashes sort at random: so a message that
    would fall before the one it follows is a microsecond later, and its own time is kept beside.
    """

    def __init__(self) -> None:
        self._said: dt.datetime | None = None
        self._placed: tuple[dt.datetime, str] | None = None

    def place(self, key: str, said: dt.datetime) -> dt.datetime:
        """Give the time for the message after the last one.

        :param said: the time that it says itself.
        """
        moment = said
        if said == self._said and self._placed is not None and (said, key) <= self._placed:
            last, last_key = self._placed
            moment = last if key > last_key or last == _LATEST else last + _MICROSECOND
        self._said = said
        self._placed = (moment, key)
        return moment


def message_row(
    key: str,
    conversation: str,
    role: str,
    content: str,
    said: dt.datetime,
    metadata: dict[str, Any],
    order: MessageOrder,
) -> dict[str, Any]:
    """Give the columns of a message.

    :param metadata: may be that of others too.
    """
    created = order.place(key, said)
    if created is not said and created != said:
        metadata = {**metadata, "said_at": time_text(said)}
    return {
        "id": key,
        "conversation_id": conversation,
        "role": role,
        "content": content,
        "created_at": created,
        "metadata": metadata or None,
    }
