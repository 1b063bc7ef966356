"""Chiffon's files: each is one task or one finding, and nothing is made up from them."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.importing.verify import verify_sources
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.base import Unreadable
from dynostore.legacy.chiffon import ChiffonReader
from dynostore.legacy.source_yaml import parse_mapping

REAL = Path(__file__).resolve().parents[3] / "shared" / "legacy-samples" / "chiffon"
KEY = "79e2692e-0c4d-4d30-b329-c445a554f928"
QUEUED = "id: task-3\ngoal: Establish the queue.\nedits: []\nverify: [pytest]\n"


def report(**changes: Any) -> dict[str, Any]:
    """Give the report of a run; a change of ... leaves the key out."""
    document = {
        "task_id": "task-3",
        "goal": "Establish the queue.",
        "branch": "chiffon/task-3/20260202-204742",
        "commit_hash": "34ada89444f5e1dc0a38f387901510d4864dd40d",
        "timestamp": "20260202-204742",
        "verify_results": [{"cmd": "pytest", "exit_code": 0, "stdout": "ok", "stderr": ""}],
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def audit(**changes: Any) -> dict[str, Any]:
    """Give an audit record; a change of ... leaves the key out."""
    document = {
        "task_id": KEY,
        "status": "completed",
        "plan_id": "p1",
        "plan_steps": [{"n": 1}],
        "dispatch_info": {"agent_id": "a", "dispatch_timestamp": "2026-01-01T09:59:00.5"},
        "execution_result": {
            "outcome": "ok",
            "resources_used": {"cpu_time_ms": 5},
            "services_touched": ["dns"],
            "start_time": "2026-01-01T10:00:00",
            "end_time": "2026-01-01T10:05:00",
        },
        "timestamp": "2026-01-01T10:06:00Z",
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def read(source: Any) -> tuple[list[SourceRecord], list[Finding]]:
    found = [*ChiffonReader().read(str(source), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    return records, [item for item in found if isinstance(item, Finding)]


def test_each_run_of_a_task_is_a_task_without_made_up_steps(tree: Any, target: Store) -> None:
    tree.write("runs/task-3/20260202-204742/report.json", report())
    failed = [{"cmd": "a", "exit_code": 0}, {"cmd": "b", "exit_code": 2, "stderr": "no"}]
    later = report(timestamp="20260202-204947", verify_results=failed)
    path = tree.write("runs/task-3/20260202-204947/report.json", later)
    tree.write("runs/task-3/20260202-204947/stdout.log", "x")
    assert ChiffonReader().detect(str(path))
    result = import_from(tree.root, target)
    assert (result.records.created, result.files.created, result.files.skipped) == (2, 2, 1)
    second, first = target.tasks.list().items
    assert (first.status, second.status) == ("completed", "failed")
    assert first.created_at == dt.datetime(2026, 2, 2, 20, 47, 42, tzinfo=dt.UTC)
    assert (first.request_text, first.metadata) == ("Establish the queue.", report())
    assert target.tasks.steps(first.task_id) == target.tasks.steps(second.task_id) == []
    assert import_from(path, target).records.same == 1


@pytest.mark.parametrize(
    ("changes", "status", "warnings"),
    [
        ({"verify_results": []}, "completed", 0),
        ({"verify_results": None, "goal": ...}, "completed", 1),
        ({"verify_results": [{"exit_code": None}]}, "failed", 0),
        ({"verify_results": [{"exit_code": "0"}, 5]}, "completed", 0),
        ({"timestamp": ..., "extra": {"a": 1}}, "completed", 0),
        ({"timestamp": "tomorrow", "task_id": 7}, "completed", 1),
    ],
)
def test_a_report_of_any_shape_is_kept_whole(
    tree: Any, changes: dict[str, Any], status: str, warnings: int
) -> None:
    document = report(**changes)
    tree.write("runs/task-3/20260202-204742/report.json", document)
    (record,), findings = read(tree.root)
    assert (record.values["status"], record.values["metadata"]) == (status, document)
    assert (len(record.warnings), findings) == (warnings, [])


def test_the_directory_of_a_queue_says_what_became_of_a_task(tree: Any, target: Store) -> None:
    tree.write("tasks/queue/core/waiting.yml", QUEUED.replace("task-3", "task-4"))
    tree.write("tasks/queue/core/done/issue-3.yml", QUEUED)
    tree.write("tasks/failed/core/deep/er/x.yaml", "id: 5\ngoal: fail\ncreated_at: 2026-01-01\n")
    tree.write("tasks/README.yml", QUEUED)
    result = import_from(tree.root, target)
    assert (result.records.created, result.files.skipped) == (3, 1)
    tasks = {t.request_text + str(t.metadata["id"]): t for t in target.tasks.list().items}
    assert {k: t.status for k, t in tasks.items()} == {
        "Establish the queue.task-4": "pending",
        "Establish the queue.task-3": "completed",
        "fail5": "failed",
    }
    assert tasks["fail5"].created_at == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert tasks["Establish the queue.task-3"].metadata == {
        "id": "task-3",
        "goal": "Establish the queue.",
        "edits": [],
        "verify": ["pytest"],
        "queue": {"project": "core", "state": "done"},
    }


def test_a_task_that_moved_on_is_the_same_task(tree: Any, target: Store) -> None:
    path = tree.write("tasks/queue/core/issue-3.yml", QUEUED)
    import_from(tree.root, target)
    (before,) = target.tasks.list().items
    done = path.parent / "done" / path.name
    done.parent.mkdir()
    path.rename(done)
    result = import_from(tree.root, target)
    assert (result.records.updated, result.records.created) == (1, 0)
    after = target.tasks.get(before.task_id)
    assert (after.status, after.metadata["queue"]["state"]) == ("completed", "done")


def test_of_copies_in_a_queue_the_one_that_is_furthest_is_taken(tree: Any) -> None:
    tree.write("tasks/queue/core/a.yml", QUEUED)
    tree.write("tasks/queue/core/b.yml", QUEUED + "note: edited\n")
    tree.write("tasks/failed/core/a.yml", QUEUED)
    tree.write("tasks/done/core/a.yml", QUEUED)
    tree.write("tasks/done/other/a.yml", QUEUED)
    records, findings = read(tree.root)
    assert [r.path for r in records] == ["tasks/done/core/a.yml", "tasks/done/other/a.yml"]
    taken = "tasks/done/core/a.yml, which was taken"
    assert [(f.path, f.outcome, f.reason) for f in findings] == [
        ("tasks/failed/core/a.yml", "skipped", f"the same task as {taken}"),
        ("tasks/queue/core/a.yml", "skipped", f"the same task as {taken}"),
        (
            "tasks/queue/core/b.yml",
            "invalid",
            f"has the id and the goal of {taken}, and differs from it",
        ),
    ]


def test_an_audit_record_is_a_task_that_says_how_it_ended(tree: Any, target: Store) -> None:
    path = tree.write(f".audit/tasks/{KEY}.json", audit())
    assert ChiffonReader().detect(str(path))
    result = import_from(tree.root, target)
    assert (result.exit_code, result.records.created) == (0, 1)
    task = target.tasks.get(KEY)
    assert (task.status, task.request_text, task.metadata) == ("completed", "", audit())
    assert task.created_at == dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC)
    assert task.completed_at == dt.datetime(2026, 1, 1, 10, 5, tzinfo=dt.UTC)
    assert task.actual_resources == {"cpu_time_ms": 5}
    assert import_from(tree.root, target).records.same == 1


def test_an_audit_record_beside_its_database_is_a_part_of_the_task(
    tree: Any, chiffon: Any, target: Store
) -> None:
    chiffon.add("tasks", chiffon.task(1, task_id=KEY.replace("-", "")), chiffon.task(2))
    tree.write(f".audit/tasks/{KEY}.json", audit())
    tree.write(f".audit/tasks/{KEY[:-1]}0.json", audit(task_id=KEY[:-1] + "0"))
    tree.write(f".audit/tasks/{2:032x}.json", "{")
    result = import_from(chiffon.path.parent, target, kind="chiffon")
    assert (result.records.created, result.records.invalid, result.files.found) == (3, 0, 4)
    assert (result.files.created, result.files.invalid) == (3, 1)
    task = target.tasks.get(KEY)
    assert (task.request_text, task.metadata["audit"]) == ("Deploy 1", audit())
    tree.write(f".audit/tasks/{KEY}.json", audit(plan_id="p2"))
    assert import_from(chiffon.path.parent, target, kind="chiffon").records.updated == 1


def test_an_audit_record_of_a_task_in_the_queue_is_a_part_of_it_in_a_dry_run_too(
    tree: Any, target: Store
) -> None:
    tree.write(f"tasks/queue/p/{KEY}.yml", b"goal: Deploy\n")
    tree.write(".audit/tasks/by-another-name.json", audit())
    foretold = import_from(tree.root, target, kind="chiffon", dry_run=True)
    report = import_from(tree.root, target, kind="chiffon")
    assert foretold.records == report.records
    assert (report.records.created, report.records.found, report.files.created) == (1, 1, 2)
    task = target.tasks.get(KEY)
    assert (task.request_text, task.status, task.metadata["audit"]) == (
        "Deploy",
        "pending",
        audit(),
    )


def test_an_audit_record_adds_to_the_task_that_its_database_gave(
    tree: Any, chiffon: Any, target: Store, tmp_path: Path
) -> None:
    chiffon.add("tasks", chiffon.task(1, task_id=KEY.replace("-", "")))
    import_from(chiffon.path, target)
    before = target.tasks.get(KEY)
    tree.root = tmp_path / "apart"
    path = tree.write(f".audit/tasks/{KEY}.json", audit())
    report = import_from(tree.root, target)
    assert (report.records.updated, report.exit_code) == (1, 0)
    after = target.tasks.get(KEY)
    assert (after.request_text, after.created_at) == ("Deploy 1", before.created_at)
    assert (after.completed_at, after.metadata) == (before.completed_at, audit())
    assert after.actual_resources == {"cpu_time_ms": 5}
    for source in (chiffon.path, tree.root, chiffon.path, path):
        assert import_from(source, target).records.same == 1
        assert target.tasks.get(KEY) == after
    assert verify_sources(target, [tree.root]).exit_code == 0


def test_the_time_of_a_file_is_taken_once(tree: Any, target: Store, tmp_path: Path) -> None:
    path = tree.write("tasks/done/core/a.yml", QUEUED)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    import_from(tree.root, target)
    (before,) = target.tasks.list().items
    assert before.created_at == dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    tree.root.rename(tmp_path / "moved")
    assert import_from(tmp_path / "moved", target).records.same == 1
    assert [*target.tasks.list().items] == [before]
    assert verify_sources(target, [tmp_path / "moved"]).exit_code == 0


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("runs/t/20260202-204742/report.json", b'{"task_id": "t", "goal"', "truncated JSON"),
        ("runs/t/20260202-204742/report.json", b'{"goal": "x"}', "task_id: is missing"),
        (f".audit/tasks/{KEY}.json", b'{"task_id": "x"}', "status: is missing"),
        (f".audit/tasks/{KEY}.json", b'{"task_id": "x", "status": "odd"}', "unknown value 'odd'"),
        (f".audit/tasks/{KEY}.json", b"[]", "an object is expected"),
        ("tasks/queue/p/a.yml", b"", "the file is empty"),
        ("tasks/queue/p/a.yml", b"- a", "a mapping is expected"),
        ("tasks/queue/p/a.yml", b"id: !!python/object/apply:os.system [ls]", "not YAML"),
        ("tasks/queue/p/a.yml", "goal: é".encode("latin-1"), "not YAML"),
    ],
)
def test_a_broken_file_says_why(tree: Any, path: str, content: bytes, reason: str) -> None:
    tree.write(path, content)
    records, (finding,) = read(tree.root)
    assert (records, finding.outcome, finding.is_record, finding.files) == ([], "invalid", True, 1)
    assert reason in finding.reason


def aliases(merged: bool) -> bytes:
    """Give a small document that is billions of values when its aliases are followed."""
    lines = ["x0: &x0 {k: 1}"]
    for level in range(1, 12):
        inner = ", ".join([f"*x{level - 1}"] * 9)
        value = f"{{<<: [{inner}]}}" if merged else f"[{inner}]"
        lines.append(f"x{level}: &x{level} {value}")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "data",
    [
        aliases(merged=False),
        aliases(merged=True),
        b"a: " + b"[" * 500_000,
        b"- " * 200_000,
        b"{a: " * 200_000,
        b"a: &a [*a]",
        b"a: 2026-99-99",
        b"a: " + b"9" * 5000,
        b"a: " + b"x" * 5_000_000,
    ],
)
def test_yaml_that_would_explode_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_mapping(data)


def test_yaml_is_read_as_what_json_can_hold() -> None:
    text = "a: 2026-01-01\n2: .nan\nb: !!set {z, y}\nc: !!binary aGk=\n"
    text += "d: &d [1]\ne: *d\nf: {<<: {g: 1}}\n"
    assert parse_mapping(text.encode("utf-16")) == {
        "a": "2026-01-01",
        "2": {"number": "nan"},
        "b": ["y", "z"],
        "c": {"base64": "aGk="},
        "d": [1],
        "e": [1],
        "f": {"g": 1},
    }


def test_other_trees_are_not_claimed(tree: Any) -> None:
    tree.add_all()
    tree.write("runs/x/report.json", {"task_id": 1})
    tree.write("roles/tasks/main.yml", "id: 1\n")
    tree.write("data/other.json", {"task_id": "x", "status": "done"})
    assert not ChiffonReader().detect(str(tree.root))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_every_file_of_the_real_samples_is_accounted_for(target: Store) -> None:
    files = sum(len(names) for _, _, names in os.walk(REAL))
    result = import_from(REAL, target)
    assert (result.kind, result.exit_code, files) == ("chiffon", 0, 7)
    assert (result.records.created, result.records.found) == (14, 14)
    assert (result.files.created, result.files.found) == (7, 7)
    steps = [len(target.tasks.steps(t.task_id)) for t in target.tasks.stream()]
    assert (len(steps), sum(steps)) == (14, 18)
    again = import_from(REAL, target)
    assert (again.records.same, again.files.same) == (14, 7)
