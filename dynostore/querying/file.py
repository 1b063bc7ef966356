"""A person's SQL on a file, which is opened anew for reading only.

SQLite refuses whatever is no read: by how the file is opened, by ``query_only``, and by a look at
each statement, which keeps that switched on.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from dynostore import errors
from dynostore.database import MemoryDatabase, SqliteFile, sqlite_target
from dynostore.driver_errors import translate
from dynostore.querying.words import mistake, refusal

_INTERRUPTIBLE_OPS = 100_000  # steps of SQLite's machine: some milliseconds
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE)
_REFUSED_FUNCTIONS = ("load_extension", "fts3_tokenizer")
_ASKING_PRAGMAS = frozenset(
    (
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "database_list",
        "compile_options",
        "data_version",
    )
)
# With a value these would change what they tell.
_READABLE_PRAGMAS = frozenset(
    (
        "user_version",
        "application_id",
        "schema_version",
        "page_count",
        "page_size",
        "freelist_count",
        "journal_mode",
    )
)
# The last one is what CREATE TABLE ends with where it is denied.
_REFUSED = ("SQLITE_AUTH", "SQLITE_READONLY", "SQLITE_SCHEMA")
_MISTAKES = ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE")


@contextlib.contextmanager
def ask_file(
    database: SqliteFile, sql: str, given: Mapping[str, str]
) -> Iterator[tuple[list[str], Iterator[Any]]]:
    """Answer a statement; see :func:`dynostore.query.ask`."""
    if isinstance(database, MemoryDatabase):
        raise errors.InvalidQuery(f"{database.shown}: a store in memory begins empty")
    target = sqlite_target(database.path, read_only=True)
    with (
        _file_errors(database),
        _log_kept_tidy(database),
        contextlib.closing(
            sqlite3.connect(target, uri=True, timeout=database.settings.busy_timeout_s)
        ) as connection,
    ):
        connection.execute("PRAGMA query_only = ON")
        connection.text_factory = _decoded
        # Python looks for Ctrl-C between its own instructions, which SQLite does not run otherwise.
        connection.set_progress_handler(lambda: 0, _INTERRUPTIBLE_OPS)
        connection.set_authorizer(_permission)
        values = {name: _bound(value) for name, value in given.items()}
        cursor = connection.execute(sql, values)
        if cursor.description is None:
            raise refusal()
        yield [column[0] for column in cursor.description], cursor


@contextlib.contextmanager
def _log_kept_tidy(database: SqliteFile) -> Iterator[None]:
    """Let a connection that may write be the last to close: it removes the log, a reader leaves it.

    A file that cannot be written is read all the same.
    """
    target = f"{database.path.as_uri()}?mode=rw"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(sqlite3.Error):
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(target, uri=True)))
            connection.execute("PRAGMA schema_version")
        yield


@contextlib.contextmanager
def _file_errors(database: SqliteFile) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Warning, sqlite3.ProgrammingError) as exc:
        raise refusal() from exc  # Python's own, for more than one statement
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "")
        if name == "SQLITE_INTERRUPT":
            raise KeyboardInterrupt from exc
        if name in _REFUSED:
            raise refusal() from exc
        if name not in _MISTAKES:
            raise translate(exc, database.shown) from exc
        missing = re.match(r"no such (?:table|column): (\S+)", str(exc))
        raise mistake(str(exc), missing[1] if missing else None) from exc


def _permission(action: int, first: str | None, second: str | None, *_: Any) -> int:
    allowed = action in _READS
    if action == sqlite3.SQLITE_UPDATE:
        # So SQLite declares virtual tables to itself, FTS5's among them; a statement that says the
        # same meets the other two locks.
        allowed = first in ("sqlite_master", "sqlite_schema")
    elif action == sqlite3.SQLITE_FUNCTION:
        allowed = second not in _REFUSED_FUNCTIONS
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = first in _ASKING_PRAGMAS or (first in _READABLE_PRAGMAS and second is None)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _bound(text: str) -> str | int | float:
    """Give a number for its usual text: SQLite holds every text for greater than any number."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if str(kind(text)) == text and abs(kind(text)) < 2**63:
                return kind(text)
    return text
