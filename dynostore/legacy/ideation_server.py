"""Reading ideation's keys from a running Redis: by SCAN, in pipelines, and by nothing that writes.

Neither KEYS, which stops the server while it looks at all keys, nor a transaction, which a user
who may only read is refused.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from dynostore.legacy.base import Finding
from dynostore.legacy.ideation_keys import (
    PREFIX,
    TYPES,
    KeyIndex,
    Owner,
    key_of,
    parse_key,
    text_of,
)
from dynostore.legacy.ideation_source import MESSAGES_AT_ONCE, SessionKeys, wrong_type
from dynostore.redis_server import connect, saying

_KEYS_AT_ONCE = 2_000
_WINDOW = 1_000  # elements of a list, or members of a set, in one answer


def count_sessions(url: str) -> int:
    """Count the sessions of a Redis database, about."""
    with saying(url), contextlib.closing(connect(url)) as client:
        keys = client.scan_iter(match=key_of("session", b"*"), count=_KEYS_AT_ONCE)
        return sum(1 for _ in keys)


class ServerKeys:
    """The keys of a Redis database; a :class:`~dynostore.legacy.ideation_source.KeySource`.

    :raises DynostoreError: as :func:`dynostore.redis_server.connect` does; so do all methods.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = connect(url)
        self.index = KeyIndex()

    def close(self) -> None:
        """Hang up."""
        self.index.close()
        self._client.close()

    def list_keys(self) -> Iterator[Finding]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        others: set[bytes] = set()
        found = 0
        with saying(self._url):
            scanned = self._client.scan_iter(match=PREFIX + b"*", count=_KEYS_AT_ONCE)
            while batch := [*itertools.islice(scanned, _KEYS_AT_ONCE)]:
                parsed = [(key, parse_key(key)) for key in batch]
                self.index.add_many(names for _, names in parsed if names is not None)
                others.update(key for key, names in parsed if names is None)
                found += len(set(batch))
        for key in sorted(others):
            yield Finding(text_of(key), "skipped", "is none of the keys that ideation has", files=0)
        yield from self._list_members()
        with saying(self._url):
            strangers = self._client.dbsize() - found
        if strangers > 0:
            reason = f"{strangers} keys of other programs in the same database"
            yield Finding("*", "skipped", reason, files=0)

    def _list_members(self) -> Iterator[Finding]:
        import redis

        for user, _ in self.index.users():
            key = key_of("user_sessions", user)
            with saying(self._url):
                members = self._client.sscan_iter(key, count=_WINDOW)
                try:
                    while batch := [*itertools.islice(members, _WINDOW)]:
                        self.index.add_members(user, batch)
                except redis.exceptions.ResponseError as exc:
                    if "WRONGTYPE" not in str(exc):
                        raise
                    self.index.forget_user(user)
                    reason = wrong_type("set", self._type(key))
                    yield Finding(text_of(key), "invalid", reason, files=0)

    def fetch(self, owners: Sequence[Owner]) -> Iterator[SessionKeys]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        asked = [(owner, noun) for owner in owners for noun in owner.places]
        with saying(self._url):
            pipeline = self._client.pipeline(transaction=False)
            for owner, noun in asked:
                _ask(pipeline, noun, key_of(noun, owner.name))
            answers = iter(pipeline.execute(raise_on_error=False))
        for owner in owners:
            found = SessionKeys(owner)
            for noun in owner.places:
                self._take(found, noun, next(answers))
            yield found

    def _take(self, found: SessionKeys, noun: str, answer: Any) -> None:
        key = key_of(noun, found.owner.name)
        if isinstance(answer, Exception):
            if "WRONGTYPE" not in str(answer):
                with saying(self._url):
                    raise answer
            found.problems[noun] = wrong_type(TYPES[noun], self._type(key))
        elif not answer and answer != b"":
            # Redis has no empty lists or hashes: a key that was listed is gone by now.
            found.gone.append(noun)
        elif isinstance(answer, list) and len(answer) == _WINDOW:
            found.values[noun] = self._rest(key, answer, noun)
        else:
            found.values[noun] = answer

    def _rest(self, key: bytes, first: list[bytes], noun: str) -> list[bytes]:
        """Give a list that goes on, the messages' up to what is held at a time."""
        window = first
        while len(window) == _WINDOW and (noun != "messages" or len(first) < MESSAGES_AT_ONCE):
            window = self._range(key, len(first), _WINDOW)
            first += window
        return first

    def more_messages(self, owner: Owner, start: int) -> list[bytes]:
        """See :class:`~dynostore.legacy.ideation_source.KeySource`."""
        found: list[bytes] = []
        window = found
        while len(found) < MESSAGES_AT_ONCE:
            window = self._range(key_of("messages", owner.name), start + len(found), _WINDOW)
            found += window
            if len(window) < _WINDOW:
                break
        return found

    def _range(self, key: bytes, start: int, count: int) -> list[bytes]:
        with saying(self._url):
            return list(self._client.lrange(key, start, start + count - 1))

    def _type(self, key: bytes) -> str:
        with saying(self._url):
            return str(self._client.type(key).decode())


def _ask(pipeline: Any, noun: str, key: bytes) -> None:
    kind = TYPES[noun]
    if kind == "string":
        pipeline.get(key)
    elif kind == "list":
        pipeline.lrange(key, 0, _WINDOW - 1)
    else:
        pipeline.hgetall(key)
