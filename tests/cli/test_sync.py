"""``dynostore sync`` and ``sync status``: the words around :mod:`dynostore.sync`."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dynostore.cli
from dynostore.migrator import file_lock

TABLE_KEYS = {
    "name",
    "sent",
    "received",
    "adopted",
    "conflicts",
    "rejected",
    "seconds",
    "rows_per_s",
}


def test_a_sync_says_what_it_did_and_the_next_one_that_nothing_is_to_do(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    done = call("sync", "--to", postgres_url)
    assert (done.code, done.err) == (0, "")
    head, *rows = (line.split() for line in done.out.splitlines())
    assert head == ["table", "sent", "adopted", "conflicts", "rejected", "seconds", "rows/s"]
    assert [row[:5] for row in rows] == [
        ["runs", "3", "0", "0", "0"],
        ["run_files", "2", "0", "0", "0"],
    ]
    again = call("sync", "--to", postgres_url)
    assert (again.code, again.out, again.err) == (0, "everything is up to date\n", "")
    item = call("--json", "--db", postgres_url, "info").item
    assert (item["rows"]["runs"], item["rows"]["run_files"]) == (3, 2)


def test_a_sync_as_json(
    call: Callable[..., Any],
    three_runs: list[str],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    document = json.loads(call("--json", "sync").out)
    assert document["ok"] is True
    assert set(document["item"]) == {
        "up_to_date",
        "seconds",
        "rows_per_s",
        "left_out",
        "not_asked_for",
        "tables",
    }
    assert [set(table) for table in document["item"]["tables"]] == [TABLE_KEYS, TABLE_KEYS]
    assert call("sync", "--json").item["up_to_date"] is True


def test_a_restricted_sync_names_what_waits_elsewhere(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    for _ in range(2):
        done = call("sync", "--to", postgres_url, "--tables", "runs")
        assert done.code == 0
        assert "not asked for: run_files (2 wait)" in done.err
    assert done.out == "everything else is up to date\n"
    done = call("--json", "sync", "--to", postgres_url, "--skip", "run_files")
    assert done.item["not_asked_for"] == {"run_files": 2}
    call("sync", "--to", postgres_url)
    done = call("sync", "--to", postgres_url, "--tables", "runs")
    assert (done.out, done.err) == ("everything is up to date\n", "")


def test_a_sync_of_no_table_is_refused(call: Callable[..., Any], three_runs: list[str]) -> None:
    to = "postgresql://nobody@127.0.0.1:1/none"
    done = call("sync", "--to", to, "--tables", "runs", "--skip", "runs")
    assert done.code == 2
    assert "no table is left to sync" in done.err


def test_status_is_1_while_something_waits(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    done = call("sync", "status", "--json")
    assert done.code == 1
    assert json.loads(done.out)["ok"] is False
    assert done.item["waiting"] == {"runs": 3, "run_files": 2}
    assert "waiting" in call("sync", "status").out
    call("sync", "--to", postgres_url)
    done = call("--json", "sync", "status")
    assert (done.code, done.item["waiting"]) == (0, {})
    call("runs", "update", "other", "--status", "complete")
    done = call("sync", "status")
    assert done.code == 1
    assert done.out.splitlines()[0].split() == ["waiting", "runs", "1"]


def test_status_shows_the_servers_nodes_and_does_without_the_server(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str, monkeypatch: Any
) -> None:
    before = json.loads(call("--json", "sync", "status").out)["item"]
    assert before["nodes"] is None
    assert (
        before["oldest_at"]
        <= json.loads(call("--json", "runs", "list").out)["items"][0]["updated_at"]
    )
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    call("sync")
    item = json.loads(call("--json", "sync", "status").out)["item"]
    assert [node["node_id"] for node in item["nodes"]] == [item["node_id"]]
    assert (item["oldest_at"], item["nodes"][0]["behind"]) == (None, 0)
    assert item["node_id"] in call("sync", "status").out
    monkeypatch.setenv("DYNOSTORE_REMOTE", "postgresql://nobody@127.0.0.1:1/none")
    done = call("sync", "status")
    assert done.code == 0
    assert "the server was not asked" in done.err


def test_a_conflict_is_3_once_and_stays_in_the_status(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str, workplace: Path
) -> None:
    call("sync", "--to", postgres_url)
    call("--db", "second.db", "runs", "create", "--id", "other", "--source", "elsewhere")
    done = call("--db", "second.db", "sync", "--to", postgres_url)
    assert done.code == 3
    assert "dynostore sync status" in done.err
    assert done.out.splitlines()[1].split()[:5] == ["runs", "0", "0", "1", "0"]
    assert call("--db", "second.db", "sync", "--to", postgres_url).code == 0
    done = call("--db", "second.db", "--json", "sync", "status")
    assert (done.code, done.item["conflicts"]) == (1, 1)


def test_what_stands_in_the_way_has_its_exit_code(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    for words, code, name in (
        (["sync"], 2, "config"),
        (["sync", "--to", "sqlite:///x.db"], 2, "config"),
        (["--db", postgres_url, "sync", "--to", postgres_url], 6, "schema_behind"),
        (["--db", "missing.db", "sync", "--to", postgres_url], 4, "store_not_found"),
        (["--db", "missing.db", "sync", "status"], 4, "store_not_found"),
        (["sync", "--to", "postgresql://kim@127.0.0.1:1/x"], 75, "unavailable"),
        (["sync", "--to", postgres_url, "status"], 2, "usage"),
        (["sync", "now"], 2, "usage"),
    ):
        done = call("--json", *words)
        assert (done.code, done.out, done.error["code"]) == (code, "", name), words
    assert not Path("missing.db").exists()
    assert call("--json", "sync", "status").item["last_error"]


def test_a_second_sync_at_the_same_time_is_5(
    call: Callable[..., Any], three_runs: list[str], postgres_url: str
) -> None:
    with file_lock(Path("dynostore.db").absolute(), "sync-lock", 0):
        done = call("--json", "sync", "--to", postgres_url)
    assert (done.code, done.error["code"]) == (5, "sync_running")


@pytest.mark.parametrize("words", ["", "fork", "purge --older-than 90d --yes", "verify", "status"])
def test_a_password_on_the_command_line_is_warned_about_once_and_never_shown(
    words: str, call: Callable[..., Any], three_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://kim:secret@127.0.0.1:1/x"
    done = call("sync", *words.split(), "--to", url)
    assert done.err.count("warning: a password in --to") == 1
    assert "secret" not in done.err + done.out
    monkeypatch.setenv("DYNOSTORE_REMOTE", url)
    assert "password in --to" not in call("sync", *words.split()).err


def test_a_password_in_a_parameter_does_not_hide_why_a_server_cannot_be_reached(
    call: Callable[..., Any], three_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNOSTORE_REMOTE", "postgresql://u@127.0.0.1:1/x?password=geheim")
    done = call("sync")
    assert done.code == 75
    assert "?password=***: " in done.err
    assert "refused" in done.err
    assert "geheim" not in done.err


def test_the_warning_about_a_password_is_an_object_of_its_own_for_programs(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    url = "postgresql://kim:secret@127.0.0.1:1/x"
    warning, error = call("--json", "sync", "--to", url).err.splitlines()
    assert "DYNOSTORE_REMOTE" in json.loads(warning)["warning"]
    assert json.loads(error)["ok"] is False


def test_without_psycopg2_it_says_what_to_install(
    call: Callable[..., Any], three_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The packages keep what is imported below them as attributes: those are put back as well.
    monkeypatch.setattr(dynostore, "sync", importlib.import_module("dynostore.sync"))
    monkeypatch.setattr(dynostore.cli, "sync", importlib.import_module("dynostore.cli.sync"))
    for name in [n for n in sys.modules if n.split(".")[0] == "psycopg2"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n.startswith(("dynostore.sync", "dynostore.cli.sync"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    done = call("--json", "sync", "--to", "postgresql://kim@host/x")
    assert (done.code, done.error["code"]) == (2, "missing_extra")
    assert done.error["hint"] == "pip install 'dynostore[postgres]'"
    assert call("sync", "status").code == 1  # it asks no server
    assert call("sync", "--help").code == 0
