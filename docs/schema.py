"""docs/schema.md: every table and column, drawn from the models and from what the sync makes."""

from __future__ import annotations

import inspect
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.resources import files
from itertools import groupby
from typing import Any

import peewee

from dynostore.fields import INT64_MAX, INT64_MIN, ReferenceField, WholeNumberField
from dynostore.models import ALL, LOCAL, Record
from dynostore.postgres_server import POSTGRES_TYPES
from dynostore.sqlite_file import SQLITE_TYPES
from dynostore.sync.local import capture

_INTRODUCTION = """\
# The schema

Every table and column of the records, as the models (`dynostore.models`) declare them. How times,
JSON and ids look in the file is said in [Recording runs](runs.md#the-file-itself), how the tables
change from version to version in [Upgrades](upgrades.md).

A column may be empty where it says so. Text in Postgres has the collation `C`, so that it sorts as
in SQLite. *Merges* says what becomes of the column when two machines changed the row
([Sync](sync.md)); all other columns are a conflict then.
"""

_BOOKKEEPING = """\
## Beside the records

`dynostore_migration` lists the steps that were applied ([Upgrades](upgrades.md)),
`dynostore_own_migration` those of [models of your own](own-models.md). Tables that are called
`dynostore_search`... are the index of the [search](search.md#the-index), made by the first search.
They are nobody's to write, and neither are the following.
"""

_LOCAL_MEANINGS = {
    "sync_meta": "who this file is, which server it knows, when it last synced",
    "sync_table": "for each table: how far it was pulled, and its triggers",
    "sync_log": "keys that changed and were not sent",
    "sync_base": "the revision of each row that the server held when this file last met it",
    "sync_pending": "batches that are on their way",
    "sync_conflict": "changes of this file's that met another node's",
    "sync_reject": "rows that one side cannot hold, and why",
    "sync_history": "the tokens of earlier syncs, with the server's clock",
}
_SERVER_MEANINGS = {
    "server": "which server this is",
    "ancestor": "what it was before it was restored from a backup",
    "node": "the files that sync with it",
    "node_history": "the batches of each, and what was judged otherwise than sent",
    "tombstone": "keys of deleted rows",
    "archive": "rows that were deleted or lost a conflict, whole",
    "tick": "one number for each transaction that changed anything",
    "touched": "tables that plain SQL changes in a transaction; empty between two",
}


def schema_page() -> str:
    """Give the page."""
    families = [list(models) for _, models in groupby(ALL, key=lambda model: model.__module__)]
    alone = (f"    {_name(model)}" for family in families if len(family) == 1 for model in family)
    overview = ["```mermaid", "erDiagram", *_references(ALL), *alone, "```", ""]
    sections = map(_family, families)
    return "\n".join([_INTRODUCTION, *overview, *sections, _BOOKKEEPING, *_of_the_sync()])


def _family(models: Sequence[type[Record]]) -> str:
    doc = inspect.getdoc(sys.modules[models[0].__module__]) or ""
    name = models[0].__module__.rpartition(".")[2]
    said = doc.partition("\n")[0].partition(": ")[2] or doc.partition("\n")[0]
    lines = [f"## {name.capitalize()}", "", said[:1].upper() + said[1:], "", *_diagram(models)]
    for model in models:
        lines += ["", *_table(model)]
    return "\n".join(lines) + "\n"


def _references(models: Sequence[type[Record]]) -> Iterator[str]:
    for model in models:
        for field in _fields(model):
            if isinstance(field, ReferenceField):
                parent, one = _name(field.rel_model), "|o" if field.null else "||"
                yield f"    {parent} {one}--o{{ {_name(model)} : {field.column_name}"


def _diagram(models: Sequence[type[Record]]) -> Iterator[str]:
    yield "```mermaid"
    yield "erDiagram"
    yield from _references(models)
    for model in models:
        yield f"    {_name(model)} {{"
        for field in _fields(model):
            declared = _type(field, POSTGRES_TYPES).replace(" ", "_")
            refers = " FK" if isinstance(field, ReferenceField) else ""
            key = " PK" if field.primary_key else refers
            yield f"        {declared} {field.column_name}{key}"
        yield "    }"
    yield "```"


