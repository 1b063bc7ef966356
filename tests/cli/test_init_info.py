"""``dynostore init`` and ``info``: making a store, and saying where it is and who said so."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.migrator import step_names

STEPS = step_names()


def test_init_makes_the_store_and_says_when_it_is_there_already(
    call: Callable[..., Any], workplace: Path
) -> None:
    first = call("init")
    assert first.code == 0
    assert first.out == f"sqlite:///./dynostore.db: made, schema version {len(STEPS)}\n"
    assert (workplace / "dynostore.db").stat().st_mode & 0o777 == 0o600
    with Store.open("dynostore.db") as store:
        store.runs.create(run_id="kept")
    again = call("init", "--json")
    assert again.code == 0
    assert again.item == {
        "url": "sqlite:///./dynostore.db",
        "found_by": "default",
        "outcome": "exists",
        "schema_version": len(STEPS),
    }
    assert len(call("--json", "runs", "list").items) == 1


def test_init_refuses_what_it_cannot_use(call: Callable[..., Any], workplace: Path) -> None:
    (workplace / "text.db").write_text("this is no database, and long enough to be seen as none")
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
    connection.close()
    for place, code, name in (
        ("text.db", 7, "corrupt"),
        ("other.db", 6, "not_ours"),
        ("no/such/directory/x.db", 1, "unwritable"),
        (".", 1, "unwritable"),
        ("mysql://host/db", 2, "config"),
        ("sqlite://two-slashes.db", 2, "config"),
    ):
        before = {p: p.read_bytes() for p in workplace.glob("*.db")}
        done = call("--db", place, "--json", "init")
        assert (done.code, done.error["code"]) == (code, name), place
        assert {p: p.read_bytes() for p in workplace.glob("*.db")} == before


def test_init_sets_up_an_empty_postgres_database(
    call: Callable[..., Any], postgres_url: str
) -> None:
    assert call("--db", postgres_url, "--json", "init").item["outcome"] == "created"
    assert call("--db", postgres_url, "--json", "init").item["outcome"] == "exists"


def test_info_says_which_source_won_and_what_is_there(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    item = call("--json", "info").item
    assert set(item) == {
        "url",
        "found_by",
        "engine",
        "size_bytes",
        "bytes",
        "rows",
        "schema_version",
        "pending",
        "remote",
        "dynostore_version",
    }
    assert item["rows"]["imports"] == 0
    assert {t: n for t, n in item["rows"].items() if n} == {"runs": 3, "run_files": 2}
    assert (item["found_by"], item["pending"]) == ("default", [])
    assert item["schema_version"] == len(STEPS)
    assert item["size_bytes"] >= Path("dynostore.db").stat().st_size
    assert item["remote"] is None
    assert re.search(r"rows in run_files +2\n", call("info").out)


@pytest.mark.parametrize("variable", ["DYNOSTORE_URL", "DATABASE_URL"])
def test_info_names_the_variable(
    call: Callable[..., Any],
    three_runs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "sqlite:///dynostore.db")
    assert call("--json", "info").item["found_by"] == variable
    assert call("--json", "--db", "dynostore.db", "info").item["found_by"] == "argument"
    monkeypatch.setenv(variable, "missing.db")
    done = call("info")
    assert done.code == 4
    assert f"(place named by: {variable})" in done.err


def test_info_masks_passwords_everywhere(
    call: Callable[..., Any], three_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("POSTGRES_PASSWORD", "s3cret/@")
    done = call("info")
    assert "POSTGRES_HOST" in done.out
    assert "s3cret" not in done.out + done.err
    remote = call("--json", "info").item["remote"]
    assert remote["found_by"] == "POSTGRES_HOST"
    assert ":***@db.example" in remote["url"]


def test_info_warns_of_a_shared_server_that_cannot_be(
    call: Callable[..., Any], three_runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    monkeypatch.setenv("POSTGRES_SSL_MODE", "maybe")
    done = call("--json", "info")
    assert (done.code, done.item["remote"]) == (0, None)
    assert "POSTGRES_SSL_MODE: 'maybe' is none of" in json.loads(done.err)["warning"]


def test_info_never_upgrades(call: Callable[..., Any], workplace: Path) -> None:
    (workplace / "dynostore.db").touch()
    item = call("--json", "info").item
    assert (item["schema_version"], item["pending"], item["rows"]) == (0, STEPS, {})
    assert (workplace / "dynostore.db").stat().st_size == 0


def test_info_speaks_of_postgres_too(call: Callable[..., Any], postgres_url: str) -> None:
    call("--db", postgres_url, "init")
    item = call("--db", postgres_url, "--json", "info").item
    assert item["engine"].startswith("Postgres ")
    assert item["size_bytes"] > 1_000_000
    assert item["rows"]["runs"] == 0


def test_an_unreachable_server_is_75(call: Callable[..., Any]) -> None:
    for words in (["info"], ["init"], ["runs", "list"], ["db", "status"], ["db", "upgrade"]):
        done = call("--db", "postgresql://kim:secret@127.0.0.1:1/x", "--json", *words)
        assert (done.code, done.error["code"]) == (75, "unavailable"), words
        assert "secret" not in done.err
