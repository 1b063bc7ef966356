"""What can be asked of a Postgres: who it is, its clock, its schema, and what this role may do."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator
from typing import Any

from dynostore import config, models
from dynostore.database import PostgresServer, connect_server
from dynostore.doctor.findings import Finding, telling
from dynostore.doctor.schema import look_at_schema
from dynostore.doctor.syncing import MEND_IDENTITY
from dynostore.own_models import OwnModels
from dynostore.sync.local.journal import IS_ANOTHER
from dynostore.sync.tables import SYNC_COLUMNS, describe

_OLDEST = 140000
_CLOCK_NOTE_S, _CLOCK_WARNING_S = 2.0, 60.0
_SYNC_TRIGGERS = 7

_FACTS = """
    SELECT current_user, current_database(), current_schema(), pg_encoding_to_char(encoding),
           pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_activity),
           current_setting('max_connections')::int
    FROM pg_database WHERE datname = current_database()
"""
_MISSING_RIGHTS = """
    SELECT c.oid::regclass::text, r.name FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r(name)
    WHERE c.relkind IN ('r', 'p') AND NOT has_table_privilege(c.oid, r.name)
      AND (n.nspname = current_schema() AND c.relname = ANY(%s) OR n.nspname = ANY(%s))
    ORDER BY 1, 2
"""
_MISSING_SYNC_RIGHTS = """
    SELECT what FROM (VALUES
        ('TEMPORARY on the database',
            has_database_privilege(current_database(), 'TEMPORARY')),
        ('USAGE on the schema dynostore_sync',
            has_schema_privilege('dynostore_sync', 'USAGE')),
        ('EXECUTE on dynostore_sync.take()',
            has_function_privilege('dynostore_sync.take()', 'EXECUTE'))
    ) rights(what, held) WHERE NOT held
"""
_IS_SET_UP = """
    SELECT 1 FROM pg_tables WHERE schemaname = 'dynostore_sync' AND tablename = 'server'
"""
_UNATTACHED = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)
      AND ((SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
            AND a.attname = ANY(%s) AND NOT a.attisdropped) < %s
        OR (SELECT count(*) FROM pg_trigger g WHERE g.tgrelid = c.oid
            AND g.tgname LIKE 'zz\\_sync\\_%%' AND g.tgenabled <> 'D') <> %s)
    ORDER BY 1
"""
_UNCHECKED = """
    SELECT conrelid::regclass::text || ' (' || conname || ')' FROM pg_constraint k
    JOIN pg_namespace n ON n.oid = k.connamespace
    WHERE k.contype = 'f' AND NOT k.convalidated AND n.nspname = current_schema() ORDER BY 1
"""


@contextlib.contextmanager
def reached(place: config.Place) -> Iterator[PostgresServer]:
    """Hold one connection to a server.

    :raises ConfigError: the place is none.
    :raises RemoteUnavailable: nobody answers.
    """
    db = connect_server(place)
    try:
        with db.reading():
            yield db
    finally:
        db.shut()


def look_at_store(place: config.Place, own: OwnModels) -> list[Finding]:
    """Look at a Postgres that is the store itself."""
    findings: list[Finding] = []
    with telling("server", findings), reached(place) as db:
        findings += _server(db)
        findings += _clock(db)
        findings += look_at_schema(db, own)
        findings += _rights(db, own, syncing=False)
        for (name,) in _execute(db, _UNCHECKED):
            mend = f"psql {shlex.quote(db.shown)} -c 'ALTER TABLE ... VALIDATE CONSTRAINT ...'"
            message = f"{name}: was made without looking at the rows that were there"
            findings.append(Finding("references", "warning", message, mend))
    return findings


def look_at_remote(place: config.Place, own: OwnModels, known: str | None) -> list[Finding]:
    """Look at the shared server of a file.

    :param known: the id of the server that the file was synced with; None before its first sync.
    """
    findings: list[Finding] = []
    with telling("server", findings), reached(place) as db:
        findings += _server(db)
        findings += _clock(db)
        if not _execute(db, _IS_SET_UP):
            findings.append(_never_set_up(known))
            return findings
        findings += _identity(db, known)
        findings += _rights(db, own, syncing=True)
        if findings[-1].severity != "error":
            findings += _attached(db, own)
    return findings


