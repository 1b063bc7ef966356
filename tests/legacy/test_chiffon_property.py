"""Chiffon's data as nobody would write it: no crash, each row and file counted, the same twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.chiffon import ChiffonReader

UUIDS = [f"{n:08x}-1111-4222-8333-00000000000{n}" for n in range(1, 6)]
TIMES = [
    *("2025-12-05T11:52:20.515Z", "2025-12-05T11:52:20.515123+00:00", "2025-12-05T11:52:20"),
    *("2025-12-05 11:52:20.515123", "2025-12-05 11:52:20", "20251205-115220"),
    *("2025-12-05T11-52-20Z", "2025-12-05 11:52:20+00", "0001-01-01T00:00:00+14:00", "", "soon"),
    *("infinity", 1764935540, 1764935540.5, "9999-12-31 23:59:59.999999"),
]
TEXTS = ["", "x", "é ✅", "a\x00b", "x" * 700, b"\xff\x00", b"caf\xc3\xa9", 42, 1.5, float("inf")]
JSON = [
    *(
        "null",
        "{}",
        '{"a": [1, 2.5, "é"]}',
        "[1",
        '{"a": NaN}',
        '"\\u0000"',
        '"\\ud800"',
        "[" * 300,
    ),
    *("1e999", "not json", b"{}", 5, '"text"'),
]
WORDS = [
    *("pending", "completed", "failed", "FAILED", "Complete", "paused", "running", "in progress"),
    *("odd", None, 5, b"failed", "rejected", "executing"),
]
ids = st.sampled_from(
    [*UUIDS, *(u.replace("-", "") for u in UUIDS), UUIDS[0].upper(), "t-1", 7, None]
)
times = st.sampled_from([*TIMES, None])
texts = st.sampled_from([*TEXTS, None]) | st.text(max_size=5)
documents = st.sampled_from([*JSON, None])
words = st.sampled_from(["completed", "failed", "pending"]) | st.sampled_from(WORDS)
agents = st.sampled_from(["infra", "code", "Research", "plumber", None, 3])
numbers = st.sampled_from([0, 1, 2, -1, "3", "x", 2.0, 2.5, None, 2**62, b"1"])
tasks = st.fixed_dictionaries(
    {"task_id": ids, "request_text": texts, "status": words, "created_at": times},
    optional={
        "project_id": ids,
        "created_by": texts,
        "approved_at": times,
        "completed_at": times,
        "estimated_resources": documents,
        "actual_resources": documents,
        "external_ai_used": documents,
        "error_message": texts,
        "services_touched": documents,
        "größe": texts,
    },
)
steps = st.fixed_dictionaries(
    {"log_id": ids, "task_id": ids, "step_number": numbers, "agent_type": agents},
    optional={
        "action": texts,
        "status": words,
        "duration_ms": numbers,
        "output_summary": texts,
        "output_full": documents,
        "timestamp": times,
    },
)
queued = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["t-1", "t-2", 5, None, UUIDS[0], ["x"]]),
        "goal": st.sampled_from(["g", "", None, 5, "é"]),
        "created_at": st.sampled_from(["2026-01-01", "x", 5]),
        "edits": st.lists(st.integers(), max_size=2),
    },
)
audits = st.fixed_dictionaries(
    {"task_id": st.sampled_from([*UUIDS, "t", 5, None]), "status": st.sampled_from(WORDS[:-6])},
    optional={
        "execution_result": st.sampled_from([None, [], {"start_time": "x", "end_time": TIMES[1]}]),
        "dispatch_info": st.sampled_from(["x", {"dispatch_timestamp": TIMES[2]}]),
        "timestamp": st.sampled_from(TIMES),
        "request_text": st.sampled_from(["a", 5, None]),
    },
)
reports = st.fixed_dictionaries(
    {"task_id": st.sampled_from(["t-1", 7, None, ""])},
    optional={
        "goal": st.sampled_from(["g", None, 5]),
        "timestamp": st.sampled_from(TIMES),
        "verify_results": st.sampled_from([None, [], "x", [{"exit_code": 1}], [{}], [5]]),
    },
)
places = st.sampled_from(
    ["tasks/queue/p", "tasks/done/p", "tasks/queue/p/done", "tasks/failed", "tasks/x", "other"]
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Give files by path: whole, cut anywhere, or in another encoding."""
    tree: dict[str, bytes] = {}
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["yml", "audit", "report", "other"]))
        name = draw(st.sampled_from(["a", "b", UUIDS[0], "ü x"]))
        if kind == "yml":
            path, text = f"{draw(places)}/{name}.yml", yaml.safe_dump(draw(queued))
        elif kind == "audit":
            path, text = f".audit/tasks/{name}.json", json.dumps(draw(audits))
        elif kind == "report":
            path = f"runs/t-1/2025120{number}-115220/report.json"
            text = json.dumps(draw(reports))
        else:
            path, text = f"{draw(places)}/{name}.tmp", ""
        encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"]))
        data = text.encode(encoding)
        tree[path] = data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data
    return tree


