"""What the sync knows of each replicated table, read from its model once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import peewee

from dynostore.errors import ConfigError
from dynostore.field_kinds import kind_of, length_of
from dynostore.models.base import key_field
from dynostore.store import Store

SYNC_COLUMNS = ("sync_rev", "sync_seq", "sync_node")
"""The server's bookkeeping columns; the models never select them."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    :ivar kind: what :func:`dynostore.field_kinds.kind_of` gives.
    :ivar max_length: characters that the server takes; None where there is no limit.
    :ivar parent: the table that it refers to, or None; and that table's key column.
    :ivar merge: max or min, where two nodes' values need no person to choose; else None.
    """

    name: str
    kind: str
    null: bool
    max_length: int | None = None
    parent: str | None = None
    parent_key: str | None = None
    merge: str | None = None

    @property
    def quoted(self) -> str:
        """The name, ready for SQL."""
        return quoted(self.name)


@dataclasses.dataclass(frozen=True)
class Table:
    """One replicated table.

    :ivar children: (table, column) of every foreign key that refers to it.
    """

    name: str
    key: Column
    columns: tuple[Column, ...]
    children: tuple[tuple[str, str], ...]

    @property
    def quoted(self) -> str:
        """The name, ready for SQL."""
        return quoted(self.name)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(column.name for column in self.columns)

    @property
    def column_list(self) -> str:
        """All columns, quoted, with commas between."""
        return ", ".join(column.quoted for column in self.columns)

    @property
    def references(self) -> list[Column]:
        """The columns that refer to a parent."""
        return [column for column in self.columns if column.parent is not None]


def quoted(name: str) -> str:
    """Quote a name for both databases."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for both databases."""
    return "'" + text.replace("'", "''") + "'"


def tables_of(store: Store) -> dict[str, Table]:
    """Describe the tables of a store that replicate, parents before children.

    The one place that says which these are: dynostore's own, and the user's.
    """
    return dict(_described(store.replicated))


@functools.lru_cache(maxsize=8)  # a watch asks before every sync
def _described(models: tuple[type[peewee.Model], ...]) -> dict[str, Table]:
    return describe(models)


def describe(models: Sequence[type[peewee.Model]]) -> dict[str, Table]:
    """Describe the models' tables, parents before children.

    :raises ConfigError: a column of a type that cannot replicate.
    """
    children: dict[str, list[tuple[str, str]]] = {}
    for model in models:
        for field in _references(model):
            parent = field.rel_model._meta.table_name
            children.setdefault(parent, []).append((model._meta.table_name, field.column_name))
    return {
        model._meta.table_name: _table(model, children.get(model._meta.table_name, []))
        for model in peewee.sort_models(models)  # type: ignore[attr-defined]  # not in the stubs
    }


def select(tables: dict[str, Table], only: Sequence[str], skip: Sequence[str]) -> list[Table]:
    """Give the tables that a sync is restricted to, parents first, with all that they refer to.

    :raises ConfigError: an unknown table, one to skip that another refers to, or none is left.
    """
    for name in (*only, *skip):
        if name not in tables:
            raise ConfigError(
                f"{name}: no such table; there are {', '.join(sorted(tables))}",
                hint="a table of your own needs its model: dynostore --models MODULE sync",
            )
    wanted = {name for name in only or tables if name not in skip}
    if skip and not wanted:
        raise ConfigError(
            f"{', '.join(skip)}: to be skipped, so that no table is left to sync",
            hint="name a table in --tables or in --skip, not in both",
        )
    for name in reversed(tables):  # children first, so that grandparents are reached
        for column in tables[name].references if name in wanted else ():
            if column.parent in skip:
                raise ConfigError(
                    f"{column.parent}: {name} refers to it", hint=f"--skip {name} as well"
                )
            wanted.add(str(column.parent))
    return [table for name, table in tables.items() if name in wanted]


def _table(model: type[peewee.Model], children: Iterable[tuple[str, str]]) -> Table:
    merges = dict(getattr(model, "MERGES", {}))
    columns = {
        name: _column(model, field, merges.get(name)) for name, field in model._meta.columns.items()
    }
    return Table(
        model._meta.table_name,
        columns[key_field(model).column_name],
        tuple(columns.values()),
        tuple(children),
    )


def _column(model: type[peewee.Model], field: peewee.Field, merge: str | None) -> Column:
    kind = kind_of(field)
    if kind is None:
        raise ConfigError(
            f"{model._meta.table_name}.{field.column_name}: a {field.field_type} cannot replicate"
        )
    parent = parent_key = None
    if isinstance(field, peewee.ForeignKeyField):
        parent = field.rel_model._meta.table_name
        parent_key = field.rel_field.column_name
    limit = length_of(field)
    return Column(field.column_name, kind, bool(field.null), limit, parent, parent_key, merge)


def _references(model: type[peewee.Model]) -> list[peewee.ForeignKeyField]:
    return [f for f in model._meta.sorted_fields if isinstance(f, peewee.ForeignKeyField)]
