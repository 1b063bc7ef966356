"""Somebody else's SQLite file, read without leaving a trace: its log and its journal included.

Nothing is created or changed beside it. Where SQLite itself would have to (a log whose index is
missing, a transaction that a crash left open) a copy is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from dynostore import errors
from dynostore.fleeting import size_of
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_tables import Cells, Table, quoted
from dynostore.legacy.source_tree import shown
from dynostore.sqlite_header import cut_bytes, read_header

HEADER = b"SQLite format 3\0"
SIDECARS = {
    "-wal": "the write-ahead log of",
    "-shm": "the index of the write-ahead log of",
    "-journal": "the rollback journal of",
}
"""What SQLite keeps beside a file, by the end of its name."""

NAMES = (".db", ".db3", ".sqlite", ".sqlite3")
"""How the names of databases mostly end."""

# Of a damaged file even the message, or the name of a table, may be none that Python can hold.
_ERRORS = (sqlite3.Error, UnicodeError)
_WAL_VERSION_AT = 18
_NO_TEXT = re.compile("[\ud800-\udfff]")
_PAGE_ROWS = 500
_BUSY_TIMEOUT_S = 5.0
_LOCKED = "another process keeps the database locked; import it again when that has ended"

# Rows that break a rule of their schema are there nevertheless.
_RULES_BROKEN = ("NULL value in", "CHECK constraint failed in", "TEXT value in", "NUMERIC value in")
# Only tables with rows of their own: a view or a virtual table runs code of whoever wrote the file.
_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
)
_CANONICAL = "lower(replace(CAST({} AS TEXT), '-', ''))"


def is_sqlite(path: str) -> bool:
    """Tell by its first bytes whether a file is a database of SQLite; False if unreadable."""
    # Asked of every file of a tree: a file object would take three times as long.
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return False
    try:
        return os.read(handle, len(HEADER)) == HEADER
    except OSError:  # a directory
        return False
    finally:
        os.close(handle)


def stray_reason(path: str, databases: Container[str], otherwise: str) -> tuple[bool, str]:
    """Say why a file that is no database is left out, and whether something may be lost with it.

    :param databases: the paths of those that were read.
    :param otherwise: the reason for a file that has nothing to do with them.
    """
    for ending, what in SIDECARS.items():
        owner = path.removesuffix(ending)
        if owner != path and owner in databases:
            return False, f"{what} {shown(os.path.basename(owner))}, read with it"
    if path.lower().endswith(NAMES) and size_of(path):
        return True, "named like a database and none of SQLite's: damaged at its beginning?"
    return False, otherwise


@contextlib.contextmanager
def opened_sqlite(path: str) -> Iterator[SqliteTables]:
    """Open a file for reading only.

    :raises Unreadable: it is no database, is broken, or another process keeps it locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = SqliteTables(_connect(path, stack), path)
        except _ERRORS as exc:
            raise Unreadable(broken_reason(exc)) from None
        except OSError as exc:
            raise Unreadable(f"cannot be read: {exc.strerror or exc}") from None
        yield source


def refuse_broken(path: str) -> None:
    """Refuse a file that begins as a database and of which not even the tables can be named.

    :raises StoreCorrupt: it is damaged; says how much is missing at its end.
    :raises StoreLocked: another process keeps it locked.
    """
    if not is_sqlite(path):
        return
    try:
        with opened_sqlite(path):
            return
    except Unreadable as exc:
        reason = str(exc)
    if reason == _LOCKED:
        raise errors.StoreLocked(f"{shown(path)}: {reason}", hint="try again")
    header = read_header(Path(path))
    missing = cut_bytes(Path(path), header.page_bytes * header.page_count) if header else 0
    if missing > 0:
        reason += f"; it was truncated: {missing:,} bytes are missing at its end"
    raise errors.StoreCorrupt(
        f"{shown(path)}: cannot be read: {reason}",
        hint="import a backup of it, or what SQLite can save of it: "
        f"sqlite3 {shlex.quote(shown(path))} .recover | sqlite3 saved.db",
    )


