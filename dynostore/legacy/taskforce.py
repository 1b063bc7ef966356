"""Finding what Taskforce left: states, todo lists, conversations and skills, in any directory.

====================================  ============================================================
``states/ID.json``                    a session with its newest state; the tool keeps no others
``todolists/todolist_ID.json``        a todo list; its session is the one whose state names it
``checklists/todolist_ID.md``         the same, in its oldest form
``conversations/index.json`` and      conversations with their messages
``conversations/ID/messages.json``
``skills.json``                       memories
``agent_states/ID.pkl``               pickles: refused, never opened
====================================  ============================================================

Where a temporary file is newer than the file that it was to become, or all that there is, it is
taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.beside import OURS, notes_on, read_note, with_note
from dynostore.legacy.detection import is_below, knows_file
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_json import printable
from dynostore.legacy.source_tree import Listing, SourceTree
from dynostore.legacy.taskforce_conversations import read_conversation, read_index
from dynostore.legacy.taskforce_copies import Found, choose
from dynostore.legacy.taskforce_draft import KIND, Clock, Draft
from dynostore.legacy.taskforce_files import (
    STATE_DIRECTORIES,
    WANTED,
    Group,
    is_ours,
    sort_files,
)
from dynostore.legacy.taskforce_kept import add_kept
from dynostore.legacy.taskforce_memories import read_memory, read_skills
from dynostore.legacy.taskforce_states import read_state, todolist_of
from dynostore.legacy.taskforce_todos import read_todo
from dynostore.models.conversations import Message
from dynostore.models.sessions import SessionState
from dynostore.models.todos import TodoList

_READER_VERSION = b"taskforce 1\n"  # a reader that reads more must see the same files as changed
_PICKLE = "a pickle, which is never opened: reading one can run any code; export it with the tool"
_WEIGHT = 8  # bytes in memory for one of JSON, about
_NOTED = {"state": "sessions", "todo": "todolists"}  # the notes on each kind of file
_DERIVED_KEYS = frozenset({Message, SessionState})
_SHOWN = 80  # characters of an id
_LONGEST_ID = 255  # a session with a longer one is refused, and its list is not


class TaskforceReader:
    """Reads what Taskforce wrote, of all its versions; a :class:`~.base.Reader`."""

    kind = KIND
    wanted: tuple[str, ...] = WANTED

    def detect(self, source: str) -> bool:
        """Tell whether something of Taskforce is at or below ``source``, readable or broken."""
        if os.path.isfile(source):
            return knows_file(source, self)
        return os.path.isdir(source) and is_below(source, self)

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell whether a file is one of Taskforce's, or may become one."""
        return is_ours(head)

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give all sessions, then all the rest, each in the order of their paths."""
        return _Reading(source, options).run()


class _Walk:
    """The directories of a source, or the one file that it is."""

    def __init__(self, source: str) -> None:
        self.tree = SourceTree(source, WANTED)
        self._is_file = os.path.isfile(self.tree.root)

    def listings(self) -> Iterator[Listing]:
        if self._is_file:
            directory, name = os.path.split(self.tree.root)
            yield Listing(directory, [name], [], [])
            return
        pending = [self.tree.root]
        while pending:
            listing = self.tree.list(pending.pop())
            yield listing
            pending += [os.path.join(listing.path, name) for name in reversed(listing.directories)]


_Stream = Iterator[SourceRecord | Finding]


class _Reading:
    """One source on its way into records."""

    def __init__(self, source: str, options: ReadOptions) -> None:
        self._walk = _Walk(source)
        self._tree = self._walk.tree
        self._clock = Clock(options.timezone)
        self._has_told_zone = False
        self._looked_into = ("", False)
        self._links: dict[str, str] = {}  # sessions by the todo list that they name
        self._entries: dict[str, dict[str, Any]] = {}  # of the last index of conversations
        self._index_paths: list[str] = []  # of its files, until a record counts them
        self._taken: dict[int, int] = {}  # hashes of keys and contents: there may be millions

    def run(self) -> _Stream:
        """Give all that is there."""
        # A list knows no session: all states must be known before the first one.
        for listing in self._walk.listings():
            for group in sort_files(listing).groups:
                if group.what == "state":
                    yield from self._state(listing, group)
        read = {
            "todo": self._todo,
            "checklist": self._todo,
            "skills": self._skills,
            "index": self._index,
            "messages": self._conversation,
        }
        for listing in self._walk.listings():
            yield from listing.findings
            found = sort_files(listing)
            for name in found.pickles:
                path = self._tree.relative(os.path.join(listing.path, name))
                # Elsewhere it may be another tool's, which then says what it is.
                is_state = os.path.basename(listing.path) in STATE_DIRECTORIES
                yield Finding(path, "invalid", _PICKLE, is_record=is_state)
            for name in found.others:
                path = self._tree.relative(os.path.join(listing.path, name))
                yield Finding(path, "skipped", _reason_for_other(name))
            for group in found.groups:
                if group.what != "state":
                    yield from read[group.what](listing, group)
        yield from self._lone_index()

    def _choose(self, listing: Listing, group: Group) -> Generator[Finding, None, Found | None]:
        notes: list[str] = []
        above = os.path.dirname(listing.path)
        if group.what in _NOTED and self._has_notes(above):
            notes = notes_on(above, _NOTED[group.what], group.stem)
        return choose(self._tree, listing.path, group, self._clock, notes)

    def _has_notes(self, directory: str) -> bool:
        # Asked for each of a directory's files.
        if self._looked_into[0] != directory:
            self._looked_into = directory, os.path.isdir(os.path.join(directory, OURS))
        return self._looked_into[1]

    def _state(self, listing: Listing, group: Group) -> _Stream:
        found = yield from self._choose(listing, group)
        if found is None:
            return
        name = group.stem
        if "state_data" not in found.document:  # a flat one is known by its directory alone
            name = f"{os.path.basename(listing.path)}/{name}"
        draft = self._draft(found, read_state, name)
        if isinstance(draft, Finding):
            yield draft
            return
        linked = todolist_of(draft)
        if found.notes:
            kept = os.path.join(os.path.dirname(listing.path), OURS, "states", group.stem)
            try:
                add_kept(draft, found.document, found.facts.sha256, kept)
                self._apply_note(draft, found, f"{os.sep}sessions{os.sep}")
            except Unreadable as exc:
                yield self._refusal(found, str(exc))
                return
        path = self._tree.relative(found.facts.path)
        yield from self._give(draft, found, path, _with_notes(found.facts.digest, found))
        if linked is not None and len(draft.key) <= _LONGEST_ID:
            self._links.setdefault(linked, draft.key)

    def _todo(self, listing: Listing, group: Group) -> _Stream:
        found = yield from self._choose(listing, group)
        if found is None:
            return
        name = group.stem.removeprefix("todolist_")
        if group.what == "checklist":  # which names no id
            found.document["todolist_id"] = name
        draft = self._draft(found, read_todo, name)
        if isinstance(draft, Finding):
            yield draft
            return
        draft.values["session_id"] = self._links.get(draft.key)
        link = (draft.values["session_id"] or "").encode()
        digest = _hash(found.facts.digest + link) if link else found.facts.digest
        digest = _with_notes(digest, found)
        try:
            self._apply_note(draft, found, f"{os.sep}todolists{os.sep}")
        except Unreadable as exc:
            yield self._refusal(found, str(exc))
            return
        yield from self._give(draft, found, self._tree.relative(found.facts.path), digest)

    def _apply_note(self, draft: Draft, found: Found, kind: str) -> None:
        """Let a record be what its file and the note on it say together."""
        for note in found.notes:
            if kind not in note.path:
                continue
            draft.finish()
            draft.values = with_note(draft.model, draft.values, read_note(note.path))
            noted = draft.values["metadata"]
            draft.metadata.pop("file", None)  # the name that a file of ours has for an odd id
            if isinstance(noted, dict):
                draft.metadata |= noted
            elif noted is not None:
                draft.keep("metadata", noted)
        session = draft.values.get("session_id")
        if draft.model is TodoList and session and not self._is_taken("sessions", session):
            draft.keep("session_id", session)
            draft.values["session_id"] = None

    def _draft(self, found: Found, read: Callable[..., Draft], name: str) -> Draft | Finding:
        self._clock.has_guessed = False
        try:
            return read(found.document, name, self._clock, found.facts.modified_s)
        except Unreadable as exc:
            return self._refusal(found, str(exc))

    def _skills(self, listing: Listing, group: Group) -> _Stream:
        found = yield from self._choose(listing, group)
        if found is None:
            return
        path = self._tree.relative(found.facts.path)
        try:
            skills = [*read_skills(found.document)]
        except Unreadable as exc:
            yield self._refusal(found, str(exc))
            return
        if not skills:
            yield Finding(path, "skipped", "holds no skills", files=len(found.paths))
        for name, skill in skills:
            below = f"{path}#{printable(name)[:_SHOWN]}"
            self._clock.has_guessed = False
            try:
                draft = read_memory(skill, name, self._clock, found.facts.modified_s)
            except Unreadable as exc:
                yield Finding(below, "invalid", str(exc), True, len(found.paths))
            else:
                text = json.dumps(skill, sort_keys=True).encode()
                yield from self._give(draft, found, below, _hash(text), len(text))
            # The first one counts the file.
            found = dataclasses.replace(found, paths=[], warnings=[])

    def _index(self, listing: Listing, group: Group) -> _Stream:
        """Remember what an index says; give the conversations of which it alone knows."""
        yield from self._lone_index()
        self._entries = {}
        found = yield from self._choose(listing, group)
        if found is None:
            return
        path = self._tree.relative(found.facts.path)
        try:
            self._entries = read_index(found.document)
        except Unreadable as exc:
            yield Finding(path, "invalid", str(exc), files=len(found.paths))
            return
        # It is counted with the first of its conversations, and moves to an archive with it.
        self._index_paths = found.paths
        alone = dataclasses.replace(found, document=[], paths=[], warnings=[])
        for key in sorted(self._entries):
            if not self._has_messages(listing, key):
                yield from self._talk(
                    dataclasses.replace(alone), key, f"{path}#{printable(key)[:_SHOWN]}"
                )

    def _lone_index(self) -> _Stream:
        """Account for an index none of whose conversations could be read."""
        if self._index_paths:
            path = self._tree.relative(self._index_paths[0])
            reason = "an index of no conversation that could be read"
            yield Finding(path, "skipped", reason, files=len(self._index_paths))
            self._index_paths = []

    def _has_messages(self, listing: Listing, name: str) -> bool:
        if name not in listing.directories:
            return False
        below = self._tree.list(os.path.join(listing.path, name))
        return any(group.what == "messages" for group in sort_files(below).groups)

    def _conversation(self, listing: Listing, group: Group) -> _Stream:
        found = yield from self._choose(listing, group)
        if found is not None:
            name = os.path.basename(listing.path)
            yield from self._talk(found, name, self._tree.relative(found.facts.path))

    def _talk(self, found: Found, name: str, path: str) -> _Stream:
        entry = self._entries.get(name)
        messages = found.facts.digest if found.paths else b""
        if entry is not None:
            found.paths = [*found.paths, *self._index_paths]
            self._index_paths = []
        self._clock.has_guessed = False
        facts = found.facts
        try:
            draft = read_conversation(entry, found.document, name, self._clock, facts.modified_s)
        except Unreadable as exc:
            yield self._refusal(found, str(exc))
            return
        digest = _hash(messages + json.dumps(entry, sort_keys=True).encode())
        yield from self._give(draft, found, path, digest)

    def _refusal(self, found: Found, reason: str) -> Finding:
        path = self._tree.relative(found.facts.path)
        return Finding(path, "invalid", reason, is_record=True, files=len(found.paths))

    def _give(
        self,
        draft: Draft,
        found: Found,
        path: str,
        digest: bytes | None = None,
        size_bytes: int | None = None,
    ) -> _Stream:
        """Give a record, unless it is a copy; of two with one id the second gets another.

        :param digest: the hash of all that it was read from, where that is not the file alone.
        """
        digest = found.facts.digest if digest is None else digest
        if self._clock.has_guessed:
            digest = _hash(digest + self._clock.said.encode())
        before = self._take(draft, digest)
        if before == _short(digest):
            reason = f"a copy of {draft.key!r:.{_SHOWN}}, which was taken"
            yield Finding(path, "skipped", reason, is_record=True, files=len(found.paths))
            return
        if before is not None:
            draft.warnings.append(f"the id {draft.key!r:.{_SHOWN}} is another record's too")
            draft.set_derived_key(draft.key, draft.values["created_at"])
            self._take(draft, digest)
        draft.finish()
        size_bytes = found.facts.size_bytes if size_bytes is None else size_bytes
        yield SourceRecord(
            model=draft.model,
            key=draft.key,
            values=draft.values,
            children=draft.children,
            path=path,
            place=found.facts.path,
            content_hash=_hash(_READER_VERSION + digest).hex(),
            files=len(found.paths),
            warnings=[*found.warnings, *draft.warnings, *self._zone_warning()],
            weight_bytes=_WEIGHT * size_bytes,
            members=found.paths if len(found.paths) > 1 else (),
            derived_keys=_DERIVED_KEYS,
        )

    def _take(self, draft: Draft, digest: bytes) -> int | None:
        """Note that a key is taken; give what took it before, None: nothing."""
        key = _key_of(str(draft.model._meta.table_name), draft.key)
        before = self._taken.get(key)
        self._taken.setdefault(key, _short(digest))
        return before

    def _is_taken(self, table: str, key: str) -> bool:
        return _key_of(table, key) in self._taken

    def _zone_warning(self) -> list[str]:
        """Say once which zone was meant by times that name none."""
        if not self._clock.has_guessed or self._has_told_zone:
            return []
        self._has_told_zone = True
        return [
            f"its times and others here name no zone: read as those of {self._clock.said}; "
            "--timezone names another"
        ]


def _with_notes(digest: bytes, found: Found) -> bytes:
    return _hash(digest + b"".join(n.digest for n in found.notes)) if found.notes else digest


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _key_of(table: str, key: str) -> int:
    return hash((table, key))


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def _reason_for_other(name: str) -> str:
    if name.endswith(".tmp"):
        return "a left-over temporary file of nothing that is taken over"
    return "not one of Taskforce's states, todo lists, conversations and skills"
