"""What one session's keys must become, said in commands of Redis."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from dynostore.compat.ideation_redis_documents import as_text, document_of, draft_text
from dynostore.legacy.ideation_documents import EARLIER_DRAFTS
from dynostore.legacy.ideation_keys import OF_A_SESSION, key_of
from dynostore.legacy.ideation_source import Value
from dynostore.models import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.models.base import Record

NOUNS: dict[type[Record], str] = {
    IdeationSession: "session",
    IdeationMessage: "messages",
    IdeationRequirement: "requirements",
    IdeationMaturity: "maturity",
    IdeationDraft: "prd",
    IdeationStory: "stories",
}
"""In which keys the rows of a table lie."""

Row = dict[str, Any]
Command = tuple[Any, ...]


@dataclasses.dataclass(slots=True)
class Held:
    """What is known of one session's keys.

    :ivar values: what they hold, by noun; nothing where there is no such key.
    :ivar rows: the same as rows, by noun, in the order in which they lie in the key.
    """

    name: str
    values: dict[str, Value] = dataclasses.field(default_factory=dict)
    rows: dict[str, list[Row]] = dataclasses.field(default_factory=dict)

    def key(self, noun: str) -> bytes:
        """Give the name of one of the keys."""
        return key_of(noun, self.name.encode())


def removal(held: Held) -> Iterator[Command]:
    """Give what removes a session with all that hangs on it."""
    yield "DEL", *(held.key(noun) for noun in OF_A_SESSION)
    for row in held.rows.get("session", ()):
        yield "SREM", key_of("user_sessions", row["user_id"].encode()), held.name


def changes(held: Held, model: type[Record], rows: Sequence[Row]) -> Iterator[Command]:
    """Give what makes of one noun's key what it is to hold.

    :param rows: all of the session's, in the order in which they are to lie, new ones last.
    """
    noun = NOUNS[model]
    if model is IdeationSession:
        yield from _session(held, rows[0])
    elif model is IdeationRequirement:
        yield from _requirements(held, rows)
    elif not rows:
        yield "DEL", held.key(noun)
    elif model is IdeationMaturity:
        yield "SET", held.key(noun), as_text(document_of(model, rows[0], _parsed(held, noun)))
    elif model is IdeationDraft:
        yield "SET", held.key(noun), draft_text([*rows], _old_drafts(held))
    else:
        yield from _list(held, model, rows)


def _session(held: Held, row: Row) -> Iterator[Command]:
    text = as_text(document_of(IdeationSession, row, _parsed(held, "session")))
    yield "SET", held.key("session"), text
    for before in held.rows.get("session", ()):
        if before["user_id"] != row["user_id"]:
            yield "SREM", key_of("user_sessions", before["user_id"].encode()), held.name
    yield "SADD", key_of("user_sessions", row["user_id"].encode()), held.name


def _requirements(held: Held, rows: Sequence[Row]) -> Iterator[Command]:
    hash_ = held.values.get("requirements", {})
    fields = sorted(hash_.items()) if isinstance(hash_, dict) else []
    before = {
        row["key"]: (name, text, row)
        for (name, text), row in zip(fields, held.rows.get("requirements", ()), strict=True)
    }
    for row in rows:
        name, text, old = before.pop(row["key"], (row["key"].encode(), b"{}", None))
        if row != old:
            said = as_text(document_of(IdeationRequirement, row, json.loads(text)))
            yield "HSET", held.key("requirements"), name, said
    for name, _, _ in before.values():
        yield "HDEL", held.key("requirements"), name


def _list(held: Held, model: type[Record], rows: Sequence[Row]) -> Iterator[Command]:
    """Append what is new, where all else stays as it is; else write the list anew."""
    noun = NOUNS[model]
    texts = held.values.get(noun, [])
    identity = "id" if model is IdeationMessage else "key"
    before = {
        row[identity]: (row, text) for row, text in zip(held.rows.get(noun, ()), texts, strict=True)
    }
    said = [_element(model, row, before.get(row[identity])) for row in rows]
    if said[: len(texts)] == texts:
        if len(said) > len(texts):
            yield "RPUSH", held.key(noun), *said[len(texts) :]
    else:
        yield "DEL", held.key(noun)
        yield "RPUSH", held.key(noun), *said


def _element(model: type[Record], row: Row, before: tuple[Row, Any] | None) -> bytes:
    if before is None:
        return as_text(document_of(model, row, None))
    old, text = before
    return bytes(text) if old == row else as_text(document_of(model, row, json.loads(text)))


def _parsed(held: Held, noun: str) -> dict[str, Any] | None:
    value = held.values.get(noun)
    return json.loads(value) if isinstance(value, bytes) else None


def _old_drafts(held: Held) -> dict[str, dict[str, Any]]:
    document = _parsed(held, "prd") or {}
    documents = [document, *document.get(EARLIER_DRAFTS, [])]
    keys = [row["key"] for row in held.rows.get("prd", ())]
    return dict(zip(keys, documents, strict=False))
