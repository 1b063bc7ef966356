"""What a store already knows by name, looked up in a hurry: ids, users, tools, profiles.

The shell asks at every press of a key, and a mistyped id is compared with what there is: so this
goes past Peewee, whose import alone would take longer than the answer, reads a few rows of a file,
and never makes, upgrades or locks one. A server is not asked: it may be far away.

To have an argument or option completed: name it in :data:`IDS` or :data:`NAMES`.
"""

from __future__ import annotations

import contextlib
import difflib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dynostore.cli._session import Session

_MOST = 100
_RECENT = 500
_WAIT_S = 0.2


class Records(NamedTuple):
    """Where the ids of one kind of record are.

    :ivar newest: the column by which the newest are found; it has an index.
    :ivar about: an expression that tells one from another.
    """

    table: str
    key: str
    newest: str
    about: str = "status"


_RUNS = Records("runs", "id", "created_at", "status || ' ' || coalesce(input_filename, '')")
_TASKS = Records("tasks", "task_id", "created_at", "status || ' ' || request_text")
_STEPS = Records("execution_logs", "log_id", "timestamp", "status || ' ' || action")
_SESSIONS = Records(
    "sessions", "session_id", "updated_at", "status || ' ' || coalesce(mission, '')"
)
_TODOS = Records(
    "todo_lists", "todolist_id", "created_at", "status || ' ' || coalesce(mission, '')"
)
_MEMORIES = Records("memories", "memory_id", "created_at", "context")
_TALKS = Records("conversations", "id", "updated_at", "coalesce(title, '')")
_IDEAS = Records("ideation_sessions", "id", "updated_at", "status || ' ' || project_name")
_IMPORTS = Records("imports", "id", "imported_at", "status || ' ' || source_path")

IDS = {
    "run_id": _RUNS,
    "task_id": _TASKS,
    "log_id": _STEPS,
    "session_id": _SESSIONS,
    "todolist_id": _TODOS,
    "memory_id": _MEMORIES,
    "conversation_id": _TALKS,
    "ideation_id": _IDEAS,
    "import_id": _IMPORTS,
}
"""The records whose ids a parameter of this name takes; those with an s at the end take several."""

NAMES = {
    "source": ("runs", "source", "created_at"),
    "created_by": ("tasks", "created_by", "created_at"),
    "project_id": ("tasks", "project_id", "created_at"),
    "user_id": ("sessions", "user_id", "updated_at"),
    "tool_name": ("memories", "tool_name", "created_at"),
    "kind": ("imports", "kind", "imported_at"),
}
"""The table, the column and the order of the values that an option of this name takes."""

_OF_ERRORS = {
    "run_not_found": _RUNS,
    "task_not_found": _TASKS,
    "task_step_not_found": _STEPS,
    "session_not_found": _SESSIONS,
    "todo_list_not_found": _TODOS,
    "memory_not_found": _MEMORIES,
    "conversation_not_found": _TALKS,
    "ideation_session_not_found": _IDEAS,
}


def ids(session: Session, records: Records, beginning: str) -> list[tuple[str, str]]:
    """Give ids that begin so, each with what it is about; the newest first where nothing is typed.

    Empty where there is no file, or none that can be read.
    """
    order = f"{records.newest} DESC" if not beginning else records.key
    sql = (
        f"SELECT {records.key}, {records.about} FROM {records.table} "
        f"WHERE {records.key} >= ? AND {records.key} < ? ORDER BY {order} LIMIT {_MOST}"
    )
    return [
        (str(key), str(about or "")) for key, about in _rows(session, sql, *_between(beginning))
    ]


def names(session: Session, place: tuple[str, str, str], beginning: str) -> list[str]:
    """Give the values of a column that begin so, of the newest records."""
    table, column, newest = place
    sql = (
        f"SELECT DISTINCT {column} FROM "
        f"(SELECT {column} FROM {table} ORDER BY {newest} DESC LIMIT {_RECENT}) "
        f"WHERE {column} >= ? AND {column} < ? ORDER BY 1 LIMIT {_MOST}"
    )
    return [str(name) for (name,) in _rows(session, sql, *_between(beginning))]


def profiles(session: Session, beginning: str) -> list[str]:
    """Give the profiles of ``dynostore.yaml`` that begin so."""
    from dynostore.config import profile_names

    return [name for name in profile_names(session.config) if name.startswith(beginning)]


def near_id(session: Session, code: str, wanted: str) -> str | None:
    """Give the id that was probably meant: of the newest records, and of its neighbours by key.

    :param code: that of the error for an id that is not there.
    """
    records = _OF_ERRORS.get(code)
    if records is None:
        return None
    key, table = records.key, records.table
    newest = f"SELECT {key} FROM {table} ORDER BY {records.newest} DESC LIMIT {_RECENT}"
    below = f"SELECT {key} FROM {table} WHERE {key} < ? ORDER BY 1 DESC LIMIT {_MOST}"
    above = f"SELECT {key} FROM {table} WHERE {key} > ? ORDER BY 1 LIMIT {_MOST}"
    found = [
        *_rows(session, newest),
        *_rows(session, below, wanted),
        *_rows(session, above, wanted),
    ]
    # The beginning of an id is compared with as many characters of the others.
    beginnings = {str(row[0])[: max(len(wanted), 4)]: str(row[0]) for row in reversed(found)}
    near = difflib.get_close_matches(wanted, beginnings, n=1, cutoff=0.7)
    return beginnings[near[0]] if near else None


def _between(beginning: str) -> tuple[str, str]:
    return beginning, beginning + chr(0x10FFFF)


def _rows(session: Session, sql: str, *values: str) -> Iterator[tuple[object, ...]]:
    with contextlib.suppress(Exception):  # nobody asked for this answer; a guess is no error
        from dynostore.config import sqlite_path

        path = sqlite_path(session.place().url)
        if path is not None and Path(path).is_file():
            with contextlib.closing(_opened(Path(path).absolute())) as connection:
                yield from connection.execute(sql, values).fetchall()


def _opened(path: Path) -> sqlite3.Connection:
    # Without a log nobody has the file open. Then it is taken for unchanging: a reader that must
    # look for changes makes a log and an index beside the file, and leaves them there.
    still = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.as_uri()}?mode=ro{still}", uri=True, timeout=_WAIT_S)
