"""Every report, on every database: answers worked out by hand, and those of the old sample."""

from __future__ import annotations

import datetime as dt
import json
import random
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import errors
from dynostore.fields import time_text
from dynostore.models import ExecutionLog, Task
from dynostore.models.tasks import AGENT_TYPES, STATUSES
from dynostore.reports import REPORTS, answer, statement
from dynostore.store import Store

NOW = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)
SAMPLE = (
    Path(__file__).resolve().parents[3]
    / "shared/legacy-samples/chiffon/generated/agent_seed_sample_data.sqlite3"
)
# The sample's newest moment, and so the one at which the old program wrote it.
SAMPLE_NOW = dt.datetime(2026, 11, 22, 3, 38, 36, 291404, tzinfo=dt.UTC)
JSON_COLUMNS = ("estimated_resources", "actual_resources", "external_ai_used", "output_full")
TIME_COLUMNS = ("created_at", "approved_at", "completed_at", "timestamp")


def ago(**age: float) -> dt.datetime:
    return NOW - dt.timedelta(**age)


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


def task(number: int, status: str, created_at: dt.datetime, **values: Any) -> Task:
    row = {"request_text": f"task {number}", "status": status, "created_at": created_at}
    return Task(task_id=key(number), **row | values)


def step(number: int, agent_type: str, duration_ms: int | None, **values: Any) -> ExecutionLog:
    row = {
        "task": key(1),
        "step_number": number,
        "agent_type": agent_type,
        "action": f"step {number}",
        "status": "completed",
        "timestamp": NOW,
        "duration_ms": duration_ms,
    }
    return ExecutionLog(log_id=key(1000 + number), **row | values)


def ask(store: Store, name: str, **parameters: Any) -> list[dict[str, Any]]:
    return answer(store, name, now=NOW, **parameters)


def keys(rows: list[dict[str, Any]]) -> list[int]:
    return [uuid.UUID(row["task_id"]).int for row in rows]


def put(store: Store, *records: Any) -> None:
    assert store.tasks.put_many(records) == []


# answers worked out by hand


def test_every_report_of_an_empty_store_is_empty(store: Store) -> None:
    for name in REPORTS:
        if name != "timeline":
            assert ask(store, name) == []


def test_failed_tasks_are_those_created_strictly_within_the_days(store: Store) -> None:
    late = {"error_message": "late", "approved_at": ago(days=9), "completed_at": ago(days=8)}
    put(
        store,
        task(1, "failed", ago(days=7)),
        task(2, "failed", ago(days=7) + dt.timedelta(microseconds=1), **late),
        task(3, "completed", ago(days=1)),
        task(4, "failed", ago(days=2)),
        task(5, "failed", ago(days=2)),
        task(6, "failed", NOW + dt.timedelta(days=1)),
    )
    rows = ask(store, "failed-tasks")
    assert keys(rows) == [6, 5, 4, 2]
    assert rows[-1] == {
        "task_id": key(2),
        "request_text": "task 2",
        "status": "failed",
        "error_message": "late",
        "created_at": ago(days=7) + dt.timedelta(microseconds=1),
        "approved_at": ago(days=9),
        "completed_at": ago(days=8),
    }
    assert keys(ask(store, "failed-tasks", days=8)) == [6, 5, 4, 2, 1]
    assert keys(ask(store, "failed-tasks", days=1)) == [6]


def test_a_timeline_has_the_steps_of_one_task_in_order(store: Store) -> None:
    put(
        store,
        task(1, "executing", NOW),
        task(2, "executing", NOW),
        step(5, "infra", 7, step_number=3),
        step(3, "infra", None, status="running", timestamp=ago(days=1)),
        step(1, "code", 5, output_summary="done"),
        step(4, "infra", 7, step_number=3),
        step(2, "infra", 7, step_number=3, timestamp=NOW + dt.timedelta(seconds=1)),
        step(9, "infra", 7, task=key(2)),
    )
    rows = ask(store, "timeline", task_id=key(1).upper())
    assert [row["action"] for row in rows] == [f"step {n}" for n in (1, 3, 4, 5, 2)]
    assert rows[0] == {
        "task_id": key(1),
        "step_number": 1,
        "agent_type": "code",
        "action": "step 1",
        "status": "completed",
        "duration_ms": 5,
        "timestamp": NOW,
        "output_summary": "done",
    }
    assert rows[1]["duration_ms"] is None
    with pytest.raises(errors.TaskNotFound):
        ask(store, "timeline", task_id=key(3))


