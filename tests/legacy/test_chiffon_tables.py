"""Chiffon's database: every row is in one record or one finding, and the file is as it was."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import RemoteUnavailable, SourceNotFound
from dynostore.importer import import_from
from dynostore.legacy import ReadOptions, SourceRecord
from dynostore.legacy.chiffon import ChiffonReader

KEY = "00000000-0000-0000-0000-00000000000{}"


def read(source: Any) -> tuple[list[SourceRecord], list[Any]]:
    found = [*ChiffonReader().read(str(source), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    return records, [item for item in found if not isinstance(item, SourceRecord)]


def test_a_task_has_all_that_its_row_says_and_its_steps(chiffon: Any, target: Store) -> None:
    chiffon.add("tasks", chiffon.task(1, project_id="9353A7F3-EF80-44E7-9E15-FC1FEA1E6400"))
    chiffon.add("execution_logs", chiffon.step(2, 1), chiffon.step(1, 1, status="running"))
    assert import_from(chiffon.path, target).exit_code == 0
    task = target.tasks.get(KEY.format(1))
    assert task.project_id == "9353a7f3-ef80-44e7-9e15-fc1fea1e6400"
    assert (task.request_text, task.created_by) == ("Deploy 1", "user@example.com")
    assert task.created_at == dt.datetime(2026, 1, 20, 3, 38, 36, 291404, dt.UTC)
    assert task.completed_at == dt.datetime(2026, 1, 20, 2, 33, 36, tzinfo=dt.UTC)
    assert task.approved_at < task.created_at  # as the old program's own sample has it
    assert task.estimated_resources == {"duration_seconds": 600, "gpu_vram_mb": 2048}
    assert (task.actual_resources, task.external_ai_used, task.metadata) == (None, None, None)
    steps = target.tasks.steps(task.task_id)
    assert [(s.step_number, s.status) for s in steps] == [(1, "running"), (2, "completed")]
    assert steps[1].output_full == {"lines": [1, 2]}
    again = import_from(chiffon.path.parent, target)
    assert (again.records.same, again.files.same, again.files.found) == (1, 1, 1)


def test_ids_with_dashes_and_without_mean_the_same_row(chiffon: Any) -> None:
    chiffon.add("tasks", chiffon.task(1), chiffon.task(2, task_id=KEY.format(2).upper()))
    chiffon.add(
        "execution_logs",
        chiffon.step(1, KEY.format(1)),
        chiffon.step(2, f"{2:032x}", log_id=KEY.format(9)),
    )
    records, findings = read(chiffon.path)
    assert findings == []
    assert [(r.key, len(r.children)) for r in records] == [(KEY.format(1), 1), (KEY.format(2), 1)]


def test_an_id_that_is_there_twice_or_is_none_becomes_one_that_is_derived(chiffon: Any) -> None:
    chiffon.add(
        "tasks",
        chiffon.task(1),
        chiffon.task(2, task_id=KEY.format(1), created_at="2026-01-21 00:00:00"),
        chiffon.task(3, task_id="task-3"),
    )
    chiffon.add(
        "execution_logs",
        chiffon.step(1, 1),
        chiffon.step(2, KEY.format(1)),
        chiffon.step(3, "task-3", log_id="1"),
    )
    records, findings = read(chiffon.path)
    assert findings == []
    assert len({record.key for record in records}) == 3
    assert all(record.key[14] == "5" for record in records)
    assert [r.values["metadata"]["legacy"]["task_id"] for r in records] == [
        f"{1:032x}",
        KEY.format(1),
        "task-3",
    ]
    assert [[step["step_number"] for _, step in r.children] for r in records] == [[1], [2], [3]]
    assert read(chiffon.path)[0] == records


def test_what_fits_no_column_is_kept_beside_and_warned_of(chiffon: Any, target: Store) -> None:
    chiffon.add(
        "tasks",
        chiffon.task(
            1,
            request_text="a\x00b",
            created_by="x" * 300,
            project_id="lab",
            approved_at="soon",
            completed_at=1765000000,
            estimated_resources='{"n": NaN}',
            actual_resources=b"\xff\x00",
            external_ai_used="[" * 5000,
            error_message=b"caf\xc3\xa9",
        ),
    )
    chiffon.run("UPDATE tasks SET status = CAST(x'636f6d706c65746564' AS TEXT)")
    chiffon.add(
        "execution_logs",
        chiffon.step(1, 1, output_summary="s" * 600, duration_ms=-5, timestamp="x", action=b"\xed"),
    )
    report = import_from(chiffon.path, target)
    assert (report.exit_code, report.records.created) == (0, 1)
    task = target.tasks.get(KEY.format(1))
    assert (task.request_text, task.error_message) == ("a\ufffdb", "café")
    assert (task.created_by, task.project_id) == ("x" * 255, None)
    assert (task.approved_at, task.completed_at, task.estimated_resources) == (None, None, None)
    assert task.metadata["legacy"] == {
        "request_text": {"base64": "YQBi"},
        "created_by": "x" * 300,
        "project_id": "lab",
        "approved_at": "soon",
        "completed_at": 1765000000,
        "estimated_resources": '{"n": NaN}',
        "actual_resources": {"base64": "/wA="},
        "external_ai_used": "[" * 5000,
        "error_message": {"base64": "Y2Fmw6k="},
    }
    (step,) = target.tasks.steps(task.task_id)
    assert (len(step.output_summary or ""), step.duration_ms) == (500, None)
    assert step.timestamp == task.created_at
    assert step.metadata["legacy"]["output_summary"] == "s" * 600
    assert len(report.warnings) == 14
    assert import_from(chiffon.path, target).records.same == 1


def test_text_that_is_no_utf8_does_not_stop_the_reading(chiffon: Any) -> None:
    chiffon.add("tasks", chiffon.task(1), chiffon.task(2))
    chiffon.run("UPDATE tasks SET request_text = CAST(x'41ff42' AS TEXT) WHERE task_id LIKE '%1'")
    records, findings = read(chiffon.path)
    assert (len(records), findings) == (2, [])
    assert records[0].values["request_text"] == "A\ufffdB"
    assert records[0].values["metadata"]["legacy"] == {"request_text": {"base64": "Qf9C"}}


def test_what_cannot_be_a_record_costs_itself_alone(chiffon: Any, target: Store) -> None:
    chiffon.add(
        "tasks",
        chiffon.task(1, status="COMPLETED"),
        chiffon.task(2, status="frobnicated"),
        chiffon.task(3, created_at="?", approved_at=None, completed_at=None, status="paused"),
        chiffon.task(4, created_at="", approved_at=None, completed_at=None),
    )
    chiffon.add(
        "execution_logs",
        chiffon.step(1, 1),
        chiffon.step(2, 1, agent_type="plumber"),
        chiffon.step(3, 1, step_number="third"),
        chiffon.step(4, 2),
        chiffon.step(5, 3, status="error"),
        chiffon.step(6, 77),
    )
    report = import_from(chiffon.path, target)
    outcomes = {e.path.partition("#")[2]: (e.outcome, e.reason) for e in report.entries}
    step, task = f"execution_logs/{0xABC << 60:031x}", f"tasks/{0:031x}"
    assert [*outcomes] == [
        f"{step}2",
        f"{step}3",
        f"{task}1",
        f"{task}2",
        f"{step}4",
        f"{task}3",
        f"{task}4",
        f"{step}6",
    ]
    assert outcomes[f"{step}2"][1] == (
        "agent_type: unknown value 'plumber'; one of orchestrator, infra, desktop, code, research"
    )
    assert outcomes[f"{step}4"][1] == "its task could not be taken over"
    assert outcomes[f"{step}6"][1] == f"its task {77:032x} is not in the database"
    assert (report.records.created, report.records.invalid, report.exit_code) == (2, 6, 3)
    assert target.tasks.get(KEY.format(1)).metadata == {"legacy": {"status": "COMPLETED"}}
    third = target.tasks.get(KEY.format(3))
    assert (third.status, third.metadata["legacy"]["status"]) == ("pending", "paused")
    assert third.created_at == dt.datetime(2026, 1, 20, 3, 38, 41, 291404, dt.UTC)
    assert [s.status for s in target.tasks.steps(third.task_id)] == ["failed"]


def test_columns_and_tables_of_later_versions_are_kept_or_spoken_of(
    chiffon: Any, target: Store
) -> None:
    chiffon.run("""
        ALTER TABLE tasks ADD COLUMN services_touched JSON;
        ALTER TABLE tasks ADD COLUMN outcome JSON;
        ALTER TABLE tasks ADD COLUMN suggestions JSON;
        ALTER TABLE tasks ADD COLUMN "größe" BLOB;
        CREATE TABLE pause_queue (id INTEGER PRIMARY KEY, task_id UUID, reason TEXT, priority INT);
        CREATE TABLE agent_registry (agent_id UUID, pool TEXT);
        CREATE TABLE alembic_version (version_num VARCHAR(32));
        INSERT INTO agent_registry VALUES ('x', 'infra');
        INSERT INTO alembic_version VALUES ('007');
        CREATE TABLE "mine; DROP TABLE tasks" (a);
        INSERT INTO "mine; DROP TABLE tasks" VALUES (1);
        CREATE VIEW v AS SELECT * FROM tasks;
    """)
    chiffon.add(
        "tasks",
        chiffon.task(1, services_touched='["dns"]', outcome="went well", suggestions="null")
        | {'"größe"': b"\x01"},
    )
    chiffon.add(
        "pause_queue",
        {"task_id": f"{1:032x}", "reason": "manual_pause", "priority": 2},
        {"task_id": f"{8:032x}", "reason": "insufficient_capacity"},
    )
    report = import_from(chiffon.path, target)
    task = target.tasks.get(KEY.format(1))
    assert task.metadata == {
        "services_touched": ["dns"],
        "outcome": "went well",
        "größe": {"base64": "AQ=="},
        "pause_queue": [{"id": 1, "reason": "manual_pause", "priority": 2}],
    }
    said = {e.path.partition("#")[2]: (e.outcome, e.reason) for e in report.entries if e.reason}
    assert said == {
        "agent_registry": ("skipped", "1 rows: belongs to no task"),
        "alembic_version": ("skipped", "1 rows: the version of the schema, which is no record"),
        "mine; DROP TABLE tasks": ("invalid", "1 rows of a table that is not known"),
        "pause_queue": ("skipped", "1 of 2 rows name no task that is there"),
    }
    assert (report.files.found, report.files.created, report.records.found) == (1, 1, 1)


def test_what_is_not_chiffons_is_not_claimed(chiffon: Any, haia: Any, tmp_path: Path) -> None:
    detect = ChiffonReader().detect
    (tmp_path / "ours").mkdir()
    with Store.open(tmp_path / "ours" / "store.db") as store:
        store.tasks.create("ours")
    other = tmp_path / "other" / "dynoai.db"
    other.parent.mkdir()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE run (id TEXT)")
    (other.parent / "empty.db").touch()
    assert not detect(str(tmp_path / "ours"))
    assert not detect(str(tmp_path / "ours" / "store.db"))
    assert not detect(str(other.parent))
    assert not detect(str(haia.path))
    assert not detect("redis://localhost")
    assert not detect(str(tmp_path / "nothing"))
    assert detect(str(chiffon.path))
    assert detect(str(chiffon.path.parent))


def test_a_database_is_read_where_it_is_kept_by_somebody_else(
    haia: Any, chiffon: Any, target: Store
) -> None:
    chiffon.add("tasks", chiffon.task(1))
    report = import_from(chiffon.path.parent, target, kind="chiffon")
    assert (report.files.found, report.files.created, report.files.skipped) == (2, 1, 1)
    with pytest.raises(SourceNotFound):
        import_from("https://localhost/chiffon", target, kind="chiffon")


def test_a_task_of_a_server_is_the_one_of_the_file(
    chiffon: Any, target: Store, postgres_url: str
) -> None:
    import psycopg2

    with closing(psycopg2.connect(postgres_url)) as connection, connection.cursor() as cursor:
        cursor.execute("""
            CREATE TABLE tasks (
                task_id UUID PRIMARY KEY, project_id UUID, request_text TEXT NOT NULL,
                created_by VARCHAR(255), status VARCHAR(50) NOT NULL, created_at TIMESTAMP NOT NULL,
                approved_at TIMESTAMP, completed_at TIMESTAMP, estimated_resources JSONB,
                actual_resources JSON, external_ai_used JSON, error_message TEXT,
                services_touched TEXT[], cost NUMERIC, seen TIMESTAMPTZ
            );
            CREATE TABLE execution_logs (
                log_id UUID PRIMARY KEY, task_id UUID REFERENCES tasks ON DELETE CASCADE,
                step_number INTEGER, agent_type VARCHAR(50), action TEXT, status VARCHAR(50),
                duration_ms INTEGER, output_summary TEXT, output_full JSON, timestamp TIMESTAMP
            );
            CREATE TABLE agent_registry (agent_id UUID);
            INSERT INTO agent_registry VALUES (gen_random_uuid());
        """)
        for table, rows in (
            ("tasks", [chiffon.task(1), chiffon.task(2, completed_at="infinity")]),
            ("execution_logs", [chiffon.step(n, 1) for n in range(1, 4)]),
        ):
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                cursor.execute(
                    f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()]
                )
        connection.commit()
        chiffon.add("tasks", chiffon.task(1))
        chiffon.add("execution_logs", *(chiffon.step(n, 1) for n in range(1, 4)))
        assert import_from(chiffon.path, target).records.created == 1
        report = import_from(postgres_url, target)
        assert (report.kind, report.exit_code) == ("chiffon", 0)
        outcomes = {e.key: e.outcome for e in report.entries if e.is_record}
        assert outcomes == {KEY.format(1): "same", KEY.format(2): "created"}
        assert target.tasks.get(KEY.format(2)).metadata == {"legacy": {"completed_at": "infinity"}}
        cursor.execute(
            "UPDATE tasks SET services_touched = '{dns,\"a,b\"}', cost = 0.10, seen = '2026-01-01'"
        )
        connection.commit()
        assert import_from(postgres_url, target).records.updated == 2
        assert target.tasks.get(KEY.format(1)).metadata == {
            "services_touched": ["dns", "a,b"],
            "cost": "0.10",
            "seen": "2026-01-01 00:00:00+00",
        }


def test_a_server_that_is_not_there_is_an_error_and_its_password_is_not_told(
    target: Store, tmp_path: Path
) -> None:
    url = f"postgresql://someone:s3cret@/x?host={tmp_path}"
    for kind in ("auto", "chiffon"):
        with pytest.raises(RemoteUnavailable) as caught:
            import_from(url, target, kind=kind)
        assert "s3cret" not in str(caught.value)


def test_a_store_on_a_server_is_not_taken_for_chiffons(postgres_url: str, target: Store) -> None:
    with Store.open(postgres_url) as store:
        store.tasks.create("ours")
    assert not ChiffonReader().detect(postgres_url)
    report = import_from(postgres_url, target, kind="chiffon")
    assert (report.records.found, report.exit_code, len(report.entries)) == (0, 3, 1)
