"""The two sides of a comparison: one view of the file and one of the server.

Each gives a table's lines in the order of its keys, page by page, and single rows by key; neither
writes a word.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

from dynostore.sqlite_file import SqliteFile
from dynostore.sync.read_ahead import ReadAhead
from dynostore.sync.server import Server
from dynostore.sync.tables import Column, Table, literal
from dynostore.sync.verify_lines import (
    NULL,
    UNSENDABLE,
    Line,
    Lines,
    Version,
    escaped,
)
from dynostore.sync.wire import sendable, server_expressions

_PAGE_ROWS = 5000
_FIRST_PAGE_ROWS = 100  # before it is known how long rows are
_PAGE_BYTES = 4 * 1024 * 1024
_LONGEST_PAGE_BYTES = 64 * 1024 * 1024
_CACHE_KIB = 64 * 1024
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def compared(table: Table, *, deep: bool) -> tuple[Column, ...]:
    """Give the columns whose contents a line holds."""
    if not deep:
        return ()
    return tuple(column for column in table.columns if column.name != table.key.name)


class Here:
    """What the file holds, and what it remembers of the server; to be closed.

    Pages of rows are read ahead in a thread, on a connection of its own. The other connection has
    ``temp.waiting``, what waits to be sent or was set aside, and ``temp.suspect``, the keys to look
    at more closely.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._pages = _connected(file)
        self._notes = _connected(file)
        self._with_base: dict[str, int] = {}
        for name, more in (("waiting", "why TEXT, "), ("suspect", "")):
            self._notes.execute(
                f"CREATE TEMP TABLE {name} (tbl TEXT, key TEXT, {more}PRIMARY KEY (tbl, key))"
                " WITHOUT ROWID"
            )

    def close(self) -> None:
        """End it, and the view with it."""
        self._pages.close()
        self._notes.close()

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """Hold one view of the file, with what waits in it."""
        self._pages.execute("BEGIN")
        self._pages.execute("SELECT 1 FROM sync_meta").fetchone()
        # A moment later: of a row that was changed in between it is known that it waits.
        self._notes.execute("BEGIN")
        try:
            self._notes.execute("DELETE FROM temp.waiting")
            self._notes.execute(
                "INSERT INTO temp.waiting SELECT tbl, key, 'set aside' FROM sync_reject"
            )
            self._notes.execute(
                "INSERT OR IGNORE INTO temp.waiting SELECT tbl, key, 'unsent' FROM sync_log"
                " WHERE tbl IS NOT NULL"
            )
            yield
        finally:
            self._notes.execute("COMMIT")
            self._pages.execute("COMMIT")

    def was_synced(self) -> bool:
        """Tell whether the file knows a server."""
        made = self._notes.execute("SELECT 1 FROM sqlite_master WHERE name = 'sync_meta'")
        if made.fetchone() is None:
            return False
        known = self._notes.execute("SELECT 1 FROM sync_meta WHERE server_id IS NOT NULL")
        return known.fetchone() is not None

    def waiting(self, table: Table) -> dict[str, int]:
        """Count the keys that wait, by reason."""
        rows = self._notes.execute(
            "SELECT why, count(*) FROM temp.waiting WHERE tbl = ? GROUP BY why", (table.name,)
        )
        return {why.decode(): count for why, count in rows}

    def waits(self, table: Table, key: bytes) -> bool:
        """Tell whether a key waits to be sent, or was set aside."""
        # A key that is no UTF-8 was set aside as it is shown.
        found = self._notes.execute(
            "SELECT 1 FROM temp.waiting WHERE tbl = ? AND key IN (CAST(? AS TEXT), ?)",
            (table.name, key, key.decode("utf-8", "replace")),
        )
        return found.fetchone() is not None

    def cursors(self) -> dict[str, int]:
        """Give the number up to which each table was pulled."""
        rows = self._notes.execute("SELECT name, cursor FROM sync_table")
        return {name.decode(): cursor for name, cursor in rows}

    def has_graves(self, table: Table) -> bool:
        """Tell whether there are bases without a row, once all pages of ``rows`` were read."""
        [(bases,)] = self._notes.execute(
            "SELECT count(*) FROM sync_base WHERE tbl = ?", (table.name,)
        )
        return int(bases) > self._with_base.get(table.name, 0)

    def suspect(self, table: Table, keys: Iterable[bytes]) -> None:
        """List keys, for a closer look."""
        self._notes.executemany(
            "INSERT OR IGNORE INTO temp.suspect VALUES (?, CAST(? AS TEXT))",
            [(table.name, key) for key in keys],
        )

    def suspects(self, table: Table, rows: int) -> Iterator[list[bytes]]:
        """Give the listed keys in parts."""
        last, after = b"", ">="
        while True:
            page = self._notes.execute(
                f"SELECT key FROM temp.suspect WHERE tbl = ? AND key {after} CAST(? AS TEXT)"
                " ORDER BY key LIMIT ?",
                (table.name, last, rows),
            ).fetchall()
            if page:
                yield [key for (key,) in page]
            if len(page) < rows:
                return
            last, after = page[-1][0], ">"

    def rows(self, table: Table, columns: Sequence[Column]) -> Iterator[Lines]:
        """Give pages of lines."""
        source = (
            f"FROM {table.quoted} t LEFT JOIN sync_base b"
            f" ON b.tbl = {literal(table.name)} AND b.key = t.{table.key.quoted}"
            f" WHERE typeof(t.{table.key.quoted}) = 'text' AND t.{table.key.quoted}"
        )
        self._with_base[table.name] = 0
        pages = _Pages(self._pages, f"t.{table.key.quoted}", columns, source)
        with ReadAhead.of(pages.read()) as ahead:
            for lines, with_base in ahead:
                self._with_base[table.name] += with_base
                yield lines

    def graves(self, table: Table) -> Iterator[Lines]:
        """Give pages of the bases without a row: what was deleted."""
        source = (
            "FROM sync_base b WHERE NOT EXISTS (SELECT 1"
            f" FROM {table.quoted} t WHERE t.{table.key.quoted} = b.key)"
            f" AND b.tbl = {literal(table.name)} AND b.key"
        )
        return (lines for lines, _ in _Pages(self._pages, "b.key", (), source).read())

    def find(
        self, table: Table, keys: Sequence[bytes], columns: Sequence[Column]
    ) -> tuple[dict[bytes, Line], dict[bytes, Version]]:
        """Give rows by key, and bases by key."""
        source = (
            f"FROM {table.quoted} t LEFT JOIN sync_base b"
            f" ON b.tbl = {literal(table.name)} AND b.key = t.{table.key.quoted}"
        )
        sql = _carefully(f"t.{table.key.quoted}", columns, source)
        rows, bases = {}, {}
        for key in keys:
            for row in self._notes.execute(
                f"{sql} WHERE t.{table.key.quoted} = CAST(? AS TEXT)", (key,)
            ):
                rows[key] = Line.of(_line(row))
            for revision, seq in self._notes.execute(
                "SELECT revision, seq FROM sync_base WHERE tbl = ? AND key = CAST(? AS TEXT)",
                (table.name, key),
            ):
                bases[key] = (revision, seq)
        return rows, bases


