"""Sessions in Taskforce's state files, which its file state manager reads and writes too.

A session is ``states/<session>.json`` with its newest state, which is all that the older tool
keeps. Each version that is saved here is kept below ``.dynostore`` besides, with a hash of the
state file that was written with it: a state file that is not the one of the newest version was
written by the older tool since, and is a version of its own, whatever number it bears.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from dynostore import errors
from dynostore.compat.file_names import file_name
from dynostore.compat.folder_database import FolderDatabase
from dynostore.compat.folder_verbs import FolderVerbs
from dynostore.compat.shelf import Unit
from dynostore.fields import time_text
from dynostore.legacy.beside import OURS, Values, note_change, note_of, read_note, with_note
from dynostore.legacy.source_json import parse_object
from dynostore.legacy.taskforce_draft import Clock
from dynostore.legacy.taskforce_kept import add_kept
from dynostore.legacy.taskforce_states import read_state, todolist_of
from dynostore.models.base import Record
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.repositories.sessions import SessionRepository

_DIRECTORY = "states"
_ENDING = ".json"
_COUNTERS = ("_version", "_updated_at")
_SILENT = frozenset({"created_at", "metadata"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Memo:
    """What is needed of a session's file again.

    :ivar others: keys in it that are not the older tool's.
    :ivar loose: the version that is in the state file alone; None: all are kept.
    """

    others: Values
    loose: int | None = None


class StateShelf:
    """A :class:`~dynostore.compat.shelf.Shelf` of state files.

    :ivar todolists: the todo list that each session's state names, by session.
    """

    name = "sessions"
    owners: Mapping[type[Record], str] = {AgentSession: "session_id", SessionState: "session_id"}
    parts: Mapping[type[Record], str] = {SessionState: "version"}

    def __init__(self, database: FolderDatabase) -> None:
        self.repository = SessionRepository(database)
        self.todolists: dict[str, str] = {}
        self._db = database
        self._root = database.files.root

    def path_of(self, owner: str) -> str:
        """Give the state file of a new session."""
        return f"{_DIRECTORY}/{file_name(owner)}{_ENDING}"

    def scan(self) -> Iterator[tuple[str, os.stat_result]]:
        """Give the state files; what the older tool left unfinished is none."""
        return json_files(self._root, _DIRECTORY)

    def beside(self, path: str) -> bytes:
        """Give the note and which versions are kept."""
        kept = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._versions(path)) as entries:
            kept = sorted((e.name, e.stat().st_mtime_ns, e.inode()) for e in entries)
        with contextlib.suppress(FileNotFoundError):
            return self._note(path).read_bytes() + repr(kept).encode()
        return repr(kept).encode()

    def read(self, path: str, data: bytes) -> tuple[str, list[Record], _Memo]:
        """Give a session and all states of it that are there."""
        document, _ = parse_object(data)
        stem = stem_of(path)
        draft = read_state(document, stem, Clock(None), (self._root / path).stat().st_mtime)
        named = todolist_of(draft)
        draft.metadata.pop("file", None)
        draft.finish()
        note = read_note(self._note(path))
        row = with_note(AgentSession, {"session_id": draft.key, **draft.values}, note)
        digest = hashlib.sha256(data).hexdigest()
        loose = add_kept(draft, document, digest, self._versions(path))
        self.todolists.pop(draft.key, None)
        if named is not None:
            self.todolists[draft.key] = named
        records: list[Record] = [AgentSession(**row)]
        records += [SessionState(**_renamed(values)) for _, values in draft.children]
        return draft.key, records, _Memo(_others(document), loose)

    def write(
        self, owner: str, unit: Unit | None, parts: Set[str]
    ) -> tuple[str, dict[str, bytes | None], _Memo | None]:
        """Give the state file, the note and the versions of a session as they shall be."""
        path = self.path_of(owner) if unit is None else unit.path
        memo = _Memo({}) if unit is None else unit.memo
        session = next(iter(self._select(AgentSession, AgentSession.session_id == owner)), None)
        if session is None:
            self.todolists.pop(owner, None)
            return path, self._removal(path), None
        mine = SessionState.session == owner
        newest = next(
            iter(self._select(SessionState, mine, SessionState.version.desc(), limit=1)), None
        )
        document = _document(session, newest, memo.others)
        data = json.dumps(document, indent=2, ensure_ascii=False).encode()
        wanted: dict[str, bytes | None] = {path: data}
        changed = {int(part) for part in parts} | ({memo.loose} if memo.loose else set())
        if newest is not None:
            changed.add(newest.version)  # the state file that it goes with is another one now
        there = {
            state.version: state
            for state in self._select(SessionState, mine & SessionState.version.in_(changed))
        }
        digest = hashlib.sha256(data).hexdigest()
        for version in changed:
            name = f"{OURS}/{_DIRECTORY}/{stem_of(path)}/{version}{_ENDING}"
            if version in there:
                is_newest = newest is not None and version == newest.version
                wanted[name] = _kept_text(there[version], digest if is_newest else None)
            elif (self._root / name).exists():
                wanted[name] = None
        draft = read_state(document, owner, Clock(None), 0.0)
        draft.finish()
        said = {"session_id": owner, **draft.values}
        note = note_of(session.values(), said, _SILENT)
        wanted |= note_change(self._root, self._note(path), note)
        named = todolist_of(draft)
        self.todolists.pop(owner, None)
        if named is not None:
            self.todolists[owner] = named
        return path, wanted, _Memo(memo.others)

    def looked(self) -> None:
        """Do nothing: a session depends on no other file."""

    def wrote(self) -> None:
        """Remove the directories of versions that are gone."""
        versions = self._root / OURS / _DIRECTORY
        with contextlib.suppress(FileNotFoundError):
            for directory in versions.iterdir():
                if not (self._root / _DIRECTORY / f"{directory.name}{_ENDING}").exists():
                    with contextlib.suppress(OSError):
                        directory.rmdir()

    def _removal(self, path: str) -> dict[str, bytes | None]:
        gone: dict[str, bytes | None] = {path: None}
        with contextlib.suppress(FileNotFoundError):
            for kept in self._versions(path).iterdir():
                gone[kept.relative_to(self._root).as_posix()] = None
        return gone | note_change(self._root, self._note(path), {})

    def _select(self, model: Any, where: Any, *order: Any, limit: int | None = None) -> Any:
        return model.select().where(where).order_by(*order).limit(limit).execute(self._db)

    def _note(self, path: str) -> Path:
        return self._root / OURS / "sessions" / f"{stem_of(path)}{_ENDING}"

    def _versions(self, path: str) -> Path:
        return self._root / OURS / _DIRECTORY / stem_of(path)


class StateFiles(FolderVerbs, SessionRepository):
    """Sessions in state files; the contract is :class:`dynostore.repositories.Sessions`."""

    def load_state(self, session_id: str, version: int | None = None) -> SessionState | None:
        """Give a state as the repository does; one that cannot be read is not missing."""
        with self._db.reading():
            found = super().load_state(session_id, version)
            if found is None:
                with contextlib.suppress(errors.SessionNotFound):
                    self.get(session_id)
        return found

    def count(self, **filters: Any) -> int:
        """Count as the repository does; a session that cannot be read is not left out."""
        with self._db.reading():
            self._db.require_whole()
            return super().count(**filters)

    def prune_states(self, keep_last: int, *, session_id: str | None = None) -> int:
        """Remove older states as the repository does."""
        with self._db.writing():
            if session_id is None:
                self._db.require_whole()
            return super().prune_states(keep_last, session_id=session_id)


def json_files(root: Path, directory: str) -> Iterator[tuple[str, os.stat_result]]:
    """Give the JSON files of a directory below the root, which may be missing."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root / directory) as entries:
        for entry in entries:
            if entry.name.endswith(_ENDING) and entry.is_file():
                yield f"{directory}/{entry.name}", entry.stat()


