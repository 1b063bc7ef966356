"""Several tools in one tree: each file is counted once, and what is broken is not passed by."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from dynostore import Store
from dynostore.importer import import_from

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


def test_runs_in_a_database_of_dynoais_are_not_passed_by(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("notes.db", "no database")
    path = tree.root / "dynoai.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (id, status, jetstream_id)")
    assert import_from(tree.root, target).exit_code == 0
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO runs VALUES ('run_x', 'complete', NULL)")
    report = import_from(tree.root, target)
    (lost,) = [entry for entry in report.entries if entry.outcome == "invalid"]
    assert (lost.path, report.exit_code) == ("dynoai.db", 3)
    assert (lost.reason or "").startswith("1 runs in a database")
