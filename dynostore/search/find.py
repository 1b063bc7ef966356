"""One search of one database: the index is asked, and the records that it names are described."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from peewee import Value, fn

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import WholeNumberField, check_text
from dynostore.models.base import key_field
from dynostore.search.hits import (
    ELLIPSIS,
    MARKS,
    TITLE_CHARACTERS,
    Hit,
    Hits,
    Match,
    Progress,
    one_line,
)
from dynostore.search.kinds import KINDS, Kind, kinds_of
from dynostore.search.postgres_index import PostgresIndex
from dynostore.search.sqlite_index import SqliteIndex
from dynostore.search.words import MOST_CHARACTERS, MOST_WORDS, read_query

MOST_HITS = 1000
_TITLE_READ = 4 * TITLE_CHARACTERS
"""Characters of a title that are read: a task's request may be a book."""


def index_of(db: Any) -> SqliteIndex | PostgresIndex:
    """Give the index of a database, made or not."""
    return PostgresIndex(db) if db.dialect == "postgres" else SqliteIndex(db)


def search(
    db: Any,
    query: str,
    *,
    kinds: str | Sequence[str] | None = None,
    limit: int = 20,
    marks: tuple[str, str] = MARKS,
    progress: Progress | None = None,
) -> Hits:
    """Make the index where it is missing, and :func:`find`."""
    check_arguments(query, kinds, limit, marks)
    notes = [] if is_ready(db) else index_of(db).ensure(progress)
    hits = find(db, query, kinds=kinds, limit=limit, marks=marks)
    return Hits(hits.items, notes + hits.notes)


def check_arguments(query: Any, kinds: Any, limit: Any, marks: Any) -> tuple[Kind, ...]:
    """Give the kinds to search; asked before an index is made, which takes its time.

    :raises InvalidValue: names the argument that is of another type or has no such value.
    """
    if not isinstance(query, str):
        raise errors.InvalidValue("query", f"text expected, not {type(query).__name__}")
    try:
        WholeNumberField(low=1, high=MOST_HITS).check(limit)
    except ValueError as exc:
        raise errors.InvalidValue("limit", str(exc)) from None
    if not isinstance(marks, tuple | list) or len(marks) != 2:
        raise errors.InvalidValue("marks", f"two texts expected, not {quoted(marks)}")
    try:
        for mark in marks:
            check_text(mark)
    except ValueError as exc:
        raise errors.InvalidValue("marks", str(exc)) from None
    return kinds_of(kinds)


def is_ready(db: Any) -> bool:
    """Tell whether a search would find its index whole."""
    return index_of(db).is_whole()


def find(
    db: Any,
    query: str,
    *,
    kinds: str | Sequence[str] | None = None,
    limit: int = 20,
    marks: tuple[str, str] = MARKS,
) -> Hits:
    """Give the records that fit, best first; the index is whole, or a server's that can do without.

    :raises InvalidValue: no such kind, a bad limit, or an argument of another type.
    """
    chosen = check_arguments(query, kinds, limit, marks)
    wanted = read_query(query)
    if not wanted.terms:
        return Hits([], ["nothing in the query is a word"])
    notes = []
    if wanted.is_cut:
        notes.append(
            f"searched for the first {MOST_WORDS} words of the first {MOST_CHARACTERS:,} characters"
        )
    with db.reading():
        matches = index_of(db).find(wanted.terms, chosen, limit, marks)
        return Hits(_described(db, matches), notes)


def _described(db: Any, matches: Sequence[Match]) -> list[Hit]:
    facts: dict[tuple[str, str], tuple[str | None, str, dt.datetime]] = {}
    for kind in KINDS:
        if ids := [match.id for match in matches if match.kind == kind.name]:
            facts.update(_facts_of(db, kind, ids))
    return [
        Hit(match.kind, match.id, match.rank, one_line(match.snippet), *facts[match.kind, match.id])
        for match in matches
        # An UPDATE OR REPLACE of somebody's fires no trigger for the row that it removes.
        if (match.kind, match.id) in facts
    ]


def _facts_of(
    db: Any, kind: Kind, ids: Sequence[str]
) -> Iterator[tuple[tuple[str, str], tuple[str | None, str, dt.datetime]]]:
    """Give parent, title and time of records, by kind and id."""
    fields = kind.model._meta.columns
    key, parent = fields[kind.key], fields[kind.parent or kind.key]
    # What names a part may be its whole's title.
    title = parent if kind.title_of else _beginning(fields[kind.title])
    # The keys as the index has them: plain SQL may have written a UUID in another form.
    wanted = [Value(this, converter=False) for this in ids]
    query = kind.model.select(key, parent, title, fields["created_at"]).where(key.in_(wanted))
    rows = list(query.tuples().execute(db))
    titles = _titles_of(db, kind, {row[1] for row in rows}) if kind.title_of else {}
    for this, above, named, when in rows:
        text = titles.get(above) if kind.title_of else named
        shown = _shortened(one_line(text or ""))
        yield (kind.name, str(this)), (str(above) if kind.parent else None, shown, when)


def _titles_of(db: Any, kind: Kind, ids: Iterable[str]) -> dict[str, str | None]:
    assert kind.title_of is not None  # noqa: S101 - for the type checker
    fields, key = kind.title_of._meta.columns, key_field(kind.title_of)
    query = kind.title_of.select(key, _beginning(fields[kind.title])).where(key.in_(list(ids)))
    return dict(query.tuples().execute(db))


def _beginning(column: Any) -> Any:
    return fn.SUBSTR(column, 1, _TITLE_READ)


def _shortened(text: str) -> str:
    if len(text) <= TITLE_CHARACTERS:
        return text
    return text[: TITLE_CHARACTERS - 1].rstrip() + ELLIPSIS
