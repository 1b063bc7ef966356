"""``dynostore tasks``: the verbs, the tables, the JSON, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

FIRST = "0197aaaa-0000-7000-8000-000000000001"
SECOND = "0197bbbb-0000-7000-8000-000000000002"
TASK_COLUMNS = {
    "task_id",
    "project_id",
    "request_text",
    "created_by",
    "status",
    "created_at",
    "approved_at",
    "completed_at",
    "estimated_resources",
    "actual_resources",
    "external_ai_used",
    "error_message",
    "metadata",
}
STEP_COLUMNS = {
    "log_id",
    "task_id",
    "step_number",
    "agent_type",
    "action",
    "status",
    "output_summary",
    "output_full",
    "timestamp",
    "duration_ms",
    "metadata",
}


@pytest.fixture
def two_tasks(store_file: Path) -> str:
    """Give the id of a step; ``./dynostore.db`` has an old approved task and a new pending one."""
    with Store.open(store_file) as store:
        created = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
        store.tasks.create("Deploy Kuma", task_id=FIRST, created_at=created, created_by="Zoë")
        store.tasks.approve(FIRST)
        store.tasks.log_step(FIRST, "infra", "Deploy", status="failed", duration_ms=85000)
        store.tasks.create("Update DNS", task_id=SECOND)
        return str(store.tasks.log_step(FIRST, "code", "Try again").log_id)


def test_a_task_is_recorded_moved_and_removed_by_commands_alone(
    call: Callable[..., Any], workplace: Path
) -> None:
    (workplace / "usage.json").write_text('{"model": "claude-opus"}', encoding="utf-8")
    done = call(
        "tasks", "create", "Deploy Kuma", "--id", FIRST, "--created-at", "2025-12-06T00:03:47Z",
        "--created-by", "kim", "--project-id", SECOND, "--estimated-resources", '{"cpu_cores": 2}',
        "--metadata", "[1]",
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, f"{FIRST}\n", "")
    assert call("tasks", "approve", "0197").out == f"{FIRST} approved\n"
    assert call("tasks", "start", "0197").out == f"{FIRST} executing\n"
    log_id = call("tasks", "log-step", "0197", "infra", "Deploy container").out.strip()
    done = call(
        "tasks", "finish-step", log_id, "--status", "failed", "--output-summary", "in use",
        "--output-full", '{"port": 8080}', "--duration-ms", "5200", "--metadata", "0",
    )  # fmt: skip
    assert done.out == f"{log_id} failed\n"
    done = call(
        "tasks", "complete", "0197", "--actual-resources", '{"duration_seconds": 305}',
        "--external-ai-used", "@usage.json", "--metadata", "[2]", "--json",
    )  # fmt: skip
    assert (done.code, done.item["status"]) == (0, "completed")
    item = call("tasks", "show", "0197", "--json").item
    steps = item.pop("steps")
    assert item == done.item
    assert item.pop("approved_at") < item.pop("completed_at")
    assert item == {
        "task_id": FIRST,
        "project_id": SECOND,
        "request_text": "Deploy Kuma",
        "created_by": "kim",
        "status": "completed",
        "created_at": "2025-12-06T00:03:47.000000+00:00",
        "estimated_resources": {"cpu_cores": 2},
        "actual_resources": {"duration_seconds": 305},
        "external_ai_used": {"model": "claude-opus"},
        "error_message": None,
        "metadata": [2],
    }
    assert len(steps) == 1
    assert steps[0].pop("timestamp").endswith("+00:00")
    assert steps[0] == {
        "log_id": log_id,
        "task_id": FIRST,
        "step_number": 1,
        "agent_type": "infra",
        "action": "Deploy container",
        "status": "failed",
        "output_summary": "in use",
        "output_full": {"port": 8080},
        "duration_ms": 5200,
        "metadata": 0,
    }
    assert call("tasks", "rm", "0197", "--yes").code == 0
    assert call("--json", "tasks", "list").items == []


def test_an_update_changes_what_is_given_and_clears(
    call: Callable[..., Any], two_tasks: str
) -> None:
    done = call("tasks", "update", SECOND, "--created-by", "kim", "--project-id", FIRST)
    assert (done.code, done.out) == (0, f"{SECOND}\n")
    done = call("--json", "tasks", "update", "0197b", "--metadata", "[1]", "--clear", "project_id")
    found = [done.item[name] for name in ("created_by", "project_id", "metadata", "status")]
    assert found == ["kim", None, [1], "pending"]
    assert call("--json", "tasks", "show", SECOND).item == {**done.item, "steps": []}


def test_failing_and_rejecting_say_why(call: Callable[..., Any], two_tasks: str) -> None:
    failed = call("tasks", "fail", FIRST, "--message", "port in use", "--json").item
    assert (failed["status"], failed["error_message"]) == ("failed", "port in use")
    rejected = call("tasks", "reject", SECOND, "--reason", "not on a Friday", "--json").item
    assert (rejected["status"], rejected["error_message"]) == ("rejected", "not on a Friday")
    assert rejected["completed_at"] is None


def test_list_filters_and_pages(call: Callable[..., Any], two_tasks: str) -> None:
    def ids(*words: str) -> list[str]:
        return [item["task_id"] for item in call("--json", "tasks", "list", *words).items]

    assert ids() == [SECOND, FIRST]
    assert ids("--status", "approved") == [FIRST]
    assert ids("--created-by", "Zoë") == [FIRST]
    assert ids("--project-id", FIRST) == []
    assert ids("--since", "7d") == [SECOND]
    assert ids("--until", "7d") == [FIRST]
    assert ids("--limit", "0") == [SECOND, FIRST]
    first = json.loads(call("--json", "tasks", "list", "--limit", "1").out)
    assert set(first["items"][0]) == TASK_COLUMNS
    assert ids("--after", first["next"]) == [FIRST]
    assert call("tasks", "list").out.splitlines()[1].startswith(f"{SECOND}  pending")


def test_steps_are_listed_in_order_with_numbers_digit_below_digit(
    call: Callable[..., Any], two_tasks: str
) -> None:
    items = call("tasks", "steps", "0197a", "--json").items
    assert [item["step_number"] for item in items] == [1, 2]
    assert all(set(item) == STEP_COLUMNS for item in items)
    head, *lines = call("tasks", "steps", "0197a").out.splitlines()
    assert [line.split()[1:5] for line in lines] == [
        ["1", "infra", "failed", "85000"],
        ["2", "code", "running", "-"],
    ]
    assert {len(line.partition("85000")[0]) + 5 for line in lines[:1]} == {head.index("ms") + 2}
    shown = call("tasks", "show", "0197a").out
    assert "Try again" in shown
    assert shown.splitlines()[0].split() == ["task_id", FIRST]


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "ffff"], 4, "task_not_found"),
        (["show", "0197"], 2, "ambiguous_id"),
        (["steps", "ffff"], 4, "task_not_found"),
        (["approve", "ffff"], 4, "task_not_found"),
        (["approve", FIRST], 1, "wrong_transition"),
        (["complete", FIRST], 1, "wrong_transition"),
        (["start", SECOND], 1, "wrong_transition"),
        (["fail", "ffff"], 4, "task_not_found"),
        (["rm", "--yes", FIRST, "ffff"], 4, "task_not_found"),
        (["rm", FIRST], 2, "usage"),
        (["update", FIRST], 2, "usage"),
        (["update", FIRST, "--status", "failed"], 2, "usage"),
        (["update", "ffff", "--created-by", "x"], 4, "task_not_found"),
        (["update", FIRST, "--project-id", "mine"], 2, "invalid_value"),
        (["log-step", "ffff", "infra", "x"], 4, "task_not_found"),
        (["log-step", FIRST, "robot", "x"], 2, "usage"),
        (["log-step", FIRST, "infra", "x", "--output-summary", "x" * 501], 2, "invalid_value"),
        (["finish-step", "ffff"], 4, "task_step_not_found"),
        (["finish-step", "ffff", "--status", "running"], 2, "usage"),
        (["create", "x", "--id", FIRST], 1, "already_exists"),
        (["create", "x", "--id", "mine"], 2, "invalid_value"),
        (["create", "x", "--metadata", "NaN"], 2, "invalid_value"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], two_tasks: str, words: list[str], code: int, name: str
) -> None:
    before = call("--json", "tasks", "list").out, call("--json", "tasks", "steps", FIRST).out
    done = call("--json", "tasks", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    done = call("tasks", *words)
    assert (done.code, done.out) == (code, "")
    assert "error: " in done.err
    after = call("--json", "tasks", "list").out, call("--json", "tasks", "steps", FIRST).out
    assert after == before


def test_a_refused_move_names_both_states(call: Callable[..., Any], two_tasks: str) -> None:
    done = call("tasks", "complete", "0197b")
    assert f"task {SECOND} is pending and cannot become completed" in done.err
    assert f"dynostore tasks show {SECOND}" in done.err
    assert call("tasks", "finish-step", two_tasks).code == 0
    assert "is completed and cannot become failed" in call(
        "tasks", "finish-step", two_tasks, "--status", "failed"
    ).err  # fmt: skip


def test_rm_shows_what_it_would_do(call: Callable[..., Any], two_tasks: str) -> None:
    done = call("tasks", "rm", "0197a", answer="y\n")
    assert (done.code, done.out) == (2, "")
    assert f"would remove {FIRST} (approved, 2 steps)" in done.err
    removed = call("tasks", "rm", "--yes", "0197a", FIRST, "0197b", "--json").items
    assert removed == [{"task_id": FIRST}, {"task_id": SECOND}]


def test_all_of_it_works_on_postgres(call: Callable[..., Any], postgres_url: str) -> None:
    at = ("--db", postgres_url)
    assert call(*at, "init").code == 0
    assert call(*at, "tasks", "create", "Deploy", "--id", FIRST).code == 0
    assert call(*at, "tasks", "approve", "0197a").code == 0
    log_id = call(*at, "tasks", "log-step", "0197a", "code", "build").out.strip()
    assert call(*at, "tasks", "finish-step", log_id).code == 0
    assert call(*at, "--json", "tasks", "steps", "0197a").items[0]["status"] == "completed"
    assert call(*at, "tasks", "rm", "0197a", "--yes").code == 0