def test_resources_are_those_of_completed_tasks_as_whole_numbers(store: Store) -> None:
    used = {"duration_seconds": 90.5, "gpu_vram_mb_used": 0, "cpu_time_ms": 10**15}
    odd = {"duration_seconds": "90", "gpu_vram_mb_used": [1], "cpu_time_ms": 10**30}
    put(
        store,
        task(1, "completed", ago(days=30)),
        task(2, "completed", ago(days=29), actual_resources=used),
        task(3, "completed", ago(days=29), actual_resources=odd),
        task(4, "failed", ago(days=1), actual_resources=used),
        task(5, "completed", ago(days=1), actual_resources=["no object"]),
    )
    rows = ask(store, "resources")
    assert keys(rows) == [5, 3, 2]
    assert [[row[n] for n in ("duration_sec", "gpu_mb", "cpu_ms")] for row in rows] == [
        [None, None, None],
        [None, None, None],
        [91, 0, 10**15],
    ]


def test_external_ai_is_what_has_a_value_and_its_cost_is_exact(store: Store) -> None:
    def used(model: Any, tokens: Any, cost: Any) -> dict[str, Any]:
        return {"external_ai_used": {"model": model, "token_count": tokens, "cost_usd": cost}}

    put(
        store,
        task(1, "completed", ago(days=90), **used("b", 1000, 0.1)),
        task(2, "failed", ago(days=1), **used("b", 234, 0.2)),
        task(3, "pending", NOW, **used("a", 7, 0.3)),
        task(4, "pending", NOW, external_ai_used=None),
        task(5, "pending", NOW, **used("Z", 2, 0.0000004)),
        task(6, "pending", NOW, external_ai_used={}),
        task(7, "pending", NOW, **used(5, "many", "0.5")),
        task(8, "pending", NOW, **used("Z", None, 0.000225)),
    )
    rows = ask(store, "external-ai")
    assert keys(rows) == [8, 7, 6, 5, 3, 2, 1]
    found = [tuple(row[n] for n in ("ai_model", "tokens", "cost_usd")) for row in rows]
    assert found == [
        ("Z", None, 0.000225),
        (None, None, None),
        (None, None, None),
        ("Z", 2, 0.0),
        ("a", 7, 0.3),
        ("b", 234, 0.2),
        ("b", 1000, 0.1),
    ]
    # In doubles 0.1 + 0.2 is no 0.3, and b would come before a without being dearer.
    assert ask(store, "ai-cost") == [
        {"model": "a", "usage_count": 1, "total_tokens": 7, "total_cost_usd": 0.3},
        {"model": "b", "usage_count": 2, "total_tokens": 1234, "total_cost_usd": 0.3},
        {"model": "Z", "usage_count": 2, "total_tokens": 2, "total_cost_usd": 0.000225},
        {"model": None, "usage_count": 2, "total_tokens": None, "total_cost_usd": None},
    ]


def test_durations_by_agent_count_all_steps_and_leave_out_what_was_not_timed(store: Store) -> None:
    infra = [2000, 2300, 3500, 10000, 25000, 45000, 85000, None]
    records = [step(n, "infra", duration) for n, duration in enumerate(infra)]
    records += [step(20 + n, "code", duration) for n, duration in enumerate([1, 2])]
    records += [step(30 + n, "desktop", duration) for n, duration in enumerate([2, 2, 2, 2])]
    records += [step(40, "research", 3), step(41, "orchestrator", None)]
    put(store, task(1, "executing", NOW), *records)
    names = ("agent_type", "execution_count", "avg_duration_ms", "min_duration_ms")
    rows = ask(store, "agent-durations")
    found = [tuple(row[n] for n in (*names, "max_duration_ms", "p95_duration_ms")) for row in rows]
    assert found == [
        ("infra", 8, 24686, 2000, 85000, 73000.0),  # 45000 + 0.7 * 40000
        ("research", 1, 3, 3, 3, 3.0),
        ("code", 2, 2, 1, 2, 1.95),  # 1.5 on average
        ("desktop", 4, 2, 2, 2, 2.0),
        ("orchestrator", 1, None, None, None, None),
    ]


