"""What the store holds of a batch of source records before it is written."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import Any

from dynostore.importing.item import ImportItem
from dynostore.importing.merge import whole_row
from dynostore.models import Record, RunFile
from dynostore.models.base import key_field
from dynostore.repositories import ImportRepository


class Stored:
    """What the store holds of some records and their children.

    :ivar images: what their sources said when they were last read, by import id.
    :ivar rows: by table and key, values by column.
    """

    def __init__(self, imports: ImportRepository, items: Sequence[ImportItem]) -> None:
        self.images = imports.images([item.import_id for item in items])
        self.rows: dict[type[Record], dict[Any, dict[str, Any]]] = {}
        keys: dict[type[Record], list[Any]] = {}
        for item in items:
            for model, found in item.keys_by_table().items():
                keys.setdefault(model, []).extend(found)
        for model, wanted in keys.items():
            self.rows[model] = {}
            for values in imports.stored(model, key_field(model), wanted):
                row = whole_row(model, dict(zip(model._meta.columns, values, strict=True)))
                self.rows[model][row.key] = row.values


def keys_in_store(
    imports: ImportRepository,
    batch: Sequence[ImportItem],
    known: dict[type[Record], set[Any]],
) -> collections.defaultdict[type[Record], set[Any]]:
    """Give the keys of the batch's rows that are in the store, by table.

    :param known: the same of those tables whose rows were told apart.
    """
    there = collections.defaultdict(set, known)
    records: dict[type[Record], list[Any]] = {}
    for item in batch:
        records.setdefault(item.row.model, []).append(item.row.key)
    for model, keys in records.items():
        field = key_field(model)
        there[model].update(key for key, _ in imports.stored_keys(model, field, keys))
    for (model, field), values in _questions(batch, there).items():
        there[model].update(key for key, _ in imports.stored_keys(model, field, values))
    return there


def _questions(
    batch: Sequence[ImportItem], there: dict[type[Record], set[Any]]
) -> dict[tuple[type[Record], Any], list[Any]]:
    """Give what must be asked to know which children are there: values by table and field."""
    asked: dict[tuple[type[Record], Any], list[Any]] = {}
    for item in batch:
        is_there = item.row.key in there[item.row.model]
        for model, keys in item.keys_by_table().items():
            if model in item.source.own_keys or keys == [item.row.key]:
                continue
            field = _hangs_on(model, item)
            if field is None:
                asked.setdefault((model, key_field(model)), []).extend(keys)
            elif is_there:
                asked.setdefault((model, field), []).append(item.row.key)
    return asked


def _hangs_on(child: type[Record], item: ImportItem) -> Any:
    """Give the field by which a table's rows are found under a new parent's key or not at all.

    None where a row of that key may be there under another parent: such keys are looked up.
    """
    field = parent_field(child, item.row.model)
    if field is None or child in item.source.derived_keys:
        return field
    natural = natural_key(child)
    return field if natural and field.name == natural[0] else None


def natural_key(model: type[Record]) -> tuple[str, str] | None:
    """Give the two fields that a row's key is derived from; None: its key is its own."""
    # A file's id is derived too, though the door does not ask for it.
    return ("run", "filename") if model is RunFile else model.NATURAL_KEY


@functools.cache
def parent_field(child: type[Record], parent: type[Record]) -> Any:
    """Give the field of a child's table that refers to a parent's; None where none does."""
    return next((f for f, model in child._meta.refs.items() if model is parent), None)
