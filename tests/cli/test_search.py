"""``dynostore search``: what it prints, and what it says when there is nothing to print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

Call = Callable[..., Any]


@pytest.fixture
def three_records(store_file: Path) -> None:
    """Make a message, a run and a memory with the word ``knock`` in ``./dynostore.db``."""
    with Store.open(store_file) as store:
        talk = store.conversations.create_conversation("Tuning", conversation_id="talk")
        store.conversations.add_message(talk.id, "user", "the knock correction")
        store.runs.create(run_id="run", source="dyno", current_stage="knock analysis")
        store.memories.add("knock", "look twice", memory_id="memory")


def test_records_are_listed_with_what_matched_marked(call: Call, three_records: None) -> None:
    done = call("--json", "search", "knock", "correction")
    assert (done.code, done.err) == (0, "")
    (item,) = done.items
    assert set(item) == {"kind", "id", "parent", "title", "snippet", "rank", "when"}
    assert (item["kind"], item["parent"], item["title"]) == ("messages", "talk", "Tuning")
    assert item["snippet"] == "the [knock] [correction]"
    assert json.loads(done.out)["notes"] == []
    assert call("search", "knock").out.split()[:4] == ["kind", "id", "created", "text"]
    only = call("--json", "search", "knock", "--in", "runs, memories")
    assert sorted(hit["id"] for hit in only.items) == ["memory", "run"]
    assert len(call("--json", "search", "knock", "--limit", "1").items) == 1


def test_what_is_not_found_is_no_error_and_is_said(call: Call, three_records: None) -> None:
    for words, note in (
        (["nowhere"], "nothing was found\n"),
        (["!!", '"'], "nothing in the query is a word\n"),
        ([""], "nothing in the query is a word\n"),
    ):
        done = call("search", *words)
        assert (done.code, len(done.out.splitlines()), done.err) == (0, 1, note)
    assert json.loads(call("--json", "search", "🎉").out)["notes"] == [
        "nothing in the query is a word"
    ]


def test_the_index_is_made_anew_and_taken_away(call: Call, three_records: None) -> None:
    assert call("search", "--rebuild").out == "the index is made\n"
    assert len(call("--json", "search", "knock", "--rebuild").items) == 3
    assert call("search", "--drop").out == "the index is gone\n"
    with Store.open("dynostore.db") as store:
        assert "dynostore_search" not in store.database.get_tables()
    assert len(call("--json", "search", "knock").items) == 3


def test_mistakes_say_what_to_do(call: Call, three_records: None, workplace: Path) -> None:
    for words, said in (
        ([], "no word to search for is given"),
        (["knock", "--in", "files"], "'files' is none of messages, memories, tasks, requirements"),
        (["knock", "--limit", "0"], "0 is not in the range"),
        (["knock", "--drop"], "--drop goes alone"),
    ):
        done = call("search", *words)
        assert (done.code, done.out) == (2, ""), words
        assert said in done.err
        assert "hint: dynostore search --help" in done.err
    (workplace / "runs").mkdir()
    done = call("--db", "dir:runs", "search", "knock")
    assert done.code == 2
    assert "hint: dynostore import runs" in done.err
    assert call("--db", "none.db", "search", "knock").code == 4
