"""The model's local file: rows, log, bases, and what it agreed on with its server."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.sync.model.tables import DELETE, PUT, SUSPECT, Row, Schema, Stopped


class Pending(NamedTuple):
    """A batch that is on its way: a range of keys; all ranges before it are done.

    :ivar table: empty: a batch of nothing, which only changes the token.
    :ivar marker: log entries before this one belong to its push.
    """

    token: int
    table: str
    op: str
    first: str
    last: str
    marker: int
    scope: tuple[str, ...]


class File:
    """One local file.

    :ivar deletions: the tag of each key's deletion, of which the file knows.
    :ivar log: (number, table, key, op).
    :ivar base: (revision, number) by table and key.
    :ivar conflicts: (table, key, why, my row or the tag of my deletion), oldest first.
    :ivar captured: the tables whose triggers are there.
    """

    def __init__(self, name: str, schema: Schema) -> None:
        tables = list(schema.tables)
        self.name = self.id = name
        self.schema = schema
        self.rows: dict[str, dict[str, Row]] = {table: {} for table in tables}
        self.deletions: dict[str, dict[str, int]] = {table: {} for table in tables}
        self.base: dict[str, dict[str, tuple[int, int]]] = {table: {} for table in tables}
        self.cursors = dict.fromkeys(tables, 0)
        self.log: list[tuple[int, str, str, str]] = []
        self.marker = 0
        self.pending: list[Pending] = []
        self.rejects: dict[tuple[str, str], str] = {}
        self.conflicts: list[tuple[str, str, str, Any]] = []
        self.history: dict[int, int] = {}
        self.captured: set[str] = set()
        self.token: int | None = None
        self.server_id: int | None = None
        self.incarnation: int | None = None

    def copy(self, name: str) -> File:
        """Give a copy of the file under another name."""
        new = File.__new__(File)
        new.__dict__.update(self.__dict__)
        new.name = name
        new.rows = {table: dict(rows) for table, rows in self.rows.items()}
        new.deletions = {table: dict(tags) for table, tags in self.deletions.items()}
        new.base = {table: dict(bases) for table, bases in self.base.items()}
        new.cursors = dict(self.cursors)
        new.log, new.pending = list(self.log), list(self.pending)
        new.rejects, new.conflicts = dict(self.rejects), list(self.conflicts)
        new.history, new.captured = dict(self.history), set(self.captured)
        return new

    def capture(self, *, suspect: bool) -> None:
        """Make missing triggers; what may have changed without them is logged.

        :param suspect: mark what the server held already: nobody knows whether it was changed.
        """
        for table in self.schema.tables:
            if table in self.captured:
                continue
            rows, base = self.rows[table], self.base[table]
            for key in rows:
                self.note(table, key, SUSPECT if suspect and key in base else PUT)
            for key in base:
                if key not in rows:
                    self.note(table, key, SUSPECT if suspect else DELETE)
            self.captured.add(table)

    def require_triggers(self) -> None:
        """Refuse to go on where changes may have been missed since the sync began.

        :raises Stopped: a table has lost its triggers.
        """
        if len(self.captured) < len(self.rows):
            raise Stopped("the triggers are gone")

    def note(self, table: str, key: str, op: str) -> None:
        """Log a key, with the number that SQLite gives."""
        self.log.append((self.log[-1][0] + 1 if self.log else 1, table, key, op))

    def list_conflict(self, table: str, key: str, why: str, mine: Any) -> None:
        """List a conflict; a deletion is listed once, however many rows stood against it."""
        if type(mine) is not dict:
            self.conflicts = [
                item for item in self.conflicts if item[:2] != (table, key) or type(item[3]) is dict
            ]
        self.conflicts.append((table, key, why, mine))

    def is_logged(self, table: str, key: str) -> bool:
        """Tell whether a key waits to be sent."""
        return any(k == key and t == table for _, t, k, _ in self.log)

    def keys_after(self, marker: int, table: str) -> set[str]:
        """Give the keys that were logged after a marker."""
        return {key for seq, name, key, _ in self.log if seq > marker and name == table}

    def children_of(self, table: str, key: str) -> list[tuple[str, str]]:
        """Give (table, key) of the rows that refer to one."""
        return self.schema.children_of(self.rows, table, key)

    def latest_clock(self) -> int:
        """Give the greatest number that this file has heard of."""
        return max(0, *self.cursors.values(), *self.history.values())

    def drop_pending(self) -> None:
        """Forget what never arrived; what went before it stays done."""
        if self.pending:
            self.forget_done(self.pending[0], itself=self.pending[0].token == self.token)
            self.pending = []

    def forget_done(self, batch: Pending, *, itself: bool) -> None:
        """Delete the log entries of what an interrupted push had finished."""
        if not batch.table:
            return
        order = [(PUT, t) for t in batch.scope] + [(DELETE, t) for t in batch.scope[::-1]]
        done = order[: order.index((batch.op, batch.table))]

        def stays(entry: tuple[int, str, str, str]) -> bool:
            seq, table, key, _ = entry
            if seq >= batch.marker or not table:
                return True
            at = (PUT if key in self.rows[table] else DELETE, table)
            if at == (batch.op, batch.table):
                return key > batch.last if itself else key >= batch.first
            return at not in done

        self.log = [entry for entry in self.log if stays(entry)]
