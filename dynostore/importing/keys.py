"""Telling rows apart whose old id is another record's in the store, so that neither is lost.

Some tools made ids that are unique in their parent alone, or by chance: two of their sessions, or
two of their servers, have a message of the same id. Who was there first keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynostore.ids import derived_id
from dynostore.importing.item import ImportItem
from dynostore.importing.merge import WholeRow, whole_row
from dynostore.models import Record
from dynostore.models.base import key_field
from dynostore.repositories import ImportRepository


def tell_apart(
    imports: ImportRepository, batch: Sequence[ImportItem]
) -> dict[type[Record], set[Any]]:
    """Give rows a derived key whose own is that of another record's row; their metadata keep it.

    The derived one is the same at every import.

    :return: which keys of these tables the store has, by table.
    """
    there: dict[type[Record], set[Any]] = {}
    for model, field in _tables(batch):
        column = field.column_name
        rows = [row for item in batch for row in item.children if row.model is model]
        owners = dict(imports.owners(model, field, [row.key for row in rows]))
        there[model] = set(owners)
        moved = []
        for item in batch:
            for at, row in enumerate(item.children):
                owner = owners.get(row.key) if row.model is model else None
                if owner is not None and owner != row.values[column]:
                    item.children[at] = _rekeyed(row, row.values[column])
                    moved.append(item.children[at].key)
        there[model] |= {key for key, _ in imports.owners(model, field, moved)}
    return there


def _tables(batch: Sequence[ImportItem]) -> list[tuple[type[Record], Any]]:
    """Give the tables whose keys may meet, each with the field that refers to the parent."""
    found = [
        (model, field)
        for item in batch
        for model in item.source.own_keys
        for field, parent in model._meta.refs.items()
        if parent is item.row.model
    ]
    return list(dict.fromkeys(found))


def _rekeyed(row: WholeRow, parent: str) -> WholeRow:
    kept = row.values["metadata"]
    if not isinstance(kept, dict):
        kept = {} if kept is None else {"metadata": kept}
    values = {
        **row.values,
        key_field(row.model).column_name: derived_id(row.table, parent, str(row.key)),
        "metadata": {"id": row.key, **kept},
    }
    return whole_row(row.model, values)
