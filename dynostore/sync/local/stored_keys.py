"""Keys as the file holds them, which may be no text that another database could be asked for."""

from __future__ import annotations

import dataclasses
import sqlite3

from dynostore.sync.tables import Table, quoted


@dataclasses.dataclass(frozen=True)
class StoredKey:
    """A key of the file's, byte by byte.

    :ivar sql: takes ``value`` as its parameter.
    """

    value: bytes
    is_text: bool = True

    @property
    def sql(self) -> str:
        """The key as SQL."""
        return "CAST(? AS TEXT)" if self.is_text else "?"

    @property
    def text(self) -> str:
        """The key as the sync's tables name it."""
        return self.value.decode("utf-8", "replace") if self.is_text else f"x'{self.value.hex()}'"

    @property
    def is_sendable(self) -> bool:
        """Whether a server can be asked for it."""
        return self.is_text and self.text.encode() == self.value and b"\0" not in self.value


def find_key(connection: sqlite3.Connection, table: Table, text: str) -> StoredKey | None:
    """Find the row that a key of the sync's tables stands for; None where there is no such row.

    Looks at every row where the key was no text, or no UTF-8.
    """
    name = f"{table.quoted}.{table.key.quoted}"
    there = StoredKey(text.encode())
    found = connection.execute(
        f"SELECT 1 FROM {table.quoted} WHERE {name} = {there.sql}", (there.value,)
    )
    if found.fetchone() is not None:
        return there
    if not text.startswith("x'") and "\N{REPLACEMENT CHARACTER}" not in text:
        return None
    keys = connection.execute(f"SELECT CAST({name} AS BLOB), typeof({name}) FROM {table.quoted}")
    for value, kind in keys:
        candidate = StoredKey(value, kind == "text")
        if candidate.text == text:
            return candidate
    return None


def rows_below(
    connection: sqlite3.Connection, tables: dict[str, Table], table: Table, key: StoredKey
) -> list[tuple[Table, StoredKey]]:
    """Give a row and all that refer to it, however indirectly; children before parents."""
    found: list[tuple[Table, StoredKey]] = []
    seen: set[tuple[str, StoredKey]] = set()

    def visit(table: Table, key: StoredKey) -> None:
        if (table.name, key) in seen:
            return
        seen.add((table.name, key))
        for name, column in table.children:
            child = tables[name]
            for below in _children(connection, child, column, key):
                visit(child, below)
        found.append((table, key))

    visit(table, key)
    return found


def _children(
    connection: sqlite3.Connection, child: Table, column: str, key: StoredKey
) -> list[StoredKey]:
    name = child.key.quoted
    rows = connection.execute(
        f"SELECT CAST({name} AS BLOB), typeof({name}) FROM {child.quoted}"
        f" WHERE {quoted(column)} = {key.sql}",
        (key.value,),
    )
    return [StoredKey(value, kind == "text") for value, kind in rows.fetchall()]