def test_p95_is_postgres_continuous_percentile(store: Store, postgres_url: str) -> None:
    numbers = random.Random(95)
    durations = {
        agent: [numbers.randrange(10**6) for _ in range(count)]
        for agent, count in zip(AGENT_TYPES, (1, 2, 20, 21, 137), strict=True)
    }
    flat = [(agent, duration) for agent, values in durations.items() for duration in values]
    steps = [step(n, agent, duration) for n, (agent, duration) in enumerate(flat)]
    put(store, task(1, "executing", NOW), *steps)
    found = {r["agent_type"]: r["p95_duration_ms"] for r in ask(store, "agent-durations")}
    with Store.open(postgres_url, warm=False) as reference:
        for agent, values in durations.items():
            sql = "SELECT PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY v) FROM UNNEST(%s) AS v"
            expected = reference.database.execute_sql(sql, (values,)).fetchone()[0]
            assert found[agent] == round(expected, 2)


def test_failed_steps_are_latest_first(store: Store) -> None:
    failed: dict[str, Any] = {"status": "failed", "output_summary": "port in use"}
    put(
        store,
        task(1, "failed", NOW),
        step(1, "infra", 5, **failed, timestamp=ago(days=300)),
        step(2, "code", 5, **failed),
        step(3, "code", 5, **failed),
        step(4, "code", 5),
    )
    rows = ask(store, "failed-steps")
    assert [row["step_number"] for row in rows] == [3, 2, 1]
    assert rows[2] == {
        "task_id": key(1),
        "step_number": 1,
        "agent_type": "infra",
        "action": "step 1",
        "status": "failed",
        "output_summary": "port in use",
        "timestamp": ago(days=300),
    }


def test_by_status_counts_what_is_strictly_younger(store: Store) -> None:
    moments = [ago(days=9), ago(days=7), ago(days=7, seconds=-1), ago(hours=24), ago(hours=23)]
    put(store, *[task(n, "pending", moment) for n, moment in enumerate(moments)])
    put(store, task(10, "rejected", NOW), task(11, "completed", ago(days=8)))
    assert [list(row.values()) for row in ask(store, "by-status")] == [
        ["pending", 5, 1, 3],
        ["completed", 1, 0, 0],
        ["rejected", 1, 1, 1],
    ]
    names = ("status", "count", "last_24h", "last_7d")
    assert tuple(ask(store, "by-status")[0]) == names


def test_the_longest_are_ten_in_any_state_those_without_a_duration_last(store: Store) -> None:
    durations = [5, None, 100, 7, 7, 300, 1, 2, 3, 4]
    tasks = [
        task(n, STATUSES[n % 6], ago(days=1), actual_resources={"duration_seconds": duration})
        for n, duration in enumerate(durations)
    ]
    put(store, *tasks)
    assert keys(ask(store, "longest")) == [5, 2, 3, 4, 0, 9, 8, 7, 6, 1]
    more = {"duration_seconds": 1000, "gpu_vram_mb_used": 12}
    put(store, task(20, "pending", ago(days=30), actual_resources=more))
    put(store, task(21, "pending", ago(days=29), actual_resources=more))
    rows = ask(store, "longest")
    assert keys(rows) == [21, 5, 2, 3, 4, 0, 9, 8, 7, 6]
    assert rows[0] == {
        "task_id": key(21),
        "request_text": "task 21",
        "status": "pending",
        "created_at": ago(days=29),
        "duration_sec": 1000,
        "gpu_mb": 12,
    }


def test_success_is_the_share_of_all_tasks_of_a_utc_day(store: Store) -> None:
    morning = dt.datetime(2026, 3, 30, tzinfo=dt.UTC)
    put(
        store,
        task(1, "completed", morning),
        task(2, "failed", morning + dt.timedelta(hours=23, minutes=59)),
        task(3, "pending", morning),
        task(4, "completed", morning - dt.timedelta(microseconds=1)),
        task(5, "completed", ago(days=30)),
        task(6, "rejected", NOW),
        *[task(100 + n, "completed" if n else "failed", ago(days=5)) for n in range(32)],
    )
    assert [list(row.values()) for row in ask(store, "success-by-day")] == [
        ["2026-03-31", 1, 0, 0, 0.0],
        ["2026-03-30", 3, 1, 1, 33.33],
        ["2026-03-29", 1, 1, 0, 100.0],
        ["2026-03-26", 32, 31, 1, 96.88],  # 96.875
    ]


