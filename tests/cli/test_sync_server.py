"""``dynostore sync fork`` and ``purge``, and a server that must be adopted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def synced(
    call: Callable[..., Any],
    three_runs: list[str],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    assert call("sync").code == 0
    return three_runs


def _node(call: Callable[..., Any]) -> str:
    return str(json.loads(call("--json", "sync", "status").out)["item"]["node_id"])


def test_a_fork_says_which_node_the_file_is_now(call: Callable[..., Any], synced: Any) -> None:
    old = _node(call)
    done = call("sync", "fork")
    assert (done.code, done.err) == (0, "")
    new = _node(call)
    assert new != old
    assert done.out == f"this file is now the node {new}\n"
    assert json.loads(call("--json", "sync", "fork").out)["item"] == {"node_id": _node(call)}
    assert call("sync").out == "everything is up to date\n"


def test_a_purge_is_asked_for_and_says_what_it_removed(
    call: Callable[..., Any], synced: list[str]
) -> None:
    assert call("runs", "rm", synced[0], "--yes").code == 0
    assert call("sync").code == 0
    refused = call("sync", "purge", "--older-than", "0s")
    assert refused.code == 2
    assert "deletions" in refused.err
    assert "forgotten for good" in refused.err
    assert "needs --yes" in refused.err
    done = call("--json", "sync", "purge", "--older-than", "0s", "--yes")
    item = json.loads(done.out)["item"]
    assert (item["done"], item["left_behind"]) == (True, [])
    assert item["tombstones"] >= 1
    again = call("sync", "purge", "--older-than", "0s", "--yes")
    assert again.code == 0
    assert "nobody" in again.out
    assert call("sync", "--direction", "both").out == "everything is up to date\n"


def test_a_purge_wants_an_age(call: Callable[..., Any], synced: Any) -> None:
    assert "--older-than" in call("sync", "purge").err
    assert call("sync", "purge", "--older-than", "old").code == 2


def test_another_server_is_adopted_on_demand(
    call: Callable[..., Any], synced: Any, postgres: Any
) -> None:
    name = postgres.create()
    try:
        other = postgres.url_of(name)
        refused = call("sync", "--to", other)
        assert refused.code == 6
        assert "dynostore sync --adopt" in refused.err
        adopted = call("sync", "--to", other, "--adopt")
        assert adopted.code == 0
        assert "runs" in adopted.out
        assert call("sync", "--to", other).out == "everything is up to date\n"
    finally:
        postgres.drop(name)


def test_a_full_sync_of_what_is_equal_changes_no_row(call: Callable[..., Any], synced: Any) -> None:
    assert call("sync", "--full", "--direction", "both").out == "everything is up to date\n"
