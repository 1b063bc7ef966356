"""The SQL that judges and applies one batch on the server, in one round trip.

A batch lies in the temporary table ``dynostore_push``. Everything from the clock to COMMIT is one
string, so that no lock that others need is held while anything travels over the network. What was
not applied as sent is written to ``node_history`` in the same transaction; the acknowledgement
reads it there, after a crash as after a normal commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynostore.sync.remote.judgement import (
    OVERTAKEN,
    Stranger,
    archive,
    doubtful,
    equal,
    has_children,
    merge,
    merge_verdict,
    orphan,
    orphans_of_orphans,
    parents_that_stay,
    winner,
)
from dynostore.sync.tables import Table, literal

TOKEN_MOVED = "DY001"  # noqa: S105 - a SQLSTATE
"""SQLSTATE: somebody else, a copy of this file, synced under this node's name meanwhile."""

_CLOCK_LOCK_TIMEOUT = "200ms"


def begin(table: Table, op: str, *, with_bases: bool) -> str:
    """Give what opens a batch's transaction and makes its temporary table."""
    columns = table.column_list if op == "p" else table.key.quoted
    if with_bases:
        columns += ", NULL::bigint AS sync_base, NULL::bigint AS sync_base_seq"
        columns += ", NULL::text AS sync_mark"
    return (
        "BEGIN; SET LOCAL dynostore_sync.apply = 'on'; "
        f"CREATE TEMP TABLE dynostore_push ON COMMIT DROP AS"
        f" SELECT {columns} FROM {table.quoted} WITH NO DATA"
    )


COPY_IN = "COPY dynostore_push FROM STDIN"


def finish(
    table: Table,
    op: str,
    *,
    fresh: bool,
    node: str,
    number: int,
    epoch: int,
    old: int | None,
    token: int,
    strangers: Sequence[Stranger] = (),
    unknown: Sequence[str] = (),
) -> str:
    """Give what judges and applies the batch, and commits.

    :param op: ``p`` for puts, ``d`` for deletes.
    :param fresh: True: no row of it was ever seen on the server, so a plain INSERT is tried first.
    :param number: the node's short number.
    :param epoch: the node's epoch since this sync's fence.
    :param old: the node's token before this batch.
    :param unknown: columns that a newer program has added: they are left alone, and archived.
    :param strangers: what else on the server refers to the table; no row that it refers to goes.
    """
    if op == "p":
        apply = _puts(table, fresh, number, token, unknown)
    else:
        apply = _deletes(table, number, token, strangers, unknown)
    # Names that stand beside a table's columns begin with sync_, as no column of anybody's does.
    return f"""DO $push$
DECLARE
    sync_number bigint;
    sync_fresh boolean := {str(fresh).lower()};
    sync_seen text[];
    sync_outcome jsonb := '[]';
BEGIN
{change_token(node, epoch, old, token)}
{apply}
    INSERT INTO dynostore_sync.node_history (node, token, seq, exceptions)
        VALUES ({literal(node)}, {token}, sync_number, sync_outcome);
END $push$; COMMIT"""


def turn_token(*, node: str, epoch: int, old: int | None, token: int, seq: int) -> str:
    """Give what changes the node's token for a batch without rows, and commits.

    :param seq: the number up to which the node has seen everything.
    """
    return f"""DO $turn$
BEGIN
{change_token(node, epoch, old, token)}
    INSERT INTO dynostore_sync.node_history (node, token, seq, exceptions)
        VALUES ({literal(node)}, {token}, {seq}, '[]');
END $turn$"""


def change_token(node: str, epoch: int, old: int | None, token: int) -> str:
    """Give what changes the node's token, and fails where it is not the old one any more."""
    return f"""    UPDATE dynostore_sync.node SET token = {token}, last_seen = now()
        WHERE id = {literal(node)} AND epoch = {epoch}
            AND token IS NOT DISTINCT FROM {"NULL" if old is None else old};
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the token of node % has moved', {literal(node)}
            USING ERRCODE = '{TOKEN_MOVED}';
    END IF;"""


def outcome(node: str, token: int) -> str:
    """Give what asks what became of a committed batch: its number and its exceptions."""
    return (
        "SELECT seq, exceptions::text FROM dynostore_sync.node_history"
        f" WHERE node = {literal(node)} AND token = {token}"
    )


# After the clock is taken only foreign-key checks and inserts of the same key can still wait, and
# everybody's commit waits behind them.
TAKE = f"""sync_number := dynostore_sync.take();
    PERFORM set_config('lock_timeout', '{_CLOCK_LOCK_TIMEOUT}', true);"""

