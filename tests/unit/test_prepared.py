"""Statements with a kept text: their records are Peewee's, and SQLite takes the index meant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.models import REPLICATED, Message, Record
from dynostore.prepared import Prepared, limit_slot, slot
from dynostore.samples.seed import seed

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def insides(records: list[Any]) -> list[Any]:
    """Give all that a record holds, which is more than its values."""
    return [(type(r), r.__data__, r.__rel__, r._dirty) for r in records]


@pytest.mark.parametrize("model", REPLICATED, ids=lambda model: model.__name__)
def test_records_are_those_that_peewee_makes(store: Store, model: type[Record]) -> None:
    seed(store, now=NOW)
    query = model.select().order_by(model._meta.primary_key)
    with store.database.reading():
        fast = Prepared(store.database, query).records()
        assert insides(fast) == insides([*query.execute(store.database)])
    assert fast


def test_no_rows_are_no_records(store: Store) -> None:
    assert Prepared(store.database, Message.select()).records() == []


def test_what_plain_sql_stored_is_read_as_peewee_reads_it(tmp_path: Path) -> None:
    with Store.open(tmp_path / "odd.db") as store:
        talk = store.conversations.create_conversation().id
        store.conversations.add_messages(talk, [{"role": "user", "content": "a"}] * 4)
        for number, change in enumerate(
            (
                "content = x'c3a9'",
                "created_at = 'never'",
                "metadata = 'no JSON'",
                "metadata = '[1]'",
            )
        ):
            store.database.execute_sql(
                f"UPDATE messages SET {change} WHERE id = "
                f"(SELECT id FROM messages ORDER BY id LIMIT 1 OFFSET {number})"
            )
        query = Message.select().order_by(Message.id)
        fast = Prepared(store.database, query).records()
        assert insides(fast) == insides([*query.execute(store.database)])
        assert fast[0].content == "é"


def test_a_limit_is_a_value_of_each_run(store: Store) -> None:
    talk = store.conversations.create_conversation().id
    store.conversations.add_messages(talk, [{"role": "user", "content": "a"}] * 4)
    mine = Message.select().where(Message.conversation == slot(Message.conversation))
    some = Prepared(store.database, mine.limit(limit_slot()))
    assert [len(some.records(conversation=talk, limit=n)) for n in (1, 3, 9)] == [1, 3, 4]


def plans_of(store: Store, call: Callable[[], object]) -> list[str]:
    """Give what SQLite does with the tables for each statement of a call."""
    connection = store.database.connection()
    traced: list[str] = []
    connection.set_trace_callback(traced.append)
    try:
        call()
    finally:
        connection.set_trace_callback(None)
    selects = [text for text in traced if text.startswith("SELECT")]
    return [row[3] for text in selects for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]


def test_messages_are_counted_in_the_narrow_index_and_read_in_the_order_of_the_wide_one(
    tmp_path: Path,
) -> None:
    narrow = "USING COVERING INDEX messages_conversation_id (conversation_id=?)"
    wide = "USING INDEX messages_conversation_id_created_at_id (conversation_id=?)"
    with Store.open(tmp_path / "store.db") as store:
        verbs = store.conversations
        ids = [verbs.create_conversation().id for _ in range(3)]
        for talk in ids:
            verbs.add_messages(talk, [{"role": "user", "content": "a"}] * 4)
        for count in (verbs.list_conversations, lambda: verbs.get_message_count(ids[0])):
            assert any(step.endswith(narrow) for step in plans_of(store, count))
        for read in (verbs.get_all_messages, verbs.get_context_messages):
            steps = plans_of(store, lambda read=read: read(ids[0]))  # type: ignore[misc]
            assert [step for step in steps if "messages" in step] == [f"SEARCH t1 {wide}"]
            assert not any("TEMP B-TREE" in step for step in steps)
