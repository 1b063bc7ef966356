"""Todo lists in Taskforce's files, which its todo list manager reads and writes too.

A list is ``todolists/todolist_<id>.json``. It knows no session: one that nobody said belongs to the
session whose state names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from dynostore.compat.file_names import file_name
from dynostore.compat.folder_database import FolderDatabase
from dynostore.compat.folder_verbs import FolderVerbs
from dynostore.compat.shelf import Unit
from dynostore.compat.taskforce_files import (
    StateFiles,
    StateShelf,
    json_files,
    local_text,
    stem_of,
)
from dynostore.legacy.beside import OURS, Values, note_change, note_of, read_note, with_note
from dynostore.legacy.source_json import parse_object
from dynostore.legacy.taskforce_draft import Clock
from dynostore.legacy.taskforce_todos import read_todo
from dynostore.models.base import Record
from dynostore.models.sessions import AgentSession
from dynostore.models.todos import TodoList
from dynostore.repositories.todos import TodoRepository

_DIRECTORY = "todolists"
_PREFIX = "todolist_"
_PLAN = ("items", "open_questions", "notes")
_KEYS = ("todolist_id", "mission", *_PLAN, "created_at", "updated_at")
_SILENT = frozenset({"session_id", "metadata"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Memo:
    """What is needed of a list's file again.

    :ivar others: keys in it that are not the older tool's.
    :ivar is_free: nobody said of which session it is.
    """

    others: Values
    is_free: bool


class TodoShelf:
    """A :class:`~dynostore.compat.shelf.Shelf` of todo lists.

    :param states: the sessions that they may belong to.
    """

    name = "todo_lists"
    owners: Mapping[type[Record], str] = {TodoList: "todolist_id"}
    parts: Mapping[type[Record], str] = {}

    def __init__(self, database: FolderDatabase, states: StateShelf) -> None:
        self.repository = TodoRepository(database)
        self._states = states
        self._db = database
        self._root = database.files.root

    def path_of(self, owner: str) -> str:
        """Give the file of a new list."""
        return f"{_DIRECTORY}/{_PREFIX}{file_name(owner)}.json"

    def scan(self) -> Iterator[tuple[str, os.stat_result]]:
        """Give the lists' files."""
        return (
            found
            for found in json_files(self._root, _DIRECTORY)
            if stem_of(found[0]).startswith(_PREFIX)
        )

    def beside(self, path: str) -> bytes:
        """Give the note."""
        with contextlib.suppress(FileNotFoundError):
            return self._note(path).read_bytes()
        return b""

    def read(self, path: str, data: bytes) -> tuple[str, list[Record], _Memo]:
        """Give a list, of the session that is noted or that names it."""
        document, _ = parse_object(data)
        said = self._said(document, path)
        note = read_note(self._note(path))
        row = with_note(TodoList, said, note)
        if row["session_id"] is not None and not self._is_session(row["session_id"]):
            row["session_id"] = None
        row["session"] = row.pop("session_id")
        memo = _Memo(_others(document), "session_id" not in note)
        return row["todolist_id"], [TodoList(**row)], memo

    def write(
        self, owner: str, unit: Unit | None, parts: Set[str]
    ) -> tuple[str, dict[str, bytes | None], _Memo | None]:
        """Give a list's file and note as they shall be."""
        path = self.path_of(owner) if unit is None else unit.path
        others: Values = {} if unit is None else unit.memo.others
        query = TodoList.select().where(TodoList.todolist_id == owner)
        found = next(iter(query.execute(self._db)), None)
        if found is None:
            return path, {path: None, **note_change(self._root, self._note(path), {})}, None
        document = _document(found, others)
        data = json.dumps(document, indent=2, ensure_ascii=False).encode()
        note = note_of(found.values(), self._said(document, path), _SILENT)
        wanted = {path: data, **note_change(self._root, self._note(path), note)}
        return path, wanted, _Memo(others, "session_id" not in note)

    def looked(self) -> None:
        """Hang lists of which nobody said the session on the sessions that name them now."""
        links = self._links()
        for unit in self._db.units.values():
            if isinstance(unit.memo, _Memo) and unit.memo.is_free and unit.owner is not None:
                mine = TodoList.todolist_id == unit.owner
                change = TodoList.update(session=links.get(unit.owner))
                change.where(mine).execute(self._db)

    def wrote(self) -> None:
        """Do nothing: there is no index."""

    def _links(self) -> dict[str, str]:
        # Of several sessions that name a list the first has it, as in an import.
        named = sorted(self._states.todolists.items(), reverse=True)
        return {todolist: session for session, todolist in named if self._is_session(session)}

    def _said(self, document: Values, path: str) -> Values:
        """Give the row that a file says by itself."""
        name = stem_of(path).removeprefix(_PREFIX)
        try:
            modified_s = (self._root / path).stat().st_mtime
        except FileNotFoundError:
            modified_s = 0.0
        draft = read_todo(document, name, Clock(None), modified_s)
        draft.finish()
        draft.values["session_id"] = self._links().get(draft.key)
        return draft.values

    def _is_session(self, session_id: str) -> bool:
        query = AgentSession.select().where(AgentSession.session_id == session_id)
        return bool(query.count(self._db))

    def _note(self, path: str) -> Path:
        return self._root / OURS / _DIRECTORY / f"{stem_of(path)}.json"


class TodoFiles(FolderVerbs, TodoRepository):
    """Todo lists in files; the contract is :class:`dynostore.repositories.Todos`."""


def _document(found: TodoList, others: Values) -> Values:
    """Give what the older tool would have written of a list."""
    mission = {} if found.mission is None else {"mission": found.mission}
    return {
        "todolist_id": found.todolist_id,
        **mission,
        **{key: found.plan[key] for key in _PLAN},
        "created_at": local_text(found.created_at),
        "updated_at": local_text(found.updated_at),
        **others,
    }


def _others(document: Values) -> Values:
    return {key: value for key, value in document.items() if key not in _KEYS}


def open_shelves(database: FolderDatabase) -> dict[str, Any]:
    """Put up the shelves of a Taskforce directory, and give its families."""
    states = StateShelf(database)
    todos = TodoShelf(database, states)
    database.put_up([states, todos])
    return {"sessions": StateFiles(database, states), "todos": TodoFiles(database, todos)}