def _execute(db: PostgresServer, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
    execute: Any = db.execute_sql  # Peewee's stubs do not type it
    return list(execute(sql, values or None).fetchall())


def _server(db: PostgresServer) -> Iterator[Finding]:
    [facts] = _execute(db, _FACTS)
    user, database, schema, encoding, is_copy, used, most = facts
    version: int = db.server_version
    shown = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version < _OLDEST:
        yield Finding("server", "error", f"{shown}: 14 or later is needed", "upgrade the server")
    elif encoding != "UTF8":
        mend = f"createdb -E UTF8 -T template0 {shlex.quote(database)}_utf8, and move there"
        yield Finding("server", "error", f"{shown}: the database is {encoding}, not UTF8", mend)
    elif is_copy:
        message = f"{shown}: is a standby, which can only be read"
        yield Finding("server", "error", message, "give the address of the primary server")
    elif schema is None:
        message = f"{user} sees no schema in {database}"
        mend = f"GRANT USAGE ON SCHEMA public TO {user}"
        yield Finding("server", "error", message, mend)
    else:
        yield Finding("server", "ok", f"{shown}, database {database}, as {user}")
    if used * 10 > most * 9:
        message = f"{used} of {most} connections are in use"
        yield Finding("server", "warning", message, "lower pool_max, or raise max_connections")


def _clock(db: PostgresServer) -> list[Finding]:
    """Compare the clocks; only people look at them, and no row depends on one."""
    before = time.time()
    [(theirs,)] = _execute(db, "SELECT extract(epoch FROM clock_timestamp())::double precision")
    ours = (before + time.time()) / 2
    ahead_s = float(theirs) - ours
    message = f"the server's clock is {abs(ahead_s):,.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > _CLOCK_WARNING_S:
        message += ": times of records from several machines are in a wrong order"
        return [Finding("clock", "warning", message, "timedatectl set-ntp true")]
    if abs(ahead_s) > _CLOCK_NOTE_S:
        return [Finding("clock", "note", message, "timedatectl set-ntp true")]
    return [Finding("clock", "ok", "the clocks agree")]


def _never_set_up(known: str | None) -> Finding:
    if known is None:
        message = "nobody has synced with this server yet"
        return Finding("identity", "note", message, "dynostore sync")
    return Finding("identity", "error", f"was emptied, or {IS_ANOTHER}", MEND_IDENTITY)


def _identity(db: PostgresServer, known: str | None) -> list[Finding]:
    with telling("identity", found := []):
        rows = _execute(db, "SELECT id::text FROM dynostore_sync.server")
        if known is not None and rows != [(known,)]:
            found.append(_never_set_up(known))
        else:
            found.append(Finding("identity", "ok", "is the server that this file syncs with"))
    return found


def _rights(db: PostgresServer, own: OwnModels, *, syncing: bool) -> list[Finding]:
    names = [str(m._meta.table_name) for m in (*models.ALL, *own.models)]
    schemas = ["dynostore_sync"] if syncing else []
    lacking: dict[str, list[str]] = {}
    for table, right in _execute(db, _MISSING_RIGHTS, (names, schemas)):
        lacking.setdefault(table, []).append(right)
    missing = [f"{', '.join(rights)} on {table}" for table, rights in lacking.items()]
    if syncing:
        missing += [what for (what,) in _execute(db, _MISSING_SYNC_RIGHTS)]
    if not missing:
        return [Finding("rights", "ok", "this role may do all that is needed")]
    [(user,)] = _execute(db, "SELECT current_user")
    few = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
    mend = f"let the owner run the GRANTs of docs/sync.md for {user}"
    return [Finding("rights", "error", f"{user} lacks {few}", mend)]


def _attached(db: PostgresServer, own: OwnModels) -> list[Finding]:
    names = list(describe((*models.REPLICATED, *own.models)))
    parameters = (names, list(SYNC_COLUMNS), len(SYNC_COLUMNS), _SYNC_TRIGGERS)
    blind = [name for (name,) in _execute(db, _UNATTACHED, parameters)]
    if not blind:
        return [Finding("capture", "ok", "changes on the server are caught in every table")]
    message = f"the server does not catch changes in: {', '.join(blind)}"
    return [Finding("capture", "warning", message, "let the owner run: dynostore sync")]