# what is refused


def test_a_bad_parameter_is_refused_by_its_name(store: Store) -> None:
    bad: list[tuple[str, str, dict[str, Any]]] = [
        ("report", "nonsense", {}),
        ("days", "failed-tasks", {"days": 0}),
        ("days", "failed-tasks", {"days": 36_501}),
        ("days", "failed-tasks", {"days": 1.5}),
        ("days", "failed-tasks", {"days": "7; DROP TABLE tasks"}),
        ("days", "by-status", {"days": 7}),
        ("task_id", "timeline", {}),
        ("task_id", "timeline", {"task_id": "' OR '1' = '1"}),
        ("task_id", "failed-tasks", {"task_id": key(1)}),
        ("now", "by-status", {"now": dt.datetime(2026, 1, 1)}),
        ("now", "by-status", {"now": "2026-01-01'; DROP TABLE tasks"}),
        ("now", "by-status", {"now": dt.datetime.min.replace(tzinfo=dt.UTC)}),
    ]
    for field, name, parameters in bad:
        with pytest.raises(errors.InvalidValue) as caught:
            answer(store, name, **parameters)
        assert caught.value.field == field, (name, parameters)
    with pytest.raises(errors.InvalidValue, match="mysql"):
        statement("by-status", "mysql")


# alike on both databases, and outside of this program


def records(numbers: random.Random) -> Iterator[Any]:
    """Give tasks and steps at random, with ties and with JSON of every sort."""
    values: list[Any] = [0, 1, -3, 2.5, -2.5, 0.4999999, 1e300, 10**16, 10**400, "7", None, True]
    values += [[], {}, [1], 0.0000005, 0.0000015, -0.24, 123456.7890125, 1e-7]
    for n in range(400):
        created = ago(hours=numbers.randrange(40 * 24))
        resources = {
            name: numbers.choice(values)
            for name in ("duration_seconds", "gpu_vram_mb_used", "cpu_time_ms")
        }
        models: list[Any] = ["é", "e", "E", "走", 5, None, {}]
        used = {
            "model": numbers.choice(models),
            "token_count": numbers.choice(values),
            "cost_usd": numbers.choice([*values, numbers.random(), numbers.random() / 1000]),
        }
        wholes: list[Any] = [None, None, [], "text", 0]
        yield task(
            n,
            numbers.choice(STATUSES),
            created,
            actual_resources=numbers.choice([resources, resources, *wholes]),
            external_ai_used=numbers.choice([used, used, *wholes]),
        )
        yield step(
            n,
            numbers.choice(AGENT_TYPES),
            numbers.choice([None, n, n * 7, 10**13]),
            task=key(n),
            status=numbers.choice(("failed", "completed")),
            timestamp=created,
        )


def parameters_of(name: str, task_id: str) -> dict[str, Any]:
    return {"task_id": task_id} if name == "timeline" else {}


def test_both_databases_give_the_same_answers_to_the_digit(
    tmp_path: Path, migrated_postgres_url: str
) -> None:
    answers = []
    for place in (str(tmp_path / "store.db"), migrated_postgres_url):
        with Store.open(place, warm=False) as store:
            put(store, *records(random.Random(4)))
            answers.append(
                {name: ask(store, name, **parameters_of(name, key(7))) for name in REPORTS}
            )
    for name in REPORTS:
        assert answers[0][name], name
        assert json.dumps(answers[0][name], default=str) == json.dumps(
            answers[1][name], default=str
        ), name


