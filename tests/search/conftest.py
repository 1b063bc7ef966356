"""What the search's tests share: a store whose indexes go with it, and records of all kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dynostore.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Give an open, empty store, on SQLite and on Postgres; whatever a test did, it is sound."""
    with Store.open(store_url, warm=False) as opened:
        yield opened
        assert opened.check() == []
        opened.drop_search()  # other tests use the server's database again


@pytest.fixture
def filled(store: Store) -> Store:
    """Give a store with a record of each kind, each with the words ``knock correction``."""
    talk = store.conversations.create_conversation("Tuning the VE table", conversation_id="talk")
    store.conversations.add_message(talk.id, "user", "Which file has the\nknock correction?")
    store.conversations.add_message(talk.id, "assistant", "It is in output/VE_2.csv, in row 11")
    store.memories.add("knock sensors", "halve the knock correction first", memory_id="memory")
    store.tasks.create("Plot the knock correction")
    idea = store.ideation.sessions.create(session_id="idea", project_name="Dyno")
    store.ideation.requirements.create(idea.id, "The knock correction is shown", key="REQ-001")
    run = store.runs.create(run_id="run", source="manual", input_filename="pull_3.csv")
    failure = {"message": "row 7:\nknock correction in C:\\new\\knock"}
    store.runs.set_status(run.id, "error", error_info=failure)
    return store
