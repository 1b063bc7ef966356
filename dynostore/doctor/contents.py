"""What is in a SQLite file: all of a small one, a sample of a large one, and what hangs on tables.

A sample is some rows at many places of each table, spread over its whole length: the pages on the
way there are read, and SQLite notices when they are not what they should be.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from dynostore.database import SqliteFile
from dynostore.doctor.findings import Finding, telling
from dynostore.integrity import find_damage
from dynostore.search import is_ready
from dynostore.sqlite_dependents import SEARCH_PREFIX, quoted

_SMALL_BYTES = 16 * 1024 * 1024
_BUDGET_S = 1.0
_PLACES = 200
_ROWS_AT_A_PLACE = 5

_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
    " AND name NOT LIKE 'sqlite_%' ORDER BY name"
)
_OF_THE_SEARCH = "SELECT count(*) FROM sqlite_master WHERE substr(name, 1, ?) = ?"


@dataclasses.dataclass
class _Sample:
    """How far a look got.

    :ivar orphans: rows whose parent is missing, by table.
    :ivar is_whole: the time sufficed for all places.
    """

    rows: int = 0
    tables: int = 0
    orphans: dict[str, int] = dataclasses.field(default_factory=dict)
    is_whole: bool = True


def look_at_contents(db: SqliteFile) -> list[Finding]:
    """Look at the rows of an open file, within about a second."""
    findings: list[Finding] = []
    with telling("pages", findings), db.reading():
        if db.path.stat().st_size <= _SMALL_BYTES:
            findings += _whole(db)
        else:
            findings += _sampled(db)
    with telling("search", findings), db.reading():
        findings.append(_full_text(db))
    return findings


def _whole(db: SqliteFile) -> Iterator[Finding]:
    problems = find_damage(db, full=False)
    for problem in problems:
        check = "references" if "refers to a missing" in problem else "pages"
        yield _damaged(check, problem)
    if not problems:
        yield Finding("pages", "ok", "every page and every reference is in order")


def _damaged(check: str, problem: str) -> Finding:
    if check == "references":
        mend = "dynostore db check, and import or delete the rows that it names"
        return Finding(check, "error", problem, mend)
    mend = "dynostore db check --full, then: dynostore db restore BACKUP"
    return Finding(check, "error", problem, mend)


def _sampled(db: SqliteFile) -> Iterator[Finding]:
    sample, deadline = _Sample(), time.monotonic() + _BUDGET_S
    execute: Any = db.execute_sql
    tables = [name for (name,) in execute(_TABLES).fetchall()]
    for number, table in enumerate(tables, 1):
        # What small tables leave of their share is the larger ones'.
        share = (deadline - time.monotonic()) / (len(tables) - number + 1)
        _sample_table(execute, table, sample, time.monotonic() + share)
    for table, count in sample.orphans.items():
        yield _damaged("references", f"{table}: {count:,} rows of a sample refer to missing rows")
    told = "" if sample.is_whole else ", as many as a second sufficed for"
    yield Finding(
        "pages",
        "ok",
        f"a sample of {sample.rows:,} rows in {sample.tables} tables is in order{told}; "
        "all: dynostore db check",
    )


def _sample_table(execute: Any, table: str, sample: _Sample, deadline: float) -> None:
    name = quoted(table)
    sample.tables += 1
    references = [
        (column, parent, key)
        for _, _, parent, column, key, *_ in execute(f"PRAGMA foreign_key_list({name})").fetchall()
        if key is not None
    ]
    for where, parameters in _places(execute, name):
        if time.monotonic() > deadline:
            sample.is_whole = False
            return
        found = execute(f"SELECT * FROM {name} {where} LIMIT {_ROWS_AT_A_PLACE}", parameters)
        sample.rows += len(found.fetchall())
        for column, parent, key in references:
            [(orphans,)] = execute(
                f"SELECT count(*) FROM (SELECT {quoted(column)} AS k FROM {name} {where}"
                f" LIMIT {_ROWS_AT_A_PLACE}) c WHERE c.k IS NOT NULL AND NOT EXISTS"
                f" (SELECT 1 FROM {quoted(parent)} p WHERE p.{quoted(key)} = c.k)",
                parameters,
            ).fetchall()
            if orphans:
                sample.orphans[table] = sample.orphans.get(table, 0) + orphans


def _places(execute: Any, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give conditions that lead to places all over a table; to its beginning where it has no rowid.

    A table may be WITHOUT ROWID, which only its primary key's index tells.
    """
    keys = execute(f"PRAGMA index_list({name})").fetchall()
    without_rowid = any(
        origin == "pk" and _covers_all(execute, name, index) for _, index, _, origin, *_ in keys
    )
    if without_rowid:
        yield "", ()
        return
    [(low, high)] = execute(
        f"SELECT (SELECT min(rowid) FROM {name}), (SELECT max(rowid) FROM {name})"
    ).fetchall()
    if low is None:
        return
    places = {low + (high - low) * step // (_PLACES - 1) for step in range(_PLACES)}
    for place in sorted(places):
        yield "WHERE rowid >= ? ORDER BY rowid", (place,)


def _covers_all(execute: Any, name: str, index: str) -> bool:
    """Tell whether the index of a primary key is the table itself: no rowid stands behind it."""
    columns = execute(f"PRAGMA index_xinfo({quoted(index)})").fetchall()
    return all(column >= 0 for _, column, *_ in columns)


def _full_text(db: SqliteFile) -> Finding:
    execute: Any = db.execute_sql
    [(parts,)] = execute(_OF_THE_SEARCH, (len(SEARCH_PREFIX), SEARCH_PREFIX)).fetchall()
    if not parts:
        return Finding("search", "ok", "no full-text index yet: the first search makes it")
    if is_ready(db):
        return Finding("search", "ok", "the full-text index is whole, and triggers keep it so")
    message = "the full-text index is not whole, or its triggers are not what they should be"
    return Finding("search", "warning", message, "dynostore search --rebuild")
