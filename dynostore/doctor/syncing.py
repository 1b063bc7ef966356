"""Whether a file's changes are caught and go out: triggers, what waits, and since when."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import Any

from dynostore import models
from dynostore.database import SqliteFile
from dynostore.doctor.findings import Finding, telling
from dynostore.fields import utc_now
from dynostore.own_models import OwnModels
from dynostore.sync.local.capture import uncaptured
from dynostore.sync.local.journal import HAS_FORGOTTEN, IS_ANOTHER
from dynostore.sync.tables import describe

MEND_IDENTITY = (
    "sync with the right server (dynostore sync --to URL), or restore this one from its backup and "
    "then sync; to take this one as it is and send it every row anew: dynostore sync --adopt"
)
"""What ends the refusal of a server that is not the one known; another sync only repeats it."""

_STANDING_STILL = dt.timedelta(days=1)
_COUNTED_TO = 10_000

_HAS_SYNCED = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_meta'"
_STATE = "SELECT server_id, last_success_at, last_error, last_error_at FROM sync_meta"
# To count millions takes longer than anybody wants to wait for "many".
_WAITING = (
    f"SELECT count(*) FROM (SELECT 1 FROM sync_log WHERE tbl IS NOT NULL LIMIT {_COUNTED_TO})"
)
_OPEN = "SELECT (SELECT count(*) FROM sync_conflict), (SELECT count(*) FROM sync_reject)"


def look_at_sync(db: SqliteFile, own: OwnModels, *, has_remote: bool) -> list[Finding]:
    """Look at the sync's tables in a file; the server is not asked.

    :param has_remote: a shared server is configured.
    """
    findings: list[Finding] = []
    with telling("sync", findings), db.reading():
        connection: sqlite3.Connection = db.connection()  # type: ignore[no-untyped-call]
        if connection.execute(_HAS_SYNCED).fetchone() is None:
            if has_remote:
                message = "nothing of this file was ever sent to the shared server"
                return [Finding("sync", "note", message, "dynostore sync")]
            return [Finding("sync", "ok", "this file does not sync")]
        findings += _capture(connection, own)
        findings += _lag(connection)
    return findings


def known_server(db: SqliteFile) -> str | None:
    """Give the id of the server that a file syncs with; None before its first sync."""
    with db.reading():
        execute: Any = db.execute_sql
        if execute(_HAS_SYNCED).fetchone() is None:
            return None
        row = execute(_STATE).fetchone()
    return row[0] if row else None


def _capture(connection: sqlite3.Connection, own: OwnModels) -> list[Finding]:
    tables = describe((*models.REPLICATED, *own.models)).values()
    there = {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    blind = [t.name for t in uncaptured(connection, tables) if t.name in there]
    if not blind:
        return [Finding("capture", "ok", "changes of every table are caught")]
    message = f"changes are not caught in: {', '.join(blind)}; a rebuild has dropped the triggers"
    mend = "dynostore sync, which makes them anew and sends the whole tables for comparison"
    return [Finding("capture", "warning", message, mend)]


def _lag(connection: sqlite3.Connection) -> list[Finding]:
    state = connection.execute(_STATE).fetchone()
    if state is None:
        return [
            Finding("sync", "error", "the file has lost its identity", "dynostore sync --adopt")
        ]
    _, success, error, error_at = state
    findings = []
    if error:
        message = f"the last sync failed at {error_at}: {error}"
        refused = error.endswith((IS_ANOTHER, HAS_FORGOTTEN))
        mend = MEND_IDENTITY if refused else "dynostore sync"
        findings.append(Finding("sync", "warning", message, mend))
    conflicts, rejects = connection.execute(_OPEN).fetchone()
    if conflicts:
        message = f"{conflicts:,} conflicts are open"
        findings.append(Finding("sync", "warning", message, "dynostore sync conflicts"))
    if rejects:
        message = f"{rejects:,} rows are set aside"
        findings.append(Finding("sync", "warning", message, "dynostore sync rejects"))
    [waiting] = connection.execute(_WAITING).fetchone()
    since = dt.datetime.fromisoformat(success) if success else None
    shown = f"{waiting:,}{' or more' if waiting == _COUNTED_TO else ''} changes wait"
    if waiting and (since is None or utc_now() - since > _STANDING_STILL):
        told = f"and nothing was sent since {success}" if success else "and nothing was ever sent"
        findings.append(Finding("sync", "warning", f"{shown}, {told}", "dynostore sync"))
    elif waiting:
        findings.append(
            Finding("sync", "note", f"{shown}, last sent at {success}", "dynostore sync")
        )
    return findings or [Finding("sync", "ok", f"nothing waits; last sent at {success}")]