def stem_of(path: str) -> str:
    """Give a file's name without directory and ending."""
    return path.rpartition("/")[2].removesuffix(_ENDING)


def local_text(moment: dt.datetime) -> str:
    """Give a time as the older tool writes it: of this machine's clock, without a zone."""
    return moment.astimezone().replace(tzinfo=None).isoformat()


def _document(session: AgentSession, newest: SessionState | None, others: Values) -> Values:
    """Give what the older tool would have written of a session."""
    saved = session.updated_at if newest is None else newest.saved_at
    state: Values = {}
    if newest is not None:
        state = newest.state if isinstance(newest.state, dict) else {"value": newest.state}
        state = {key: value for key, value in state.items() if key not in _COUNTERS}
        state |= zip(_COUNTERS, (newest.version, local_text(saved)), strict=True)
    return {
        "session_id": session.session_id,
        "timestamp": local_text(saved),
        "state_data": state,
        **others,
    }


def _others(document: Values) -> Values:
    return {
        key: value
        for key, value in document.items()
        if key not in ("session_id", "timestamp", "state_data")
    }


def _kept_text(state: SessionState, beside: str | None) -> bytes:
    kept = {
        "saved_at": time_text(state.saved_at),
        "metadata": state.metadata,
        "beside": beside,
        "state": state.state,
    }
    return json.dumps(kept, indent=2, ensure_ascii=False).encode()


def _renamed(values: Values) -> Values:
    """Give a row by the names of fields."""
    return {"session" if key == "session_id" else key: value for key, value in values.items()}
