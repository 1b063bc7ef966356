"""``dynostore memories``: adding, finding, changing and removing by command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store


@pytest.fixture
def three_memories(store_file: Path) -> list[str]:
    """The ids of three memories in ``./dynostore.db``, oldest first."""
    with Store.open(store_file) as store:
        memories = [
            store.memories.add("large CSV files", "read in chunks", memory_id="mem_csv"),
            store.memories.add("slow servers", "retry", memory_id="mem_slow", tool_name="http_get"),
            store.memories.add("headers", "skip them", memory_id="other", tool_name="file_read"),
        ]
    return [str(memory.memory_id) for memory in memories]


def ids(outcome: Any) -> list[str]:
    return [item["memory_id"] for item in outcome.items]


def test_list_gives_whole_records_newest_first_by_pages_and_tool(
    call: Callable[..., Any], three_memories: list[str]
) -> None:
    done = call("--json", "memories", "list")
    assert (done.code, done.err, ids(done)) == (0, "", three_memories[::-1])
    assert set(done.items[0]) == {
        "memory_id",
        "context",
        "lesson",
        "tool_name",
        "confidence",
        "created_at",
        "metadata",
    }
    assert ids(call("--json", "memories", "list", "--tool-name", "http_get")) == ["mem_slow"]
    page = json.loads(call("--json", "memories", "list", "--limit", "2").out)
    rest = call("--json", "memories", "list", "--limit", "0", "--after", page["next"])
    assert ids(rest) == ["mem_csv"]
    assert call("memories", "list").out.split()[:2] == ["id", "tool"]


def test_search_finds_words_and_tools(call: Callable[..., Any], three_memories: list[str]) -> None:
    assert ids(call("--json", "memories", "search", "CHUNKS csv")) == ["mem_csv"]
    assert ids(call("--json", "memories", "search", "r")) == three_memories[::-1]
    assert ids(call("--json", "memories", "search", "r", "--tool-name", "file_read")) == ["other"]
    assert ids(call("--json", "memories", "search", "r", "--limit", "0")) == three_memories[::-1]
    assert "read in chunks" in call("memories", "search", "csv").out


def test_add_show_update_and_rm_do_what_the_verbs_do(call: Callable[..., Any]) -> None:
    done = call(
        "memories", "add", "c", "l", "--id", "mine", "--tool-name", "t", "--confidence", "2",
        "--created-at", "2025-12-06T00:03:47Z", "--metadata", '{"a": 1}',
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "mine\n", "")
    item = call("--json", "memories", "show", "mi").item
    assert item == {
        "memory_id": "mine",
        "context": "c",
        "lesson": "l",
        "tool_name": "t",
        "confidence": 2,
        "created_at": "2025-12-06T00:03:47.000000+00:00",
        "metadata": {"a": 1},
    }
    changed = call(
        "--json", "memories", "update", "mine", "--confidence", "-1", "--clear", "tool_name"
    ).item
    assert changed == {**item, "confidence": -1, "tool_name": None}
    done = call("memories", "rm", "mine")
    assert (done.code, done.out) == (2, "")
    assert "would remove mine (any tool)" in done.err
    assert ids(call("--json", "memories", "rm", "mine", "--yes")) == ["mine"]
    # The name that other families have for it.
    assert call("memories", "create", "c", "l", "--id", "other").out == "other\n"
    assert call("memories", "rm", "other", "--yes").code == 0
    assert call("--json", "memories", "list").items == []


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "nothing"], 4, "memory_not_found"),
        (["show", "mem"], 2, "ambiguous_id"),
        (["update", "nothing", "--confidence", "1"], 4, "memory_not_found"),
        (["update", "other"], 2, "usage"),
        (["update", "other", "--confidence", "much"], 2, "usage"),
        (["rm", "--yes", "other", "nothing"], 4, "memory_not_found"),
        (["add", "c", "l", "--id", "other"], 1, "already_exists"),
        (["add", "c", "l", "--tool-name", "t" * 256], 2, "invalid_value"),
        (["add", "c"], 2, "usage"),
        (["search", " "], 2, "invalid_value"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], three_memories: list[str], words: list[str], code: int, name: str
) -> None:
    before = call("--json", "memories", "list").out
    done = call("--json", "memories", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    assert call("--json", "memories", "list").out == before


def test_all_of_it_works_on_postgres(call: Callable[..., Any], migrated_postgres_url: str) -> None:
    at = ("--db", migrated_postgres_url, "--json", "memories")
    memory_id = call(*at, "add", "Grüße", "l", "--tool-name", "t").item["memory_id"]
    assert ids(call(*at, "search", "üß")) == [memory_id]
    assert call(*at, "update", memory_id[:-3], "--lesson", "x").item["lesson"] == "x"
    assert call(*at, "rm", memory_id, "--yes").code == 0
