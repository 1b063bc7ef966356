"""The index on a Postgres server: a GIN index on the words of each kind's table.

Postgres keeps it current by itself. It is made beside the work of others, whom no first search may
stop; who may not make it is answered all the same, from the rows.
"""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from dynostore import errors
from dynostore.search.hits import ELLIPSIS, SNIPPET_WORDS, Match, Progress
from dynostore.search.kinds import KINDS, Kind
from dynostore.search.words import Term
from dynostore.sqlite_dependents import SEARCH_PREFIX, quoted

_ADVISORY_LOCK = 0x64796E6F736561  # "dynosea"

_SEPARATORS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00a0«»¡¿·–—‘’“”„…、。「」，．！？：；（）"  # noqa: RUF001
"""What separates words. By itself Postgres reads ``output/VE.csv`` as one word, in which nobody
finds ``VE``; SQLite reads three."""

_STATES = """
    SELECT c.relname, i.indisvalid
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND starts_with(c.relname::text, %s)
"""
_MAY_INDEX = """
    SELECT bool_and(pg_has_role(tableowner, 'USAGE')) FROM pg_catalog.pg_tables
    WHERE schemaname = current_schema() AND tablename = ANY(%s)
"""
# Asked for first, and then given as a value: a plan is made for the words that it is about. One
# text for all of them: a chain of && would be parsed by recursion.
_TERMS = """
    SELECT string_agg('(' || q.words || q.suffix || ')', ' & ')
    FROM (
        SELECT phraseto_tsquery('simple', translate(w.words, {separators}))::text AS words, w.suffix
        FROM unnest(%s::text[], %s::text[]) AS w (words, suffix)
    ) AS q
    WHERE q.words <> ''
"""
# The snippet is of the text as it stands; where the match is a part of what Postgres takes for one
# word, and so is not marked, it is of the text with spaces for all separators.
_BEST = """
    SELECT best.key::text, best.rank, CASE WHEN strpos(whole.text, %s) > 0 THEN whole.text ELSE
           ts_headline('simple', translate(best.text, {separators}), %s::tsquery, %s) END
    FROM (
        SELECT {key} AS key, {heading} || ' ' || {body} AS text,
               ts_rank(setweight(to_tsvector('simple', translate({heading}, {separators})), 'A')
                       || setweight(to_tsvector('simple', translate({body}, {separators})), 'B'),
                       %s::tsquery, 1) AS rank
        FROM {table} WHERE {vector} @@ %s::tsquery
        ORDER BY rank DESC, 1 DESC LIMIT %s
    ) AS best, ts_headline('simple', best.text, %s::tsquery, %s) AS whole (text)
    ORDER BY best.rank DESC, best.key DESC
"""
_MARKS = ("\x02", "\x03")
"""What Postgres puts around a match: not what a text may have itself."""

_SNIPPET = (
    f"StartSel={_MARKS[0]}, StopSel={_MARKS[1]}, MaxWords={SNIPPET_WORDS},"
    f" MinWords={SNIPPET_WORDS // 2}, MaxFragments=1, FragmentDelimiter={ELLIPSIS}"
)


