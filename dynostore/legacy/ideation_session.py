"""Putting one ideation session together from the documents in its keys.

A message's id is eight random digits or the front end's: one that stands in the session twice is
replaced by a derived one here, one that another session has when the record meets the store.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dynostore.ids import derived_id
from dynostore.legacy.base import Finding, Row, SourceRecord, Unreadable
from dynostore.legacy.ideation_documents import (
    Parent,
    read_drafts,
    read_maturity,
    read_message,
    read_requirement,
    read_session,
    read_story,
    rekeyed,
)
from dynostore.legacy.ideation_keys import path_of, text_of
from dynostore.legacy.ideation_source import SessionKeys, Value
from dynostore.legacy.ideation_words import Warnings, Words
from dynostore.legacy.source_json import parse_objects
from dynostore.models.base import Record
from dynostore.models.ideation import IdeationMessage, IdeationSession

_READER_VERSION = b"ideation 1\n"  # a reader that reads more must see the same keys as changed
_OWN_KEYS: frozenset[type[Record]] = frozenset({IdeationMessage})
_PARSED_AT_ONCE = 100
_ROW_BYTES = 1_000  # a row in memory, about, without its text


class SessionDraft:
    """A session on its way to a record.

    :param users: those whose set names the session; None where the source has no such sets.
    :param as_it_is: not for another store: ids that are numbers and the order of messages stay.
    :ivar messages_read: so many of its messages were looked at.
    :raises Unreadable: its document says no session.
    """

    def __init__(
        self, found: SessionKeys, users: list[bytes] | None, *, as_it_is: bool = False
    ) -> None:
        self._found = found
        self._as_it_is = as_it_is
        self._warnings = Warnings()
        self._findings: list[Finding] = []
        self._taken: set[str] = set()
        self._values = self._read(found.values["session"], users)
        self._parent = Parent(
            id=self._values["id"],
            old_id=found.owner.name.decode(),
            created_at=self._values["created_at"],
            updated_at=self._values["updated_at"],
            warnings=self._warnings,
            keeps_ids=as_it_is,
        )
        self._before = self._parent.created_at
        self.messages_read = 0

    def _read(self, document: Value, users: list[bytes] | None) -> dict[str, Any]:
        if not isinstance(document, bytes):
            raise Unreadable("a document is expected")
        try:
            old_id = self._found.owner.name.decode()
        except UnicodeDecodeError as exc:
            raise Unreadable(f"its name is not UTF-8 at byte {exc.start}") from None
        if not old_id or "\0" in old_id:
            raise Unreadable("its name is empty or has a NUL")
        user = text_of(users[0]) if users else None
        values = read_session(
            document,
            old_id,
            user,
            self._message_times,
            self._warnings,
            keeps_id=self._as_it_is,
        )
        if users is not None and values["user_id"].encode() not in users:
            self._warnings.add("session: its user's set does not name it; it was written by half")
        return values

    def _message_times(self) -> list[dt.datetime]:
        """Give the time of the first and of the last message, where they can be read."""
        times = []
        messages = _list(self._found, "messages")
        for document in messages[:1] + messages[-1:]:
            try:
                times.append(Words(document, "", Warnings()).time("timestamp", None))
            except Unreadable:
                continue
        return times

    def take_findings(self) -> list[Finding]:
        """Give what was found to be no record since this was asked last."""
        findings, self._findings = self._findings, []
        return findings

    def record(self) -> SourceRecord:
        """Give the session with all that hangs on it."""
        found = self._found
        children = [*self._messages(_list(found, "messages")), *self._others()]
        return SourceRecord(
            model=IdeationSession,
            key=self._parent.id,
            values=self._values,
            children=children,
            path=path_of("session", found.owner.name),
            place="",
            content_hash=_content_hash(found),
            files=0,
            warnings=self._warnings.texts(),
            weight_bytes=4 * _size_bytes(found) + _ROW_BYTES * (1 + len(children)),
            own_keys=_OWN_KEYS,
        )

    def later_messages(self, documents: list[bytes]) -> Iterator[SourceRecord]:
        """Give messages for which the session's record had no room, each as a record."""
        values: dict[str, Any] | None
        read = zip(documents, self._read_messages(documents), strict=True)
        for position, (document, values) in enumerate(read, self.messages_read):
            if values is not None:
                yield SourceRecord(
                    model=IdeationMessage,
                    key=values["id"],
                    values=values,
                    children=[],
                    path=f"{path_of('messages', self._found.owner.name)}[{position}]",
                    place="",
                    content_hash=hashlib.sha256(_READER_VERSION + document).hexdigest(),
                    files=0,
                    weight_bytes=4 * len(document) + _ROW_BYTES,
                )
        self.messages_read += len(documents)

    def _messages(self, documents: list[bytes]) -> list[Row]:
        rows = [values for values in self._read_messages(documents) if values is not None]
        self.messages_read = len(documents)
        if not self._as_it_is:
            self._note_positions(rows)
        return [(IdeationMessage, values) for values in rows]

    def _read_messages(self, documents: list[bytes]) -> Iterator[dict[str, Any] | None]:
        """Give each message's row, None where it was refused; they follow those read before."""
        position = self.messages_read
        for start in range(0, len(documents), _PARSED_AT_ONCE):
            part = documents[start : start + _PARSED_AT_ONCE]
            parsed = parse_objects(part) or itertools.repeat(None, len(part))
            for data, document in zip(part, parsed, strict=True):
                yield self._message(data, document, position)
                position += 1

    def _message(
        self, data: bytes, document: dict[str, Any] | None, position: int
    ) -> dict[str, Any] | None:
        try:
            values = read_message(data, document, self._parent, self._before)
        except Unreadable as exc:
            self._refuse("messages", f"[{position}]", exc)
            return None
        self._before = values["timestamp"]
        if values["id"] in self._taken:
            values = self._told_apart(values)
        self._taken.add(values["id"])
        return values

    def _told_apart(self, values: dict[str, Any]) -> dict[str, Any]:
        """Give a message another id, since one before it in the session has the same."""
        self._warnings.add("messages: id: stands in the session twice; another one is derived")
        old = values["id"]
        name = f"{old}\x1f{values['timestamp'].isoformat()}"
        key = derived_id("ideation_messages", self._parent.id, name)
        while key in self._taken:
            name += "\x1f"
            key = derived_id("ideation_messages", self._parent.id, name)
        return rekeyed(IdeationMessage, values, old, key)

    def _note_positions(self, rows: list[dict[str, Any]]) -> None:
        """Keep the old order where the times do not tell it."""
        if all(one["timestamp"] < other["timestamp"] for one, other in itertools.pairwise(rows)):
            return
        in_order = sorted(rows, key=lambda values: (values["timestamp"], values["id"]))
        for position, (values, other) in enumerate(zip(rows, in_order, strict=True)):
            if values is not other:
                self._warnings.add(
                    "messages: lies in another order than the times; metadata has its position"
                )
                kept = values["metadata"]
                if kept is not None and not isinstance(kept, dict):
                    kept = {"metadata": kept}
                values["metadata"] = {**(kept or {}), "position": position}

    def _others(self) -> Iterator[Row]:
        parent = self._parent
        hash_ = self._found.values.get("requirements", {})
        named = sorted(hash_.items()) if isinstance(hash_, dict) else []
        texts = [(text_of(name), document) for name, document in named]
        yield from self._unique(
            "requirements",
            [(f"[{n}]", functools.partial(read_requirement, d, parent, n)) for n, d in texts],
        )
        one_document: tuple[tuple[str, Callable[[bytes, Parent], list[Row]]], ...]
        one_document = (("maturity", read_maturity), ("prd", read_drafts))
        for noun, read in one_document:
            document = self._found.values.get(noun)
            if isinstance(document, bytes):
                yield from self._unique(noun, [("", functools.partial(read, document, parent))])
        stories = enumerate(_list(self._found, "stories"))
        yield from self._unique(
            "stories",
            [(f"[{at}]", functools.partial(read_story, d, parent, at)) for at, d in stories],
        )

    def _unique(
        self, noun: str, readers: Iterable[tuple[str, Callable[[], list[Row]]]]
    ) -> Iterator[Row]:
        """Read documents, and give a key that stands twice another name."""
        keys: set[str] = set()
        for where, read in readers:
            try:
                rows = read()
            except Unreadable as exc:
                self._refuse(noun, where, exc)
                continue
            for model, values in rows:
                old = key = values.get("key", "")
                number = 1
                while key in keys:
                    number += 1
                    key = f"{old[:56]}-{number}"
                keys.add(key)
                if key != old:
                    self._warnings.add(f"{noun}: id: stands in the session twice; {key!r} is taken")
                    values = rekeyed(model, values, old, key)
                yield model, values

    def _refuse(self, noun: str, where: str, reason: Unreadable) -> None:
        path = f"{path_of(noun, self._found.owner.name)}{where}"
        self._findings.append(Finding(path, "invalid", str(reason), is_record=True, files=0))


def count_elements(found: SessionKeys) -> int:
    """Count the documents that hang on a session, of the messages those that are held."""
    hanging = [value for noun, value in found.values.items() if noun != "session"]
    return sum(1 if isinstance(value, bytes) else len(value) for value in hanging)


def _list(found: SessionKeys, noun: str) -> list[bytes]:
    value = found.values.get(noun)
    return value if isinstance(value, list) else []


def _parts(found: SessionKeys) -> Iterator[tuple[str, list[bytes]]]:
    for noun, value in sorted(found.values.items()):
        if isinstance(value, dict):
            yield noun, [part for item in sorted(value.items()) for part in item]
        else:
            yield noun, [value] if isinstance(value, bytes) else value


def _content_hash(found: SessionKeys) -> str:
    digest = hashlib.sha256(_READER_VERSION)
    for noun, parts in _parts(found):
        digest.update(f"{noun} {len(parts)}\n".encode())
        digest.update(b"\x00".join(parts))
    return digest.hexdigest()


def _size_bytes(found: SessionKeys) -> int:
    return sum(len(part) for _, parts in _parts(found) for part in parts)
