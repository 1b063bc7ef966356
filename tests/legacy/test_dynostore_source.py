"""Importing another store: two machines' files into one, SQLite to Postgres and back."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.importer import import_from
from dynostore.importing.verify import verify_sources
from dynostore.migrator import step_names
from dynostore.models import REPLICATED
from dynostore.models.base import key_field
from dynostore.samples.seed import seed

pytestmark = pytest.mark.once

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def contents(store: Store) -> dict[str, list[Any]]:
    """Give all that a store holds, table by table."""
    with store.database.reading():
        return {
            model._meta.table_name: [
                record.values()
                for record in model.select().order_by(key_field(model)).execute(store.database)
            ]
            for model in REPLICATED
        }


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """Give another machine's store, with samples of every family."""
    with Store.open(tmp_path / "other.db") as opened:
        seed(opened, now=NOW)
        yield opened


@pytest.fixture
def other_path(other: Store) -> Path:
    """Give its file."""
    return Path(other.database.path)


def test_every_family_arrives_as_it_is(store: Store, other: Store, other_path: Path) -> None:
    foretold = import_from(other_path, store, dry_run=True)
    report = import_from(other_path, store)
    assert report.differences == []
    assert (report.kind, report.exit_code, len(report.warnings)) == ("dynostore", 0, 0)
    assert foretold.records == report.records
    assert (report.records.created, report.files.created) == (report.records.found, 1)
    assert contents(store) == contents(other)
    again = import_from(other_path, store)
    assert (again.records.same, again.records.found) == (report.records.found,) * 2


def test_a_store_in_postgres_arrives_as_it_is(
    target: Store, other_path: Path, postgres_url: str, other: Store
) -> None:
    with Store.open(postgres_url) as between:
        import_from(other_path, between)
        report = import_from(postgres_url, target)
        assert (report.exit_code, report.files.found) == (0, 0)
        assert contents(target) == contents(between) == contents(other)
        assert import_from(postgres_url, target).records.same == report.records.found
        with pytest.raises(errors.ConfigError, match="is the store itself"):
            import_from(postgres_url, between)


def test_what_is_only_in_the_log_arrives_and_nothing_changes_beside_the_file(
    target: Store, other: Store, other_path: Path
) -> None:
    other.runs.create(run_id="only-in-the-log", source="x")
    before = files_of(other_path)
    assert len(before["other.db-wal"]) > 0
    import_from(f"sqlite:///{other_path}", target)
    assert files_of(other_path) == before
    assert target.runs.get("only-in-the-log").source == "x"


def files_of(path: Path) -> dict[str, bytes]:
    """Give what lies beside a file, but for the log's index, where those who read take a seat."""
    found = path.parent.glob(f"{path.name}*")
    return {p.name: b"" if p.name.endswith("-shm") else p.read_bytes() for p in found}


def test_an_older_store_is_read_as_it_is_and_not_upgraded(
    target: Store, other: Store, other_path: Path
) -> None:
    other.migrator.downgrade(2)
    expected = contents_of_tables(other, ("runs", "run_files", "tasks", "execution_logs"))
    other.close()
    before = other_path.read_bytes()
    report = import_from(other_path, target)
    assert report.exit_code == 0
    assert contents_of_tables(target, expected) == expected
    assert sum(map(len, contents(target).values())) == sum(map(len, expected.values()))
    assert other_path.read_bytes() == before


def contents_of_tables(store: Store, tables: Any) -> dict[str, Any]:
    with store.database.reading():
        execute = store.database.execute_sql
        return {t: sorted(execute(f"SELECT * FROM {t}").fetchall()) for t in tables}


def test_a_newer_store_is_refused(target: Store, other: Store, other_path: Path) -> None:
    (last,) = step_names()[-1:]
    with other.transaction():
        other.database.execute_sql(
            "UPDATE dynostore_migration SET name = '9999_x' WHERE name = ?", (last,)
        )
    with pytest.raises(errors.SchemaTooNew, match="9999_x"):
        import_from(other_path, target, kind="dynostore")
    assert target.imports.count() == target.runs.count() == 0


def test_a_store_cannot_be_imported_into_itself(other: Store, other_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="is the store itself"):
        import_from(other_path, other)


def test_rows_without_their_parent_are_named(target: Store, other: Store, other_path: Path) -> None:
    with other.database.reading():
        execute = other.database.execute_sql
        execute("PRAGMA foreign_keys = OFF")
        execute("DELETE FROM tasks WHERE task_id = (SELECT task_id FROM execution_logs LIMIT 1)")
        (orphans,) = execute(
            "SELECT count(*) FROM execution_logs WHERE task_id NOT IN (SELECT task_id FROM tasks)"
        ).fetchone()
        execute("PRAGMA foreign_keys = ON")
    report = import_from(other_path, target)
    assert (report.records.invalid, report.exit_code) == (orphans, 3)
    assert orphans > 0
    reasons = {entry.reason for entry in report.entries if entry.outcome == "invalid"}
    assert reasons == {"task_id: its row of tasks is missing"}


