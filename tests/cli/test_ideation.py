"""``dynostore ideation``: the verbs, the tables, the JSON, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

SESSION_KEYS = {
    "id",
    "project_name",
    "user_id",
    "status",
    "data_source",
    "version",
    "created_at",
    "updated_at",
    "metadata",
}
STORY = {"title": "Map", "as_a": "rider", "i_want": "a map", "so_that": "it runs"}


@pytest.fixture
def two_ideas(store_file: Path) -> list[str]:
    """Give the ids of kim's idea, with all that hangs on one, and of a later, bare one."""
    with Store.open(store_file) as store:
        verbs = store.ideation
        verbs.sessions.create(session_id="idea_a", project_name="Tuner", user_id="kim")
        verbs.messages.create("idea_a", "user", "Riders tune their own bikes")
        verbs.requirements.create("idea_a", "Maps are smooth", key="REQ-001", category_id="nfr")
        verbs.maturity.save("idea_a", 37.5, "exploration")
        verbs.drafts.save("idea_a", "Tuner", key="prd-1", sections=[{"heading": "Scope"}])
        verbs.stories.save("idea_a", [{"key": "US-001", **STORY}])  # type: ignore[typeddict-item]
        verbs.sessions.create(session_id="idea_b", status="closed")
    return ["idea_a", "idea_b"]


def test_a_session_is_kept_by_commands_alone(call: Callable[..., Any]) -> None:
    done = call(
        "ideation", "create", "--id", "s", "--project-name", "Tuner", "--user-id", "kim",
        "--data-source", "configured", "--metadata", '{"a": 1}', "--created-at", "2025-12-06",
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "s\n", "")
    done = call("ideation", "update", "s", "--status", "approved", "--expected-version", "1")
    assert done.out == "s version 2\n"
    done = call("--json", "ideation", "update", "s", "--clear", "metadata", "--status", "in_build")
    assert set(done.item) == SESSION_KEYS
    item = call("--json", "ideation", "show", "s").item
    assert set(item) == SESSION_KEYS | {"maturity", "requirements", "drafts", "stories"}
    assert (item["version"], item["status"], item["metadata"]) == (3, "in_build", None)
    assert (item["maturity"], item["requirements"]) == (None, 0)
    assert [i["id"] for i in call("--json", "ideation", "rm", "s", "--yes").items] == ["s"]
    assert call("ideation", "show", "s").code == 4


def test_list_is_latest_first_and_filters(call: Callable[..., Any], two_ideas: list[str]) -> None:
    done = call("--json", "ideation", "list")
    assert [item["id"] for item in done.items] == two_ideas[::-1]
    assert all(set(item) == SESSION_KEYS for item in done.items)
    for words in (["--user", "kim"], ["--status", "draft"]):
        items = call("--json", "ideation", "list", *words).items
        assert [item["id"] for item in items] == ["idea_a"]
    first = json.loads(call("--json", "ideation", "list", "--limit", "1").out)
    rest = call("--json", "ideation", "list", "--limit", "0", "--after", first["next"])
    assert first["items"] + rest.items == done.items
    lines = call("ideation", "list").out.splitlines()
    assert lines[0].split() == ["id", "status", "version", "user", "updated", "project"]


def test_show_says_how_far_a_session_is_and_what_hangs_on_it(
    call: Callable[..., Any], two_ideas: list[str]
) -> None:
    item = call("--json", "ideation", "show", "idea_a").item
    assert (item["maturity"]["score"], item["maturity"]["can_submit"]) == (37.5, False)
    assert (item["requirements"], item["drafts"], item["stories"]) == (1, 1, 1)
    lines = [line.split() for line in call("ideation", "show", "idea_a").out.splitlines()]
    assert ["maturity", "37.5", "(exploration)"] in lines


def test_messages_are_added_and_listed(call: Callable[..., Any], two_ideas: list[str]) -> None:
    at = ("ideation", "messages")
    assert len(call(*at, "add", "idea_a", "hello").out.strip()) == 36
    call(
        *at, "add", "idea_a", "-", "--role", "assistant", "--maturity-delta", "-2.5",
        "--timestamp", "2200-01-01", answer="long\nanswer",
    )  # fmt: skip
    items = call("--json", *at, "list", "idea_a").items
    assert [(m["role"], m["content"], m["maturity_delta"]) for m in items[1:]] == [
        ("user", "hello", 0),
        ("assistant", "long\nanswer", -2.5),
    ]
    first = json.loads(call("--json", *at, "list", "idea_a", "--limit", "1").out)
    rest = call("--json", *at, "list", "idea_a", "--limit", "0", "--after", first["next"])
    assert first["items"] + rest.items == items
    assert call(*at, "rm", "idea_a").code == 2
    assert call("--json", *at, "rm", "idea_a", "--yes").item == {"id": "idea_a", "removed": 3}
    assert call("--json", *at, "list", "idea_a").items == []


