"""What the straight scripts beside an import share: one transaction in, everything read back."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Tables = dict[str, list[tuple[Any, ...]]]
"""Rows by table, the key first; the second is what an index is on, mostly the parent."""


def fingerprint(data: bytes) -> str:
    """Give what a script notes of the content that it read."""
    return hashlib.sha256(data).hexdigest()


def parsed(text: Any) -> Any:
    """Parse a cell of JSON, as whoever looks into it must, and give it to be stored again."""
    return None if text is None else json.dumps(json.loads(text))


def write_and_read_back(database: Path, tables: Tables) -> int:
    """Write all rows in one transaction, read them all, and compare; give their number."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    for name, rows in tables.items():
        columns = ", ".join(f"c{number}" for number in range(1, len(rows[0])))
        connection.execute(f"CREATE TABLE {name} (id PRIMARY KEY, {columns})")
        connection.execute(f"CREATE INDEX {name}_c1 ON {name} (c1)")
    with connection:
        for name, rows in tables.items():
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
    stored = 0
    for name, rows in tables.items():
        found = connection.execute(f"SELECT * FROM {name}").fetchall()
        if sorted(map(str, found)) != sorted(map(str, rows)):
            raise SystemExit("the script lost rows")
        stored += len(found)
    connection.close()
    return stored


def rows_of(source: Path, tables: Iterable[str], as_json: Sequence[str]) -> Tables:
    """Read whole tables of a database, hash each row, and parse its JSON.

    :param as_json: the columns that hold JSON, whichever table they are in.
    """
    connection = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)
    result: Tables = {}
    for name in tables:
        cursor = connection.execute(f"SELECT * FROM {name}")
        names = [column[0] for column in cursor.description]
        json_at = [place for place, column in enumerate(names) if column in as_json]
        rows = []
        for cells in cursor:
            values = list(cells)
            digest = fingerprint(repr(cells).encode())
            for place in json_at:
                values[place] = parsed(values[place])
            rows.append((*values, digest))
        if rows:
            result[name] = rows
    connection.close()
    return result
