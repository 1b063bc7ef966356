"""The SQL that judges a row of a batch against what the server holds, and what follows from it.

Written for the statement in which ``p`` is the row that was sent, ``t`` the server's and ``b`` the
tombstone of its key, and ``dynostore_verdict`` holds what was decided.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dynostore.sync.tables import Column, Table, literal, quoted

NODE_NAME = (
    "CASE {no} WHEN 0 THEN 'plain SQL'"
    " ELSE (SELECT w.name FROM dynostore_sync.node w WHERE w.no = {no}) END"
)
"""The name of the node that a row or tombstone carries the number of."""

_MERGED = {"max": "greatest({t}, {p})", "min": "least({t}, {p})"}


# What the server holds is older than what it once told this file, and the change was made on top of
# that: the server was restored from a backup. In one incarnation numbers only grow.
OVERTAKEN = "{} < p.sync_base_seq"


@dataclasses.dataclass(frozen=True)
class Stranger:
    """A foreign key of a table that this program does not sync, to one that it does.

    :ivar table: ready for SQL; ``name``: as it is.
    """

    name: str
    table: str
    column: str


def doubtful(rev: str, seq: str, there: str) -> str:
    """Tell whether a row that may not have changed here stands against a newer one there."""
    return (
        f"p.sync_mark = 's' AND {there} IS NOT NULL AND {rev} IS DISTINCT FROM p.sync_base"
        f" AND ({OVERTAKEN.format(seq)}) IS NOT TRUE"
    )


def winner(verdicts: str) -> str:
    """Name, for people, who wrote or deleted what stood against a change."""
    return f"'node', CASE WHEN what IN ({verdicts}) THEN {NODE_NAME.format(no='winner')} END"


def equal(columns: tuple[Column, ...]) -> str:
    """Tell whether the server's row holds what was sent, in these columns."""
    ours = ", ".join(f"p.{c.quoted}" for c in columns)
    theirs = ", ".join(f"t.{c.quoted}" for c in columns)
    return f"ROW({theirs}) IS NOT DISTINCT FROM ROW({ours})"


def orphan(table: Table) -> str:
    """Tell whether a parent in another table is not there."""
    tests = [
        f"p.{c.quoted} IS NOT NULL AND NOT EXISTS"
        f" (SELECT 1 FROM {quoted(c.parent)} u WHERE u.{quoted(c.parent_key)} = p.{c.quoted})"
        for c in table.columns
        if c.parent and c.parent_key and c.parent != table.name
    ]
    return " OR ".join(tests) or "false"


def orphans_of_orphans(table: Table) -> str:
    """Mark the rows whose parent in the same table is neither there nor written with them.

    Rows that refer to each other in a circle come into being together.
    """
    k, t = table.key.quoted, table.quoted
    tests = [
        f"""(p.{c.quoted} IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM {t} u WHERE u.{k} = p.{c.quoted})
            AND NOT EXISTS (SELECT 1 FROM dynostore_verdict w
                WHERE w.id = p.{c.quoted} AND w.what IN ('insert', 'back')))"""
        for c in table.references
        if c.parent == table.name
    ]
    return _until_nothing_changes(
        tests,
        f"""UPDATE dynostore_verdict v SET what = 'orphan' FROM dynostore_push p
            WHERE p.{k} = v.id AND v.what NOT IN ('same', 'adopted', 'doubtful', 'orphan')""",
    )


def parents_that_stay(table: Table) -> str:
    """Mark the rows of a deletion that others of the same table refer to which stay."""
    tests = [f"u.{quoted(c)} = v.id" for name, c in table.children if name == table.name]
    return _until_nothing_changes(
        tests,
        f"""UPDATE dynostore_verdict v SET what = 'children' FROM {table.quoted} u
            WHERE v.what = 'delete' AND NOT EXISTS (SELECT 1 FROM dynostore_verdict w
                WHERE w.id = u.{table.key.quoted} AND w.what = 'delete')""",
    )


def _until_nothing_changes(tests: list[str], update: str) -> str:
    if not tests:
        return ""
    return f"""LOOP
        {update}
            AND ({" OR ".join(tests)});
        EXIT WHEN NOT FOUND;
    END LOOP;"""


def has_children(table: Table, strangers: Sequence[Stranger]) -> str:
    """Tell whether rows of other tables refer to the server's row."""
    children = [(quoted(c), column) for c, column in table.children if c != table.name]
    children += [(stranger.table, stranger.column) for stranger in strangers]
    tests = [
        f"EXISTS (SELECT 1 FROM {child} u WHERE u.{quoted(column)} = t.{table.key.quoted})"
        for child, column in children
    ]
    return " OR ".join(tests) or "false"


def merge_verdict(table: Table) -> str:
    """Give the case in which two versions are merged; nothing where no column says how."""
    if not any(c.merge for c in table.columns):
        return ""
    fixed = tuple(c for c in table.columns if not c.merge)
    return f"WHEN {equal(fixed)} THEN 'merged'"


def merge(table: Table, number: int, token: int) -> str:
    """Write what two nodes' values make together, unless the server's are that already."""
    merging = [c for c in table.columns if c.merge]
    if not merging:
        return ""
    values = {
        c.quoted: _MERGED[str(c.merge)].format(t=f"t.{c.quoted}", p=f"p.{c.quoted}")
        for c in merging
    }
    k = table.key.quoted
    return f"""IF 'merged' = ANY (sync_seen) THEN
        UPDATE {table.quoted} t
        SET ({", ".join(values)}, sync_rev, sync_seq, sync_node) =
            ROW({", ".join(values.values())}, {token}, sync_number, {number})
        FROM dynostore_push p JOIN dynostore_verdict v ON v.id = p.{k}
        WHERE t.{k} = p.{k} AND v.what = 'merged'
        AND ROW({", ".join("t." + c for c in values)})
            IS DISTINCT FROM ROW({", ".join(values.values())});
    END IF;"""


def archive(
    table: Table,
    alias: str,
    why: str,
    what: str,
    stamps: str,
    unknown: Sequence[str] = (),
    *,
    once: bool = False,
) -> str:
    """Keep the image of the rows with one verdict: of the server's (t) or of mine (p).

    :param once: not where the same image was kept for the same reason before.
    """
    k = table.key.quoted
    names = [*(c.quoted for c in table.columns), *map(quoted, unknown)]
    row = ", ".join(f"{alias}.{name}" for name in names)
    image = f"to_json((SELECT sync_row FROM (SELECT {row}) sync_row))::text"
    source = table.quoted if alias == "t" else "dynostore_push"
    kept = f"""AND NOT EXISTS (SELECT FROM dynostore_sync.archive a WHERE a.key = v.key
            AND a.tbl = {literal(table.name)} AND a.why = {why} AND a.image = {image})"""
    return f"""IF '{what}' = ANY (sync_seen) THEN
        INSERT INTO dynostore_sync.archive (tbl, key, rev, seq, node, why, image)
        SELECT {literal(table.name)}, v.key, {stamps}, {why},
            {image}
        FROM {source} {alias} JOIN dynostore_verdict v ON v.id = {alias}.{k}
        WHERE v.what = '{what}' {kept if once else ""};
    END IF;"""
