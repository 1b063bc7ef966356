"""Taking ideation's sessions out of the keys that they are spread over, in Redis or a dump of it.

A session is one record, and all that hangs on it its children. A document among them that cannot be
read costs itself alone. What hangs on no session is reported, and so is a session that was written
by half: the old program wrote its document and its user's set one after the other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.detection import is_below, knows_file
from dynostore.legacy.ideation_dump import DumpKeys
from dynostore.legacy.ideation_keys import TYPES, path_of, text_of
from dynostore.legacy.ideation_server import ServerKeys, count_sessions
from dynostore.legacy.ideation_session import SessionDraft, count_elements
from dynostore.legacy.ideation_source import MESSAGES_AT_ONCE, KeySource, SessionKeys
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_tree import Listing, SourceTree
from dynostore.redis_server import is_redis

_SESSIONS_AT_ONCE = 32
_MARKS = tuple(f'"ideation:{noun}:'.encode() for noun in TYPES)
_ENDINGS = (".json", ".jsonl", ".ndjson", ".txt", ".dump")


class IdeationReader:
    """Reads ideation's keys; a :class:`~dynostore.legacy.base.Reader`."""

    kind = "ideation"
    wanted: tuple[str, ...] = ()

    def detect(self, source: str) -> bool:
        """Tell whether it is a Redis server, a dump of ideation's keys, or holds one."""
        if is_redis(source):
            return True
        if os.path.isfile(source):
            return knows_file(source, self)
        return os.path.isdir(source) and is_below(source, self)

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell whether a file is a dump, by its name and first bytes."""
        return _is_dump(head)

    def count(self, source: str) -> int | None:
        """Count the sessions of a server; a dump must be read for that."""
        return count_sessions(source) if is_redis(source) else None

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give every session, and all keys that belong to none, by the names of keys.

        All times are UTC: the old program wrote them so, with their offset or without it.

        :param source: a URL, a dump, or a directory with dumps.
        """
        if is_redis(source):
            with contextlib.closing(ServerKeys(source)) as keys:
                yield from _Reading(keys, source, "").read()
        elif os.path.isfile(source):
            yield from _read_dump(source, "")
        else:
            yield from _read_tree(source)


def _files_below(tree: SourceTree) -> Iterator[tuple[str | None, Finding | None]]:
    """Give the path of every file of a tree, and findings about all that is none."""
    pending = [tree.root]
    while pending:
        listing = tree.list(pending.pop())
        yield from ((None, finding) for finding in listing.findings)
        for name in listing.files:
            yield os.path.join(listing.path, name), None
        pending += [os.path.join(listing.path, name) for name in reversed(listing.directories)]


def _is_dump(head: FileHead) -> bool:
    # One look for what all of them begin with: nearly no file has it.
    may_be = head.path.endswith(_ENDINGS) and b'"ideation:' in head.data
    return may_be and any(mark in head.data for mark in _MARKS)


def _read_tree(root: str) -> Iterator[SourceRecord | Finding]:
    tree = SourceTree(root)
    for path, finding in _files_below(tree):
        if finding is not None:
            yield finding
        elif path is not None and _is_dump(FileHead(path)):
            yield from _read_dump(path, f"{tree.relative(path)}#")
        elif path is not None:
            yield Finding(tree.relative(path), "skipped", "no dump of ideation's keys")


def _read_dump(path: str, shown: str) -> Iterator[SourceRecord | Finding]:
    try:
        with contextlib.closing(DumpKeys(path)) as keys:
            yield from _as_one_file(_Reading(keys, path, shown).read())
    except OSError as exc:
        yield Finding(shown.rstrip("#") or ".", "invalid", f"cannot be read: {exc.strerror or exc}")


def _as_one_file(
    items: Iterator[SourceRecord | Finding],
) -> Iterator[SourceRecord | Finding]:
    """Count the file once: with its first record, or where there is none with a finding."""
    before: list[SourceRecord | Finding] = []
    for item in items:
        before.append(item)
        if isinstance(item, SourceRecord):
            item.files = 1
            break
    else:
        if not before:
            before.append(Finding(".", "skipped", "holds no keys"))
        before[0].files = 1
    yield from before
    yield from items


class _Reading:
    """One way through a source.

    :param place: the file or the URL.
    :param shown: what stands before the names of its keys in paths.
    """

    def __init__(self, keys: KeySource, place: str, shown: str) -> None:
        self._keys = keys
        self._place = place
        self._shown = shown
        self._has_sets = False

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give everything that there is, by the names of keys below the source."""
        for found in self._read():
            if isinstance(found, SourceRecord):
                found.place = self._place
            found.path = self._shown + found.path
            yield found

    def _read(self) -> Iterator[SourceRecord | Finding]:
        yield from self._keys.list_keys()
        users = self._keys.index.users()
        self._has_sets = bool(users)
        owners = self._keys.index.owners()
        while batch := [*itertools.islice(owners, _SESSIONS_AT_ONCE)]:
            for found in self._keys.fetch(batch):
                yield from self._session(found)
        yield from self._user_sets([user for user, _ in users])

    def _user_sets(self, users: list[bytes]) -> Iterator[Finding]:
        """Tell of each set that names what is not there, and of all others at once."""
        whole = 0
        for user in users:
            total, missing = self._keys.index.missing_of(user)
            if not missing:
                whole += 1
                continue
            names = ", ".join(text_of(name) for name in missing[:5])
            names += ", ..." if len(missing) > 5 else ""
            reason = f"of its {total} sessions {len(missing)} are not there: {names}"
            yield Finding(path_of("user_sessions", user), "skipped", reason, files=0)
        if whole:
            reason = f"{whole} sets of users' sessions, which say so themselves"
            yield Finding(path_of("user_sessions", b"*"), "skipped", reason, files=0)

    def _session(self, found: SessionKeys) -> Iterator[SourceRecord | Finding]:
        owner = found.owner
        for noun in found.gone:
            reason = "went away while it was read: deleted, or at the end of its time to live"
            yield Finding(path_of(noun, owner.name), "skipped", reason, files=0)
        for noun, problem in found.problems.items():
            yield Finding(path_of(noun, owner.name), "invalid", problem, is_record=True, files=0)
        if "session" not in found.values:
            yield from _orphans(found)
            return
        try:
            users = self._keys.index.users_of(owner.name)
            draft = SessionDraft(found, users if self._has_sets else None)
        except Unreadable as exc:
            hanging = count_elements(found)
            reason = f"{exc}; {hanging} documents hang on it" if hanging else str(exc)
            path = path_of("session", owner.name)
            yield Finding(path, "invalid", reason, is_record=True, files=0)
            return
        record = draft.record()
        yield from draft.take_findings()
        yield record
        start = MESSAGES_AT_ONCE
        while draft.messages_read == start and (batch := self._keys.more_messages(owner, start)):
            yield from draft.later_messages(batch)
            yield from draft.take_findings()
            start += MESSAGES_AT_ONCE


def _orphans(found: SessionKeys) -> Iterator[Finding]:
    """Report what is left of a session that is not there."""
    went = "session" in found.gone
    for noun, value in found.values.items():
        count = 1 if isinstance(value, bytes) else len(value)
        more = " or more" if count == MESSAGES_AT_ONCE else ""
        yield Finding(
            path_of(noun, found.owner.name),
            "skipped" if went else "invalid",
            f"{count}{more} of a session that {'went away' if went else 'is not there'}",
            is_record=not went,
            files=0,
        )
