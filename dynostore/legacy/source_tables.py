"""What the readers of databases ask of one: its tables, row by row, whichever engine holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

Cells = dict[str, Any]
"""A row: what its cells hold, by column; text that is no UTF-8 has its bytes as surrogates."""

OURS = "dynostore_migration"
"""A database with this table is a store of dynostore, whatever its other tables are called."""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A table of somebody else's.

    :ivar columns: the names of its columns, in their order.
    :ivar expressions: how each is asked for, in SQL.
    :ivar place: by what a row is found again, in SQL; empty where the engine needs none.
    :ivar number: the column that numbers the rows, so that no value can repeat; empty for none.
    """

    name: str
    columns: tuple[str, ...]
    expressions: tuple[str, ...]
    place: str = ""
    number: str = ""


class SourceTables(Protocol):
    """A database that is only read.

    :ivar tables: all that hold rows, views and the engine's own left out, by name.
    """

    tables: dict[str, Table]

    def scan(self, table: Table) -> Iterator[Cells]:
        """Give all rows, in the order of their keys, in bounded memory.

        :raises Unreadable: after the rows that could be read: why no more can.
        """
        ...

    def matching(self, table: Table, column: str, values: Sequence[Any]) -> list[Cells]:
        """Give the rows with one of some values, in the order of their keys.

        :param values: as a row gave them, a few hundred at most.
        :raises Unreadable: not all of them can be read.
        """
        ...

    def without_parent(self, table: Table, column: str, parent: Table, key: str) -> Iterator[Cells]:
        """Give the rows that refer to a row that is not there, or to none."""
        ...

    def repeated(self, table: Table, column: str) -> set[str]:
        """Give the UUIDs that stand in several rows, as 32 hexadecimal digits."""
        ...

    def count(self, table: Table) -> int:
        """Count the rows."""
        ...


def has_columns(tables: dict[str, Table], name: str, *columns: str) -> bool:
    """Tell whether there is a table with at least these columns."""
    table = tables.get(name)
    return table is not None and set(columns) <= set(table.columns)


def quoted(name: str) -> str:
    """Give a name of somebody else's as SQL."""
    return '"' + name.replace('"', '""') + '"'
