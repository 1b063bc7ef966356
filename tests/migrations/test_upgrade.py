from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import config, database, errors
from dynostore.migrator import HISTORY_TABLE, Migrator
from dynostore.sqlite_dependents import CAPTURE_PREFIX
from dynostore.store import Store

pytestmark = pytest.mark.once

SchemaOf = Callable[[Any], dict[str, Any]]
Fill = Callable[[Any], None]
ALL_STEPS = ["0001_initial", "0002_columns", "0003_rebuild", "0004_rows"]


def rows(db: Any, sql: str) -> list[Any]:
    with db.reading():
        return list(db.execute_sql(sql).fetchall())


def counts(db: Any) -> dict[str, int]:
    with db.reading():
        return {
            table: rows(db, f'SELECT count(*) FROM "{table}"')[0][0] for table in db.get_tables()
        }


@pytest.fixture
def filled(blank: Any, steps: Path, fill: Fill) -> Any:
    """Give a database at version 1 with rows."""
    Migrator(blank, steps).upgrade(to=1)
    with blank.writing():
        fill(blank)
    return blank


def write_step(steps: Path, name: str, up: str, *, head: str = "", down: str = "pass") -> None:
    """Write a step whose bodies are single statements."""
    (steps / f"{name}.py").write_text(
        f"{head}\ndef up(migrator, db):\n    {up}\n\n\ndef down(migrator, db):\n    {down}\n"
    )


def upgraded_file(path: Path, steps: Path) -> Any:
    db: Any = database.connect(str(path))
    Migrator(db, steps).upgrade()
    return db


# the plan


def test_upgrade_takes_all_steps_and_then_none(blank: Any, steps: Path) -> None:
    migrator = Migrator(blank, steps)
    assert [step.applied_at for step in migrator.status()] == [None] * 4
    assert migrator.upgrade() == ALL_STEPS
    assert migrator.upgrade() == []
    assert migrator.ensure() == []
    now = dt.datetime.now(dt.UTC)
    for step, name in zip(migrator.status(), ALL_STEPS, strict=True):
        assert (step.name, step.number, step.known) == (name, int(name[:4]), True)
        assert step.applied_at is not None
        assert dt.timedelta(0) <= now - step.applied_at < dt.timedelta(minutes=5)


def test_upgrade_and_downgrade_stop_where_they_are_told(
    blank: Any, steps: Path, schema_of: SchemaOf
) -> None:
    migrator = Migrator(blank, steps)
    assert migrator.upgrade(to=2) == ALL_STEPS[:2]
    second = schema_of(blank)
    assert migrator.upgrade(to=2) == []
    assert migrator.upgrade(to=1) == []
    assert migrator.upgrade() == ALL_STEPS[2:]
    assert migrator.downgrade(to=2) == ["0004_rows", "0003_rebuild"]
    assert sorted(second["runs"]["columns"]) == sorted(schema_of(blank)["runs"]["columns"])
    assert migrator.downgrade(to=2) == []
    assert migrator.downgrade(to=0) == ["0002_columns", "0001_initial"]
    assert set(schema_of(blank)) == {HISTORY_TABLE}
    assert migrator.upgrade() == ALL_STEPS


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
def test_a_number_that_is_no_step_is_refused(blank: Any, steps: Path, verb: str) -> None:
    for number in (5, -1, 99):
        with pytest.raises(
            errors.InvalidValue, match=r"no migration .*; they are 1, 2, 3, 4, 0 is"
        ):
            getattr(Migrator(blank, steps), verb)(to=number)
    with blank.reading():
        assert blank.get_tables() == []


def test_the_schema_cannot_change_inside_a_transaction(filled: Any, steps: Path) -> None:
    with filled.writing(), pytest.raises(errors.MigrationFailed, match="inside a transaction"):
        Migrator(filled, steps).upgrade()
    assert Migrator(filled, steps).upgrade() == ALL_STEPS[1:]


# what survives


