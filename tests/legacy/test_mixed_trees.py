"""Several tools in one tree: each file is counted once, and what is broken is not passed by."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.importing.source import choose_readers, find_source
from dynostore.importing.verify import verify_sources
from dynostore.legacy import READERS

TASK = "id: task-3\ngoal: Establish the queue.\n"


def test_a_damaged_database_is_told_of_beside_another_tools_data(
    tree: Any, chiffon: Any, target: Store
) -> None:
    tree.add_a()
    tree.write("tasks/done/core/a.yml", TASK)
    data = bytearray(chiffon.path.read_bytes())
    data[100:600] = bytes(500)
    chiffon.path.write_bytes(data)
    report = import_from(tree.root, target)
    assert (report.kind, report.exit_code) == ("dynoai, chiffon", 3)
    (lost,) = [entry for entry in report.entries if entry.outcome == "invalid"]
    assert (lost.path, lost.kind, lost.files) == (chiffon.path.name, "chiffon", 1)
    assert "the database is broken" in (lost.reason or "")
    assert report.files.found == tree.file_count()


def test_what_all_readers_say_of_one_path_is_compared_once(
    tree: Any, chiffon: Any, haia: Any, target: Store
) -> None:
    tree.add_a()
    chiffon.add("tasks", chiffon.task(1))
    haia.add("conversations", haia.talk(1))
    os.symlink(tree.root.parent / "gone.db", tree.root / "link.db")
    os.symlink(tree.root.parent / "gone", tree.root / "runs/link")
    assert import_from(tree.root, target).kind == "dynoai, chiffon, haia"
    for given in ([], [tree.root]):
        report = verify_sources(target, given)
        assert sorted(found.path for found in report.differences) == ["link.db", "runs/link"]
        assert all("gone" in found.reason for found in report.differences)
        assert not any("import that place" in found.reason for found in report.differences)
        assert [found.status for found in report.sources] == ["different"] * 3
        assert report.exit_code == 7


def test_a_file_that_is_a_part_of_a_databases_record_is_counted_once(
    tree: Any, chiffon: Any, haia: Any, target: Store
) -> None:
    chiffon.add("tasks", chiffon.task(1))
    haia.add("conversations", haia.talk(1))
    key = "00000000-0000-0000-0000-000000000001"
    tree.write(f".audit/tasks/{key}.json", {"task_id": key, "status": "completed", "plan_id": "p"})
    report = import_from(tree.root, target)
    assert report.kind == "chiffon, haia"
    assert (report.files.found, report.files.created) == (3, 3) == (tree.file_count(), 3)


def test_runs_in_a_database_of_dynoais_are_taken_over_unless_their_directory_was(
    tree: Any, target: Store
) -> None:
    tree.add_a()
    tree.write("notes.db", "no database")
    path = tree.root / "dynoai.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_DYNOAI_TABLES)
    empty = import_from(tree.root, target)
    assert (empty.records.found, empty.files.skipped, empty.exit_code) == (1, 2, 0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"INSERT INTO runs VALUES ('run_a', 'complete', 'upload', {_AT * 2} 7, NULL)"
        )
        connection.execute(
            f"INSERT INTO runs VALUES ('run_x', 'complete', 'upload', {_AT * 2} 8, NULL)"
        )
        connection.execute(
            f"INSERT INTO runs VALUES ('run_y', 'lost', 'upload', {_AT * 2} NULL, NULL)"
        )
        for number, run, name in ((1, "run_x", "VE.csv"), (2, "run_x", "../VE.csv"), (3, "-", "x")):
            row = f"{number}, '{run}', '{name}', 5, {_AT} 'local'"
            connection.execute(f"INSERT INTO run_files VALUES ({row})")
    report = import_from(tree.root, target)
    assert {entry.path: entry.outcome for entry in report.entries} == {
        "runs/run_a": "same",
        "notes.db": "skipped",
        "dynoai.db#runs/run_a": "skipped",
        "dynoai.db#runs/run_x": "created",
        "dynoai.db#runs/run_y": "invalid",
        "dynoai.db#run_files/3": "invalid",
    }
    assert (report.files.found, report.exit_code) == (tree.file_count(), 3)
    found = target.runs.get("run_x")
    assert (found.progress_percent, found.created_at.isoformat()) == (
        8,
        "2026-01-02T03:04:05+00:00",
    )
    (file,) = target.runs.files("run_x")
    assert (file.filename, file.size_bytes, file.metadata["storage_type"]) == ("VE.csv", 5, "local")
    assert found.metadata["files"][0]["filename"] == "../VE.csv"
    assert import_from(path, target).records.same == 1


_AT = "'2026-01-02 03:04:05',"
_DYNOAI_TABLES = """
CREATE TABLE runs (
    id VARCHAR(64) PRIMARY KEY, status VARCHAR(20), source VARCHAR(20), created_at DATETIME,
    updated_at DATETIME, progress_percent INTEGER, jetstream_id TEXT
);
CREATE TABLE run_files (
    id INTEGER PRIMARY KEY, run_id VARCHAR(64), filename VARCHAR(255), size_bytes INTEGER,
    created_at DATETIME, storage_type VARCHAR(10)
);
"""


def test_all_tools_are_looked_for_in_one_walk_that_opens_each_file_once(
    tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("talks/a.json", {"conversation_id": "a", "messages": [], "start_time": "2026-01-01"})
    tree.write("tasks/queue/core/b.yml", TASK)
    tree.write("notes/c.txt", "nobody's")
    places = sorted(map(str, [tree.root, *tree.root.rglob("*")]))
    met: list[str] = []
    for name in ("scandir", "open"):
        monkeypatch.setattr(os, name, _counted(getattr(os, name), met))
    found = choose_readers(find_source(tree.root), "auto", READERS)
    assert [reader.kind for reader in found] == ["chiffon", "haia"]
    assert sorted(met) == places


def _counted(function: Callable[..., Any], met: list[str]) -> Callable[..., Any]:
    def call(path: Any, *rest: Any) -> Any:
        met.append(str(path))
        return function(path, *rest)

    return call
