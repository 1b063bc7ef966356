"""The sync's tables and triggers inside the file, made by the first sync and checked by each.

Who never syncs pays nothing. The triggers are part of the file: whoever writes, the keys of the
changed rows are logged.
"""

from __future__ import annotations

import functools
import hashlib
import json
import socket
import sqlite3
import uuid
from collections.abc import Iterable

from dynostore.sqlite_dependents import CAPTURE_PREFIX
from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.turns import turns
from dynostore.sync.tables import Table, literal, quoted

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
    revision INTEGER, node TEXT, why TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE sync_reject (
    tbl TEXT NOT NULL, key TEXT NOT NULL, column_name TEXT, value TEXT,
    sqlstate TEXT NOT NULL, message TEXT NOT NULL, tries INTEGER NOT NULL, at TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT 'file', schema_version TEXT, wish TEXT, wish_seq INTEGER,
    PRIMARY KEY (tbl, key)
) WITHOUT ROWID;
CREATE TABLE sync_history (token INTEGER PRIMARY KEY, clock INTEGER NOT NULL);
CREATE INDEX sync_history_clock ON sync_history (clock);
"""

# What files of earlier versions lack.
_LATER_COLUMNS = {
    ("sync_pending", "scope"): "TEXT NOT NULL DEFAULT '[]'",
    ("sync_conflict", "node"): "TEXT",
    ("sync_reject", "origin"): "TEXT NOT NULL DEFAULT 'file'",
    ("sync_reject", "schema_version"): "TEXT",
    ("sync_reject", "wish"): "TEXT",
    ("sync_reject", "wish_seq"): "INTEGER",
}

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


def install(local: LocalFile) -> None:
    """Make the sync's tables and triggers where they are missing; writes nothing otherwise.

    Rows that a table holds already when it joins, or that may have changed while its triggers
    were missing, are logged: the server says which of them are news.
    """
    _add_later_columns(local)
    with turns.turn():
        local.note_schema()
        missing = uncaptured(local.writer, local.tables.values())
    if not missing:
        return
    # Undone, it is done again by the next sync; what the server hears of is announced durably.
    with local.writing(durable=False) as writer:
        if not _has_tables(writer):
            for statement in _TABLES.split(";"):
                writer.execute(statement)
            writer.execute(
                "INSERT INTO sync_meta (id, node_id, node_name) VALUES (1, ?, ?)",
                (str(uuid.uuid4()), socket.gethostname()),
            )
        for table in missing:
            _capture(writer, table)
    local.note_schema()


def uncaptured(connection: sqlite3.Connection, tables: Iterable[Table]) -> list[Table]:
    """Give the tables whose changes nobody logs, or not as they should be; only reads."""
    captured = _captured(connection) if _has_tables(connection) else {}
    return [t for t in tables if captured.get(t.name) != _as_it_should_be(t.name, t.key.name)]


def _has_tables(writer: sqlite3.Connection) -> bool:
    found = writer.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_meta'"
    )
    return found.fetchone() is not None


def _add_later_columns(local: LocalFile) -> None:
    """Bring the sync's tables of a file that an earlier version made up to this one's."""
    tables = ", ".join(sorted({literal(table) for table, _ in _LATER_COLUMNS}))
    with turns.turn():
        there = local.writer.execute(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
            f" WHERE m.type = 'table' AND m.name IN ({tables})"
        ).fetchall()
    missing = {place: kind for place, kind in _LATER_COLUMNS.items() if place not in there}
    if not there or not missing:
        return
    with local.writing() as writer:
        for (table, column), kind in missing.items():
            writer.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def _captured(writer: sqlite3.Connection) -> dict[str, tuple[dict[str, str], str]]:
    """Give the triggers that each registered table has, and the hash of those that it should."""
    triggers: dict[str, dict[str, str]] = {}
    for table, name, sql in writer.execute(
        "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'"
        f" AND name LIKE '{CAPTURE_PREFIX}%'"
    ):
        triggers.setdefault(table, {})[name] = sql
    hashes = writer.execute("SELECT name, triggers_hash FROM sync_table")
    return {name: (triggers.get(name, {}), known) for name, known in hashes}


def _capture(writer: sqlite3.Connection, table: Table) -> None:
    triggers, known = _as_it_should_be(table.name, table.key.name)
    for name, sql in triggers.items():
        writer.execute(f"DROP TRIGGER IF EXISTS {quoted(name)}")
        writer.execute(sql)
    writer.execute(
        "INSERT INTO sync_table (name, triggers_hash, columns) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET triggers_hash = excluded.triggers_hash",
        (table.name, known, json.dumps([c.name for c in table.columns])),
    )
    log_whole_table(writer, table)


def log_whole_table(writer: sqlite3.Connection, table: Table) -> None:
    """Log every row, and every one that the server has and the file has not.

    Of those that were synced before nobody knows whether they changed (``s``): where the server has
    a newer version, that stays, and nobody is bothered with a conflict.
    """
    name, key = literal(table.name), table.key.quoted
    writer.execute(
        f"INSERT INTO sync_log (tbl, key, op) SELECT {name}, t.{key}, CASE WHEN EXISTS (SELECT 1"
        f" FROM sync_base b WHERE b.tbl = {name} AND b.key = t.{key}) THEN 's' ELSE 'p' END"
        f" FROM {table.quoted} t"
    )
    writer.execute(
        f"INSERT INTO sync_log (tbl, key, op) SELECT {name}, b.key, 's' FROM sync_base b"
        f" WHERE b.tbl = {name} AND NOT EXISTS"
        f" (SELECT 1 FROM {table.quoted} t WHERE t.{key} = b.key)"
    )


@functools.lru_cache(maxsize=256)
def _as_it_should_be(name: str, key: str) -> tuple[dict[str, str], str]:
    """Give the triggers of a table with a key, and their hash."""
    triggers = {}
    for event, body in _TRIGGERS.items():
        filled = body.format(t=quoted(name), n=literal(name), k=quoted(key), when=_WHEN)
        trigger = quoted(f"{CAPTURE_PREFIX}{name}_{event}")
        triggers[f"{CAPTURE_PREFIX}{name}_{event}"] = f"CREATE TRIGGER {trigger} {filled}"
    return triggers, hashlib.sha256("\n".join(triggers.values()).encode()).hexdigest()
