"""What each of ideation's documents says, as a row: which key is which column, the rest metadata.

The values are given in the order of the tables' columns, so that they need not be sorted again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from dynostore.errors import InvalidValue
from dynostore.ids import derived_id
from dynostore.legacy.base import Row, Unreadable
from dynostore.legacy.ideation_words import MAX_KEY, Warnings, Words, from_epoch
from dynostore.models.base import Record, checked
from dynostore.models.ideation import (
    DATA_SOURCES,
    PRIORITIES,
    REQUIREMENT_TYPES,
    ROLES,
    STATUSES,
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationStory,
)

EARLIER_DRAFTS = "earlier_drafts"
"""Where a draft's document has those before it: the old format holds one."""

_OF_A_MESSAGE = {
    *("id", "session_id", "role", "content", "timestamp", "maturity_delta", "metadata"),
}
_GREAT = 1e300
_EPOCH_MS = re.compile(r"-(\d{12,14})-")
_LEVELS = ((20, "concept"), (40, "exploration"), (60, "defined"), (80, "refined"))


@dataclasses.dataclass(slots=True)
class Parent:
    """The session that documents hang on.

    :ivar id: as the store has it.
    :ivar old_id: as the keys have it.
    :ivar keeps_ids: leave numbers as ids of messages.
    """

    id: str
    old_id: str
    created_at: dt.datetime
    updated_at: dt.datetime
    warnings: Warnings
    keeps_ids: bool = False


def read_session(
    data: bytes,
    old_id: str,
    user: str | None,
    times: Callable[[], list[dt.datetime]],
    warnings: Warnings,
    *,
    keeps_id: bool = False,
) -> dict[str, Any]:
    """Give the row of a session; what was never written is taken from what is known otherwise.

    :param old_id: from the name of its key.
    :param user: whose set names it.
    :param times: gives those of the messages that hang on it; asked where its own are absent.
    :param keeps_id: leave one that is a number.
    :raises Unreadable: the document says no session.
    """
    words = Words(data, "session", warnings)
    said = words.take("id")
    if said is None:
        words.warn("id: is missing; the key's is taken")
    elif said != old_id:
        words.warn(f"id: is {said!r:.80}, but its key is of {old_id!r:.80}")
        words.rest["id"] = said
    created, updated = _times(words, old_id, times)
    values = {
        "id": _own_id("ideation_sessions", None if keeps_id else str(created), old_id, words),
        "project_name": words.text("project_name", "Untitled Project"),
        "user_id": words.text("user_id", user or "anonymous"),
        "status": words.choice("status", STATUSES, "draft"),
        "data_source": words.choice("data_source", DATA_SOURCES, "mock"),
        "version": _version(words),
        "created_at": created,
        "updated_at": updated,
    }
    values["metadata"] = words.metadata()
    return values


def _times(
    words: Words, old_id: str, times: Callable[[], list[dt.datetime]]
) -> tuple[dt.datetime, dt.datetime]:
    """Take when a session was made and last changed, each from the other where it is absent."""
    said = [words.rest.get(name) not in (None, "") for name in ("created_at", "updated_at")]
    if all(said):
        return words.time("created_at", None), words.time("updated_at", None)
    known = times()
    stamp = _EPOCH_MS.search(old_id)
    if stamp:
        known.insert(0, from_epoch(int(stamp[1]), "id"))
    updated = words.time("updated_at", None) if said[1] else None
    created = words.time("created_at", next(iter(known), updated))
    return created, updated or words.time("updated_at", max([created, *known]))


def _version(words: Words) -> int:
    version = float(words.number("version", 1.0))
    if not version.is_integer() or version < 0:
        raise Unreadable(f"version: {version} is not a number of updates")
    return int(version)


def _own_id(table: str, parent: str | None, said: Any, words: Words) -> str:
    """Give an id that is unique as it is, else one that is derived; then the old one is kept.

    :param parent: what it is derived from beside itself; None: a number is unique enough.
    """
    is_unique = isinstance(said, str) and (parent is None or not said.isdecimal())
    if is_unique and 0 < len(said) <= MAX_KEY:
        return str(said)
    if not isinstance(said, str | int | float) or isinstance(said, bool):
        raise Unreadable(f"id: text expected, not {type(said).__name__}")
    words.rest["id"] = said
    return derived_id(table, f"ideation\x1f{parent}", str(said))


def read_message(
    data: bytes, document: dict[str, Any] | None, parent: Parent, before: dt.datetime
) -> dict[str, Any]:
    """Give the row of a message.

    :param document: what it says, where that was parsed already.
    :param before: the time of the message before it.
    :raises Unreadable: the store cannot hold it; the message names the key.
    """
    plain = None if document is None else _plain_message(document, parent)
    if plain is not None:
        return plain
    words = Words(data, "messages", parent.warnings)
    words.belongs_to(parent.old_id)
    moment = words.time("timestamp", before)
    said = words.take("id")
    if said is None:
        words.warn("id: is missing; one is derived from the content")
        key = derived_id("ideation_messages", parent.id, data.hex())
    else:
        place = None if parent.keeps_ids else f"{parent.id}\x1f{moment.isoformat()}"
        key = _own_id("ideation_messages", place, said, words)
    content = words.rest.pop("content", None)
    if not isinstance(content, str):
        raise Unreadable(f"content: text expected, not {type(content).__name__}")
    return {
        "id": key,
        "session_id": parent.id,
        "role": words.choice("role", ROLES),
        "content": content,
        "timestamp": moment,
        "maturity_delta": words.number("maturity_delta", 0.0),
        "metadata": words.metadata(),
    }