def _connected(file: SqliteFile) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file.path,
        timeout=file.settings.busy_timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.text_factory = bytes
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


class _Pages:
    """Reads lines in the order of their keys.

    SQLite joins a page's lines itself, in one step that holds up no other thread: row by row it
    takes twice as long. Only a page that holds something peculiar is read value by value; so is a
    table with floats, of which SQLite prints 15 digits.

    :param source: FROM and WHERE, up to the name of the key, which a comparison follows.
    """

    def __init__(
        self, reader: sqlite3.Connection, key: str, columns: Sequence[Column], source: str
    ) -> None:
        self._reader = reader
        self._tabs = len(columns) + 2
        self._plain = all(column.kind != "real" for column in columns)
        self._rows = _PAGE_ROWS if not columns else _FIRST_PAGE_ROWS
        line = " || char(9) || ".join(
            [
                rf"replace({key}, '\', '\\')",
                r"coalesce(b.revision, '\N')",
                r"coalesce(b.seq, '\N')",
                *map(_printed, columns),
            ]
        )
        order = f"> CAST(? AS TEXT) ORDER BY {key} LIMIT ?"
        first = order.replace(">", ">=", 1)
        outer = "SELECT count(*), count(l), count(r), max(k), group_concat(l, char(10)) FROM "
        inner = f"{outer} (SELECT {key} AS k, b.revision AS r, {line} AS l {source}"
        self._joined = (f"{inner} {first})", f"{inner} {order})")
        slowly = _carefully(key, columns, source)
        self._single = (f"{slowly} {first}", f"{slowly} {order}")

    def read(self) -> Iterator[tuple[Lines, int]]:
        """Give pages of lines, with the number of those that have a base."""
        last: bytes | None = None
        while True:
            asked = self._rows
            page = (self._read_joined(last) if self._plain else None) or self._read_single(last)
            lines, with_base, last, size = page
            if lines:
                yield lines, with_base
                self._rows = min(_PAGE_ROWS, 4 * asked, _PAGE_BYTES * len(lines) // size + 1)
            if not lines:
                return

    def _read_joined(self, last: bytes | None) -> tuple[Lines, int, bytes, int] | None:
        """Give lines, those with a base, the last key, and bytes; None: the page is peculiar."""
        self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_PAGE_BYTES)
        try:
            count, lines, with_base, key, text = self._reader.execute(
                self._joined[last is not None], (last or b"", self._rows)
            ).fetchone()
        except sqlite3.DataError:  # longer than a page may be
            return None
        finally:
            self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2**31 - 1)
        if count == 0:
            return [], 0, b"", 0
        if lines < count or text.count(b"\n") >= count or text.count(b"\t") > self._tabs * count:
            return None
        return text.split(b"\n"), with_base, key, len(text)

    def _read_single(self, last: bytes | None) -> tuple[Lines, int, bytes, int]:
        lines, with_base, size, key = [], 0, 0, last or b""
        cursor = self._reader.execute(self._single[last is not None], (last or b"", self._rows))
        for row in cursor:
            lines.append(_line(row))
            with_base += row[1] is not None
            size += len(lines[-1])
            key = row[0]
            if size >= _PAGE_BYTES:
                break
        cursor.close()
        return lines, with_base, key, size