# Rows are locked in key order, in a statement of their own and before the clock: a join deadlocked,
# and the other order makes plain SQL users the victims. The verdict is a new statement, so that it
# sees what was committed while this one waited.
_LOCK = """PERFORM 1 FROM {t} WHERE {k} IN (SELECT {k} FROM dynostore_push)
        ORDER BY {k} FOR UPDATE;"""

_NOT_CAPTURED = "'not captured, if it was a change; the server has a newer version'"

# A statement that has nothing to do would still be planned, which for one row is most of the time.
_SEEN = "SELECT array_agg(DISTINCT what) INTO sync_seen FROM dynostore_verdict;"


def _puts(table: Table, fresh: bool, number: int, token: int, unknown: Sequence[str]) -> str:
    t, k, name = table.quoted, table.key.quoted, literal(table.name)
    columns = table.column_list
    stamped = f"({columns}, sync_rev, sync_seq, sync_node)"
    sent = ", ".join(f"p.{c.quoted}" for c in table.columns)
    held = "t.sync_rev, t.sync_seq, t.sync_node"
    plain = f"""
    BEGIN
        {TAKE}
        INSERT INTO {t} {stamped}
            SELECT {columns}, {token}, sync_number, {number} FROM dynostore_push;
        IF EXISTS (SELECT 1 FROM dynostore_sync.tombstone b JOIN dynostore_push p
                   ON b.tbl = {name} AND b.key = p.{k}::text) THEN
            RAISE EXCEPTION 'some were deleted elsewhere' USING ERRCODE = 'DY002';
        END IF;
    EXCEPTION WHEN integrity_constraint_violation OR SQLSTATE 'DY002' THEN
        sync_fresh := false;
    END;"""
    return f"""{plain if fresh else ""}
    IF NOT sync_fresh THEN
    ALTER TABLE dynostore_push ADD COLUMN IF NOT EXISTS sync_base bigint,
        ADD COLUMN IF NOT EXISTS sync_base_seq bigint,
        ADD COLUMN IF NOT EXISTS sync_mark text;
    {_LOCK.format(t=t, k=k)}
    {TAKE}
    CREATE TEMP TABLE dynostore_verdict ON COMMIT DROP AS
        SELECT p.{k} AS id, p.{k}::text AS key, t.sync_rev AS rev, t.sync_seq AS seq,
            coalesce(t.sync_node, b.node) AS winner,
            coalesce(p.sync_mark = 'r', false) AS keep, p.sync_base AS base,
            CASE
                WHEN t.{k} IS NOT NULL AND {equal(table.columns)} THEN
                    CASE WHEN t.sync_rev = p.sync_base THEN 'same' ELSE 'adopted' END
                WHEN {doubtful("t.sync_rev", "t.sync_seq", f"t.{k}")} THEN 'doubtful'
                WHEN t.{k} IS NULL AND {doubtful("b.rev", "b.seq", "b.key")} THEN 'doubtful'
                WHEN {orphan(table)} THEN 'orphan'
                WHEN t.{k} IS NULL AND (b.key IS NULL OR b.rev = p.sync_base
                    OR {OVERTAKEN.format("b.seq")}) THEN 'insert'
                WHEN t.{k} IS NULL THEN 'back'
                WHEN t.sync_rev = p.sync_base THEN 'update'
                WHEN {OVERTAKEN.format("t.sync_seq")} THEN 'forward'
                {merge_verdict(table)}
                ELSE 'lost'
            END AS what
        FROM dynostore_push p
        LEFT JOIN {t} t ON t.{k} = p.{k}
        LEFT JOIN dynostore_sync.tombstone b ON b.tbl = {name} AND b.key = p.{k}::text;
    {orphans_of_orphans(table)}
    {_SEEN}
    {archive(table, "t", "'replaced by a row of another node'", "forward", held, unknown)}
    {archive(table, "p", "'lost to a newer version'", "lost", f"{token}, sync_number, {number}")}
    {archive(table, "p", _NOT_CAPTURED, "doubtful", f"{token}, sync_number, {number}", once=True)}
    IF sync_seen && '{{insert,back}}' THEN
        INSERT INTO dynostore_sync.archive (tbl, key, rev, seq, node, why)
            SELECT b.tbl, b.key, b.rev, b.seq, b.node, 'deletion undone by a later version'
            FROM dynostore_sync.tombstone b JOIN dynostore_verdict v ON b.key = v.key
            WHERE b.tbl = {name} AND v.what = 'back';
        DELETE FROM dynostore_sync.tombstone b USING dynostore_verdict v
            WHERE b.tbl = {name} AND b.key = v.key AND v.what IN ('insert', 'back');
        INSERT INTO {t} {stamped}
            SELECT {sent}, CASE WHEN v.keep AND v.what = 'insert' THEN v.base ELSE {token} END,
                sync_number, {number}
            FROM dynostore_push p JOIN dynostore_verdict v ON v.id = p.{k}
            WHERE v.what IN ('insert', 'back');
    END IF;
    IF sync_seen && '{{update,forward}}' THEN
        UPDATE {t} t SET ({columns}, sync_rev, sync_seq, sync_node) =
                ROW({sent}, CASE WHEN v.keep AND v.what = 'forward' THEN v.base ELSE {token} END,
                    sync_number, {number})
            FROM dynostore_push p JOIN dynostore_verdict v ON v.id = p.{k}
            WHERE t.{k} = p.{k} AND v.what IN ('update', 'forward');
    END IF;
    {merge(table, number, token)}
    SELECT coalesce(jsonb_agg(jsonb_build_object('key', key, 'what', CASE
            WHEN what IN ('insert', 'forward') THEN 'kept' ELSE what END,
            'rev', CASE WHEN what IN ('insert', 'forward') THEN base ELSE rev END,
            'seq', seq, 'keep', keep, {winner("'lost', 'back'")})), '[]')
        INTO sync_outcome FROM dynostore_verdict
        WHERE what <> 'update' AND (keep OR what NOT IN ('insert', 'forward'));
    END IF;"""


