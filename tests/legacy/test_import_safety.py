"""Imports that are killed, that race, and whose rows are tampered with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, importer
from dynostore.errors import StoreUnwritable
from dynostore.importer import import_from

_IMPORT = """
import json, sys
sys.stdin.readline()
from dynostore import Store
from dynostore.importer import import_from
with Store.open(sys.argv[2]) as store:
    report = import_from(sys.argv[1], store)
print(json.dumps([report.records.to_json(), report.files.to_json(), len(report.differences)]))
"""


def content_of(store: Store) -> list[Any]:
    """Give all that an import decides: everything but the moment of importing."""
    runs = [*store.runs.stream()]
    rows = [run.values() for run in runs]
    rows += [file.values() for run in runs for file in store.runs.files(run.id)]
    imports = [row.values() for row in store.imports.stream()]
    for row in imports:
        del row["imported_at"]
    return rows + sorted(imports, key=lambda row: str(row["id"]))


def fill(tree: Any, runs: int) -> None:
    tree.add_all()
    for number in range(runs):
        tree.add_a(f"many_{number:03}")


@pytest.mark.slow
def test_an_import_killed_at_any_statement_is_completed_by_the_next(
    tree: Any,
    tmp_path: Path,
    migrated_file: Path,
    killed_at: Callable[[int, Callable[[], object]], bool],
    telling_statements: Callable[[Path, Callable[[], object]], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(tree, 40)
    with Store.open(tmp_path / "whole.db") as store:
        import_from(tree.root, store)
        expected = content_of(store)
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 20)  # several batches of few runs
    path = tmp_path / "killed.db"

    def act() -> None:
        with Store.open(path) as store:
            import_from(tree.root, store)

    shutil.copy(migrated_file, path)
    *numbers, end = telling_statements(path, act)
    assert end > 20
    stored_between = set()
    for number in numbers:
        for rest in tmp_path.glob("killed.db*"):
            rest.unlink()
        shutil.copy(migrated_file, path)
        assert killed_at(number, act), number
        with Store.open(path) as store:
            assert store.check() == []
            stored = store.runs.count()
            assert store.imports.count(status="created") == stored
            stored_between.add(stored)
            report = import_from(tree.root, store)
            assert report.records.same == stored
            assert content_of(store) == expected
    assert len(stored_between) > 1  # whole batches, not all or nothing


def test_eight_processes_may_import_the_same_tree_into_the_same_new_file(
    tree: Any, tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    fill(tree, 75)
    path = tmp_path / "shared.db"
    processes = [start_python(_IMPORT, tree.root, path) for _ in range(8)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    created = 0
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        records, files, differences = json.loads(out)
        assert records["created"] + records["same"] == 80
        assert (records["found"], files["found"]) == (81, tree.file_count())
        assert differences == 0
        created += records["created"]
    assert created == 80
    with Store.open(path) as store, Store.open(tmp_path / "alone.db") as alone:
        assert store.check() == []
        import_from(tree.root, alone)
        assert content_of(store) == content_of(alone)


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        (
            "AFTER INSERT ON runs BEGIN UPDATE runs SET current_stage = 'x' WHERE id = NEW.id; END",
            "runs run_a: reads back differently: current_stage",
        ),
        (
            "AFTER INSERT ON run_files BEGIN DELETE FROM run_files WHERE id = NEW.id; END",
            "was written and is not in the store",
        ),
        (
            "AFTER INSERT ON run_files BEGIN "
            "UPDATE run_files SET metadata = '{}', size_bytes = 1 WHERE id = NEW.id; END",
            "reads back differently: size_bytes, metadata",
        ),
        (
            "AFTER INSERT ON run_files WHEN NEW.filename <> 'extra' BEGIN "
            "INSERT INTO run_files (id, run_id, filename, created_at) VALUES "
            "('0bff806b-9ec2-5bb5-8960-b7c0d6d8c2e2', NEW.run_id, 'extra', NEW.created_at); END",
            "is in the store and not in the source",
        ),
    ],
)
def test_a_store_that_does_not_hold_what_was_read_is_found_out(
    tree: Any, target: Store, trigger: str, message: str
) -> None:
    tree.add_a()
    target.database.execute_sql(f"CREATE TRIGGER tamper {trigger}")
    report = import_from(tree.root, target)
    assert [remark.path for remark in report.differences] == ["runs/run_a"]
    assert message in report.differences[0].message
    assert report.exit_code == 3


def test_a_batch_for_which_there_is_no_room_leaves_nothing_of_itself(
    tree: Any, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "_BATCH_RECORDS", 20)
    fill(tree, 100)
    with target.database.reading():
        execute = target.database.execute_sql
        (pages,) = execute("PRAGMA page_count").fetchone()
        execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreUnwritable, match="full"):
            import_from(tree.root, target)
        execute("PRAGMA max_page_count = 1000000")
    stored = target.runs.count()
    assert 0 < stored < 105
    assert target.imports.count(status="created") == stored
    report = import_from(tree.root, target)
    assert report.records.same == stored
    assert target.runs.count() == 105


def test_a_record_that_the_database_cannot_hold_costs_itself_only(tree: Any, target: Store) -> None:
    fill(tree, 3)
    target.database.execute_sql(
        "CREATE TRIGGER limited BEFORE INSERT ON run_files WHEN NEW.run_id = 'many_001' "
        "BEGIN SELECT abs(-9223372036854775808); END"
    )
    report = import_from(tree.root, target)
    refused = [e for e in report.entries if e.key == "many_001"]
    assert [(e.outcome, "integer overflow" in str(e.reason)) for e in refused] == [
        ("invalid", True)
    ]
    assert (report.records.created, report.exit_code) == (7, 3)
    assert target.imports.count(status="created") == target.runs.count() == 7
    target.database.execute_sql("DROP TRIGGER limited")
    report = import_from(tree.root, target)
    assert (report.records.created, report.records.same) == (1, 7)


def test_the_source_is_not_touched(tree: Any, target: Store) -> None:
    fill(tree, 3)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in tree.root.rglob("*")
    }
    import_from(tree.root, target)
    after = {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in tree.root.rglob("*")
    }
    assert after == before
