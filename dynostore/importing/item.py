"""A source record as rows, with its key in ``imports``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dynostore.ids import derived_id
from dynostore.importing.merge import WholeRow, whole_row
from dynostore.legacy import SourceRecord
from dynostore.models import Record


@dataclasses.dataclass(slots=True)
class ImportItem:
    """A source record as rows.

    :ivar import_id: the key of its row in ``imports``: by kind, table and key, so that a directory
        may move.
    :ivar read: the whole source that it was found in, and how it was read: ``root``, ``timezone``.
    """

    source: SourceRecord
    row: WholeRow
    children: list[WholeRow]
    import_id: str
    kind: str
    read: Mapping[str, str]

    @property
    def rows(self) -> list[WholeRow]:
        """All of it, the record first."""
        return [self.row, *self.children]

    def keys_by_table(self) -> dict[type[Record], list[Any]]:
        """Give the keys of all its rows, the record's own first."""
        keys = {self.row.model: [self.row.key]}
        for child in self.children:
            keys.setdefault(child.model, []).append(child.key)
        return keys


def as_item(source: SourceRecord, kind: str, read: Mapping[str, str]) -> ImportItem:
    """Give a record as rows, with its key and other plain values checked.

    The rest is checked when it is to be written.

    :param kind: the reader's.
    :param read: see :class:`ImportItem`.

    :raises InvalidValue: names the first column whose value the store cannot hold.
    """
    row = whole_row(source.model, source.values)
    row.check_scalars()
    children = [whole_row(model, values) for model, values in source.children]
    source.children = []  # a batch of them is half the memory
    row.normalise()
    for child in children:
        child.normalise()
    identity = import_id_of(kind, source.origin, row.table, row.key)
    return ImportItem(source, row, children, identity, kind, read)


def import_id_of(kind: str, origin: str, table: str, key: Any) -> str:
    """Give the key in ``imports`` of a record."""
    name = f"{table}\x1f{key}"
    return derived_id("imports", kind, f"{origin}\x1f{name}" if origin else name)