def test_a_printed_statement_gives_the_same_in_psql_and_in_a_bare_sqlite3(
    tmp_path: Path, migrated_postgres_url: str, postgres: Any
) -> None:
    for place in (str(tmp_path / "store.db"), migrated_postgres_url):
        with Store.open(place, warm=False) as store:
            put(store, *records(random.Random(5)))
            expected = {n: ask(store, n, **parameters_of(n, key(7))) for n in REPORTS}
    psql = [postgres.program("psql"), migrated_postgres_url, "-XqAt", "-P", "null=<null>"]
    for name, rows in expected.items():
        parameters = parameters_of(name, key(7))
        sql = statement(name, "sqlite", now=NOW, **parameters)
        with closing(sqlite3.connect(tmp_path / "store.db")) as bare:
            found = [list(row) for row in bare.execute(sql)]
        assert found == [
            [time_text(v) if isinstance(v, dt.datetime) else v for v in row.values()]
            for row in rows
        ], name
        sql = statement(name, "postgres", now=NOW, **parameters)
        done = subprocess.run(psql, input=sql, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        lines = [line.split("|") for line in done.stdout.splitlines()]
        assert len(lines) == len(rows), name
        for line, row in zip(lines, rows, strict=True):
            values = list(row.values())
            assert [read_as(v, cell) for v, cell in zip(values, line, strict=True)] == values, name


def read_as(example: Any, cell: str) -> Any:
    """Read what psql printed as a value of the example's type."""
    if cell == "<null>":
        return None
    if isinstance(example, dt.datetime):
        return dt.datetime.fromisoformat(cell)
    return type(example)(cell)


# the old sample


def sample_records() -> Iterator[Any]:
    """Give the old sample's rows: 32 digits for a UUID, naive UTC for a time."""
    with closing(sqlite3.connect(f"file:{SAMPLE}?immutable=1", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        for table, model in (("tasks", Task), ("execution_logs", ExecutionLog)):
            for row in connection.execute(f"SELECT * FROM {table}"):
                values = dict(row)
                for name in set(values) & set(JSON_COLUMNS):
                    values[name] = None if values[name] is None else json.loads(values[name])
                for name in set(values) & set(TIME_COLUMNS):
                    time = values[name]
                    values[name] = time and dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC)
                if model is ExecutionLog:
                    values["task"] = values.pop("task_id")
                yield model(**values)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the old samples are not beside the checkout")
def test_the_old_sample_gives_the_answers_that_the_old_queries_gave(store: Store) -> None:
    put(store, *sample_records())
    assert store.tasks.count() == 8
    answers = {
        name: [
            list(row.values())
            for row in answer(
                store,
                name,
                now=SAMPLE_NOW,
                **parameters_of(name, "79e2692e-0c4d-4d30-b329-c445a554f928"),
            )
        ]
        for name in REPORTS
    }
    assert [row[1] for row in answers["failed-tasks"]] == [
        "Sync Ansible playbooks from git",
        "Deploy test application",
    ]
    assert [row[1] for row in answers["timeline"]] == [1, 2, 3, 4, 5]
    assert [row[2:5] for row in answers["resources"]] == [
        [250, 0, 12000],
        [305, 1800, 18500],
        [95, 256, 4200],
    ]
    assert [row[3:6] for row in answers["external-ai"]] == [
        ["claude-opus", 8000, 0.24],
        ["claude-opus", 5000, 0.15],
    ]
    assert answers["agent-durations"] == [
        ["infra", 8, 24686, 2000, 85000, 73000],
        ["research", 1, 5000, 5000, 5000, 5000],
        ["orchestrator", 9, 3244, 300, 15000, 12200],
    ]
    assert [row[5] for row in answers["failed-steps"]] == [
        "Git authentication failed",
        "Error: Container failed to start",
    ]
    assert answers["by-status"] == [
        ["completed", 3, 0, 3],
        ["failed", 2, 0, 2],
        ["approved", 1, 1, 1],
        ["executing", 1, 1, 1],
        ["pending", 1, 1, 1],
    ]
    assert answers["ai-cost"] == [["claude-opus", 2, 13000, 0.39]]
    assert [row[4] for row in answers["longest"]] == [305, 250, 95, 90, 15, None, None, None]
    assert answers["success-by-day"] == [
        ["2026-11-22", 3, 0, 0, 0],
        ["2026-11-21", 1, 1, 0, 100],
        ["2026-11-20", 1, 1, 0, 100],
        ["2026-11-19", 3, 1, 2, 33.33],
    ]
