"""``dynostore db``: status, upgrade and downgrade, as SQL too."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import migrator

STEPS = migrator.step_names()
NOTE = f"{len(STEPS) + 1:04}_note"
NOTE_STEP = '''
"""Give runs a note."""
def tables(db): return []
def up(migrator, db): db.execute_sql("ALTER TABLE runs ADD COLUMN note TEXT")
def down(migrator, db): db.execute_sql("ALTER TABLE runs DROP COLUMN note")
'''


@pytest.fixture
def newer_program(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make this program one that has one more migration."""
    steps = tmp_path_factory.mktemp("migrations")
    for path in migrator.directory().glob("[0-9]*.py"):
        (steps / path.name).write_text(path.read_text())
    (steps / f"{NOTE}.py").write_text(NOTE_STEP)
    for module in ("dynostore.migrator", "dynostore.cli.db"):
        monkeypatch.setattr(f"{module}.directory", lambda: steps)


def test_status_of_a_current_store_is_0(
    call: Callable[..., Any], three_runs: list[str], workplace: Path
) -> None:
    document = json.loads(call("--json", "db", "status").out)
    assert document["ok"] is True
    assert document["behind"] is False
    assert [step["name"] for step in document["items"]] == STEPS
    assert document["items"][0]["state"] == "applied"
    assert re.search(r"0001_initial +applied", call("db", "status").out)


def test_status_of_a_store_behind_is_1_and_upgrades_nothing(
    call: Callable[..., Any], three_runs: list[str], workplace: Path, newer_program: None
) -> None:
    before = (workplace / "dynostore.db").read_bytes()
    done = call("--json", "db", "status")
    assert done.code == 1
    assert [step["state"] for step in done.items] == ["applied"] * len(STEPS) + ["pending"]
    assert json.loads(done.out)["ok"] is False
    assert "dynostore db upgrade" in call("db", "status").err
    assert call("--json", "info").item["pending"] == [NOTE]
    assert (workplace / "dynostore.db").read_bytes() == before


def test_a_reading_command_upgrades_a_file_that_is_behind_and_says_so(
    call: Callable[..., Any], three_runs: list[str], workplace: Path, newer_program: None
) -> None:
    done = call("runs", "list")
    assert done.code == 0
    assert f"upgraded ({NOTE})" in done.err
    assert len(done.out.splitlines()) == 4
    assert (workplace / f"dynostore.db.before-{NOTE[:4]}.bak").exists()
    assert call("db", "status").code == 0


def test_init_upgrades_what_is_behind(
    call: Callable[..., Any], three_runs: list[str], newer_program: None
) -> None:
    item = call("--json", "init").item
    assert (item["outcome"], item["schema_version"]) == ("upgraded", len(STEPS) + 1)


def test_a_reading_command_leaves_an_empty_file_alone(
    call: Callable[..., Any], workplace: Path
) -> None:
    (workplace / "dynostore.db").touch()
    done = call("runs", "list")
    assert (done.code, done.out) == (6, "")
    assert "has no tables yet" in done.err
    assert (workplace / "dynostore.db").stat().st_size == 0


def test_upgrade_names_what_it_applied(
    call: Callable[..., Any], three_runs: list[str], newer_program: None
) -> None:
    assert [step["name"] for step in call("--json", "db", "upgrade").items] == [NOTE]
    again = call("db", "upgrade")
    assert (again.code, again.out, again.err) == (0, "", "nothing is pending\n")
    assert call("--json", "db", "upgrade").items == []


def test_upgrade_stops_where_it_is_told(
    call: Callable[..., Any], workplace: Path, newer_program: None
) -> None:
    (workplace / "dynostore.db").touch()
    assert call("db", "upgrade", "--to", "1").out.split() == ["applied", "0001_initial"]
    assert call("db", "status").code == 1


