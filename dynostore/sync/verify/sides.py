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
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Column, Table, literal
from dynostore.sync.verify.lines import Line, Lines, Version
from dynostore.sync.verify.pages import Pages, in_any_order, line_of, one_by_one
from dynostore.sync.wire import server_expressions

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
            # A BLOB comes after every text: no other database could be asked for such a key.
            f" WHERE t.{table.key.quoted} < x'' AND t.{table.key.quoted}"
        )
        self._with_base[table.name] = 0
        pages = Pages(self._pages, f"t.{table.key.quoted}", columns, source)
        with ReadAhead.of(pages.read()) as ahead:
            for lines, with_base in ahead:
                self._with_base[table.name] += with_base
                yield lines

    def in_any_order(self, table: Table, columns: Sequence[Column]) -> Iterator[Lines]:
        """Give pages of lines without a version, in the order in which the rows lie.

        :raises Peculiar: the lines must be read in the order of their keys.
        """
        return in_any_order(self._pages, table, columns)

    def graves(self, table: Table) -> Iterator[Lines]:
        """Give pages of the bases without a row: what was deleted."""
        source = (
            "FROM sync_base b WHERE NOT EXISTS (SELECT 1"
            f" FROM {table.quoted} t WHERE t.{table.key.quoted} = b.key)"
            f" AND b.tbl = {literal(table.name)} AND b.key"
        )
        return (lines for lines, _ in Pages(self._pages, "b.key", (), source).read())

    def find(
        self, table: Table, keys: Sequence[bytes], columns: Sequence[Column]
    ) -> tuple[dict[bytes, Line], dict[bytes, Version]]:
        """Give rows by key, and bases by key."""
        source = (
            f"FROM {table.quoted} t LEFT JOIN sync_base b"
            f" ON b.tbl = {literal(table.name)} AND b.key = t.{table.key.quoted}"
        )
        sql = one_by_one(f"t.{table.key.quoted}", columns, source)
        rows, bases = {}, {}
        for key in keys:
            for row in self._notes.execute(
                f"{sql} WHERE t.{table.key.quoted} = CAST(? AS TEXT)", (key,)
            ):
                rows[key] = Line.of(line_of(row))
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

    def in_any_order(self, table: Table, columns: Sequence[Column]) -> Iterator[Lines]:
        """Give pages of lines without a version, in no order."""
        return self._read(f"SELECT {_values(table, columns)} FROM {table.quoted} t")

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
        with ReadAhead[Lines](lambda put: self._copy(sql, put)) as pages:
            yield from pages

    def _copy(self, sql: str, put: Callable[[Lines], None]) -> None:
        def take(rows: bytes) -> None:
            lines = rows.split(b"\n")
            lines.pop()  # what stands behind the last newline
            put(lines)

        self._server.copy_out(sql, take)


def _columns(table: Table, columns: Sequence[Column]) -> str:
    return f"{_values(table, columns)}, t.sync_rev, t.sync_seq FROM {table.quoted} t"


def _values(table: Table, columns: Sequence[Column]) -> str:
    printed = server_expressions(dataclasses.replace(table, columns=tuple(columns)), "t")
    return ", ".join([f"t.{table.key.quoted}", *([printed] if columns else [])])


def _is_askable(table: Table, key: bytes) -> bool:
    """Tell whether the server understands the question for a key; else it cannot have the row."""
    if table.key.kind == "uuid":
        return _UUID.fullmatch(key) is not None
    try:
        return "\0" not in key.decode()
    except UnicodeDecodeError:
        return False