def test_requirements_are_added_changed_and_removed(
    call: Callable[..., Any], two_ideas: list[str]
) -> None:
    at = ("ideation", "requirements")
    assert call(*at, "add", "idea_a", "Fast", "--key", "REQ-002").out == "REQ-002\n"
    assert call(*at, "add", "idea_b", "x").out.startswith("REQ-")
    changed = call(
        "--json", *at, "update", "idea_a", "REQ-001", "--priority", "must_have",
        "--type", "non_functional", "--description", "Smooth", "--clear", "category_id",
    ).item  # fmt: skip
    assert (changed["priority"], changed["type"]) == ("must_have", "non_functional")
    assert (changed["description"], changed["category_id"]) == ("Smooth", None)
    items = call("--json", *at, "list", "idea_a").items
    assert [item["key"] for item in items] == ["REQ-001", "REQ-002"]
    assert items[0] == changed
    assert call("--json", *at, "rm", "idea_a", "REQ-001", "none", "--yes").code == 4
    assert len(call("--json", *at, "list", "idea_a").items) == 2
    assert call(*at, "rm", "idea_a", "REQ-001", "REQ-002", "--yes").code == 0
    assert call("--json", *at, "list", "idea_a").items == []


def test_a_maturity_is_saved_and_shown(call: Callable[..., Any], two_ideas: list[str]) -> None:
    at = ("ideation", "maturity")
    done = call(*at, "show", "idea_b")
    assert (done.code, done.out, done.err) == (0, "", "no maturity was saved yet\n")
    assert call("--json", *at, "show", "idea_b").item is None
    done = call(*at, "save", "idea_b", "85.5", "complete", "--can-submit", "--gaps", "[]")
    assert done.out == "idea_b 85.5 (complete)\n"
    item = call("--json", *at, "show", "idea_b").item
    assert (item["score"], item["level"], item["can_submit"]) == (85.5, "complete", True)
    assert (item["gaps"], item["categories"]) == ([], None)


def test_drafts_are_saved_and_the_latest_is_shown(
    call: Callable[..., Any], two_ideas: list[str]
) -> None:
    at = ("ideation", "drafts")
    assert call("--json", *at, "show", "idea_b").item is None
    assert len(call(*at, "save", "idea_a", "Second", "--version", "2.0").out.strip()) == 36
    assert call("--json", *at, "show", "idea_a").item["title"] == "Second"
    assert call(*at, "save", "idea_a", "First again", "--key", "prd-1").out == "prd-1\n"
    assert call("--json", *at, "show", "idea_a").item["sections"] is None
    items = call("--json", *at, "list", "idea_a").items
    assert [item["title"] for item in items] == ["First again", "Second"]


def test_stories_replace_those_that_are_there_after_a_yes(
    call: Callable[..., Any], two_ideas: list[str], workplace: Path
) -> None:
    at = ("ideation", "stories")
    new = [{"key": key, **STORY, "priority": "must_have"} for key in ("US-009", "US-002")]
    (workplace / "stories.json").write_text(json.dumps(new), encoding="utf-8")
    done = call(*at, "save", "idea_a", "@stories.json")
    assert (done.code, done.out) == (2, "")
    assert "would replace 1 stories of idea_a" in done.err
    assert call(*at, "save", "idea_b", "@stories.json").code == 0
    assert call(*at, "save", "idea_a", "@stories.json", "--yes").code == 0
    for session in two_ideas:
        items = call("--json", *at, "list", session).items
        assert [item["key"] for item in items] == ["US-009", "US-002"]
    for wrong in ('{"key": "US-001"}', "[1]", '"x"', "5"):
        assert call("--json", *at, "save", "idea_a", wrong, "--yes").error["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "nobody"], 4, "ideation_session_not_found"),
        (["show", "idea_"], 2, "ambiguous_id"),
        (["create", "--id", "idea_a"], 1, "already_exists"),
        (["create", "--status", "open"], 2, "usage"),
        (["update", "idea_a", "--status", "closed", "--expected-version", "7"], 1, "stale_write"),
        (["update", "idea_a"], 2, "usage"),
        (["rm", "--yes", "idea_a", "nobody"], 4, "ideation_session_not_found"),
        (["messages", "list", "nobody"], 4, "ideation_session_not_found"),
        (["messages", "add", "idea_a", "x", "--role", "tool"], 2, "usage"),
        (["requirements", "add", "idea_a", "x", "--key", "REQ-001"], 1, "already_exists"),
        (["requirements", "update", "idea_a", "none", "--type", "functional"], 4,
         "requirement_not_found"),
        (["maturity", "save", "idea_a", "nan", "x"], 2, "invalid_value"),
        (["drafts", "save", "idea_a", "x", "--version", "v" * 33], 2, "invalid_value"),
        (["stories", "save", "idea_b", '[{"key": "US-001"}]'], 2, "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], two_ideas: list[str], words: list[str], code: int, name: str
) -> None:
    before = [call("--json", "ideation", "show", idea).out for idea in two_ideas]
    done = call("--json", "ideation", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    assert [call("--json", "ideation", "show", idea).out for idea in two_ideas] == before


def test_all_of_it_works_on_postgres(call: Callable[..., Any], postgres_url: str) -> None:
    at = ("--db", postgres_url)
    assert call(*at, "init").code == 0
    assert call(*at, "ideation", "create", "--id", "s").code == 0
    assert call(*at, "ideation", "maturity", "save", "s", "1.5", "concept").code == 0
    assert call(*at, "ideation", "requirements", "add", "s", "x", "--key", "k").code == 0
    stories = json.dumps([{"key": "US-001", **STORY}])
    assert call(*at, "ideation", "stories", "save", "s", stories).code == 0
    item = call(*at, "--json", "ideation", "show", "s").item
    assert (item["maturity"]["score"], item["requirements"], item["stories"]) == (1.5, 1, 1)
    assert call(*at, "ideation", "rm", "s", "--yes").code == 0
