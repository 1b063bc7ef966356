"""The file's identity and memory: node, tokens, batches on their way.

Written inside the caller's transaction, with what they speak of.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dynostore.fields import time_text, utc_now

IS_ANOTHER = "is not the server that this file was synced with"
HAS_FORGOTTEN = "has forgotten what it agreed on with this file"
"""What ends a sync at the wrong server; kept as its error, by which the doctor knows it."""


@dataclasses.dataclass
class Node:
    """The file's identity and what it last agreed on with its server."""

    node_id: str
    name: str
    server_id: str | None
    incarnation: int | None
    token: int | None


@dataclasses.dataclass(frozen=True)
class Cursor:
    """How far a table was pulled.

    :ivar columns: those that it had when it was read.
    """

    number: int
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Pending:
    """The batch that is on its way; its keys are a range, and all ranges before it are done.

    :ivar op: ``p`` for puts, ``d`` for deletes, ``n`` for nothing: a pull that changed the token.
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

    @classmethod
    def of_pull(cls) -> Pending:
        """Give the batch without rows that stands for a pull."""
        return cls(new_token(), "", "n", "", "", 0, ())

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


class Journal:
    """Reads and writes ``sync_meta``, ``sync_pending`` and ``sync_history``."""

    def __init__(self, writer: sqlite3.Connection) -> None:
        self._writer = writer

    def node(self) -> Node:
        """Give this file's identity."""
        row = self._writer.execute(
            "SELECT node_id, node_name, server_id, incarnation, token FROM sync_meta"
        ).fetchone()
        return Node(*row)

    def pending(self) -> list[Pending]:
        """Give the batches on their way, oldest first: one that is done, one or two that are not.

        The latest one that is done stays listed until the next is: it says how far the push got.
        """
        rows = self._writer.execute(
            "SELECT token, tbl, op, first_key, last_key, marker, scope FROM sync_pending"
            " ORDER BY id"
        ).fetchall()
        return [
            Pending(token, table, op, first, last, marker, tuple(json.loads(scope)))
            for token, table, op, first, last, marker, scope in rows
        ]

    def add_pending(self, pending: Pending) -> None:
        """List a batch that goes next, inside the caller's transaction."""
        self._writer.execute(
            "INSERT INTO sync_pending (token, tbl, op, first_key, last_key, marker, scope)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*dataclasses.astuple(pending)[:-1], json.dumps(pending.scope)),
        )

    def drop_pending_before(self, token: int) -> None:
        """Forget the batches before the one with a token, inside the caller's transaction."""
        self._writer.execute(
            "DELETE FROM sync_pending WHERE id < (SELECT id FROM sync_pending WHERE token = ?)",
            (token,),
        )

    def drop_pending(self) -> None:
        """Forget all batches on their way, inside the caller's transaction."""
        self._writer.execute("DELETE FROM sync_pending")

    def knows_token(self, token: int) -> bool:
        """Tell whether this file ever had the token."""
        return self.clock_at(token) is not None

    def has_history(self) -> bool:
        """Tell whether this file ever had a token: else it never synced."""
        found = self._writer.execute("SELECT 1 FROM sync_history LIMIT 1")
        return found.fetchone() is not None

    def clock_at(self, token: int) -> int | None:
        """Give the server's clock at one of this file's tokens; None for somebody else's."""
        row = self._writer.execute(
            "SELECT clock FROM sync_history WHERE token = ?", (token,)
        ).fetchone()
        return int(row[0]) if row else None

    def latest_clock(self) -> int:
        """Give the greatest clock that this file has seen."""
        row = self._writer.execute(
            "SELECT max((SELECT coalesce(max(cursor), 0) FROM sync_table),"
            " (SELECT coalesce(max(clock), 0) FROM sync_history))"
        ).fetchone()
        return int(row[0])

    def cursors(self) -> dict[str, Cursor]:
        """Give how far each table was pulled."""
        rows = self._writer.execute("SELECT name, cursor, columns FROM sync_table").fetchall()
        return {name: Cursor(number, tuple(json.loads(c))) for name, number, c in rows}

    def move_cursors(self, columns: Mapping[str, Sequence[str]], number: int) -> None:
        """Note that tables were pulled up to a number, inside the caller's transaction.

        :param columns: by table, the columns that were read.
        """
        self._writer.executemany(
            "UPDATE sync_table SET cursor = ?, columns = ? WHERE name = ?",
            [(number, json.dumps(names), table) for table, names in columns.items()],
        )

    def cursor(self) -> int:
        """Give the furthest number that was pulled; 0 before the first pull."""
        row = self._writer.execute("SELECT coalesce(max(cursor), 0) FROM sync_table").fetchone()
        return int(row[0])

    def set_identity(self, **values: Any) -> None:
        """Change columns of sync_meta, inside the caller's transaction."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._writer.execute(f"UPDATE sync_meta SET {assignments}", list(values.values()))

    def remember(self, token: int, clock: int) -> None:
        """Make a token the current one, inside the caller's transaction."""
        self._writer.execute("INSERT OR REPLACE INTO sync_history VALUES (?, ?)", (token, clock))
        self._writer.execute(
            "UPDATE sync_meta SET token = ?, last_success_at = ?, last_error = NULL,"
            " last_error_at = NULL",
            (token, time_text(utc_now())),
        )
