"""A database that is not ours, or not ours to read yet, is refused before any write."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import database, errors
from dynostore.migrator import Migrator, directory
from dynostore.store import Store

pytestmark = pytest.mark.once

FOREIGN = {
    "a table of ours": "CREATE TABLE runs (id TEXT PRIMARY KEY); INSERT INTO runs VALUES ('a')",
    "another table of ours": "CREATE TABLE imports (x)",
    "a table of ours in capitals": "CREATE TABLE RUNS (x)",
    "a view with the name of a table of ours": "CREATE VIEW runs AS SELECT 1 AS id",
    "the mark of another program": "CREATE TABLE t (x); PRAGMA application_id = 12345",
}


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Give a directory with one step more than this program has."""
    steps = tmp_path / "newer-steps"
    shutil.copytree(directory(), steps, ignore=shutil.ignore_patterns("__*"))
    (steps / "9999_future.py").write_text("def up(migrator, db):\n    pass\n")
    return steps


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
@pytest.mark.parametrize("case", FOREIGN)
def test_a_file_of_another_program_is_refused_byte_for_byte(
    tmp_path: Path, case: str, journal_mode: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = home / "s.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.execute(f"PRAGMA journal_mode = {journal_mode}")
        plain.executescript(FOREIGN[case])
    before = everything(home)
    for options in ({}, {"migrate": False}, {"read_only": True}):
        arguments: Any = options
        with pytest.raises(errors.NotOurs) as caught:
            Store.open(path, **arguments)
        assert caught.value.exit_code == 6
    db = database.connect(str(path))
    for verb in (Migrator(db).status, Migrator(db).upgrade, lambda: Migrator(db).downgrade(0)):
        with pytest.raises(errors.NotOurs):
            verb()
    db.shut()
    # The lock of the upgrade that was asked for, and what a reader leaves of a log.
    after = {n: c for n, c in everything(home).items() if not n.startswith(("s.db.lock", "s.db-"))}
    assert after == before
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == (journal_mode.lower(),)


def test_a_file_with_tables_of_other_names_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
    with Store.open(path) as store:
        store.runs.create()
        assert store.check() == []
        with store.database.reading():
            assert store.database.execute_sql("SELECT x FROM mine").fetchall() == [(1,)]


def test_a_server_with_a_table_of_our_name_is_refused(postgres_url: str, postgres: Any) -> None:
    name = postgres_url.partition("@/")[2].partition("?")[0]
    postgres.execute("CREATE TABLE run_files (id int)", name)
    with pytest.raises(errors.NotOurs, match="'run_files'"):
        Store.open(postgres_url, warm=False)
    found = postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
    assert found == [("run_files",)]


def test_a_database_that_others_use_too_is_set_up_beside_their_tables(
    postgres_url: str, postgres: Any
) -> None:
    name = postgres_url.partition("@/")[2].partition("?")[0]
    postgres.execute("CREATE TABLE theirs AS SELECT 1 AS x", name)
    with Store.open(postgres_url, warm=False) as store:
        store.runs.create()
    assert postgres.execute("SELECT x FROM theirs", name) == [(1,)]


@pytest.mark.parametrize("journal_mode", ["DELETE", "WAL"])
def test_a_newer_file_is_refused_byte_for_byte(
    tmp_path: Path, newer: Path, journal_mode: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    db: Any = database.connect(str(home / "s.db"))
    Migrator(db, newer).upgrade()
    db.shut()
    with closing(sqlite3.connect(home / "s.db")) as plain:
        plain.execute(f"PRAGMA journal_mode = {journal_mode}")
    before = everything(home)
    for options in ({}, {"migrate": False}, {"read_only": True}):
        arguments: Any = options
        with pytest.raises(errors.SchemaTooNew, match="9999_future") as caught:
            Store.open(home / "s.db", **arguments)
        assert caught.value.exit_code == 6
        assert caught.value.hint == "pip install --upgrade dynostore"
    after = {n: c for n, c in everything(home).items() if not n.startswith("s.db-")}
    assert after == before


def test_a_newer_database_is_not_upgraded_nor_downgraded(blank: Any, newer: Path) -> None:
    Migrator(blank, newer).upgrade()
    migrator = Migrator(blank)
    assert [step.name for step in migrator.status() if not step.known] == ["9999_future"]
    verbs: list[Callable[[], object]] = [
        migrator.ensure,
        migrator.upgrade,
        lambda: migrator.downgrade(0),
    ]
    for verb in verbs:
        with pytest.raises(errors.SchemaTooNew):
            verb()


def test_an_empty_file_is_a_fresh_one(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    with Store.open(tmp_path / "s.db") as store:
        assert store.check() == []
    with Store.open(tmp_path / "s.db", read_only=True) as store:
        assert store.runs.count() == 0


def test_without_tables_nothing_is_promised_to_a_reader(blank_url: str, tmp_path: Path) -> None:
    if not blank_url.startswith("postgres"):
        Path(blank_url).touch()
    for options in ({"read_only": True}, {"migrate": False}):
        arguments: Any = options
        with pytest.raises(errors.SchemaBehind, match="has no tables yet") as caught:
            Store.open(blank_url, warm=False, **arguments)
        assert caught.value.data["pending"] == [step.name for step in _all_steps()]


def _all_steps() -> list[Any]:
    with Store.open(":memory:") as store:
        return list(store.migrator.status())