NEEDED = ["task_id", "request_text", "status", "created_at"]


def columns_of(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def build(path: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write a database whose columns have no types, so that any cell may hold anything."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in tables.items():
            names = columns_of(rows)
            if table == "tasks":
                names = list(
                    dict.fromkeys([*names, "task_id", "request_text", "status", "created_at"])
                )
            elif not names:
                continue
            shown = ", ".join(f'"{name}"' for name in names)
            connection.execute(f"CREATE TABLE {table} ({shown})")
            marks = ", ".join("?" * len(names))
            connection.executemany(
                f"INSERT INTO {table} VALUES ({marks})", ([r.get(n) for n in names] for r in rows)
            )


def account(source: Path) -> int:
    """Read, and give how many rows and files of their own are records or lost ones."""
    first = [*ChiffonReader().read(str(source), ReadOptions())]
    assert [*ChiffonReader().read(str(source), ReadOptions())] == first
    rows = 0
    for item in first:
        if isinstance(item, SourceRecord):
            rows += 1 + len(item.children)
        elif item.is_record:
            assert (item.outcome, bool(item.reason)) == ("invalid", True)
            rows += 1
    return rows


def check_rows(some_tasks: list[dict[str, Any]], some_steps: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "agents"
        build(path, {"tasks": some_tasks, "execution_logs": some_steps})
        assert ChiffonReader().detect(str(path))
        assert account(path) == len(some_tasks) + len(some_steps)


@settings(max_examples=25, suppress_health_check=[*HealthCheck])
@given(st.lists(tasks, max_size=6), st.lists(steps, max_size=8))
def test_every_row_is_a_record_or_explained(
    some_tasks: list[dict[str, Any]], some_steps: list[dict[str, Any]]
) -> None:
    check_rows(some_tasks, some_steps)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=[*HealthCheck])
@given(st.lists(tasks, max_size=8), st.lists(steps, max_size=12))
def test_every_row_is_a_record_or_explained_at_length(
    some_tasks: list[dict[str, Any]], some_steps: list[dict[str, Any]]
) -> None:
    check_rows(some_tasks, some_steps)


def check_import(
    migrated_file: Path,
    tree: dict[str, bytes],
    some_tasks: list[dict[str, Any]],
    some_steps: list[dict[str, Any]],
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(shutil.copy(migrated_file, name)) as store,
    ):
        root = Path(name) / "old"
        for path, data in tree.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if some_tasks:
            build(root / "agents.db", {"tasks": some_tasks, "execution_logs": some_steps})
        files = sum(1 for file in root.rglob("*") if file.is_file())
        foretold = import_from(root, store, kind="chiffon", dry_run=True)
        report = import_from(root, store, kind="chiffon")
        assert foretold.records == report.records
        assert (foretold.files, report.files.found) == (report.files, files)
        assert [*report.differences] == []
        again = import_from(root, store, kind="chiffon")
        assert again.records.same == report.records.created + report.records.updated
        assert again.records.invalid == report.records.invalid
        found = ChiffonReader().read(str(root), ReadOptions())
        keys = {item.key for item in found if isinstance(item, SourceRecord)}
        stored = {task.task_id for task in store.tasks.stream()}
        assert stored == {e.key for e in report.entries if e.is_record and e.outcome == "created"}
        assert stored <= keys
        assert store.check() == []
        assert all(isinstance(item, SourceRecord | Finding) for item in found)


@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(trees(), st.lists(tasks, max_size=4), st.lists(steps, max_size=5))
def test_any_tree_is_taken_over_or_explained(
    migrated_file: Path,
    tree: dict[str, bytes],
    some_tasks: list[dict[str, Any]],
    some_steps: list[dict[str, Any]],
) -> None:
    check_import(migrated_file, tree, some_tasks, some_steps)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[*HealthCheck])
@given(trees(), st.lists(tasks, max_size=5), st.lists(steps, max_size=8))
def test_any_tree_is_taken_over_or_explained_at_length(
    migrated_file: Path,
    tree: dict[str, bytes],
    some_tasks: list[dict[str, Any]],
    some_steps: list[dict[str, Any]],
) -> None:
    check_import(migrated_file, tree, some_tasks, some_steps)
