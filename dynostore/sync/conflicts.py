"""What this file lost to another writer, listed for people."""

from __future__ import annotations

import sqlite3

from dynostore.fields import time_text, utc_now
from dynostore.sync.tables import Table

REASONS = {
    "lost": "another node changed the row first; the server kept theirs",
    "delete": "another node changed the row that was deleted here; the row stays",
    "children": "the row has children on the server that this node had not seen; it stays",
    "back": "another node had deleted the row that was changed here; it came back",
    "parent": "the row was deleted here, and a row that needs it came from the server",
}


def list_conflict(
    writer: sqlite3.Connection,
    table: Table,
    key: str,
    why: str,
    revision: int | None,
    image: str | None = None,
) -> None:
    """Add a conflict, inside the caller's transaction.

    :param why: one of ``REASONS``.
    :param revision: of what the server kept.
    :param image: what this file had, as JSON.
    """
    writer.execute(
        "INSERT INTO sync_conflict (tbl, key, image, revision, why, at) VALUES (?, ?, ?, ?, ?, ?)",
        (table.name, key, image, revision, REASONS[why], time_text(utc_now())),
    )
