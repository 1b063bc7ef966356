"""The model's words: tables, rows, lines of a batch, and what can end a sync."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]
"""A row by column; never changed in place."""

Held = tuple[Row | None, int, int, Any]
"""What the server holds under a key: row, revision, number, node; or None, revision, number and the
tag of the deletion. No rule reads a tag: it is evidence for who judges the outcome."""

Steps = Generator[str, None, Any]
"""A part of a sync, by the names of the points where it may die."""

PUT, DELETE, AGAIN, SUSPECT = "p", "d", "r", "s"


class Stopped(Exception):
    """A sync ends without having done its work; the next one goes on."""


class IdentityMismatch(Stopped):
    """The server has forgotten this file, or is another one."""


class Refused(Exception):
    """The server cannot hold a row.

    :ivar line: which of the batch, from 0.
    """

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Table(NamedTuple):
    """One replicated table.

    :ivar references: the parent's table by column.
    :ivar merges: ``max``, ``min`` or ``union`` by column.
    """

    name: str
    references: Mapping[str, str] = {}
    merges: Mapping[str, str] = {}


class Schema:
    """The tables, parents before children.

    :ivar children: (table, column) of what refers to each table.
    """

    def __init__(self, tables: Iterable[Table]) -> None:
        self.tables = {table.name: table for table in tables}
        self.children: dict[str, list[tuple[str, str]]] = {name: [] for name in self.tables}
        for table in self.tables.values():
            for column, parent in table.references.items():
                self.children[parent].append((table.name, column))

    def children_of(
        self, rows: Mapping[str, Mapping[str, Row]], table: str, key: str
    ) -> list[tuple[str, str]]:
        """Give (table, key) of the rows that refer to one, itself left out."""
        return [
            (child, child_key)
            for child, column in self.children[table]
            for child_key, row in rows[child].items()
            if row[column] == key and (child_key != key or child != table)
        ]

    def orphaned(self, rows: Mapping[str, Mapping[str, Any]], table: str, row: Row) -> bool:
        """Tell whether a row refers to one that is not there."""
        for column, parent in self.tables[table].references.items():
            if row[column] is not None and row[column] not in rows[parent]:
                return True
        return False

    def merged(self, table: str, one: Row, other: Row) -> Row | None:
        """Give what two versions make together; None: more differs than what merges."""
        merges = self.tables[table].merges
        fixed = (one.keys() | other.keys()) - merges.keys()
        if any(one.get(column) != other.get(column) for column in fixed):
            return None
        return self.combined(table, one, other)

    def combined(self, table: str, one: Row, other: Row) -> Row:
        """Give a version with the columns that merge combined with another's."""
        result = dict(one)
        for column, how in self.tables[table].merges.items():
            mine, theirs = one[column], other[column]
            result[column] = (
                mine | theirs
                if how == "union"
                else max(mine, theirs)
                if how == "max"
                else min(mine, theirs)
            )
        return result


class Line(NamedTuple):
    """One key of a batch.

    :ivar row: None: a deletion, with its ``tag``.
    :ivar keep: it is sent again, and keeps its revision.
    :ivar suspect: nobody knows whether it was changed here at all.
    """

    key: str
    row: Row | None
    base: int | None
    base_seq: int
    keep: bool
    suspect: bool
    tag: Any


class Verdict(NamedTuple):
    """What became of a line that was not simply applied.

    :ivar revision: of the server's version that was met; ``seq`` likewise.
    :ivar mine: the row that was sent, or the tag of the deletion.
    """

    what: str
    revision: int | None = None
    seq: int = 0
    keep: bool = False
    mine: Any = None