def test_upgrade_as_sql_is_the_script_of_what_is_pending(
    call: Callable[..., Any], three_runs: list[str], workplace: Path, newer_program: None
) -> None:
    done = call("db", "upgrade", "--sql")
    assert done.code == 0
    assert "ADD COLUMN note" in done.out
    assert '"runs"' not in done.out
    assert call("db", "status").code == 1
    with closing(sqlite3.connect("dynostore.db")) as connection:
        connection.executescript(done.out)
    assert call("db", "status").code == 0
    assert "nothing is pending" in call("db", "upgrade", "--sql").out


def test_upgrade_as_sql_for_a_dialect_connects_to_nothing(
    call: Callable[..., Any], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    item = call("--json", "db", "upgrade", "--sql", "--dialect", "postgres").item
    assert item["dialect"] == "postgres"
    assert "TIMESTAMPTZ" in item["sql"]
    script = call("db", "upgrade", "--sql", "--dialect", "sqlite").out
    with closing(sqlite3.connect("made.db")) as connection:
        connection.executescript(script)
    assert call("--db", "made.db", "db", "status").code == 0
    assert call("--db", "made.db", "runs", "create").code == 0


def test_sql_is_never_printed_for_a_server_that_cannot_be_asked(call: Callable[..., Any]) -> None:
    done = call("--db", "postgresql://nobody@127.0.0.1:1/x", "db", "upgrade", "--sql")
    assert (done.code, done.out) == (75, "")


def test_a_store_of_a_newer_program_is_refused_with_6(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    with closing(sqlite3.connect("dynostore.db")) as connection, connection:
        connection.execute(
            "INSERT INTO dynostore_migration VALUES"
            " ('0099_later', '2026-01-01T00:00:00.000000+00:00')"
        )
    done = call("--json", "db", "status")
    assert done.code == 6
    assert [step["state"] for step in done.items] == ["applied"] * len(STEPS) + ["unknown"]
    for words in (
        ["runs", "list"],
        ["runs", "create"],
        ["init"],
        ["db", "upgrade"],
        ["db", "upgrade", "--sql"],
        ["db", "downgrade", "--to", "0", "--yes"],
    ):
        done = call("--json", *words)
        assert (done.code, done.out, done.error["code"]) == (6, "", "schema_too_new"), words


def test_downgrade_shows_what_it_would_do_and_needs_yes_where_nobody_can_be_asked(
    call: Callable[..., Any], three_runs: list[str], newer_program: None
) -> None:
    call("db", "upgrade")
    done = call("db", "downgrade", "--to", str(len(STEPS)))
    assert (done.code, done.out) == (2, "")
    assert f"would revert {NOTE}" in done.err
    assert call("db", "status").code == 0
    done = call("db", "downgrade", "--to", str(len(STEPS)), "--yes", "--json")
    assert [step["name"] for step in done.items] == [NOTE]
    assert call("db", "status").code == 1
    with closing(sqlite3.connect("dynostore.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (3,)


def test_downgrade_to_where_it_is_does_nothing(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    done = call("db", "downgrade", "--to", str(len(STEPS)))
    assert (done.code, done.out) == (0, "")
    assert "nothing is applied after" in done.err


def test_a_postgres_behind_is_upgraded_only_on_demand(
    call: Callable[..., Any], postgres_url: str, newer_program: None
) -> None:
    at = ("--db", postgres_url)
    assert call(*at, "db", "status").code == 1
    assert call(*at, "db", "upgrade", "--to", str(len(STEPS))).code == 0
    for words in (["runs", "list"], ["runs", "create"], ["init"]):
        done = call(*at, "--json", *words)
        assert (done.code, done.error["code"]) == (6, "schema_behind")
    script = call(*at, "db", "upgrade", "--sql").out
    assert "ADD COLUMN note" in script
    assert call(*at, "db", "upgrade").out.split() == ["applied", NOTE]
    assert call(*at, "runs", "list").code == 0
