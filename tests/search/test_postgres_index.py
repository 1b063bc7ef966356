"""The indexes on a server: made beside others' work by who may, and done without by who may not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from dynostore import errors
from dynostore.search import KINDS
from dynostore.store import Store

INDEXES = (
    "SELECT c.relname, indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
    " WHERE c.relname LIKE 'dynostore_search_%'"
)


@pytest.fixture
def store_url(migrated_postgres_url: str) -> str:
    """Give the URL of an empty store on Postgres alone."""
    return migrated_postgres_url


@pytest.fixture
def database(store_url: str) -> str:
    return urlsplit(store_url).path.lstrip("/")


@pytest.fixture
def role(postgres: Any, database: str) -> Iterator[str]:
    """Give the name of a role that may read and write the records, and does not own them."""
    name = f"{database}_writer"
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    postgres.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}", database)
    yield name
    postgres.execute(f"DROP OWNED BY {name}", database)
    postgres.execute(f"DROP ROLE {name}")


def plan(store: Store) -> str:
    """Say how a search for a rare word of the messages is carried out."""
    from dynostore.search import postgres_index as index

    kind = KINDS[0]
    with store.database.reading(), store.database.atomic():
        # However few the rows are.
        store.database.execute_sql("SET LOCAL enable_seqscan = off")
        rows = store.database.execute_sql(
            f"EXPLAIN SELECT 1 FROM {kind.table} WHERE {index._vector(kind)} @@ 'knock'::tsquery"
        )
        return "\n".join(line for (line,) in rows.fetchall())


def test_the_first_search_makes_an_index_of_each_kind_that_queries_use(
    filled: Store, postgres: Any, database: str
) -> None:
    assert postgres.execute(INDEXES, database) == []
    assert len(filled.search("knock")) == len(KINDS)
    made = postgres.execute(INDEXES, database)
    assert [valid for _, valid in made] == [True] * len(KINDS)
    assert "Bitmap Index Scan on dynostore_search_messages" in plan(filled)
    filled.rebuild_search()
    assert sorted(postgres.execute(INDEXES, database)) == sorted(made)
    filled.drop_search()
    assert postgres.execute(INDEXES, database) == []


def test_an_index_that_was_killed_while_it_was_made_is_made_again(
    filled: Store, postgres: Any, database: str
) -> None:
    filled.search("knock")
    # What is left of a CREATE INDEX CONCURRENTLY that did not come to its end.
    postgres.execute(
        "UPDATE pg_index SET indisvalid = false FROM pg_class c"
        " WHERE c.oid = indexrelid AND relname LIKE 'dynostore_search_messages_%'",
        database,
    )
    hits = filled.search("knock")
    assert (len(hits), hits.notes) == (len(KINDS), [])
    assert [valid for _, valid in postgres.execute(INDEXES, database)] == [True] * len(KINDS)


def test_who_may_not_make_an_index_is_answered_without_and_told(
    filled: Store, postgres: Any, database: str, role: str
) -> None:
    with Store.open(postgres.url_of(database, user=role), warm=False) as guest:
        hits = guest.search("knock correction")
        assert len(hits) == len(KINDS)
        (note,) = hits.notes
        assert note.startswith("searched without an index: ")
        assert note.endswith("an index is made by the tables' owner alone")
        with pytest.raises(errors.AccessDenied) as caught:
            guest.rebuild_search()
        assert str(caught.value.hint).endswith("dynostore search --rebuild")
        filled.search("knock")
        assert guest.search("knock correction").notes == []
    assert len(postgres.execute(INDEXES, database)) == len(KINDS)


def test_a_transaction_and_a_reader_make_no_index_and_find_all(
    filled: Store, postgres: Any, store_url: str, database: str
) -> None:
    with filled.transaction():
        hits = filled.search("knock")
        assert len(hits) == len(KINDS)
        assert "inside a transaction" in hits.notes[0]
    with Store.open(store_url, read_only=True, warm=False) as reader:
        hits = reader.search("knock")
        assert len(hits) == len(KINDS)
        assert "opened for reading only" in hits.notes[0]
    assert postgres.execute(INDEXES, database) == []


def test_while_somebody_else_makes_the_index_a_search_goes_without(
    filled: Store, store_url: str
) -> None:
    from dynostore.search import postgres_index as index

    with contextlib.closing(psycopg2.connect(store_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (index._ADVISORY_LOCK,))
        hits = filled.search("knock")
        assert len(hits) == len(KINDS)
        assert "somebody else makes the index now" in hits.notes[0]
        with pytest.raises(errors.StoreLocked):
            filled.rebuild_search()
        # Its end frees the lock too, but some time after it.
        cursor.execute("SELECT pg_advisory_unlock(%s)", (index._ADVISORY_LOCK,))
        other.rollback()  # the index waits for transactions that are open
        filled.rebuild_search()
    assert filled.search("knock").notes == []