def _stored(column: Column) -> str:
    """Give the SQL for one value as the file stores it; 0 where the server cannot hold it."""
    if column.kind == "boolean":  # the file's own 0 and 1
        column = dataclasses.replace(column, kind="integer")
    return sendable(column, f"t.{column.quoted}")


def _printed(column: Column) -> str:
    """Give the SQL for one value as COPY prints it.

    Its type needs no test: the server's own value has the same bytes, or it differs.
    """
    value = f"t.{column.quoted}"
    if column.kind in ("text", "json"):
        value = rf"replace({value}, '\', '\\')"
    elif column.kind == "bytes":
        value = rf"'\\x' || lower(hex({value}))"
    return (
        rf"CASE WHEN t.{column.quoted} IS NULL THEN '\N' ELSE {value} END" if column.null else value
    )


def _carefully(key: str, columns: Sequence[Column], source: str) -> str:
    version = "CAST(b.revision AS TEXT), CAST(b.seq AS TEXT)"
    return f"SELECT {', '.join([key, version, *map(_stored, columns)])} {source}"


def _line(row: Sequence[object]) -> bytes:
    return b"\t".join(map(_field, row))


def _field(value: object) -> bytes:
    if value is None:
        return NULL
    if isinstance(value, bytes):
        return escaped(value)
    return repr(value).encode() if isinstance(value, float) else UNSENDABLE