def _connect(path: str, stack: contextlib.ExitStack) -> sqlite3.Connection:
    with open(path, "rb") as file:
        head = file.read(100)
    if not head.startswith(HEADER):
        raise Unreadable("not a database of SQLite" if head else "the file is empty")
    if size_of(path + "-wal"):
        # Without its index SQLite would make one; a missing one says that nobody is writing.
        if os.path.exists(path + "-shm"):
            return _open(path, "mode=ro&readonly_shm=1", stack)
        return _open(_copy(path, "-wal", stack), "mode=rw", stack)
    if head[_WAL_VERSION_AT : _WAL_VERSION_AT + 1] == b"\2":
        # A log that is not there is nobody's: SQLite would make an empty one.
        return _open(path, "mode=ro&immutable=1", stack)
    try:
        return _open(path, "mode=ro", stack)
    except sqlite3.OperationalError as exc:
        if not size_of(path + "-journal") or exc.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
    # A transaction that a crash left open: only who may write can undo it.
    return _open(_copy(path, "-journal", stack), "mode=rw", stack)


def _copy(path: str, sidecar: str, stack: contextlib.ExitStack) -> str:
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dynostore-"))
    copy = os.path.join(directory, "source.db")
    shutil.copyfile(path, copy)
    shutil.copyfile(path + sidecar, copy + sidecar)
    return copy


def _open(path: str, how: str, stack: contextlib.ExitStack) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?{how}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # What an application puts into its schema must not run here.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    connection.text_factory = _text
    stack.callback(connection.close)
    return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _is_of_python(exc: Exception) -> bool:
    """Tell whether it is no error of SQLite's, but of making text of a cell."""
    return getattr(exc, "sqlite_errorname", None) is None


