"""A person's SQL on a server: a cursor inside of a READ ONLY transaction.

Opened so, a cursor is one statement alone, by the server's own reading of it. Several could end
the transaction and go on behind it; and whoever looks for semicolons finds those in strings.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dynostore import errors
from dynostore.database import PostgresServer
from dynostore.driver_errors import sqlstate
from dynostore.querying.words import mistake, refusal, with_literals

_FETCH_ROWS = 1000
_LOOK_EVERY_S = 0.5
# The text is a setting of the transaction, since a DO block takes no parameters.
_KEEP_TEXT = "SELECT set_config('dynostore.query', %s, true)"
_OPEN_CURSOR = """
DO $$
DECLARE answer refcursor := 'dynostore_answer';
BEGIN OPEN answer FOR EXECUTE current_setting('dynostore.query'); END $$
"""
_FETCH = f"FETCH {_FETCH_ROWS} FROM dynostore_answer"
# Not a cursor's statement, a write, the wish to be allowed to write.
_REFUSED = ("42P11", "25006", "25001")


@contextlib.contextmanager
def ask_server(
    database: PostgresServer, sql: str, given: Mapping[str, str]
) -> Iterator[tuple[list[str], Iterator[Any]]]:
    """Answer a statement; see :func:`dynostore.query.ask`."""
    with database.reading(), _server_errors(database), _helper() as run:
        connection = database.connection()
        text = with_literals(sql, lambda name: _literal(given[name], connection))
        with contextlib.closing(connection.cursor()) as cursor:

            def open_cursor() -> list[Any]:
                cursor.execute("BEGIN READ ONLY")
                cursor.execute(_KEEP_TEXT, (text,))
                cursor.execute(_OPEN_CURSOR)
                cursor.execute(_FETCH)
                return list(cursor.fetchall())

            def fetch() -> list[Any]:
                cursor.execute(_FETCH)
                return list(cursor.fetchall())

            try:
                first = run(open_cursor, connection.cancel)
                names = [column.name for column in cursor.description or ()]
                yield names, _pages(first, lambda: run(fetch, connection.cancel))
            finally:
                cursor.execute("ROLLBACK")


def _pages(rows: list[Any], more: Callable[[], list[Any]]) -> Iterator[Any]:
    while rows:
        yield from rows
        rows = more() if len(rows) == _FETCH_ROWS else []


@contextlib.contextmanager
def _helper() -> Iterator[Callable[[Callable[[], list[Any]], Callable[[], None]], list[Any]]]:
    """Give ``run(work, cancel)``, which a Ctrl-C ends: psycopg2 itself waits for the server."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def run(work: Callable[[], list[Any]], cancel: Callable[[], None]) -> list[Any]:
            future = pool.submit(work)
            try:
                while not future.done():
                    # Windows looks for Ctrl-C when a wait is over, not while it lasts.
                    concurrent.futures.wait([future], _LOOK_EVERY_S)
                return future.result()
            except KeyboardInterrupt:
                cancel()
                concurrent.futures.wait([future])
                raise

        yield run


def _literal(value: str, connection: Any) -> str:
    import psycopg2.extensions

    quoted = psycopg2.extensions.adapt(value)
    quoted.prepare(connection)
    return str(quoted.getquoted().decode(quoted.encoding))


@contextlib.contextmanager
def _server_errors(database: PostgresServer) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        code = sqlstate(exc) or ""
        diagnosis = getattr(exc, "diag", None)
        if code in _REFUSED:
            raise refusal() from exc
        if code[:2] not in ("42", "22") or code == "42501" or diagnosis is None:
            raise
        said = str(diagnosis.message_primary)
        if code in ("42P01", "42703") and not diagnosis.message_hint:
            missing = re.search(r'"([^"]+)"', said)
            raise mistake(said, missing[1] if missing else None) from exc
        raise errors.InvalidQuery(said, hint=diagnosis.message_hint) from exc