class There:
    """What the server holds, in one view of it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.high = 0
        self.horizon = 0

    @contextlib.contextmanager
    def view(self) -> Iterator[None]:
        """Hold one view of the server.

        ``high`` is its number, ``horizon`` that of the last tombstone which may have been purged.
        """
        [(self.high, self.horizon)] = self._server.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
            " SELECT (SELECT coalesce(max(seq), 0) FROM dynostore_sync.tick), horizon"
            " FROM dynostore_sync.server"
        )
        try:
            yield
        finally:
            self._server.rollback()

    def rows(self, table: Table, columns: Sequence[Column]) -> Iterator[Lines]:
        """Give pages of lines."""
        return self._read(f"SELECT {_columns(table, columns)} ORDER BY t.{table.key.quoted}")

    def graves(self, table: Table) -> Iterator[Lines]:
        """Give pages of tombstones."""
        return self._read(
            "SELECT key, rev, seq FROM dynostore_sync.tombstone"
            f" WHERE tbl = {literal(table.name)} ORDER BY key"
        )

    def find(
        self, table: Table, keys: Sequence[bytes], columns: Sequence[Column]
    ) -> tuple[dict[bytes, Line], dict[bytes, Version]]:
        """Give rows by key, and tombstones by key."""
        askable = [key.decode() for key in keys if _is_askable(table, key)]
        if not askable:
            return {}, {}
        kind = "uuid" if table.key.kind == "uuid" else "text"
        with self._server.connection.cursor() as cursor:
            wanted = cursor.mogrify(f"%s::{kind}[]", (askable,)).decode()
        found = self._read(
            f"SELECT {_columns(table, columns)} WHERE t.{table.key.quoted} = ANY({wanted})"
        )
        rows = {line.key: line for lines in found for line in map(Line.of, lines)}
        buried = self._server.execute(
            "SELECT key, rev, seq FROM dynostore_sync.tombstone WHERE tbl = %s AND key = ANY(%s)",
            (table.name, askable),
        )
        return rows, {key.encode(): (revision, seq) for key, revision, seq in buried}

    def same_json(self, one: str, other: str) -> bool:
        """Tell whether two JSON texts say the same."""
        return self._server.one("SELECT %s::jsonb = %s::jsonb", (one, other)) == (True,)

    def _read(self, select: str) -> Iterator[Lines]:
        sql = f"COPY ({select}) TO STDOUT"
        with ReadAhead[Lines](lambda put: self._copy(sql, _Chunks(put))) as chunks:
            yield from chunks

    def _copy(self, sql: str, chunks: _Chunks) -> None:
        self._server.copy(sql, chunks)
        chunks.end()


def _columns(table: Table, columns: Sequence[Column]) -> str:
    printed = server_expressions(dataclasses.replace(table, columns=tuple(columns)), "t")
    names = [f"t.{table.key.quoted}", "t.sync_rev", "t.sync_seq", *([printed] if columns else [])]
    return f"{', '.join(names)} FROM {table.quoted} t"


def _is_askable(table: Table, key: bytes) -> bool:
    """Tell whether the server understands the question for a key; else it cannot have the row."""
    if table.key.kind == "uuid":
        return _UUID.fullmatch(key) is not None
    try:
        return "\0" not in key.decode()
    except UnicodeDecodeError:
        return False


class _Chunks:
    """Takes COPY's rows one by one, and passes them on in pages."""

    def __init__(self, put: Callable[[Lines], None]) -> None:
        self._put = put
        self._lines: Lines = []
        self._bytes = 0

    def write(self, line: bytes) -> None:
        """Take one row."""
        self._lines.append(line)
        self._bytes += len(line)
        if len(self._lines) >= _PAGE_ROWS or self._bytes >= _PAGE_BYTES:
            self.end()

    def end(self) -> None:
        """Pass on what is left."""
        if self._lines:
            lines = b"".join(self._lines).split(b"\n")
            lines.pop()  # what stands behind the last newline
            self._put(lines)
            self._lines, self._bytes = [], 0
