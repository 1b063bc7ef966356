"""The index of a SQLite file: made whole by batches, and asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from peewee import fn

from dynostore import errors
from dynostore.search.hits import ELLIPSIS, SNIPPET_WORDS, Match, Progress
from dynostore.search.kinds import KINDS, Kind
from dynostore.search.sqlite_schema import (
    STATE_TABLE,
    TEXT_TABLE,
    Documents,
    fill_statement,
    range_of,
    statements,
)
from dynostore.search.words import Term
from dynostore.sqlite_dependents import SEARCH_PREFIX, quoted

_BATCH_ROWS = 2_000
_LEAST_BATCH_ROWS = 10
_BATCH_S = 0.5
_PAUSE = 0.1
"""Between two batches, as a part of the time that the first one took: others want to write too."""

_RANK = "bm25(0.0, 0.0, 2.0, 1.0)"
"""A word in the heading counts twice; kind and id are no text."""

_OURS = "name >= ? AND name < ?"
_OUR_NAMES = (SEARCH_PREFIX, SEARCH_PREFIX + "~")


class SqliteIndex:
    """The index of one SQLite database; it may not be there yet.

    :param db: the database, plain or asynchronous.
    """

    def __init__(self, db: Any) -> None:
        self._db = db

    def is_whole(self) -> bool:
        """Tell whether the index is there, its triggers too, and holds every record; reads only."""
        with self._db.reading():
            return self._is_made() and not self._cursors()

    def ensure(self, progress: Progress | None = None) -> list[str]:
        """Make the index whole; see :meth:`build`. Nothing is left to note."""
        self.build(progress)
        return []

    def build(self, progress: Progress | None = None) -> None:
        """Make the index whole, by batches that let others write in between.

        Killed anywhere, the next call goes on from there. Several processes may build at once: each
        takes the next batch.

        :raises StoreUnwritable: the index is not whole, and the file cannot be written.
        """
        with self._explained():
            with self._db.writing():
                if not self._is_made():
                    self._make()
            size = _BATCH_ROWS
            for kind in KINDS:
                size = self._fill(kind, size, progress)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make the index anew, whatever its state; see :meth:`build`."""
        with self._explained(), self._db.writing():
            self._make()
        self.build(progress)

    def drop(self) -> None:
        """Take the index out of the file."""
        with self._db.writing():
            self._drop()

    def find(
        self, terms: Sequence[Term], kinds: Sequence[Kind], limit: int, marks: tuple[str, str]
    ) -> list[Match]:
        """Give the best matches, best first; the index is whole.

        :raises StoreCorrupt: the index is damaged.
        """
        text = " ".join(f'"{term.text}"{"*" if term.begins else ""}' for term in terms)
        # Kind by kind: FTS5 enters a word's list at a range of documents, but would have to read
        # each document for its kind.
        ranges = [None] if len(kinds) == len(KINDS) else [range_of(kind) for kind in kinds]
        try:
            found = [row for span in ranges for row in self._best(text, span, limit, marks)]
        except errors.StoreCorrupt as exc:
            raise errors.StoreCorrupt(exc.message, hint="dynostore search --rebuild") from exc
        matches = [Match(kind, key, -rank, snippet) for kind, key, rank, snippet in found]
        return sorted(matches, key=lambda match: -match.rank)[:limit]

    def _best(
        self, text: str, span: tuple[int, int] | None, limit: int, marks: tuple[str, str]
    ) -> list[tuple[str, str, float, str]]:
        # -1: of the column that fits best; SearchField.snippet() would be of a given one.
        snippet = fn.snippet(Documents._meta.entity, -1, *marks, ELLIPSIS, SNIPPET_WORDS)
        query = Documents.select(Documents.kind, Documents.id, Documents.rank(), snippet)
        query = query.where(Documents.match(text))
        if span is not None:
            query = query.where(Documents.rowid.between(*span))
        query = query.order_by(Documents.rank()).limit(limit)
        sql, values = self._db.get_sql_context().sql(query).query()
        with self._db.reading():
            return list(self._db.execute_sql(sql, values).fetchall())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except errors.StoreUnwritable as exc:
            raise errors.StoreUnwritable(
                f"{exc.message}; it has no search index yet, which would be made in it",
                hint="dynostore search --rebuild, where the file can be written",
            ) from exc

    def _is_made(self) -> bool:
        rows = self._db.execute_sql(
            f"SELECT name, sql FROM sqlite_master WHERE {_OURS}", _OUR_NAMES
        )
        there = dict(rows.fetchall())
        # Peewee writes the statement of FTS5's table: other versions of it may write it otherwise,
        # and two programs would make the index anew for each other.
        return SEARCH_PREFIX in there and all(
            there.get(name) == sql for name, sql in statements().items() if name != SEARCH_PREFIX
        )

    def _cursors(self) -> dict[str, str]:
        """Give the last key that was indexed, of each kind that is not indexed to the end."""
        rows = self._db.execute_sql(f"SELECT kind, cursor FROM {STATE_TABLE} WHERE NOT is_whole")
        return dict(rows.fetchall())

    def _make(self) -> None:
        self._drop()
        for sql in statements().values():
            self._db.execute_sql(sql)
        self._db.execute(Documents._fts_cmd_sql("rank", rank=_RANK))
        for kind in KINDS:
            self._db.execute_sql(f"INSERT INTO {STATE_TABLE} VALUES (?, '', 0)", (kind.name,))

    def _drop(self) -> None:
        # FTS5's own tables go with it, so they are gone when it is their turn.
        there = self._db.execute_sql(
            f"SELECT type, name FROM sqlite_master WHERE {_OURS} AND type IN ('trigger', 'table')"
            " ORDER BY type DESC, sql NOT LIKE 'CREATE VIRTUAL%'",
            _OUR_NAMES,
        )
        for kind, name in there.fetchall():
            self._db.execute_sql(f"DROP {kind} IF EXISTS {quoted(name)}")

    def _fill(self, kind: Kind, size: int, progress: Progress | None) -> int:
        """Index what was there before the triggers; give the size that batches have come to."""
        done = 0
        with self._db.reading():
            count = f"SELECT count(*) FROM {quoted(kind.table)}"
            [total] = self._db.execute_sql(count).fetchone()
        while True:
            begin = time.monotonic()
            with self._db.writing():
                indexed = self._fill_batch(kind, size)
            took_s = time.monotonic() - begin
            if indexed == 0:
                return size
            if took_s > _BATCH_S:
                size = max(size // 2, _LEAST_BATCH_ROWS)
            done += indexed
            if progress is not None:
                progress(kind.name, done, max(done, total))
            if not self._db.in_transaction():
                time.sleep(took_s * _PAUSE)

    def _fill_batch(self, kind: Kind, size: int) -> int:
        """Index the next rows in the order of their keys; give how many these were."""
        execute = self._db.execute_sql
        # Asked for in each batch: another process may be building too.
        after = self._cursors().get(kind.name)
        if after is None:
            return 0
        key = quoted(kind.key)
        last, count = execute(
            f"SELECT max(key), count(*) FROM (SELECT {key} AS key FROM {quoted(kind.table)}"
            f" WHERE {key} > ? ORDER BY 1 LIMIT ?)",
            (after, size),
        ).fetchone()
        if not count:
            execute(f"UPDATE {STATE_TABLE} SET is_whole = 1 WHERE kind = ?", (kind.name,))
            return 0
        span = range_of(kind)
        newest = f"SELECT coalesce(max(doc), ?) FROM {TEXT_TABLE} WHERE doc BETWEEN ? AND ?"
        [number] = execute(newest, (span[0], *span)).fetchone()
        execute(fill_statement(kind), (number, after, last))
        execute(f"UPDATE {STATE_TABLE} SET cursor = ? WHERE kind = ?", (last, kind.name))
        return int(count)
