"""The SQL that applies a batch of a few rows as it was sent, without a table to put it into first.

Most syncs send a few rows that nobody else has changed. To make two temporary tables, fill them and
drop them takes the server longer than all else that is done for such a batch. So its values stand
in the statements themselves; what is not applied as sent, to the last row, is given up as a whole,
and the batch goes the usual way, where every row is judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynostore.sync.remote.statements import TAKE, change_token
from dynostore.sync.tables import Table, literal, quoted

MAX_ROWS = 20
MAX_BYTES = 64 * 1024

_NOT_AS_SENT = "DY003"
# Whatever may be wrong with a row; caught there, or the server's log would have it, values and all.
_CAUGHT = (
    "integrity_constraint_violation OR data_exception OR program_limit_exceeded"
    f" OR datatype_mismatch OR SQLSTATE '{_NOT_AS_SENT}'"
)

Values = Sequence[bytes | None]


def apply(
    table: Table,
    rows: Sequence[tuple[Values, bytes | None]],
    *,
    node: str,
    number: int,
    epoch: int,
    old: int | None,
    token: int,
) -> str:
    """Give what applies the puts of a batch and commits, or leaves no trace: not even an outcome.

    A row with a base replaces the version that it was derived from, which it differs from; one
    without is the first under its key. Rows are locked before the clock is taken, as everywhere.

    :param rows: COPY's text of each value, unescaped, in the order of the table's columns; and the
        revision that the row was derived from, or None.
    """
    at = table.column_names.index(table.key.name)
    changed = [(row, base) for row, base in rows if base is not None]
    made = [row for row, base in rows if base is None]
    stamps = f"{token}, sync_number, {number}"
    # What is between the marks could not contain them by chance: the token is new and random.
    return f"""BEGIN; SET LOCAL dynostore_sync.apply = 'on';
DO $push_{token}$
DECLARE
    sync_number bigint;
BEGIN
    BEGIN
{change_token(node, epoch, old, token)}
{_lock(table, [row[at] for row, _ in changed])}
    {TAKE}
{_insert(table, made, at, stamps)}
{"".join(_update(table, row, base, at, stamps) for row, base in changed)}
    INSERT INTO dynostore_sync.node_history (node, token, seq, exceptions)
        VALUES ({literal(node)}, {token}, sync_number, '[]');
    EXCEPTION WHEN {_CAUGHT} THEN
        NULL;
    END;
END $push_{token}$; COMMIT"""


def _value(value: bytes | None) -> str:
    """Quote a value, whatever the server takes a backslash for; its column gives it its type."""
    if value is None:
        return "NULL"
    return "E'" + value.decode().replace("\\", "\\\\").replace("'", "''") + "'"


def _lock(table: Table, keys: Values) -> str:
    if not keys:
        return ""
    k = table.key.quoted
    return f"""    PERFORM 1 FROM {table.quoted} WHERE {k} IN ({", ".join(map(_value, keys))})
        ORDER BY {k} FOR UPDATE;"""


def _insert(table: Table, rows: Sequence[Values], at: int, stamps: str) -> str:
    if not rows:
        return ""
    values = ", ".join(f"({', '.join(map(_value, row))}, {stamps})" for row in rows)
    keys = ", ".join(_value(row[at]) for row in rows)
    return f"""    INSERT INTO {table.quoted} ({table.column_list}, sync_rev, sync_seq, sync_node)
        VALUES {values};
    IF EXISTS (SELECT 1 FROM dynostore_sync.tombstone
            WHERE tbl = {literal(table.name)} AND key IN ({keys})) THEN
        {_GIVE_UP}
    END IF;"""


def _update(table: Table, row: Values, base: bytes, at: int, stamps: str) -> str:
    names = [quoted(name) for name in table.column_names]
    sent = [_value(value) for value in row]
    return f"""    UPDATE {table.quoted} t SET ({", ".join(names)}, sync_rev, sync_seq, sync_node)
            = ROW({", ".join(sent)}, {stamps})
        WHERE t.{table.key.quoted} = {sent[at]} AND t.sync_rev = {base.decode()}
        AND ROW({", ".join(f"t.{name}" for name in names)})
            IS DISTINCT FROM ROW({", ".join(sent)});
    IF NOT FOUND THEN
        {_GIVE_UP}
    END IF;
"""


_GIVE_UP = f"RAISE EXCEPTION 'not all as sent' USING ERRCODE = '{_NOT_AS_SENT}';"
