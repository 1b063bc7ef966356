"""The SQL that is written without a connection does what an upgrade does."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import database, errors
from dynostore.migration_runner import offline_sql
from dynostore.migrator import Migrator, directory
from dynostore.store import Store

SchemaOf = Callable[[Any], dict[str, Any]]


def run_sqlite(path: Path, script: str) -> None:
    """Run the script as a user would; where the shell is missing, as a program would."""
    if shell := shutil.which("sqlite3"):
        subprocess.run([shell, "-bail", path], input=script, text=True, check=True)
        return
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript(script)


@pytest.fixture
def run(blank_url: str, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Give a function that runs a script on the blank database, by the database's own shell."""
    if not blank_url.startswith("postgres"):
        return lambda script: run_sqlite(Path(blank_url), script)
    psql = request.getfixturevalue("postgres").program("psql")
    command = [psql, "-v", "ON_ERROR_STOP=1", "-q", "-o", "/dev/null", blank_url]

    def run_psql(script: str) -> None:
        subprocess.run(command, input=script, text=True, check=True)

    return run_psql


def test_the_script_makes_a_store(
    run: Callable[[str], None], blank: Any, blank_url: str, schema_of: SchemaOf, tmp_path: Path
) -> None:
    run(offline_sql(blank.dialect, directory()))
    with Store.open(blank_url, warm=False, migrate=False) as store:
        assert all(step.applied_at for step in store.migrator.status())
        store.runs.create(metadata={"a": 1})
        assert store.check() == []
        if blank.dialect == "sqlite":
            with store.database.reading():
                assert store.database.application_id == database.APPLICATION_ID


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_the_script_leads_from_any_version_to_the_last(
    run: Callable[[str], None],
    blank: Any,
    steps: Path,
    schema_of: SchemaOf,
    fill: Callable[[Any], None],
    tmp_path: Path,
    done: int,
) -> None:
    migrator = Migrator(blank, steps)
    if done:
        migrator.upgrade(to=1)
        with blank.writing():
            fill(blank)
        migrator.upgrade(to=done)
    applied = [step.name for step in migrator.status() if step.applied_at]
    run(offline_sql(blank.dialect, steps, applied=applied))
    found = schema_of(blank)
    assert all(step.applied_at for step in migrator.status())
    with blank.reading():
        assert blank.execute_sql("SELECT count(*) FROM run_files").fetchone()[0] == bool(done) * 40
        assert blank.execute_sql("SELECT count(*) FROM imports").fetchone()[0] == bool(done) * 10
    migrator.downgrade(to=0)
    migrator.upgrade()
    assert found == schema_of(blank)


def test_the_script_stops_where_it_is_told(steps: Path) -> None:
    for dialect in ("sqlite", "postgres"):
        script = offline_sql(dialect, steps, applied=["0001_initial"], to=2)
        assert "0002_columns" in script
        assert "0003" not in script
        assert 'CREATE TABLE IF NOT EXISTS "runs"' not in script
        nothing = offline_sql(dialect, steps, applied=["0001_initial"], to=1)
        assert "nothing is pending" in nothing
        assert ";" not in nothing


def test_what_there_is_no_script_for_is_refused(steps: Path) -> None:
    for dialect in ("sqlite", "postgres"):
        for to in (99, -1):
            with pytest.raises(errors.InvalidValue, match=f"no migration {to}; they are 1, 2, 3,"):
                offline_sql(dialect, steps, to=to)
    with pytest.raises(errors.InvalidValue, match="dialect: 'mysql'"):
        offline_sql("mysql", steps)


def test_the_script_is_one_transaction(steps: Path) -> None:
    for dialect, begin in (("sqlite", "BEGIN IMMEDIATE;"), ("postgres", "BEGIN;")):
        lines = offline_sql(dialect, steps).splitlines()
        assert lines.count(begin) == lines.count("COMMIT;") == 1
        assert lines[-1] == "COMMIT;"


def test_a_script_for_sqlite_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    script = offline_sql("sqlite", directory()).replace("COMMIT;", "nonsense;\nCOMMIT;")
    with pytest.raises((subprocess.CalledProcessError, sqlite3.OperationalError)):
        run_sqlite(path, script)
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_values_become_literals_that_the_shells_read(
    run: Callable[[str], None], blank: Any, steps: Path
) -> None:
    (steps / "0005_values.py").write_text(
        "from dynostore.models.imports import Import\n\n\n"
        "def up(migrator, db):\n"
        "    db.execute_sql('CREATE TABLE odd (t TEXT, n BIGINT, r DOUBLE PRECISION, e TEXT)')\n"
        "    mark = db.param\n"
        "    db.execute_sql(f'INSERT INTO odd VALUES ({mark}, {mark}, {mark}, {mark})',\n"
        '                   ("it\'s \\\\ é; -- 走", -5, 2.5, None))\n'
    )
    run(offline_sql(blank.dialect, steps))
    with blank.reading():
        found = blank.execute_sql("SELECT t, n, r, e FROM odd").fetchall()
    assert found == [("it's \\ é; -- 走", -5, 2.5, None)]


def test_a_value_that_has_no_literal_is_refused(steps: Path) -> None:
    (steps / "0005_bytes.py").write_text(
        "def up(migrator, db):\n"
        "    db.execute_sql(f'UPDATE runs SET source = {db.param}', (b'x',))\n"
    )
    for dialect in ("sqlite", "postgres"):
        with pytest.raises(errors.MigrationFailed, match="cannot write"):
            offline_sql(dialect, steps)


def test_nothing_is_asked_of_any_server(steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    import psycopg2

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(psycopg2, "connect", refuse)
    assert offline_sql("postgres", steps).count("CREATE TABLE") == 4
