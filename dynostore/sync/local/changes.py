"""The local side: the sync's connections to the file, and the log of what changed in it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from dynostore import errors
from dynostore.config import Settings
from dynostore.database import MemoryDatabase, SqliteFile
from dynostore.fields import time_text, utc_now
from dynostore.store import Store
from dynostore.sync.local.connections import FileConnections
from dynostore.sync.local.journal import Journal, Pending
from dynostore.sync.tables import Table, literal, quoted

HISTORY_KEPT = 100_000


class FileRebuilt(Exception):
    """The file's schema changed while it was being synced; its triggers may be gone."""


class LocalFile:
    """The sync's own connections to the file, and its tables there.

    :param connections: to use, and to leave open; others of its own by default.
    :ivar writer: the writing connection; foreign keys off, since the sync applies parents and
        children itself and nothing may be left to a cascade that nobody logs.
    :ivar journal: the file's identity and the batches on their way.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        tables: dict[str, Table],
        connections: FileConnections | None = None,
    ) -> None:
        self.path = path
        self.tables = tables
        self._connections = connections or FileConnections(path, settings)
        self._is_own = connections is None
        self.writer = self._connections.writer()
        self._schema: int | None = None
        self._strangers: list[tuple[str, str, str, str | None]] | None = None
        self.journal = Journal(self.writer)

    def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        if self._is_own:
            self._connections.close()

    def note_schema(self) -> None:
        """Remember the schema whose triggers were just found to be as they should."""
        self._strangers = None
        self._schema = self._schema_version()

    def _schema_version(self) -> int:
        return int(self.writer.execute("PRAGMA schema_version").fetchone()[0])

    @contextlib.contextmanager
    def writing(
        self, *, applying: bool = False, durable: bool = True
    ) -> Iterator[sqlite3.Connection]:
        """Hold one write transaction.

        :param applying: True: rows written inside are the server's, and are not captured.
        :param durable: it outlasts a power failure, and with it all that was committed before.
            False: it may be undone, being something that the next sync would find out again.
        :raises FileRebuilt: rows may have been changed that nobody captured.
        """
        writer = self.writer
        writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        writer.execute("BEGIN IMMEDIATE")
        try:
            if applying:
                if self._schema_version() != self._schema:
                    raise FileRebuilt
                writer.execute("UPDATE sync_meta SET applying = 1")
            yield writer
            if applying:
                writer.execute("UPDATE sync_meta SET applying = 0")
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    def trim_history(self) -> bool:
        """Forget the oldest tokens once there are too many; tell whether there were.

        Many are kept, since a backup of last month must still be recognised.
        """
        count = self.count("sync_history")
        if count <= HISTORY_KEPT * 1.01:
            return False
        with self.writing() as writer:
            writer.execute(
                "DELETE FROM sync_history WHERE clock <= (SELECT clock FROM sync_history"
                f" ORDER BY clock DESC LIMIT 1 OFFSET {HISTORY_KEPT})"
            )
        return True

    def note_error(self, message: str) -> None:
        """Keep what made the last sync fail, for ``sync status``; an unwritable file keeps none."""
        with contextlib.suppress(sqlite3.Error), self.writing() as writer:
            writer.execute(
                "UPDATE sync_meta SET last_error = ?, last_error_at = ?",
                (message, time_text(utc_now())),
            )

    def something_waits(self, scope: Sequence[Table] | None = None) -> bool:
        """Tell whether anything is logged, in some tables or in all; looks at a row or two."""
        names = ", ".join(literal(table.name) for table in scope or self.tables.values())
        found = self.writer.execute(f"SELECT 1 FROM sync_log WHERE tbl IN ({names}) LIMIT 1")
        return found.fetchone() is not None

    def left_out(self) -> list[str]:
        """Give the tables that the file captures and whose models were not given."""
        rows = self.writer.execute(
            "SELECT t.name FROM sync_table t JOIN sqlite_master m"
            " ON m.type = 'table' AND m.name = t.name ORDER BY 1"
        )
        return [name for (name,) in rows if name not in self.tables]

    def require_all_models(self, why: str, tables: Iterable[str] | None = None) -> None:
        """Refuse to go on without the models of all tables that the file captures.

        :param tables: only these.
        :raises ModelsMissing: names those that were not given.
        """
        wanted = self.left_out() if tables is None else tables
        missing = sorted({name for name in wanted if name and name not in self.tables})
        if missing:
            raise errors.ModelsMissing(
                f"{self.path}: {why}, and the models of some tables were not given: "
                f"{', '.join(missing)}",
                hint="dynostore --models MODULE sync",
                tables=missing,
            )

    def has_strange_children(self, table: Table, key: str) -> bool:
        """Tell whether rows of a table that does not take part refer to a row."""
        if self._strangers is None:
            rows = self.writer.execute(
                'SELECT f."table", m.name, f."from", f."to" FROM sqlite_master m,'
                " pragma_foreign_key_list(m.name) f WHERE m.type = 'table'"
            )
            self._strangers = [row for row in rows if row[1] not in self.tables]
        for parent, child, column, referred in self._strangers:
            if parent == table.name and referred in (None, table.key.name):
                found = self.writer.execute(
                    f"SELECT 1 FROM {quoted(child)} WHERE {quoted(column)} = ? LIMIT 1", (key,)
                )
                if found.fetchone() is not None:
                    return True
        return False

    def waiting(self, table: str) -> int:
        """Count the rows of a table that wait to be sent."""
        [(count,)] = self.writer.execute(
            "SELECT count(DISTINCT key) FROM sync_log WHERE tbl = ?", (table,)
        )
        return int(count)

    def has_bases(self, table: Table | None = None) -> bool:
        """Tell whether anything, or anything of one table, was ever sent or received."""
        which = "" if table is None else f" WHERE tbl = {literal(table.name)}"
        found = self.writer.execute(f"SELECT 1 FROM sync_base{which} LIMIT 1")
        return found.fetchone() is not None

    def count(self, table: str) -> int:
        """Count the rows of one of the sync's tables."""
        return int(self.writer.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Hold a view of the file that no writer changes, and the number of its last log entry.

        While the writing connection holds the write lock nobody can commit, so what the reading
        one sees is exactly what is logged up to the marker. The marker stays in the log, so that
        no later change gets a number at or below it, however much of the log is deleted.
        """
        with self._connections.reader() as reader:
            with self.writing(durable=False) as writer:
                writer.execute(
                    "DELETE FROM sync_log WHERE seq = (SELECT marker FROM sync_meta)"
                    " AND tbl IS NULL"
                )
                marker = writer.execute(
                    "SELECT max(coalesce((SELECT max(seq) FROM sync_log), 0),"
                    " (SELECT marker FROM sync_meta)) + 1"
                ).fetchone()[0]
                writer.execute("INSERT INTO sync_log (seq) VALUES (?)", (marker,))
                writer.execute("UPDATE sync_meta SET marker = ?", (marker,))
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM sync_meta").fetchone()
            yield reader, marker

    def log(self, writer: sqlite3.Connection, table: str, keys: Iterable[str], op: str) -> None:
        """Log keys as changed, inside the caller's transaction."""
        writer.executemany(
            "INSERT INTO sync_log (tbl, key, op) VALUES (?, ?, ?)",
            [(table, key, op) for key in keys],
        )

    def logged_after(self, writer: sqlite3.Connection, marker: int, table: str) -> set[str]:
        """Give the keys of a table that were changed again after the marker."""
        rows = writer.execute(
            "SELECT DISTINCT key FROM sync_log WHERE seq > ? AND tbl = ?", (marker, table)
        )
        return {key for (key,) in rows}

    def forget_done(self, writer: sqlite3.Connection, pending: Pending, *, itself: bool) -> None:
        """Delete the log entries of what an interrupted push had finished.

        :param itself: True: the pending batch was finished too.
        """
        if pending.op == "n":
            return
        for op, table in pending.ranges_done():
            self._forget(writer, pending.marker, op, table, "1")
        end = (pending.last_key, "<=") if itself else (pending.first_key, "<")
        self._forget(writer, pending.marker, pending.op, pending.table, f"key {end[1]} ?", end[0])

    def _forget(
        self, writer: sqlite3.Connection, marker: int, op: str, name: str, which: str, *values: str
    ) -> None:
        # Whether an entry was sent as a put or as a delete shows in whether its row is there. A
        # row that came or went since has an entry after the marker as well.
        table = self.tables[name]
        # The log's key is qualified: a table may well have a column of that name.
        exists = (
            f"EXISTS (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = sync_log.key)"
        )
        writer.execute(
            f"DELETE FROM sync_log WHERE seq < ? AND tbl = ? AND {which}"
            f" AND {'' if op == 'p' else 'NOT '}{exists}",
            (marker, name, *values),
        )

    def forget_all_sent(
        self, writer: sqlite3.Connection, marker: int, scope: Sequence[str]
    ) -> None:
        """Delete the log entries of a push that has sent everything before its marker."""
        names = ", ".join(map(literal, scope))
        writer.execute(f"DELETE FROM sync_log WHERE seq < ? AND tbl IN ({names})", (marker,))

    def set_bases(
        self, writer: sqlite3.Connection, table: str, keys: Sequence[str], revision: int, seq: int
    ) -> None:
        """Note of some rows what the server held when they were sent, or sends now."""
        # All in one step, without the interpreter, which other threads have meanwhile: row by row
        # it takes three times as long, and longer where somebody waits for the interpreter.
        writer.execute(
            "INSERT INTO sync_base (tbl, key, revision, seq) SELECT ?, value, ?, ?"
            " FROM json_each(?) WHERE true"  # else ON would be taken for a join's
            " ON CONFLICT (tbl, key) DO UPDATE"
            " SET revision = excluded.revision, seq = excluded.seq",
            (table, revision, seq, orjson.dumps(keys).decode()),
        )


class DirtyKeys:
    """The keys of one table that changed here and wait for push to let the server judge them.

    A context, to be entered outside a transaction: what had changed by then lies in a temporary
    table, however much it is.
    """

    def __init__(self, writer: sqlite3.Connection, table: Table) -> None:
        self._writer = writer
        self._table = table.name
        self._seen = 0

    def __enter__(self) -> DirtyKeys:
        execute = self._writer.execute
        (self._seen,) = execute("SELECT coalesce(max(seq), 0) FROM sync_log").fetchone()
        execute("CREATE TEMP TABLE dirty (key TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID")
        execute(
            "INSERT OR IGNORE INTO temp.dirty SELECT key FROM sync_log WHERE tbl = ?"
            " UNION SELECT key FROM sync_reject WHERE tbl = ? AND origin = 'file'",
            (self._table, self._table),
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.execute("DROP TABLE temp.dirty")

    def among(self, keys: Sequence[str]) -> set[str]:
        """Give those of some keys that are dirty by now.

        Inside a write transaction this holds to its end, but for what the caller logs itself.
        """
        if not self._any():
            return set()
        found = self._writer.execute(
            "SELECT j.value FROM json_each(?) j WHERE j.value IN temp.dirty OR j.value IN"
            " (SELECT key FROM sync_log WHERE seq > ? AND tbl = ?)",
            (json.dumps(keys), self._seen, self._table),
        )
        return {key for (key,) in found}

    def _any(self) -> bool:
        found = self._writer.execute(
            "SELECT EXISTS (SELECT 1 FROM temp.dirty)"
            " OR EXISTS (SELECT 1 FROM sync_log WHERE seq > ? AND tbl = ?)",
            (self._seen, self._table),
        )
        return bool(found.fetchone()[0])


def require_file(store: Store) -> SqliteFile:
    """Give the store's file.

    :raises ConfigError: it is in memory or on a server.
    """
    database = store.database
    if not isinstance(database, SqliteFile) or isinstance(database, MemoryDatabase):
        raise errors.ConfigError(
            f"{store.place.shown}: what syncs with a server is a SQLite file",
            hint="dynostore --db FILE sync --to URL",
        )
    return database