def _plain_message(document: dict[str, Any], parent: Parent) -> dict[str, Any] | None:
    """Give the row of a message in the very form of the old program; None for any other.

    Nearly all are in it, and this takes a quarter of the time.
    """
    if document.keys() != _OF_A_MESSAGE or document["session_id"] != parent.old_id:
        return None
    key, content, time = document["id"], document["content"], document["timestamp"]
    delta = document["maturity_delta"]
    if type(content) is not str or type(time) is not str or type(delta) not in (int, float):
        return None
    if type(key) is not str or not 0 < len(key) <= MAX_KEY:
        return None
    if key.isdecimal() and not parent.keeps_ids:
        return None
    if document["role"] not in ROLES or not -_GREAT < delta < _GREAT:
        return None
    try:
        moment = dt.datetime.fromisoformat(time)
    except ValueError:
        return None
    if moment.tzinfo is not dt.UTC:
        return None
    return {
        "id": key,
        "session_id": parent.id,
        "role": document["role"],
        "content": content,
        "timestamp": moment,
        "maturity_delta": float(delta),
        "metadata": document["metadata"],
    }


def read_requirement(data: bytes, parent: Parent, name: str) -> list[Row]:
    """Give the row of a requirement; see :func:`read_message`.

    :param name: its field in the hash.
    """
    words = Words(data, "requirements", parent.warnings)
    words.belongs_to(parent.old_id)
    key = words.key(name, "ideation_requirements", parent.id)
    values = {
        "id": derived_id("ideation_requirements", parent.id, key),
        "session_id": parent.id,
        "key": key,
        "description": words.text("description"),
        "type": words.choice("type", REQUIREMENT_TYPES, "functional"),
        "priority": words.choice("priority", PRIORITIES, "should_have"),
        "category_id": None if words.rest.get("category_id") is None else words.text("category_id"),
        "created_at": words.time("created_at", parent.created_at),
    }
    words.rest.pop("category_id", None)
    return [_row(IdeationRequirement, values, words)]


def read_maturity(data: bytes, parent: Parent) -> list[Row]:
    """Give the row of a maturity; see :func:`read_message`. Its score keeps its fraction."""
    words = Words(data, "maturity", parent.warnings)
    words.belongs_to(parent.old_id)
    score = words.number("score")
    values = {
        "session_id": parent.id,
        "score": score,
        "level": words.text("level", level_of(score)),
        "categories": words.take("categories"),
        "can_submit": words.flag("can_submit"),
        "gaps": words.take("gaps"),
        "updated_at": words.time("updated_at", parent.updated_at),
    }
    return [_row(IdeationMaturity, values, words)]


def level_of(score: float) -> str:
    """Give the word that the old program had for a score."""
    return next((word for bound, word in _LEVELS if score < bound), "complete")


def read_drafts(data: bytes, parent: Parent) -> list[Row]:
    """Give the rows of a draft and of those before it; see :func:`read_message`."""
    words = Words(data, "prd", parent.warnings)
    earlier = words.take(EARLIER_DRAFTS)
    rows = [_draft(words, parent)]
    if isinstance(earlier, list) and all(isinstance(item, dict) for item in earlier):
        for item in earlier:
            rows.append(_draft(Words.of(item, "prd", parent.warnings), parent))
    elif earlier is not None:
        raise Unreadable(f"{EARLIER_DRAFTS}: a list of objects expected")
    return rows


def _draft(words: Words, parent: Parent) -> Row:
    words.belongs_to(parent.old_id)
    key = words.key(f"prd-{parent.old_id}", "ideation_prd_drafts", parent.id)
    values = {
        "id": derived_id("ideation_prd_drafts", parent.id, key),
        "session_id": parent.id,
        "key": key,
        "title": words.text("title", ""),
        "version": words.text("version", "1.0"),
        "sections": words.take("sections"),
        "status": words.text("status", "draft"),
        "created_at": words.time("created_at", parent.updated_at),
    }
    return _row(IdeationDraft, values, words)


def read_story(data: bytes, parent: Parent, position: int) -> list[Row]:
    """Give the row of a user story; see :func:`read_message`.

    :param position: in the list, from 0.
    """
    words = Words(data, "stories", parent.warnings)
    words.belongs_to(parent.old_id)
    key = words.key(f"US-{position + 1:03}", "ideation_user_stories", parent.id)
    values = {
        "id": derived_id("ideation_user_stories", parent.id, key),
        "session_id": parent.id,
        "key": key,
        "title": words.text("title", ""),
        "as_a": words.text("as_a", ""),
        "i_want": words.text("i_want", ""),
        "so_that": words.text("so_that", ""),
        "acceptance_criteria": words.take("acceptance_criteria"),
        "linked_requirements": words.take("linked_requirements"),
        "priority": words.choice("priority", PRIORITIES, "should_have"),
        "created_at": words.time("created_at", parent.updated_at),
    }
    return [_row(IdeationStory, values, words)]


def _row(model: type[Record], values: dict[str, Any], words: Words) -> Row:
    values["metadata"] = words.metadata()
    try:
        checked(model, values)
    except InvalidValue as exc:
        raise Unreadable(exc.message) from None
    return model, values


def rekeyed(model: type[Record], values: dict[str, Any], old: Any, key: str) -> dict[str, Any]:
    """Give a row another id or key, with its old one in the metadata."""
    metadata = values["metadata"]
    if metadata is None or not isinstance(metadata, dict):
        metadata = {} if metadata is None else {"metadata": metadata}
    values = {**values, "metadata": {**metadata, "id": old}}
    if model is IdeationMessage:
        return {**values, "id": key}
    table = str(model._meta.table_name)
    return {**values, "id": derived_id(table, values["session_id"], key), "key": key}