def broken_reason(exc: Exception) -> str:
    """Say what is wrong with a database, by the error of reading it."""
    if isinstance(exc, UnicodeError):
        return "the database is broken: its schema is no text"
    name = getattr(exc, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _LOCKED
    if name == "SQLITE_NOTADB":
        return "not a database of SQLite, or an encrypted one"
    return f"the database is broken: {exc}" if name.startswith("SQLITE_CORRUPT") else str(exc)


class SqliteTables:
    """The tables of one file; :class:`~dynostore.legacy.source_tables.SourceTables`.

    Each page is a transaction of its own, so that the program that owns the file can go on writing.

    :ivar connection: for those who know the tables and write their own queries.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.connection = connection
        self._path = path
        self._begun = self._signature()
        self._is_lenient = False
        names = [name for (name,) in self._rows(_TABLES, ())]
        if any(map(_is_no_text, names)):
            raise Unreadable("the database is broken: a table's name is no text")
        self.tables = {name: self._table(name) for name in names}

    def _table(self, name: str) -> Table:
        info = self._rows("SELECT name, type, pk FROM pragma_table_info(?)", (name,))
        columns = tuple(str(column) for column, _, _ in info)
        keys = [(str(column), kind) for column, kind, place in info if place]
        place, number = f"{quoted(name)}.rowid", ""
        if len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER":
            number = keys[0][0]
        try:
            self.connection.execute(f"SELECT rowid FROM {quoted(name)} LIMIT 0")
        except sqlite3.OperationalError:  # a table without them
            place = quoted(keys[0][0]) if len(keys) == 1 else ""
        expressions = tuple(_expression(str(column), str(kind)) for column, kind, _ in info)
        return Table(name, columns, expressions, place, number)

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def scan(self, table: Table) -> Iterator[Cells]:
        """Give all rows by pages."""
        return self._pages(table, "", ())

    def belonging(self, table: Table, column: str, value: Any) -> Iterator[Cells]:
        """Give the rows with one value, any number of them, by pages."""
        return self._pages(table, f"{quoted(column)} IS {_mark(value)}", (value,))

    def matching(self, table: Table, column: str, values: Sequence[Any]) -> list[Cells]:
        """Give the rows with one of some values."""
        marks = ", ".join(_mark(value) for value in values)
        rows, reason = self._page(
            f"SELECT {', '.join(table.expressions)} FROM {quoted(table.name)} "
            f"WHERE {quoted(column)} IN ({marks}) ORDER BY {table.place or 1}",
            values,
        )
        if reason is not None:
            raise Unreadable(f"{table.name}: {reason}")
        return [dict(zip(table.columns, row, strict=True)) for row in rows]

    def without_parent(self, table: Table, column: str, parent: Table, key: str) -> Iterator[Cells]:
        """Give the rows that refer to no row by pages."""
        return self._pages(table, _no_parent(table, column, parent, key), ())

    def values_without_parent(
        self, table: Table, column: str, parent: Table, key: str
    ) -> list[Any]:
        """Give the values that refer to no row, each once."""
        sql = (
            f"SELECT DISTINCT {quoted(column)} FROM {quoted(table.name)} "
            f"WHERE {_no_parent(table, column, parent, key)} ORDER BY 1"
        )
        return [value for (value,) in self._safely(sql)]

    def _pages(self, table: Table, condition: str, values: Sequence[Any]) -> Iterator[Cells]:
        place = table.place
        if not place:
            raise Unreadable(f"{table.name}: has neither rowids nor a key of one column")
        columns = ", ".join((place, *table.expressions))
        after: tuple[Any, ...] = ()
        while True:
            conditions = [condition, f"{place} > {_mark(after[0])}" if after else ""]
            where = " AND ".join(f"({c})" for c in conditions if c)
            sql = (
                f"SELECT {columns} FROM {quoted(table.name)} "
                f"{'WHERE ' + where if where else ''} ORDER BY {place} LIMIT {_PAGE_ROWS}"
            )
            rows, reason = self._page(sql, (*values, *after))
            for row in rows:
                yield dict(zip(table.columns, row[1:], strict=True))
            if reason is not None:
                raise Unreadable(f"{table.name}: {reason}")
            if len(rows) < _PAGE_ROWS:
                return
            after = (rows[-1][0],)

    def _page(self, sql: str, values: Sequence[Any]) -> tuple[list[tuple[Any, ...]], str | None]:
        """Give a page, or what of it comes before the first broken place, and the reason."""
        rows: list[tuple[Any, ...]] = []
        # Python's own decoder takes half the time, and fails at text that is no UTF-8.
        self.connection.text_factory = _text if self._is_lenient else str
        try:
            for row in self.connection.execute(sql, [*map(_bound, values)]):
                rows.append(row)
        except _ERRORS as exc:
            if not self._is_lenient and _is_of_python(exc):
                self._is_lenient = True
                return self._page(sql, values)
            return rows, broken_reason(exc)
        finally:
            self.connection.text_factory = _text
        return rows, None

    def repeated(self, table: Table, column: str) -> set[str]:
        """Give the UUIDs that stand in several rows."""
        text = _CANONICAL.format(table.expressions[table.columns.index(column)])
        sql = f"SELECT {text} FROM {quoted(table.name)} GROUP BY 1 HAVING count(*) > 1"
        return {value for (value,) in self._safely(sql) if value is not None}

    def count(self, table: Table) -> int:
        """Count the rows; 0 where they cannot be counted."""
        return next(
            (int(n) for (n,) in self._safely(f"SELECT count(*) FROM {quoted(table.name)}")), 0
        )

    def _safely(self, sql: str) -> list[tuple[Any, ...]]:
        return self._page(sql, ())[0]

    def doubts(self) -> Iterator[str]:
        """Give the reasons why there may be more, or other, rows than were read."""
        if self._signature() != self._begun:
            yield "was written to while it was read; import it again"
        # A page that says that it holds less than it does is read without an error.
        for (flaw,) in self._safely("PRAGMA quick_check(100)"):
            if flaw != "ok" and not str(flaw).startswith(_RULES_BROKEN):
                yield f"the database is damaged, rows may be missing: {' '.join(str(flaw).split())}"
                return

    def _signature(self) -> list[tuple[int, int] | None]:
        found: list[tuple[int, int] | None] = []
        for path in (self._path, self._path + "-wal"):
            try:
                status = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((status.st_size, status.st_mtime_ns))
        return found


def _is_no_text(value: Any) -> bool:
    return isinstance(value, str) and not value.isascii() and _NO_TEXT.search(value) is not None


def _mark(value: Any) -> str:
    """Give the place of a value in SQL; text that is no UTF-8 can be bound as bytes only."""
    return "CAST(? AS TEXT)" if _is_no_text(value) else "?"


def _bound(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if _is_no_text(value) else value


def _expression(column: str, kind: str) -> str:
    """Ask for a column as its writer wrote it.

    SQLite takes the type UUID for a number's, and makes one of 32 digits that are all decimal: it
    drops their zeros.
    """
    name = quoted(column)
    if kind.upper() != "UUID":
        return name
    return f"CASE typeof({name}) WHEN 'integer' THEN printf('%032d', {name}) ELSE {name} END"


def _no_parent(table: Table, column: str, parent: Table, key: str) -> str:
    # The plus lets the column alone say what is equal, as it does when a key is bound to it:
    # without it, 1 in a column of integers is '1' in one without a type, which no key finds.
    return (
        f"{quoted(column)} IS NULL OR {quoted(column)} NOT IN (SELECT +{quoted(key)} "
        f"FROM {quoted(parent.name)} WHERE {quoted(key)} IS NOT NULL)"
    )