def test_parents_are_rebuilt_and_no_child_is_lost(filled: Any, steps: Path) -> None:
    before = counts(filled)
    Migrator(filled, steps).upgrade(to=3)
    after = counts(filled)
    assert after == before | {HISTORY_TABLE: 3}
    assert after["run_files"] == 40
    assert rows(filled, "SELECT DISTINCT rating FROM run_files") == [(3,)]
    assert rows(filled, "SELECT source FROM runs WHERE id = 'r7'") == [("s",)]
    with filled.writing():
        filled.execute_sql("DELETE FROM runs WHERE id = 'r7'")
    assert counts(filled)["run_files"] == 38  # the reference still cascades


def test_indexes_survive_a_rebuild(filled: Any, steps: Path, schema_of: SchemaOf) -> None:
    before = schema_of(filled)["runs"]["indexes"]
    Migrator(filled, steps).upgrade()
    after = schema_of(filled)["runs"]["indexes"]
    assert [index for index in before if "jetstream_id" not in str(index)] == after


def test_triggers_and_views_survive_a_rebuild_and_capture_sees_no_migration(
    tmp_path: Path, steps: Path, fill: Fill
) -> None:
    db: Any = database.connect(str(tmp_path / "s.db"))
    Migrator(db, steps).upgrade(to=1)
    with db.writing():
        fill(db)
        db.execute_sql("CREATE TABLE log (what TEXT)")
        for name, table in (
            (f"{CAPTURE_PREFIX}runs_update", "runs"),
            (f"{CAPTURE_PREFIX}run_files_update", "run_files"),
            ("mine", "runs"),
            ("mine_too", "run_files"),
        ):
            db.execute_sql(
                f"CREATE TRIGGER {name} AFTER UPDATE ON {table} "
                f"BEGIN INSERT INTO log SELECT '{name} ' || count(*) FROM runs; END"
            )
        db.execute_sql("CREATE VIEW overview AS SELECT r.id FROM runs r JOIN run_files f")
        db.execute_sql(
            "CREATE TRIGGER through INSTEAD OF INSERT ON overview "
            "BEGIN INSERT INTO log VALUES ('through'); END"
        )
    query = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'view')"
    before = rows(db, query)
    Migrator(db, steps).upgrade()
    assert sorted(rows(db, query)) == sorted(before)
    assert rows(db, "SELECT what FROM log") == []
    with db.writing():
        db.execute_sql("UPDATE runs SET status = 'error' WHERE id = 'r1'")
    assert len(rows(db, "SELECT what FROM log")) == 2
    assert len(rows(db, "SELECT id FROM overview")) == 20 * 40
    db.shut()


def test_foreign_keys_are_on_again_afterwards(tmp_path: Path, steps: Path) -> None:
    db = upgraded_file(tmp_path / "s.db", steps)
    assert rows(db, "PRAGMA foreign_keys") == [(1,)]
    write_step(steps, "0005_bad", "raise RuntimeError")
    with pytest.raises(errors.MigrationFailed):
        Migrator(db, steps).upgrade()
    assert rows(db, "PRAGMA foreign_keys") == [(1,)]
    db.shut()


# what is refused, without a trace


@pytest.mark.parametrize(
    ("up", "message"),
    [
        (
            "db.execute_sql('CREATE TABLE more (a TEXT)'); raise RuntimeError('half-way')",
            "half-way",
        ),
        (
            "db.execute_sql('ALTER TABLE runs ADD COLUMN x TEXT'); db.execute_sql('nonsense')",
            "nonsense",
        ),
        ("db.execute_sql('UPDATE runs SET source = NULL')", "0005_step: up failed"),
        ("db.execute_sql(\"DELETE FROM runs WHERE id = 'r1'\")", "run"),
        ("migrator.migrate(migrator.drop_column('runs', 'none'))", "none"),
    ],
)
def test_a_failing_step_leaves_no_trace_and_takes_back_the_others(
    filled: Any, steps: Path, schema_of: SchemaOf, up: str, message: str
) -> None:
    before = schema_of(filled), counts(filled), rows(filled, "SELECT * FROM runs ORDER BY id")
    write_step(steps, "0005_step", up)
    migrator = Migrator(filled, steps)
    with pytest.raises(errors.MigrationFailed, match=message) as caught:
        migrator.upgrade()
    assert caught.value.exit_code == 6
    after = schema_of(filled), counts(filled), rows(filled, "SELECT * FROM runs ORDER BY id")
    assert after == before
    assert [step.number for step in migrator.status() if step.applied_at] == [1]
    (steps / "0005_step.py").unlink()
    assert migrator.upgrade() == ALL_STEPS[1:]


