"""``dynostore conversations``: the verbs, the tables, the JSON, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

CONVERSATION_KEYS = {"id", "title", "created_at", "updated_at", "metadata", "message_count"}
MESSAGE_KEYS = {"id", "conversation_id", "role", "content", "created_at", "metadata"}


@pytest.fixture
def two_talks(store_file: Path) -> list[str]:
    """Give the ids of a conversation of 25 messages and of an empty, later one."""
    with Store.open(store_file) as store:
        store.conversations.create_conversation("Fuel map", conversation_id="talk_a")
        store.conversations.add_messages(
            "talk_a", [{"role": "user", "content": f"message {n}"} for n in range(25)]
        )
        store.conversations.create_conversation(conversation_id="talk_b", metadata={"n": 1})
    return ["talk_a", "talk_b"]


def contents(items: Any) -> list[str]:
    return [item["content"] for item in items]


def test_a_conversation_is_kept_by_commands_alone(
    call: Callable[..., Any], workplace: Path
) -> None:
    (workplace / "meta.json").write_text('{"channel": "C1"}', encoding="utf-8")
    done = call("conversations", "create", "--id", "c", "--metadata", "@meta.json")
    assert (done.code, done.out, done.err) == (0, "c\n", "")
    added = call(
        "conversations", "add", "c", "Grüße 🏍", "--created-at", "2025-12-06T00:03:47Z", "--json"
    ).item
    assert set(added) == MESSAGE_KEYS
    assert (added["role"], added["created_at"]) == ("user", "2025-12-06T00:03:47.000000+00:00")
    done = call("conversations", "add", "c", "-", "--role", "tool", answer="two\nlines\n")
    assert len(done.out.strip()) == 36
    assert call("conversations", "update", "c", "--title", "Fuel", "--clear", "metadata").code == 0
    item = call("conversations", "show", "c", "--json").item
    assert set(item) == CONVERSATION_KEYS
    assert (item["title"], item["metadata"], item["message_count"]) == ("Fuel", None, 2)
    items = call("conversations", "messages", "c", "--json").items
    assert [(m["role"], m["content"]) for m in items] == [
        ("user", "Grüße 🏍"),
        ("tool", "two\nlines\n"),
    ]
    done = call("conversations", "rm", "c", "--yes", "--json")
    assert [removed["id"] for removed in done.items] == ["c"]
    assert call("conversations", "show", "c").code == 4


def test_create_makes_the_store_and_the_id(call: Callable[..., Any], workplace: Path) -> None:
    talk = call("conversations", "create", "--title", "Fuel map").out.strip()
    assert (workplace / "dynostore.db").exists()
    assert call("conversations", "show", talk[:-6], "--json").item["title"] == "Fuel map"
    assert set(call("--json", "conversations", "create").item) == CONVERSATION_KEYS


def test_list_gives_whole_records_with_counts_latest_first(
    call: Callable[..., Any], two_talks: list[str]
) -> None:
    done = call("conversations", "list", "--json")
    assert set(json.loads(done.out)) == {"ok", "items", "next"}
    assert all(set(item) == CONVERSATION_KEYS for item in done.items)
    found = [(item["id"], item["message_count"]) for item in done.items]
    assert found == [("talk_b", 0), ("talk_a", 25)]
    lines = call("conversations", "list").out.splitlines()
    assert lines[0].split() == ["id", "messages", "updated", "created", "title"]
    assert [line.split()[:2] for line in lines[1:]] == [["talk_b", "0"], ["talk_a", "25"]]
    assert call("conversations", "list", "--limit", "0", "--json").items == done.items


def test_pages_follow_each_other_by_the_cursor(
    call: Callable[..., Any], two_talks: list[str]
) -> None:
    for words in (["list", "--limit", "1"], ["messages", "talk_a", "--limit", "10"]):
        first = json.loads(call("--json", "conversations", *words).out)
        limit = words.index("--limit")
        rest = call(
            "--json", "conversations", *words[:limit], "--limit", "0", "--after", first["next"]
        )
        whole = call("--json", "conversations", *words[:limit], "--limit", "0").items
        assert first["items"] + rest.items == whole
        assert f"--after {first['next']}" in call("conversations", *words).err


def test_the_context_is_the_newest_messages_oldest_first(
    call: Callable[..., Any], two_talks: list[str]
) -> None:
    items = call("conversations", "context", "talk_a", "--json").items
    assert contents(items) == [f"message {n}" for n in range(5, 25)]
    items = call("conversations", "context", "talk_a", "--limit", "2", "--json").items
    assert contents(items) == ["message 23", "message 24"]
    lines = call("conversations", "context", "talk_a", "--limit", "2").out.splitlines()
    assert [line.split()[1:] for line in lines[1:]] == [
        ["user", "message", "23"],
        ["user", "message", "24"],
    ]
    assert call("conversations", "context", "talk_b", "--json").items == []


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "nobody"], 4, "conversation_not_found"),
        (["show", "talk_"], 2, "ambiguous_id"),
        (["messages", "nobody"], 4, "conversation_not_found"),
        (["context", "nobody"], 4, "conversation_not_found"),
        (["add", "nobody", "x"], 4, "conversation_not_found"),
        (["add", "talk_a", ""], 2, "empty_content"),
        (["add", "talk_a", "x", "--role", "robot"], 2, "usage"),
        (["add", "talk_a", "x", "--metadata", "NaN"], 2, "invalid_value"),
        (["create", "--id", "talk_a"], 1, "already_exists"),
        (["create", "--id", "x" * 256], 2, "invalid_value"),
        (["update", "nobody", "--title", "x"], 4, "conversation_not_found"),
        (["update", "talk_a"], 2, "usage"),
        (["rm", "--yes", "talk_a", "nobody"], 4, "conversation_not_found"),
        (["list", "--after", "nonsense"], 2, "invalid_value"),
        (["context", "talk_a", "--limit", "0"], 2, "usage"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], two_talks: list[str], words: list[str], code: int, name: str
) -> None:
    before = call("--json", "conversations", "list").out
    done = call("--json", "conversations", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    assert call("--json", "conversations", "list").out == before


def test_rm_shows_what_it_would_do_and_needs_yes_where_nobody_can_be_asked(
    call: Callable[..., Any], two_talks: list[str]
) -> None:
    done = call("conversations", "rm", "talk_a", answer="y\n")
    assert (done.code, done.out) == (2, "")
    assert "would remove talk_a (25 messages)" in done.err
    assert len(call("--json", "conversations", "list").items) == 2


def test_all_of_it_works_on_postgres(call: Callable[..., Any], postgres_url: str) -> None:
    at = ("--db", postgres_url)
    assert call(*at, "init").code == 0
    assert call(*at, "conversations", "create", "--id", "c").code == 0
    assert call(*at, "conversations", "add", "c", "hello").code == 0
    assert call(*at, "--json", "conversations", "list").items[0]["message_count"] == 1
    assert contents(call(*at, "--json", "conversations", "context", "c").items) == ["hello"]
    assert call(*at, "conversations", "rm", "c", "--yes").code == 0