def _table(model: type[Record]) -> Iterator[str]:
    yield f"### Table {_name(model)}"
    yield ""
    yield (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")
    if model in LOCAL:
        yield ""
        yield "It speaks of this machine, and is not replicated."
    yield ""
    yield "| column | SQLite | Postgres | empty | rule |"
    yield "| --- | --- | --- | --- | --- |"
    for field in _fields(model):
        here, there = (_type(field, types) for types in (SQLITE_TYPES, POSTGRES_TYPES))
        empty = "yes" if field.null else ""
        rules = "; ".join(_rules(model, field))
        yield f"| `{field.column_name}` | {here} | {there} | {empty} | {rules} |"
    indexes = [", ".join(_columns(model, names)) for names in _indexes(model)]
    if indexes:
        yield ""
        yield "Indexes: " + "; ".join(f"`{index}`" for index in indexes) + "."


def _rules(model: type[Record], field: Any) -> Iterator[str]:
    if field.primary_key:
        natural = model.NATURAL_KEY
        yield "key" + (f", derived from {' and '.join(natural)}" if natural else "")
    if isinstance(field, ReferenceField):
        end = f", ON DELETE {field.on_delete}" if field.on_delete else ""
        parent = _name(field.rel_model)
        yield f"refers to [{parent}](#table-{parent}){end}"
    if allowed := getattr(field, "allowed", None):
        yield ", ".join(f"`{value}`" for value in allowed)
    if isinstance(field, WholeNumberField):
        if field.high != INT64_MAX:
            yield f"{field.low} to {field.high}"
        elif field.low != INT64_MIN:
            yield f"{field.low} or more"
    if merge := model.MERGES.get(field.name):
        yield f"merges: the {'greater' if merge == 'max' else 'lesser'}"


def _indexes(model: type[Record]) -> Iterator[list[str]]:
    for field in _fields(model):
        if field.index and not field.primary_key:
            yield [field.name]
    for names, _ in model._meta.indexes:
        yield list(names)


def _columns(model: type[Record], names: list[str]) -> list[str]:
    return [model._meta.combined[name].column_name for name in names]


def _type(field: Any, types: dict[str, str]) -> str:
    context = peewee.Context(field_types=types)
    declared: str = field.ddl_datatype(context).sql
    return declared.removesuffix(' COLLATE "C"').lower()


def _fields(model: type[Record]) -> list[Any]:
    return list(model._meta.sorted_fields)


def _name(model: type[Record]) -> str:
    return str(model._meta.table_name)


def _of_the_sync() -> Iterator[str]:
    yield "### In a file that syncs"
    yield ""
    yield "Made by the first sync, with triggers on the tables of the records."
    yield ""
    yield from _bookkeeping(_local_columns(), _LOCAL_MEANINGS)
    yield ""
    yield "### On a server that files sync with"
    yield ""
    yield "In the schema `dynostore_sync`. The tables of the records have three columns more there:"
    yield "`sync_rev`, the row's revision, `sync_seq`, the number of the transaction that wrote it,"
    yield "and `sync_node`, the node that did."
    yield ""
    yield from _bookkeeping(_server_columns(), _SERVER_MEANINGS)
    yield ""


def _bookkeeping(tables: dict[str, list[str]], meanings: dict[str, str]) -> Iterator[str]:
    if set(tables) != set(meanings):
        raise SystemExit(f"docs/schema.py: say what is in {set(tables) ^ set(meanings)}")
    yield "| table | holds | columns |"
    yield "| --- | --- | --- |"
    for name, columns in tables.items():
        yield f"| `{name}` | {meanings[name]} | {', '.join(f'`{c}`' for c in columns)} |"


def _local_columns() -> dict[str, list[str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(capture._TABLES)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            for (name,) in names.fetchall()
        }


def _server_columns() -> dict[str, list[str]]:
    script = files("dynostore.sync.remote").joinpath("server.sql").read_text("utf-8")
    tables = re.findall(r"^CREATE TABLE dynostore_sync\.(\w+) \(\n(.*?)^\);", script, re.M | re.S)
    return {name: re.findall(r"^    ([a-z]\w*) ", body, re.M) for name, body in tables}
