"""The changed rows of one snapshot, in batches of COPY text."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator

from dynostore.sync.exchange import Limits
from dynostore.sync.local.set_aside import Reject
from dynostore.sync.local.turns import turns
from dynostore.sync.remote import few
from dynostore.sync.tables import Table, literal
from dynostore.sync.wire import (
    Poison,
    Row,
    copy_lines,
    copy_lines_carefully,
    explain,
    select_expressions,
    sendable,
    stored_values,
)

_CHUNK_ROWS = 1000
_FIRST_ROWS = 5000
_LEAST_ROWS = 2500
_LONG_S = 1.0
_CACHE_KIB = 16 * 1024


Lines = list[bytes]


@dataclasses.dataclass(frozen=True)
class SentRow:
    """One row of a batch, unescaped.

    :ivar base: the revision that it was derived from; None: there was none.
    :ivar mark: how it is to be judged, where that is not as a plain change.
    """

    values: list[bytes | None]
    base: bytes | None = None
    mark: bytes | None = None


@dataclasses.dataclass
class Batch:
    """The rows of one range of keys.

    :ivar op: ``p`` for puts, ``d`` for deletes.
    :ivar keys: what is sent, in the order of ``lines``.
    :ivar lines: COPY text, one or more rows each.
    :ivar with_bases: the lines end with base, base's number and mark.
    :ivar forgotten: deleted keys that the server could never have held; nothing is sent.
    :ivar fresh: none of the rows has a base.
    :ivar first: the first key of the range, set aside or not; ``last`` likewise.
    """

    table: Table
    op: str
    with_bases: bool
    keys: list[str] = dataclasses.field(default_factory=list)
    lines: list[bytes] = dataclasses.field(default_factory=list)
    rejects: list[Reject] = dataclasses.field(default_factory=list)
    forgotten: list[str] = dataclasses.field(default_factory=list)
    fresh: bool = True
    bytes: int = 0
    first: str = ""
    last: str = ""

    @property
    def rows(self) -> int:
        """Rows in the range, those set aside or forgotten included."""
        return len(self.keys) + len(self.rejects) + len(self.forgotten)

    @property
    def is_small(self) -> bool:
        """Whether its puts may stand in a statement."""
        return self.op == "p" and len(self.keys) <= few.MAX_ROWS and self.bytes <= few.MAX_BYTES

    def sent_rows(self) -> list[SentRow]:
        """Take its lines apart."""
        count = len(self.table.columns)
        rows = [stored_values(line) for line in self.row_lines]
        if not self.with_bases:
            return [SentRow(values) for values in rows]
        return [SentRow(values[:count], values[count], values[-1]) for values in rows]

    @property
    def row_lines(self) -> Lines:
        """COPY text, a line for each row."""
        return b"\n".join(self.lines).split(b"\n")  # inside a row a newline is escaped

    def part(self, start: int, end: int) -> Batch:
        """Give the rows ``start`` to ``end`` as a batch of its own, without the rejects."""
        keys, lines = self.keys[start:end], self.row_lines[start:end]
        return dataclasses.replace(
            self, keys=keys, lines=lines, rejects=[], forgotten=[], first=keys[0], last=keys[-1]
        )


class Pace:
    """How large the next batch is: everybody's commit waits while the server is at one.

    Begins small, so that the server has something to do, and grows to the limits for as long as
    the server is quick. Where many push at once, each waits for all others' batches, and makes its
    own smaller: so nobody who has a row to send waits for long, and all get as much done.

    :ivar rows: of the next batch; read and changed by different threads.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rows = min(limits.rows, _FIRST_ROWS)

    def note(self, seconds: float) -> None:
        """Learn how long the server was at the last batch, what it waited for included."""
        if seconds > _LONG_S:
            self.rows = min(self.limits.rows, max(_LEAST_ROWS, self.rows // 2))
        elif seconds < _LONG_S / 2:
            self.rows = min(self.limits.rows, self.rows * 2)


def changed_rows(
    reader: sqlite3.Connection, marker: int, scope: list[Table], pace: Pace
) -> Iterator[Batch]:
    """Give what was logged before the marker: puts parents first, then deletes children first.

    :param reader: a connection inside a read transaction, with bytes for text.
    """
    # Rows are read in the order of their keys, which is not the order that they lie in.
    reader.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    reader.execute(
        "CREATE TEMP TABLE push_key (key TEXT NOT NULL PRIMARY KEY, mark TEXT) WITHOUT ROWID"
    )
    logged = _logged_tables(reader, marker)
    deleted = []
    for table in scope:
        kinds = logged.get(table.name, set())
        if kinds - {"text"}:
            yield from _unsendable(reader, table, marker)
        if "text" in kinds:
            missing = _list_keys(reader, table, marker)
            for batch in _puts(reader, table, pace):
                missing -= batch.rows
                yield batch
            if missing:
                deleted.append(table)
    for table in reversed(deleted):
        _list_keys(reader, table, marker)
        yield from _deletes(reader, table, pace)
    reader.execute("DROP TABLE temp.push_key")


def _logged_tables(reader: sqlite3.Connection, marker: int) -> dict[str, set[str]]:
    """Give the types of the logged keys by table, in one pass over what may be a long log."""
    logged: dict[str, set[str]] = {}
    for name, kind in reader.execute(
        "SELECT DISTINCT tbl, typeof(key) FROM sync_log WHERE seq < ? AND tbl IS NOT NULL",
        (marker,),
    ):
        logged.setdefault(name.decode(), set()).add(kind.decode())
    return logged


def _unsendable(reader: sqlite3.Connection, table: Table, marker: int) -> Iterator[Batch]:
    """Set rows aside whose key is no text: no other database could ask for them."""
    rows = reader.execute(
        f"SELECT DISTINCT key, EXISTS"
        f" (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = l.key)"
        " FROM sync_log l WHERE seq < ? AND tbl = ? AND typeof(key) <> 'text'",
        (marker, table.name),
    ).fetchall()
    batch = Batch(table, "p", False)
    for value, there in rows:
        key = "x'" + bytes(value).hex() + "'"
        if there:
            batch.rejects.append(Reject(key, table.key.name, key, "22000", "text expected"))
        else:
            batch.forgotten.append(key)
    if batch.rows:
        yield batch


def _list_keys(reader: sqlite3.Connection, table: Table, marker: int) -> int:
    """Fill ``push_key`` with the keys that are logged; give their number."""
    # An entry 'r' sends a row on with the revision that it had, 's' one that may have changed while
    # nobody looked; a change that was seen gives it a new revision.
    reader.execute("DELETE FROM temp.push_key")
    listed = reader.execute(
        "INSERT INTO temp.push_key SELECT key, CASE max(CASE op WHEN 'r' THEN 0 WHEN 's' THEN 1"
        " ELSE 2 END) WHEN 0 THEN 'r' WHEN 1 THEN 's' END FROM sync_log"
        " WHERE seq < ? AND tbl = ? AND typeof(key) = 'text' GROUP BY key",
        (marker, table.name),
    )
    return listed.rowcount


def _puts(reader: sqlite3.Connection, table: Table, pace: Pace) -> Iterator[Batch]:
    name, key = literal(table.name), table.key.quoted
    known = reader.execute("SELECT 1 FROM sync_base WHERE tbl = ? LIMIT 1", (table.name,))
    with_bases = known.fetchone() is not None or _some_marked(reader)
    columns, joined = select_expressions(table, "t"), ""
    if with_bases:
        columns += f", {_BASE}"
        joined = f" LEFT JOIN sync_base b ON b.tbl = {name} AND b.key = k.key"
    rows = reader.execute(
        f"SELECT {columns}, k.key FROM temp.push_key k CROSS JOIN {table.quoted} t"
        f" ON t.{key} = k.key{joined} ORDER BY k.key"
    )
    yield from _batches(reader, table, "p", with_bases, rows, pace)


def _deletes(reader: sqlite3.Connection, table: Table, pace: Pace) -> Iterator[Batch]:
    rows = reader.execute(
        f"SELECT {sendable(table.key, 'k.key')}, {_BASE}, k.key FROM temp.push_key k"
        f" LEFT JOIN sync_base b ON b.tbl = {literal(table.name)} AND b.key = k.key"
        f" WHERE NOT EXISTS (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = k.key)"
        " ORDER BY k.key"
    )
    yield from _batches(reader, table, "d", True, rows, pace)


# Only what has a base can keep its revision; a row that may have changed unseen needs none.
_BASE = (
    "CAST(b.revision AS TEXT), CAST(b.seq AS TEXT),"
    " CASE WHEN k.mark = 's' OR b.revision IS NOT NULL THEN k.mark END"
)


def _some_marked(reader: sqlite3.Connection) -> bool:
    return bool(
        reader.execute("SELECT 1 FROM temp.push_key WHERE mark IS NOT NULL LIMIT 1").fetchone()
    )


def _batches(
    reader: sqlite3.Connection,
    table: Table,
    op: str,
    with_bases: bool,
    rows: sqlite3.Cursor,
    pace: Pace,
) -> Iterator[Batch]:
    names = [column.name for column in table.columns] if op == "p" else [table.key.name]
    floats = [i for i, c in enumerate(table.columns) if c.kind == "real"] if op == "p" else []
    batch = Batch(table, op, with_bases)
    while True:
        with turns.turn():
            chunk = rows.fetchmany(min(_CHUNK_ROWS, pace.rows))
        if not chunk:
            break
        _append(reader, batch, chunk, names, floats)
        if batch.rows >= pace.rows or batch.bytes >= pace.limits.bytes:
            yield batch
            batch = Batch(table, op, with_bases)
    if batch.rows:
        yield batch


def _append(
    reader: sqlite3.Connection, batch: Batch, chunk: list[Row], names: list[str], floats: list[int]
) -> None:
    keys = [row[-1].decode("utf-8", "replace") for row in chunk]
    rows = [row[:-1] for row in chunk]
    body = copy_lines(rows, floats)
    poisons: list[Poison] = []
    if body is not None:
        batch.lines.append(body)
        batch.keys += keys
        batch.bytes += len(body)
    else:
        lines, poisons = copy_lines_carefully(rows, [*names, "", "", ""], floats)
        set_aside = {poison.index for poison in poisons}
        batch.lines += lines
        batch.keys += [k for i, k in enumerate(keys) if i not in set_aside]
        batch.bytes += sum(map(len, lines))
        if batch.op == "d":
            batch.forgotten += [keys[p.index] for p in poisons]
        else:
            batch.rejects += [_reject(reader, batch.table, keys[p.index], p) for p in poisons]
    if batch.with_bases and any(row[-3] is not None for row in rows):
        batch.fresh = False
    batch.first = batch.first or keys[0]
    batch.last = keys[-1]


def _reject(reader: sqlite3.Connection, table: Table, key: str, poison: Poison) -> Reject:
    if poison.column is None:
        return Reject(key, None, None, poison.sqlstate, poison.message)
    column = next(c for c in table.columns if c.name == poison.column)
    stored = reader.execute(
        f"SELECT {column.quoted} FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,)
    ).fetchone()
    if stored:
        poison = explain(column, stored[0], poison)
    return Reject(key, poison.column, poison.value, poison.sqlstate, poison.message)