def test_a_step_that_loses_rows_is_refused_unless_it_says_so(filled: Any, steps: Path) -> None:
    loss = "db.execute_sql(\"DELETE FROM run_files WHERE filename = 'a'\")"
    write_step(steps, "0005_loss", loss)
    with pytest.raises(errors.MigrationFailed, match="run_files would have 20 rows instead of 40"):
        Migrator(filled, steps).upgrade()
    assert counts(filled)["run_files"] == 40
    write_step(steps, "0005_loss", loss, head='CHANGES_ROWS = ("run_files",)')
    Migrator(filled, steps).upgrade()
    assert counts(filled)["run_files"] == 20
    assert counts(filled)["imports"] == 10


def test_a_step_that_orphans_a_row_is_refused(tmp_path: Path, steps: Path, fill: Fill) -> None:
    db: Any = database.connect(str(tmp_path / "s.db"))
    Migrator(db, steps).upgrade(to=1)
    with db.writing():
        fill(db)
    write_step(steps, "0005_orphan", "db.execute_sql(\"UPDATE runs SET id = 'x' WHERE id = 'r1'\")")
    with pytest.raises(errors.MigrationFailed, match=r"run_files .* missing row of runs"):
        Migrator(db, steps).upgrade()
    assert rows(db, "SELECT count(*) FROM runs WHERE id = 'r1'") == [(1,)]
    db.shut()


def test_a_step_outside_of_the_transaction_is_refused(filled: Any, steps: Path) -> None:
    write_step(steps, "0005_loose", "pass", head="atomic = False")
    with pytest.raises(errors.MigrationFailed, match="must run inside the transaction"):
        Migrator(filled, steps).upgrade()


def test_a_step_without_up_or_down_is_refused_before_any_other_runs(
    filled: Any, steps: Path, schema_of: SchemaOf
) -> None:
    before = schema_of(filled)
    (steps / "0005_empty.py").write_text("")
    with pytest.raises(errors.MigrationFailed, match=r"0005_empty does not define up\(\)"):
        Migrator(filled, steps).upgrade()
    assert schema_of(filled) == before
    (steps / "0005_empty.py").write_text("def up(migrator, db):\n    pass\n")
    Migrator(filled, steps).upgrade()
    before = schema_of(filled)
    with pytest.raises(errors.MigrationFailed, match=r"0005_empty does not define down\(\)"):
        Migrator(filled, steps).downgrade(to=1)
    assert schema_of(filled) == before


# backups


def backups(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.glob("*.bak"))


@pytest.fixture
def file(tmp_path: Path, steps: Path, fill: Fill) -> Path:
    """Give a file at version 1 with rows; its name is no pattern."""
    path = tmp_path / "s[1]*.db"
    db: Any = database.connect(str(path))
    Migrator(db, steps).upgrade(to=1)
    with db.writing():
        fill(db)
    db.shut()
    return path


def test_a_checked_backup_is_made_before_data_is_touched(file: Path, steps: Path) -> None:
    with closing(sqlite3.connect(file)) as plain:
        before = list(plain.iterdump())
    upgraded_file(file, steps).shut()
    (name,) = backups(file)
    assert name == f"{file.name}.before-0002.bak"
    with closing(sqlite3.connect(file.parent / name)) as plain:
        assert list(plain.iterdump()) == before
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (file.parent / name).stat().st_mode & 0o777 == 0o600


