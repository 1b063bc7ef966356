"""``dynostore sync verify``: the words around :func:`dynostore.sync.verify.run.verify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

pytestmark = pytest.mark.once

REPORT_KEYS = {
    "equal",
    "deep",
    "total",
    "differences",
    "tables",
    "repaired",
    "left_out",
    "synced",
    "seconds",
    "rows_per_s",
}
TABLE_KEYS = {"name", "rows", "unsent", "set_aside", "behind", "differences"}


@pytest.fixture
def synced(
    call: Callable[..., Any],
    three_runs: list[str],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Give the server's address, which holds the three runs, and is the configured one."""
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    assert call("sync", "--direction", "both").code == 0
    return postgres_url


def tamper(url: str, statement: str) -> None:
    """Run a statement that no trigger on the server sees."""
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET dynostore_sync.apply = 'on'")
        cursor.execute(statement)
        connection.commit()


def test_equal_sides_are_said_to_agree(call: Callable[..., Any], synced: str) -> None:
    done = call("sync", "verify", "--deep")
    assert (done.code, done.err) == (0, "the file and the server agree\n")
    head, *rows = (line.split() for line in done.out.splitlines())
    assert head == ["table", "rows", "unsent", "set", "aside", "behind", "differences"]
    assert rows == [["runs", "3", "0", "0", "0", "0"], ["run_files", "2", "0", "0", "0", "0"]]
    document = json.loads(call("--json", "sync", "verify", "--to", synced).out)
    assert (document["ok"], set(document["item"])) == (True, REPORT_KEYS)
    assert set(document["item"]["tables"][0]) == TABLE_KEYS


def test_a_difference_is_7_and_named_by_table_and_key(
    call: Callable[..., Any], synced: str
) -> None:
    tamper(synced, "UPDATE runs SET source = 'tampered', status = 'error' WHERE id = 'run_alpha'")
    tamper(synced, "DELETE FROM runs WHERE id = 'other'")
    done = call("sync", "verify", "--deep")
    assert done.code == 7
    lines = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert lines == [
        ["table", "key", "difference      columns"],
        ["runs", "other", "missing there   -"],
        ["runs", "run_alpha", "other contents  status, source"],
    ]
    assert "--repair" in done.err
    done = call("--json", "sync", "verify", "--deep", "--limit", "1")
    assert (done.code, json.loads(done.out)["ok"]) == (7, False)
    assert (done.item["total"], done.item["equal"]) == (2, False)
    assert done.item["differences"] == [
        {"table": "runs", "key": "other", "kind": "missing there", "columns": []}
    ]
    assert call("sync", "verify").out.count("runs") == 1
    assert call("sync", "verify", "--deep", "--tables", "memories").code == 0


def test_a_repair_settles_what_differs_and_lists_what_lost(
    call: Callable[..., Any], synced: str
) -> None:
    tamper(synced, "UPDATE runs SET source = 'tampered' WHERE id = 'run_alpha'")
    done = call("sync", "verify", "--deep", "--repair")
    assert done.code == 3
    assert "1 differences are settled" in done.err
    assert "dynostore sync status" in done.err
    assert call("sync", "verify", "--deep").code == 0
    assert call("--json", "sync", "status").item["conflicts"] == 1
    tamper(synced, "DELETE FROM runs WHERE id = 'other'")
    done = call("--json", "sync", "verify", "--repair")
    assert (done.code, done.item["repaired"], done.item["total"]) == (0, 1, 0)


def test_what_stands_in_the_way_has_its_exit_code(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    for words, code, name in (
        (["sync", "verify"], 2, "config"),
        (["sync", "verify", "--to", postgres_url], 6, "identity"),
        (["sync", "verify", "--to", postgres_url, "--tables", "x"], 2, "config"),
        (["--db", "missing.db", "sync", "verify", "--to", postgres_url], 4, "store_not_found"),
        (["sync", "verify", "--limit", "-1"], 2, "usage"),
    ):
        done = call("--json", *words)
        assert (done.code, done.out, done.error["code"]) == (code, "", name), words
    call("sync", "--to", postgres_url)
    done = call("--json", "sync", "verify", "--to", "postgresql://kim@127.0.0.1:1/x")
    assert (done.code, done.error["code"]) == (75, "unavailable")