def _deletes(
    table: Table,
    number: int,
    token: int,
    strangers: Sequence[Stranger],
    unknown: Sequence[str],
) -> str:
    t, k, name = table.quoted, table.key.quoted, literal(table.name)
    return f"""
    {_LOCK.format(t=t, k=k)}
    {TAKE}
    CREATE TEMP TABLE dynostore_verdict ON COMMIT DROP AS
        SELECT p.{k} AS id, p.{k}::text AS key, coalesce(t.sync_rev, b.rev) AS rev,
            coalesce(t.sync_seq, b.seq) AS seq, t.sync_node AS winner,
            coalesce(p.sync_mark = 'r', false) AS keep, p.sync_base AS base,
            CASE
                WHEN t.{k} IS NULL AND b.key IS NOT NULL THEN 'gone'
                WHEN t.{k} IS NULL AND p.sync_base IS NULL THEN 'nothing'
                WHEN t.{k} IS NULL THEN 'delete'
                WHEN {doubtful("t.sync_rev", "t.sync_seq", f"t.{k}")} THEN 'doubtful'
                WHEN t.sync_rev IS DISTINCT FROM p.sync_base
                    AND ({OVERTAKEN.format("t.sync_seq")}) IS NOT TRUE THEN 'lost'
                WHEN {has_children(table, strangers)} THEN 'children'
                ELSE 'delete'
            END AS what
        FROM dynostore_push p
        LEFT JOIN {t} t ON t.{k} = p.{k}
        LEFT JOIN dynostore_sync.tombstone b ON b.tbl = {name} AND b.key = p.{k}::text;
    {parents_that_stay(table)}
    {_SEEN}
    {archive(table, "t", "'deleted'", "delete", "t.sync_rev, t.sync_seq, t.sync_node", unknown)}
    INSERT INTO dynostore_sync.archive (tbl, key, rev, seq, node, why)
        SELECT {name}, key, {token}, sync_number, {number}, 'deletion lost to a newer version'
        FROM dynostore_verdict WHERE what IN ('lost', 'doubtful');
    DELETE FROM {t} t USING dynostore_verdict v WHERE t.{k} = v.id AND v.what = 'delete';
    INSERT INTO dynostore_sync.tombstone (tbl, key, rev, seq, node)
        SELECT {name}, key, CASE WHEN keep THEN base ELSE {token} END, sync_number, {number}
        FROM dynostore_verdict WHERE what = 'delete';
    SELECT coalesce(jsonb_agg(jsonb_build_object('key', key, 'what',
            CASE WHEN what = 'delete' THEN 'kept' ELSE what END,
            'rev', CASE WHEN what = 'delete' THEN base ELSE rev END, 'seq', seq,
            {winner("'lost'")})), '[]')
        INTO sync_outcome FROM dynostore_verdict WHERE NOT (what = 'delete' AND NOT keep);"""
