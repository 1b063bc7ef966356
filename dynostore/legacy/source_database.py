"""Reads one database file of a tool: whose it is, its records, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from dynostore.legacy.base import Finding, SourceRecord, Unreadable
from dynostore.legacy.source_sqlite import SqliteTables, opened_sqlite
from dynostore.legacy.source_tables import Table

IsOurs = Callable[[dict[str, Table]], bool]
"""Tells a tool's tables from all others, by name and columns."""


class TableReader(Protocol):
    """Reads the records of a tool's tables."""

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give all records, which count no file, and what is none."""
        ...


def holds_tables(path: str, is_ours: IsOurs) -> bool:
    """Tell whether a database, a file that begins like one, has a tool's tables; never raises."""
    try:
        with opened_sqlite(path) as database:
            return is_ours(database.tables)
    except Unreadable:
        return False


def count_rows(path: str, is_ours: IsOurs, table: str) -> int | None:
    """Count the rows of one of a tool's tables; None where the file does not have them."""
    try:
        with opened_sqlite(path) as database:
            return database.count(database.tables[table]) if is_ours(database.tables) else None
    except Unreadable:
        return None


def read_database(
    path: str,
    relative: str,
    is_ours: IsOurs,
    tables: Callable[[SqliteTables, str, str], TableReader],
    *,
    tool: str,
    nouns: str,
) -> Iterator[SourceRecord | Finding]:
    """Give the records of a database file; the first one counts the file.

    :param relative: the file's path for people.
    :param tables: gives what reads the tables: of the database, its path for people, and its place.
    :param tool: the tool's name; ``nouns`` what it keeps there, for people.
    """
    try:
        with opened_sqlite(path) as source:
            if not is_ours(source.tables):
                yield Finding(relative, "skipped", f"a database without {tool}'s tables")
                return
            files = 1
            for found in tables(source, relative, path).read():
                if isinstance(found, SourceRecord):
                    found.files, files = files, 0
                yield found
            if files:
                yield Finding(relative, "skipped", f"a database of {tool} without {nouns}")
            for reason in source.doubts():
                yield Finding(relative, "invalid", reason, files=0)
    except Unreadable as exc:
        yield Finding(relative, "invalid", str(exc))