class PostgresIndex:
    """The indexes of one Postgres database; they may not be there yet.

    :param db: the database, plain or asynchronous.
    """

    def __init__(self, db: Any) -> None:
        self._db = db

    def is_whole(self) -> bool:
        """Tell whether every kind has its index; reads only."""
        with self._db.reading():
            return not self._missing()

    def ensure(self, progress: Progress | None = None) -> list[str]:
        """Make what indexes are missing if that can be; give a note where it cannot."""
        try:
            self.build(progress)
        except (errors.AccessDenied, errors.StoreLocked, errors.StoreUnwritable) as exc:
            return [f"searched without an index: {exc.message}"]
        return []

    def build(self, progress: Progress | None = None) -> None:
        """Make what indexes are missing, while others read and write.

        :raises AccessDenied: the tables belong to another role.
        :raises StoreLocked: somebody else makes them now, or has a transaction open for too long.
        :raises StoreUnwritable: inside a transaction, or opened for reading only.
        """
        with self._alone():
            for done, kind in enumerate(KINDS):
                if progress is not None:
                    progress("indexes", done, len(KINDS))
                if kind in self._missing():
                    # One that was killed leaves something that never becomes valid.
                    self._db.execute_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {_name(kind)}")
                    self._db.execute_sql(
                        f"CREATE INDEX CONCURRENTLY {_name(kind)} ON {quoted(kind.table)}"
                        f" USING gin ({_vector(kind)})"
                    )

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make all indexes anew; raises as :meth:`build`."""
        self.drop()
        self.build(progress)

    def drop(self) -> None:
        """Take the indexes away, those of other versions too; raises as :meth:`build`."""
        with self._alone():
            for name in self._states():
                self._db.execute_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}")

    def find(
        self, terms: Sequence[Term], kinds: Sequence[Kind], limit: int, marks: tuple[str, str]
    ) -> list[Match]:
        """Give the best matches, best first, with or without an index."""
        texts = [term.text for term in terms]
        suffixes = [":*" if term.begins else "" for term in terms]
        found = []
        with self._db.reading():
            terms_sql = _TERMS.format(separators=_separators())
            [words] = self._db.execute_sql(terms_sql, (texts, suffixes)).fetchone()
            if words is None:
                return []
            values = (_MARKS[0], words, _SNIPPET, words, words, limit, words, _SNIPPET)
            for kind in kinds:
                for key, rank, text in self._db.execute_sql(_best(kind), values).fetchall():
                    snippet = text.replace(_MARKS[0], marks[0]).replace(_MARKS[1], marks[1])
                    found.append(Match(kind.name, key, rank, snippet))
        return sorted(found, key=lambda match: -match.rank)[:limit]

    def _states(self) -> dict[str, bool]:
        """Give whether each of the indexes can be used, by name."""
        return dict(self._db.execute_sql(_STATES, (f"{SEARCH_PREFIX}_",)).fetchall())

    def _missing(self) -> list[Kind]:
        states = self._states()
        return [kind for kind in KINDS if not states.get(_name(kind))]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock that the server frees when this process dies, and do not wait for ever."""
        db = self._db
        with db.reading():
            if db.read_only:
                raise errors.StoreUnwritable(f"{db.shown}: was opened for reading only")
            if db.in_transaction():
                raise errors.StoreUnwritable(
                    f"{db.shown}: inside a transaction no index can be made beside others' work"
                )
            if not db.execute_sql(_MAY_INDEX, ([kind.table for kind in KINDS],)).fetchone()[0]:
                raise errors.AccessDenied(
                    f"{db.shown}: an index is made by the tables' owner alone",
                    hint="let their owner run: dynostore search --rebuild",
                )
            if not db.execute_sql("SELECT pg_try_advisory_lock(%s)", (_ADVISORY_LOCK,)).fetchone()[
                0
            ]:
                raise errors.StoreLocked(
                    f"{db.shown}: somebody else makes the index now", hint="try again"
                )
            try:
                timeout_ms = max(1, round(db.settings.busy_timeout_s * 1000))
                db.execute_sql(f"SET lock_timeout = {timeout_ms}")
                yield
            finally:
                db.execute_sql("RESET lock_timeout")
                db.execute_sql("SELECT pg_advisory_unlock(%s)", (_ADVISORY_LOCK,))


@functools.cache
def _separators() -> str:
    """Give the last two arguments of ``translate``, which makes spaces of all separators."""
    # Not as it stands: drivers take a per cent sign for the beginning of a parameter.
    escaped = _SEPARATORS.replace("\\", "\\\\").replace("'", "\\'").replace("%", "\\x25")
    return f"E'{escaped}', '{' ' * len(_SEPARATORS)}'"


def _text(kind: Kind, columns: Sequence[str]) -> str:
    return kind.text(columns, kind.table, json_as="{}::text")


def _vector(kind: Kind) -> str:
    """Give the words of a row; the index is used by queries that say exactly this."""
    text = f"{_text(kind, kind.headings)} || ' ' || {_text(kind, kind.columns)}"
    return f"to_tsvector('simple', translate({text}, {_separators()}))"


def _name(kind: Kind) -> str:
    """Give an index's name: another one for other words, so that no version takes another's."""
    return f"{SEARCH_PREFIX}_{kind.table}_{zlib.crc32(_vector(kind).encode()):08x}"


@functools.cache
def _best(kind: Kind) -> str:
    return _BEST.format(
        key=quoted(kind.key),
        table=quoted(kind.table),
        heading=f"({_text(kind, kind.headings)})",
        body=f"({_text(kind, kind.columns)})",
        vector=_vector(kind),
        separators=_separators(),
    )
