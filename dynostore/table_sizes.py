"""How many bytes each table takes up with its indexes, where the database can say so."""

from __future__ import annotations

import sqlite3
from typing import Any

# dbstat is an extension that most builds of SQLite have; it reads the header of every page.
_OF_A_FILE = """
    SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s
    JOIN sqlite_master m ON m.name = s.name WHERE s.aggregate = TRUE GROUP BY m.tbl_name
"""
_ON_POSTGRES = """
    SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind = 'r'
"""


def measure_tables(db: Any) -> dict[str, int] | None:
    """Give the bytes of every table with its indexes, by name, greatest first.

    On a file every page is looked at: a second for each gigabyte and more.

    :return: None where this SQLite was built without the table ``dbstat``.
    """
    with db.reading():
        if db.dialect == "sqlite" and not _has_dbstat(db):
            return None
        query = _OF_A_FILE if db.dialect == "sqlite" else _ON_POSTGRES
        sizes = {str(name): int(size) for name, size in db.execute_sql(query).fetchall()}
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def _has_dbstat(db: Any) -> bool:
    try:
        db.connection().execute("SELECT 1 FROM dbstat WHERE aggregate = TRUE LIMIT 0")
    except sqlite3.OperationalError:  # no such table
        return False
    return True
