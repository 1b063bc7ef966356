"""Reading ideation's keys from a JSON dump: one pass finds them, a second reads by session."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from dynostore.legacy.base import Finding, Unreadable
from dynostore.legacy.ideation_keys import TYPES, KeyIndex, Owner, Place, parse_key, text_of
from dynostore.legacy.ideation_pairs import find_pairs, value_of
from dynostore.legacy.ideation_source import MESSAGES_AT_ONCE, SessionKeys, Value, wrong_type
from dynostore.legacy.source_json import printable


class DumpKeys:
    """The keys of a dump; a :class:`~dynostore.legacy.ideation_source.KeySource`.

    :raises OSError: the file cannot be read; so do all methods.
    """

    def __init__(self, path: str) -> None:
        self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115  # closed by close()
        self.index = KeyIndex()

    def close(self) -> None:
        """Close the file."""
        self.index.close()
        self._file.close()

    def list_keys(self) -> Iterator[Finding]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        strangers = 0
        try:
            for pair in find_pairs(self._file):
                key = _as_bytes(pair.key)
                names = parse_key(key)
                if names is None:
                    strangers += 1
                    continue
                noun, owner = names
                if not self.index.add(noun, owner, Place(pair.start, pair.size_bytes)):
                    reason = "stands in the dump more than once; the first was taken"
                    yield Finding(text_of(key), "invalid", reason, is_record=True, files=0)
                elif noun == "user_sessions":
                    yield from self._list_members(key, owner, pair.value)
        except Unreadable as exc:
            reason = f"{exc}; what stood before it was taken"
            yield Finding("*", "invalid", reason, is_record=True, files=0)
        if strangers:
            reason = f"{strangers} keys of other programs"
            yield Finding("*", "skipped", reason, files=0)

    def _list_members(self, key: bytes, user: bytes, document: Any) -> Iterator[Finding]:
        try:
            self.index.add_members(user, _as_list(_value(document, "set")))
        except Unreadable as exc:
            self.index.forget_user(user)
            yield Finding(text_of(key), "invalid", str(exc), files=0)

    def fetch(self, owners: Sequence[Owner]) -> Iterator[SessionKeys]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        for owner in owners:
            found = SessionKeys(owner)
            for noun, place in owner.places.items():
                try:
                    value = _read(TYPES[noun], self._document(place))
                except Unreadable as exc:
                    found.problems[noun] = str(exc)
                else:
                    if noun == "messages" and isinstance(value, list):
                        value = value[:MESSAGES_AT_ONCE]
                    found.values[noun] = value
            yield found

    def more_messages(self, owner: Owner, start: int) -> list[bytes]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        messages = _read("list", self._document(owner.places["messages"]))
        return [*messages][start : start + MESSAGES_AT_ONCE]

    def _document(self, place: Place) -> Any:
        self._file.seek(place.start)
        data = self._file.read(place.size_bytes)
        try:
            return json.loads(data, strict=False)
        except ValueError as exc:
            raise Unreadable(f"the dump was changed while it was read: {exc}") from None


def _value(document: Any, kind: str) -> Any:
    said, _, value = value_of(document)
    if said is not None and said != kind:
        raise Unreadable(wrong_type(kind, printable(said)[:40]))
    return value


def _read(kind: str, document: Any) -> Value:
    """Give the documents that a key's value is made of, as the server would.

    :raises Unreadable: it is of another type.
    """
    value = _value(document, kind)
    if kind == "string":
        if isinstance(value, str | dict):
            return _as_bytes(value)
    elif kind == "list":
        if isinstance(value, list):
            return _as_list(value)
    elif isinstance(value, dict):
        return {_as_bytes(name): _as_bytes(item) for name, item in value.items()}
    raise Unreadable(wrong_type(kind, type(value).__name__))


def _as_list(value: Any) -> list[bytes]:
    if not isinstance(value, list):
        raise Unreadable(wrong_type("list", type(value).__name__))
    return [_as_bytes(item) for item in value]


def _as_bytes(value: Any) -> bytes:
    """Give what the server held: text; what a dump shows parsed is put into text again."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
