"""What the index of a SQLite file is made of: FTS5, the text that it was given, and triggers.

A record's number in the index is the index's own, since SQLite gives rows new numbers when a table
is rebuilt or the file vacuumed. The text is kept a second time: to take a document out, FTS5 must
be told exactly what it was given, and where it is told otherwise somebody's next write fails.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import peewee
from playhouse.sqlite_ext import FTS5Model, SearchField, VirtualTableSchemaManager

from dynostore.search.kinds import KINDS, Kind
from dynostore.sqlite_dependents import SEARCH_PREFIX, quoted

TEXT_TABLE = f"{SEARCH_PREFIX}_text"
STATE_TABLE = f"{SEARCH_PREFIX}_state"

_NUMBERS = 1 << 40
"""How many documents a kind has room for: its number times this is where its documents begin."""

_TABLES = {
    TEXT_TABLE: "CREATE TABLE {name} (doc INTEGER PRIMARY KEY, kind TEXT NOT NULL,"
    " id TEXT NOT NULL, heading TEXT NOT NULL, body TEXT NOT NULL)",
    # The last key that was indexed of those that were there before the triggers.
    STATE_TABLE: "CREATE TABLE {name} (kind TEXT NOT NULL PRIMARY KEY, cursor TEXT NOT NULL,"
    " is_whole INTEGER NOT NULL)",
}
_RECORD_INDEX = f"CREATE UNIQUE INDEX {TEXT_TABLE}_record ON {TEXT_TABLE} (id, kind)"
_COPY_TRIGGERS = {
    f"{TEXT_TABLE}_insert": f"CREATE TRIGGER {TEXT_TABLE}_insert AFTER INSERT ON {TEXT_TABLE}"
    f" BEGIN INSERT INTO {SEARCH_PREFIX} (rowid, kind, id, heading, body)"
    " VALUES (NEW.doc, NEW.kind, NEW.id, NEW.heading, NEW.body); END",
    f"{TEXT_TABLE}_delete": f"CREATE TRIGGER {TEXT_TABLE}_delete AFTER DELETE ON {TEXT_TABLE}"
    f" BEGIN INSERT INTO {SEARCH_PREFIX} ({SEARCH_PREFIX}, rowid, kind, id, heading, body)"
    " VALUES ('delete', OLD.doc, OLD.kind, OLD.id, OLD.heading, OLD.body); END",
}
_FORGET = "DELETE FROM {text} WHERE id = {row}.{key} AND kind = '{kind}';"
_REMEMBER = (
    " INSERT INTO {text} (doc, kind, id, heading, body) SELECT"
    " coalesce((SELECT max(doc) FROM {text} WHERE doc BETWEEN {first} AND {last}), {first}) + 1,"
    " '{kind}', NEW.{key}, {heading}, {body};"
)
# Forgotten before it is remembered, also where it is new: a user's INSERT OR REPLACE fires no
# trigger for the row that it removes, and makes a REPLACE of each INSERT in the triggers.
_TRIGGERS = {
    "insert": "AFTER INSERT ON {table} BEGIN {forget_new}{remember} END",
    "update": "AFTER UPDATE OF {key}, {columns} ON {table} WHEN {differs}"
    " BEGIN {forget_old} {forget_new}{remember} END",
    "delete": "AFTER DELETE ON {table} BEGIN {forget_old} END",
}
_FILL = (
    "INSERT INTO {text} (doc, kind, id, heading, body)"
    " SELECT ? + row_number() OVER (ORDER BY {key}), '{kind}', {key}, {heading}, {body}"
    " FROM {table} AS t WHERE {key} > ? AND {key} <= ?"
    " AND NOT EXISTS (SELECT 1 FROM {text} AS d WHERE d.id = t.{key} AND d.kind = '{kind}')"
)


class Documents(FTS5Model):  # type: ignore[misc]  # untyped base
    """The index; kind and id are carried along and not searched."""

    kind = SearchField(unindexed=True)
    id = SearchField(unindexed=True)
    heading = SearchField()
    body = SearchField()

    class Meta:
        table_name = SEARCH_PREFIX
        legacy_table_names = False
        options = {  # noqa: RUF012 - what Peewee takes
            "content": TEXT_TABLE,
            "content_rowid": "doc",
            "tokenize": "unicode61 remove_diacritics 2",
        }


def range_of(kind: Kind) -> tuple[int, int]:
    """Give the first and the last number that a kind's documents can have."""
    return kind.number * _NUMBERS, (kind.number + 1) * _NUMBERS - 1


@functools.cache
def statements() -> Mapping[str, str]:
    """Give what makes the index, by the name of what is made, in order."""
    # The text alone: the model is bound to no database.
    schema: Any = VirtualTableSchemaManager(Documents, peewee.SqliteDatabase(None))
    made = {name: sql.format(name=name) for name, sql in _TABLES.items()}
    made[f"{TEXT_TABLE}_record"] = _RECORD_INDEX
    made[SEARCH_PREFIX] = schema._create_table(safe=False).query()[0]
    made |= _COPY_TRIGGERS
    for kind in KINDS:
        made |= _triggers(kind)
    return made


def _triggers(kind: Kind) -> dict[str, str]:
    columns = [f'"{name}"' for name in (*kind.headings, *kind.columns)]
    words = {
        "columns": ", ".join(columns),
        "differs": " OR ".join(
            f"OLD.{name} IS NOT NEW.{name}" for name in (f'"{kind.key}"', *columns)
        ),
        "forget_old": _filled(_FORGET, kind, "OLD"),
        "forget_new": _filled(_FORGET, kind, "NEW"),
        "remember": _filled(_REMEMBER, kind, "NEW"),
    }
    made = {}
    for event, body in _TRIGGERS.items():
        name = f"{SEARCH_PREFIX}_{kind.table}_{event}"
        sql = body.format(table=quoted(kind.table), key=f'"{kind.key}"', **words)
        made[name] = f"CREATE TRIGGER {name} {sql}"
    return made


@functools.cache
def fill_statement(kind: Kind) -> str:
    """Give what indexes the rows of a range of keys that are not indexed yet.

    Its values: the number before the first new document's, the key before the range, and the last.
    """
    return _filled(_FILL, kind, "t")


def _filled(template: str, kind: Kind, row: str) -> str:
    first, last = range_of(kind)
    return template.format(
        text=TEXT_TABLE,
        table=quoted(kind.table),
        kind=kind.name,
        key=f'"{kind.key}"',
        first=first,
        last=last,
        row=row,
        heading=kind.text(kind.headings, row),
        body=kind.text(kind.columns, row),
    )