def test_only_the_last_two_backups_are_kept(file: Path, steps: Path) -> None:
    stranger = file.parent / "s1.db.before-0001.bak"
    stranger.write_text("somebody else's")
    for number in (2, 3, 4):
        db: Any = database.connect(str(file))
        Migrator(db, steps).upgrade(to=number)
        db.shut()
    assert backups(file) == [
        stranger.name,
        f"{file.name}.before-0003.bak",
        f"{file.name}.before-0004.bak",
    ]


def test_without_data_there_is_nothing_to_back_up(tmp_path: Path, steps: Path) -> None:
    upgraded_file(tmp_path / "new.db", steps).shut()
    assert backups(tmp_path / "new.db") == []


def test_no_room_for_a_backup_is_a_refusal(
    file: Path, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    db: Any = database.connect(str(file))
    with pytest.raises(errors.StoreUnwritable, match="needed for a backup"):
        Migrator(db, steps).upgrade()
    assert [s.number for s in Migrator(db, steps).status() if s.applied_at] == [1]
    db.shut()


def test_a_damaged_file_is_not_upgraded(file: Path, steps: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-4096:] = b"\xff" * 4096
    file.write_bytes(content)
    db: Any = database.connect(str(file))
    with pytest.raises((errors.IntegrityFailure, errors.StoreCorrupt)):
        Migrator(db, steps).upgrade()
    db.shut()
    assert backups(file) == []


# locks


def test_an_upgrade_waits_for_another_one_and_says_so(file: Path, steps: Path) -> None:
    from dynostore.migrator import file_lock

    db: Any = database.connect(str(file), config.Settings(busy_timeout_s=0.2))
    with file_lock(file, "lock", 1), pytest.raises(errors.StoreLocked) as caught:
        Migrator(db, steps).upgrade()
    assert caught.value.exit_code == 5
    Migrator(db, steps).upgrade()
    db.shut()


def test_a_server_upgrade_waits_for_another_one_and_says_so(postgres_url: str, steps: Path) -> None:
    import psycopg2

    from dynostore import migrator

    db: Any = database.connect(postgres_url, config.Settings(busy_timeout_s=0.2))
    with closing(psycopg2.connect(postgres_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (migrator._ADVISORY_LOCK,))
        with pytest.raises(errors.StoreLocked):
            Migrator(db, steps).upgrade()
    assert Migrator(db, steps).upgrade() == ALL_STEPS
    db.shut()


# opening


def test_opening_upgrades_a_file_that_is_behind_and_never_a_server(
    filled: Any, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.migrator.directory", lambda: steps)
    url = str(filled.path) if filled.dialect == "sqlite" else filled.url
    for options in ({"read_only": True}, {"migrate": False}):
        arguments: Any = options
        with pytest.raises(errors.SchemaBehind, match="0002_columns"):
            Store.open(url, warm=False, **arguments)
    if filled.dialect == "sqlite":
        Store.open(url).close()
    else:
        with pytest.raises(errors.SchemaBehind) as caught:
            Store.open(url, warm=False)
        assert str(caught.value.hint).endswith("db upgrade")
        assert Migrator(filled).upgrade() == ALL_STEPS[1:]
    with Store.open(url, warm=False) as store:
        assert all(step.applied_at for step in store.migrator.status())


def test_a_restored_backup_gets_its_log_back(file: Path, steps: Path, tmp_path: Path) -> None:
    upgraded_file(file, steps).shut()
    with closing(sqlite3.connect(file)) as plain:
        plain.execute("PRAGMA journal_mode = DELETE")
    db: Any = database.connect(str(file))
    assert Migrator(db, steps).ensure() == []
    assert rows(db, "PRAGMA journal_mode") == [("wal",)]
    db.shut()
