"""The local side: which rows changed since the last sync, kept inside the SQLite file itself.

The tables are made by the first sync, so that who never syncs pays nothing. Triggers log the keys
of changed rows, whoever writes: they are part of the file. See docs/sync.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
import socket
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dynostore.config import Settings
from dynostore.database import JOURNAL_SIZE_LIMIT_BYTES
from dynostore.fields import time_text, utc_now
from dynostore.migrator import CAPTURE_PREFIX
from dynostore.sync.batches import Reject
from dynostore.sync.tables import Table, literal, quoted

HISTORY_KEPT = 100_000

_TABLES = """
CREATE TABLE sync_meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    node_id TEXT NOT NULL, node_name TEXT NOT NULL,
    server_id TEXT, incarnation INTEGER, token INTEGER,
    applying INTEGER NOT NULL DEFAULT 0, marker INTEGER NOT NULL DEFAULT 0,
    last_success_at TEXT, last_error TEXT, last_error_at TEXT
);
CREATE TABLE sync_table (
    name TEXT NOT NULL PRIMARY KEY, cursor INTEGER NOT NULL DEFAULT 0,
    triggers_hash TEXT NOT NULL, columns TEXT NOT NULL
);
CREATE TABLE sync_log (seq INTEGER PRIMARY KEY, tbl TEXT, key TEXT, op TEXT);
CREATE TABLE sync_base (
    tbl TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
CREATE TABLE sync_pending (
    id INTEGER PRIMARY KEY, token INTEGER NOT NULL, tbl TEXT NOT NULL,
    op TEXT NOT NULL, first_key TEXT NOT NULL, last_key TEXT NOT NULL, marker INTEGER NOT NULL,
    scope TEXT NOT NULL
);
CREATE TABLE sync_conflict (
    id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, key TEXT NOT NULL, image TEXT,
    revision INTEGER, why TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE sync_reject (
    tbl TEXT NOT NULL, key TEXT NOT NULL, column_name TEXT, value TEXT,
    sqlstate TEXT NOT NULL, message TEXT NOT NULL, tries INTEGER NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
CREATE TABLE sync_history (token INTEGER PRIMARY KEY, clock INTEGER NOT NULL);
CREATE INDEX sync_history_clock ON sync_history (clock);
"""

# AFTER, so that the row's own constraints have spoken. The key only: its contents are read when
# they are sent. A key that changes is a delete of the old one and a put of the new one.
# IS NOT 1: a missing row in sync_meta must not switch capture off.
_TRIGGERS = {
    "insert": "AFTER INSERT ON {t} {when}"
    " BEGIN INSERT INTO sync_log (tbl, key, op) VALUES ({n}, NEW.{k}, 'p'); END",
    "update": "AFTER UPDATE ON {t} {when}"
    " BEGIN INSERT INTO sync_log (tbl, key, op) VALUES ({n}, NEW.{k}, 'p'); END",
    "rekey": "AFTER UPDATE OF {k} ON {t} {when} AND OLD.{k} IS NOT NEW.{k}"
    " BEGIN INSERT INTO sync_log (tbl, key, op) VALUES ({n}, OLD.{k}, 'd'); END",
    "delete": "AFTER DELETE ON {t} {when}"
    " BEGIN INSERT INTO sync_log (tbl, key, op) VALUES ({n}, OLD.{k}, 'd'); END",
}
_WHEN = "WHEN (SELECT applying FROM sync_meta) IS NOT 1"


@dataclasses.dataclass
class Node:
    """The file's identity and what it last agreed on with its server."""

    node_id: str
    name: str
    server_id: str | None
    incarnation: int | None
    token: int | None


@dataclasses.dataclass(frozen=True)
class Pending:
    """The batch that is on its way; its keys are a range, and all ranges before it are done.

    :ivar op: ``p`` for puts, ``d`` for deletes.
    :ivar marker: log entries before this one belong to its push.
    :ivar scope: the tables that its push sends, parents first.
    """

    token: int
    table: str
    op: str
    first_key: str
    last_key: str
    marker: int
    scope: tuple[str, ...]

    def ranges_done(self) -> Iterator[tuple[str, str]]:
        """Give (op, table) of what its push had finished before it came to this table."""
        order = [("p", name) for name in self.scope]
        order += [("d", name) for name in reversed(self.scope)]
        for step in order:
            if step == (self.op, self.table):
                return
            yield step


def new_token() -> int:
    """Give a random positive 63-bit number."""
    return secrets.randbits(63) or 1


class LocalFile:
    """The sync's own connections to the file, and its tables there.

    :ivar writer: the writing connection; foreign keys off, since the sync applies parents and
        children itself and nothing may be left to a cascade that nobody logs.
    """

    def __init__(self, path: Path, settings: Settings, tables: dict[str, Table]) -> None:
        self.path = path
        self.tables = tables
        self._settings = settings
        self.writer = self._connect()

    def close(self) -> None:
        """Close the writing connection."""
        self.writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self._settings.busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA foreign_keys = OFF")
        # What a batch leaves out, and that it is under way, must outlast a power failure as the
        # server's half of it does.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES}")
        return connection

    @contextlib.contextmanager
    def writing(self, *, applying: bool = False) -> Iterator[sqlite3.Connection]:
        """Hold one write transaction.

        :param applying: True: rows written inside are the server's, and are not captured.
        """
        writer = self.writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            if applying:
                writer.execute("UPDATE sync_meta SET applying = 1")
            yield writer
            if applying:
                writer.execute("UPDATE sync_meta SET applying = 0")
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise

    # -- set-up ------------------------------------------------------------------------------

    def install(self) -> None:
        """Make the sync's tables and triggers where they are missing; writes nothing otherwise.

        Rows that a table holds already when it joins, or that may have changed while its triggers
        were missing, are logged: the server says which of them are news.
        """
        if self._installed():
            return
        with self.writing() as writer:
            if not self._has_tables():
                for statement in _TABLES.split(";"):
                    writer.execute(statement)
                writer.execute(
                    "INSERT INTO sync_meta (id, node_id, node_name) VALUES (1, ?, ?)",
                    (str(uuid.uuid4()), socket.gethostname()),
                )
            for table in self.tables.values():
                if not self._captured(table):
                    self._capture(table)

    def _has_tables(self) -> bool:
        return bool(
            self.writer.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_meta'"
            ).fetchone()
        )

    def _installed(self) -> bool:
        return self._has_tables() and all(map(self._captured, self.tables.values()))

    def _captured(self, table: Table) -> bool:
        """Tell whether the table is registered and its triggers are word for word ours."""
        rows = self.writer.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
            f" AND name LIKE '{CAPTURE_PREFIX}%'",
            (table.name,),
        ).fetchall()
        if dict(rows) != _triggers(table):
            return False
        row = self.writer.execute(
            "SELECT triggers_hash FROM sync_table WHERE name = ?", (table.name,)
        ).fetchone()
        return row is not None and row[0] == _hash(_triggers(table))

    def _capture(self, table: Table) -> None:
        writer = self.writer
        for name, sql in _triggers(table).items():
            writer.execute(f"DROP TRIGGER IF EXISTS {quoted(name)}")
            writer.execute(sql)
        writer.execute(
            "INSERT INTO sync_table (name, triggers_hash, columns) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET triggers_hash = excluded.triggers_hash,"
            " columns = excluded.columns",
            (
                table.name,
                _hash(_triggers(table)),
                json.dumps([column.name for column in table.columns]),
            ),
        )
        self.log_whole_table(table)

    def log_whole_table(self, table: Table) -> None:
        """Log every row as changed, and every row that the server has and the file has not."""
        name, key = literal(table.name), table.key.quoted
        self.writer.execute(
            f"INSERT INTO sync_log (tbl, key, op) SELECT {name}, {key}, 'p' FROM {table.quoted}"
        )
        self.writer.execute(
            f"INSERT INTO sync_log (tbl, key, op) SELECT {name}, b.key, 'd' FROM sync_base b"
            f" WHERE b.tbl = {name} AND NOT EXISTS"
            f" (SELECT 1 FROM {table.quoted} t WHERE t.{key} = b.key)"
        )

    # -- identity ----------------------------------------------------------------------------

    def node(self) -> Node:
        """Give this file's identity."""
        row = self.writer.execute(
            "SELECT node_id, node_name, server_id, incarnation, token FROM sync_meta"
        ).fetchone()
        return Node(*row)

    def pending(self) -> list[Pending]:
        """Give the batches on their way, oldest first: one that is done, one or two that are not.

        The latest one that is done stays listed until the next is: it says how far the push got.
        """
        rows = self.writer.execute(
            "SELECT token, tbl, op, first_key, last_key, marker, scope FROM sync_pending"
            " ORDER BY id"
        ).fetchall()
        return [
            Pending(token, table, op, first, last, marker, tuple(json.loads(scope)))
            for token, table, op, first, last, marker, scope in rows
        ]

    def add_pending(self, writer: sqlite3.Connection, pending: Pending) -> None:
        """List a batch that goes next, inside the caller's transaction."""
        writer.execute(
            "INSERT INTO sync_pending (token, tbl, op, first_key, last_key, marker, scope)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*dataclasses.astuple(pending)[:-1], json.dumps(pending.scope)),
        )

    def drop_pending_before(self, writer: sqlite3.Connection, token: int) -> None:
        """Forget the batches before the one with a token, inside the caller's transaction."""
        writer.execute(
            "DELETE FROM sync_pending WHERE id < (SELECT id FROM sync_pending WHERE token = ?)",
            (token,),
        )

    def drop_pending(self, writer: sqlite3.Connection) -> None:
        """Forget all batches on their way, inside the caller's transaction."""
        writer.execute("DELETE FROM sync_pending")

    def knows_token(self, token: int) -> bool:
        """Tell whether this file ever had the token."""
        return self.clock_at(token) is not None

    def clock_at(self, token: int) -> int | None:
        """Give the server's clock at one of this file's tokens; None for somebody else's."""
        row = self.writer.execute(
            "SELECT clock FROM sync_history WHERE token = ?", (token,)
        ).fetchone()
        return int(row[0]) if row else None

    def latest_clock(self) -> int:
        """Give the greatest clock that this file has seen."""
        row = self.writer.execute(
            "SELECT max((SELECT coalesce(max(cursor), 0) FROM sync_table),"
            " (SELECT coalesce(max(clock), 0) FROM sync_history))"
        ).fetchone()
        return int(row[0])

    def cursor(self) -> int:
        """Give the furthest number that was pulled; 0 before the first pull."""
        row = self.writer.execute("SELECT coalesce(max(cursor), 0) FROM sync_table").fetchone()
        return int(row[0])

    def set_identity(self, writer: sqlite3.Connection, **values: Any) -> None:
        """Change columns of sync_meta, inside the caller's transaction."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        writer.execute(f"UPDATE sync_meta SET {assignments}", list(values.values()))

    def remember(self, writer: sqlite3.Connection, token: int, clock: int) -> None:
        """Make a token the current one, inside the caller's transaction."""
        writer.execute("INSERT OR REPLACE INTO sync_history VALUES (?, ?)", (token, clock))
        writer.execute(
            "UPDATE sync_meta SET token = ?, last_success_at = ?, last_error = NULL,"
            " last_error_at = NULL",
            (token, time_text(utc_now())),
        )

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

    # -- what waits --------------------------------------------------------------------------

    def waiting(self) -> dict[str, int]:
        """Give how many rows of each table wait to be sent; tables without any are left out."""
        return dict(
            self.writer.execute(
                "SELECT tbl, count(DISTINCT key) FROM sync_log WHERE tbl IS NOT NULL"
                " GROUP BY tbl ORDER BY tbl"
            ).fetchall()
        )

    def something_waits(self) -> bool:
        """Tell whether anything is logged; looks at a row or two."""
        found = self.writer.execute("SELECT 1 FROM sync_log WHERE tbl IS NOT NULL LIMIT 1")
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
        reader = self._connect()
        try:
            reader.text_factory = bytes
            with self.writing() as writer:
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
        finally:
            reader.close()

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
        exists = f"EXISTS (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = key)"
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

    def set_aside(self, writer: sqlite3.Connection, table: str, rejects: Sequence[Reject]) -> None:
        """Keep rows that the server cannot hold, with the reason, inside the caller's transaction.

        A row counts as changed here for as long as it is kept; it is tried again when it changes.
        """
        writer.executemany(
            "INSERT INTO sync_reject"
            " (tbl, key, column_name, value, sqlstate, message, tries, at)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, ?) ON CONFLICT (tbl, key) DO UPDATE SET"
            " column_name = excluded.column_name, value = excluded.value,"
            " sqlstate = excluded.sqlstate, message = excluded.message,"
            " tries = tries + 1, at = excluded.at",
            [
                (table, r.key, r.column, r.value, r.sqlstate, r.message, time_text(utc_now()))
                for r in rejects
            ],
        )

    def readmit(self, writer: sqlite3.Connection, table: str, keys: Sequence[str]) -> None:
        """Forget that rows were set aside, since they are sent again."""
        if writer.execute("SELECT 1 FROM sync_reject LIMIT 1").fetchone():
            writer.executemany(
                "DELETE FROM sync_reject WHERE tbl = ? AND key = ?", [(table, k) for k in keys]
            )

    def set_bases(
        self, writer: sqlite3.Connection, rows: Sequence[tuple[str, str, int, int]]
    ) -> None:
        """Write (table, key, revision, seq): what the server held when they were sent."""
        writer.executemany(
            "INSERT INTO sync_base (tbl, key, revision, seq) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (tbl, key) DO UPDATE"
            " SET revision = excluded.revision, seq = excluded.seq",
            rows,
        )


def _triggers(table: Table) -> dict[str, str]:
    result = {}
    for event, body in _TRIGGERS.items():
        name = f"{CAPTURE_PREFIX}{table.name}_{event}"
        filled = body.format(t=table.quoted, n=literal(table.name), k=table.key.quoted, when=_WHEN)
        result[name] = f"CREATE TRIGGER {quoted(name)} {filled}"
    return result


def _hash(triggers: dict[str, str]) -> str:
    return hashlib.sha256("\n".join(triggers.values()).encode()).hexdigest()
