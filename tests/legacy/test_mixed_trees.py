"""Several tools in one tree: each file is counted once, and what is broken is not passed by."""

from __future__ import annotations

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