def test_a_value_that_no_store_can_hold_costs_its_record_only(
    target: Store, other: Store, other_path: Path
) -> None:
    with other.transaction():
        other.database.execute_sql(
            "UPDATE runs SET status = 'odd' WHERE id = (SELECT min(id) FROM runs)"
        )
    report = import_from(other_path, target)
    assert (report.records.invalid, report.exit_code) == (1, 3)
    assert "status" in str(next(e.reason for e in report.entries if e.outcome == "invalid"))
    assert target.runs.count() == other.runs.count() - 1


def test_a_long_talk_is_read_in_pieces_that_stay_as_they_are_when_it_grows(
    target: Store, tmp_path: Path
) -> None:
    said: list[Any] = [{"role": "user", "content": f"{number}"} for number in range(3000)]
    with Store.open(tmp_path / "talk.db") as talk:
        key = talk.conversations.create_conversation("long").id
        talk.conversations.add_messages(key, said)
        first = import_from(tmp_path / "talk.db", target)
        assert first.records.created > 1
        talk.conversations.add_messages(key, said[:10])
        again = import_from(tmp_path / "talk.db", target)
        # The talk's own row says when it grew; its last piece is longer.
        assert again.records.updated == 2
        assert again.records.same == first.records.found - 2
        assert contents(target) == contents(talk)


def test_the_files_of_two_machines_come_together_and_what_differs_is_named(
    target: Store, tmp_path: Path
) -> None:
    for name in ("desk", "lap"):
        with Store.open(tmp_path / f"{name}.db") as store:
            store.runs.create(run_id=name, source=name)
            store.runs.create(run_id="shared", source="x", created_at=NOW)
            store.runs.update("shared", current_stage=name)
    assert import_from(tmp_path / "desk.db", target).exit_code == 0
    report = import_from(tmp_path / "lap.db", target)
    kept = {entry.key: [*entry.kept] for entry in report.entries if entry.kept}
    assert (kept, report.exit_code) == ({"shared": ["current_stage"]}, 3)
    assert {run.id for run in target.runs.stream()} == {"desk", "lap", "shared"}
    import_from(tmp_path / "lap.db", target, existing="update")
    assert target.runs.get("shared").current_stage == "lap"


def test_an_empty_store_is_a_file_without_records(target: Store, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty.db").close()
    report = import_from(tmp_path / "empty.db", target)
    assert (report.records.found, report.files.skipped, report.exit_code) == (0, 1, 0)


def test_a_store_that_was_taken_over_moves_as_a_file(target: Store, tmp_path: Path) -> None:
    source = tmp_path / "old.db"
    with Store.open(source) as old:
        seed(old)
    report = import_from(source, target, archive=tmp_path / "archive")
    assert (report.archived, report.exit_code) == (1, 0)
    assert not source.exists()
    assert verify_sources(target).exit_code == 0
    # Nothing is left to do, and a script that does it once more is not told of an error.
    again = import_from(source, target, archive=tmp_path / "archive")
    assert (again.exit_code, again.records.found) == (0, 0)


def test_a_store_that_is_in_use_stays_where_it_is(target: Store, tmp_path: Path) -> None:
    source = tmp_path / "old.db"
    with Store.open(source) as old:
        seed(old)
        report = import_from(source, target, archive=tmp_path / "archive")
    assert "end the program that uses it" in report.not_archived[0].message
    assert source.exists()


@pytest.mark.parametrize("seed_of_damage", range(6))
def test_of_a_damaged_store_what_can_be_read_is_taken_and_the_damage_reported(
    other: Store, other_path: Path, target: Store, seed_of_damage: int
) -> None:
    whole = contents(other)
    other.close()
    pages = bytearray(other_path.read_bytes())
    some, count = random.Random(seed_of_damage), len(pages) // 4096
    for page in some.sample(range(count // 2, count), count // 10):  # the schema is before them
        pages[page * 4096 : page * 4096 + 4096] = some.randbytes(4096)
    other_path.write_bytes(pages)
    report = import_from(other_path, target)
    assert (report.exit_code, report.records.invalid > 0) == (3, True)
    assert "the database is broken" in str(report.to_json()["items"])
    for table, rows in contents(target).items():
        assert all(row in whole[table] for row in rows)
