"""``dynostore sync conflicts`` and ``sync rejects``: listed, shown, settled by commands alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Call = Callable[..., Any]


@pytest.fixture
def torn(call: Call, three_runs: list[str], postgres_url: str, monkeypatch: Any) -> list[str]:
    """Give the words that lead to a second file, which lost the run ``other`` to the first."""
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    assert call("sync").code == 0
    second = ["--db", "second.db"]
    call(*second, "runs", "create", "--id", "other", "--source", "elsewhere")
    done = call(*second, "sync")
    assert done.code == 3
    assert "dynostore sync conflicts" in done.err
    assert "dynostore sync rejects" not in done.err
    return second


@pytest.fixture
def spoilt(call: Call, three_runs: list[str], postgres_url: str, monkeypatch: Any) -> None:
    """Leave two runs in ``dynostore.db`` that the server cannot hold; it has one of them."""
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    assert call("sync").code == 0
    call("runs", "create", "--id", "run_new", "--source", "here")
    _sql("UPDATE runs SET metadata = '{' WHERE id IN ('run_new', 'run_alpha')")
    done = call("sync")
    assert done.code == 3
    assert "dynostore sync rejects" in done.err


def _sql(statement: str) -> list[Any]:
    with closing(sqlite3.connect("dynostore.db", isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


# -- conflicts -------------------------------------------------------------------------------


def test_conflicts_are_listed_with_what_differs(call: Call, torn: list[str]) -> None:
    done = call(*torn, "sync", "conflicts")
    head, row = done.out.splitlines()
    assert head.split() == ["id", "table", "key", "mine", "server", "node", "when", "why"]
    assert row.split()[:3] == ["1", "runs", "other"]
    assert "source=elsewhere" in row
    assert "source=upload" in row
    assert (done.code, done.err) == (0, "")


def test_conflicts_as_json_have_both_sides_whole(call: Call, torn: list[str]) -> None:
    [item] = call(*torn, "--json", "sync", "conflicts").items
    assert set(item) == {
        "id", "table", "key", "mine", "server", "node", "why", "at", "differing",
    }  # fmt: skip
    assert (item["mine"]["source"], item["server"]["source"]) == ("elsewhere", "upload")
    assert item["server"]["metadata"] == {"operator": "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}"}
    assert "source" in item["differing"]
    assert item["node"]
    assert call(*torn, "--json", "sync", "conflicts", "show", "1").item == item


def test_one_conflict_is_shown_side_by_side(call: Call, torn: list[str]) -> None:
    lines = call(*torn, "sync", "conflicts", "show", "1").out.splitlines()
    fields = dict(line.split(maxsplit=1) for line in lines[:3])
    assert (fields["table"], fields["key"]) == ("runs", "other")
    assert ["-", "source", "(mine)", "elsewhere"] in [line.split() for line in lines]
    assert ["+", "source", "(server)", "upload"] in [line.split() for line in lines]


@pytest.mark.parametrize(("keep", "source"), [("mine", "elsewhere"), ("server", "upload")])
def test_a_resolved_conflict_leaves_the_list_and_the_next_sync_settles_it(
    keep: str, source: str, call: Call, torn: list[str], postgres_url: str
) -> None:
    done = call(*torn, "sync", "conflicts", "resolve", "1", "--keep", keep)
    assert (done.code, done.out.split(":")[0]) == (0, "runs other")
    assert call(*torn, "--json", "sync", "conflicts").items == []
    assert call(*torn, "sync", "status").code == (1 if keep == "mine" else 0)
    assert call(*torn, "sync", "--direction", "both").code == 0
    assert call(*torn, "sync", "status").code == 0
    shown = call("--json", "--db", postgres_url, "runs", "show", "other")
    assert shown.item["source"] == source


def test_all_conflicts_are_resolved_at_once(call: Call, torn: list[str]) -> None:
    done = call(*torn, "--json", "sync", "conflicts", "resolve", "--all", "--keep", "mine")
    document = json.loads(done.out)
    assert (done.code, document["ok"], document["items"]) == (0, True, [])
    assert document["resolved"] == 1
    assert call(*torn, "sync").code == 0


def test_a_conflict_that_cannot_be_resolved_stays_and_is_3(
    call: Call, torn: list[str], postgres_url: str
) -> None:
    call(*torn, "sync", "--direction", "pull")
    for words in ([], torn):
        with closing(sqlite3.connect(words[1] if words else "dynostore.db")) as connection:
            connection.execute("UPDATE run_files SET size_bytes = ?", (len(words),))
            connection.commit()
    call("sync")
    assert call(*torn, "sync").code == 3
    call("runs", "rm", "run_alpha", "--yes")
    call("sync")
    call(*torn, "sync", "--direction", "pull")
    call(*torn, "sync", "conflicts", "resolve", "1", "--keep", "server")
    done = call(*torn, "sync", "conflicts", "resolve", "--all", "--keep", "mine")
    assert done.code == 3
    assert "which is gone" in done.out
    [first, *_] = call(*torn, "--json", "sync", "conflicts").items
    words = ["sync", "conflicts", "resolve", str(first["id"]), "--keep", "mine"]
    done = call(*torn, "--json", *words)
    assert (done.code, done.error["code"]) == (1, "constraint")
    assert done.error["hint"].endswith("--keep server")


def test_what_is_no_conflict_is_refused(call: Call, torn: list[str]) -> None:
    for words, code in (
        (["show", "99"], 4),
        (["resolve", "99", "--keep", "mine"], 4),
        (["resolve", "1"], 2),
        (["resolve", "--keep", "mine"], 2),
        (["resolve", "1", "--all", "--keep", "mine"], 2),
        (["resolve", "1", "--keep", "theirs"], 2),
        (["show", "first"], 2),
    ):
        done = call(*torn, "--json", "sync", "conflicts", *words)
        assert (done.code, done.out) == (code, ""), words
    done = call(*torn, "--json", "sync", "conflicts", "show", "99")
    assert done.error["hint"] == "dynostore sync conflicts"


def test_nothing_is_listed_before_the_first_sync(call: Call, three_runs: list[str]) -> None:
    assert call("--json", "sync", "conflicts").items == []
    assert call("--json", "sync", "rejects").items == []
    assert call("--db", "missing.db", "sync", "conflicts").code == 4
    assert not Path("missing.db").exists()


# -- rejects ---------------------------------------------------------------------------------


def test_rejects_are_listed_with_the_reason(call: Call, spoilt: None) -> None:
    head, *rows = call("sync", "rejects").out.splitlines()
    assert head.split()[:5] == ["table", "key", "column", "value", "reason"]
    assert [row.split()[:4] for row in rows] == [
        ["runs", "run_alpha", "metadata", "{"],
        ["runs", "run_new", "metadata", "{"],
    ]
    item = call("--json", "sync", "rejects").items[0]
    assert set(item) == {
        "table", "key", "column", "value", "reason", "sqlstate", "tries", "since", "origin",
        "wish",
    }  # fmt: skip
    assert (item["sqlstate"], item["tries"], item["origin"]) == ("22P02", 1, "file")


def test_a_reject_is_tried_again_when_told_to(call: Call, spoilt: None) -> None:
    assert call("sync").code == 0
    assert call("sync", "rejects", "retry", "runs", "run_n").code == 0
    assert call("sync").code == 3
    assert [i["tries"] for i in call("--json", "sync", "rejects").items] == [1, 2]
    assert call("--json", "sync", "rejects", "retry", "--all").item == {"retried": 2}
    assert call("sync").code == 3
    assert [i["tries"] for i in call("--json", "sync", "rejects").items] == [2, 3]


def test_a_drop_says_what_goes_and_asks(call: Call, spoilt: None) -> None:
    done = call("sync", "rejects", "drop", "--all")
    assert done.code == 2
    assert "runs 2, run_files 2" in done.err
    assert "--yes" in done.err
    done = call("--json", "sync", "rejects", "drop", "--all", "--yes")
    assert done.item == {"dropped": 2, "endangered": {"runs": 2, "run_files": 2}}
    assert call("sync", "status").code == 1
    assert call("sync", "--direction", "both").code == 0
    assert call("sync", "status").code == 0
    assert _sql("SELECT id FROM runs WHERE id = 'run_new'") == []
    assert _sql("SELECT metadata FROM runs WHERE id = 'run_alpha'") == [(None,)]
    assert _sql("SELECT count(*) FROM run_files") == [(2,)]


def test_what_is_no_reject_is_refused(call: Call, spoilt: None) -> None:
    for words, code in (
        (["retry", "runs", "none"], 4),
        (["retry", "runs", "run_"], 2),
        (["retry"], 2),
        (["retry", "runs"], 2),
        (["retry", "runs", "run_new", "--all"], 2),
        (["drop"], 2),
        (["drop", "tasks", "run_new", "--yes"], 4),
    ):
        done = call("--json", "sync", "rejects", *words)
        assert (done.code, done.out) == (code, ""), words
    done = call("--json", "sync", "rejects", "retry", "runs", "none")
    assert done.error["hint"] == "dynostore sync rejects"
