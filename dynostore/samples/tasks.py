"""Sample tasks in every state, with the steps that agents took for them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from dynostore.models import ExecutionLog, Record, Task
from dynostore.samples.base import before, sample_id


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step: who did what, for how long, and what came of it."""

    agent_type: str
    action: str
    duration_ms: int | None
    output_summary: str | None
    status: str = "completed"
    output_full: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class _Story:
    """What became of one task.

    :ivar age_hours: how long ago it was asked for.
    :ivar approved_min: how many minutes later it was approved; None: it was not.
    :ivar gpu_mb: what it used of a GPU; None where it is not over.
    :ivar used_ai: model, tokens and dollars.
    """

    name: str
    request_text: str
    status: str
    age_hours: float
    estimated_s: int
    approved_min: float | None = None
    gpu_mb: int | None = None
    cpu_ms: int | None = None
    used_ai: tuple[str, int, float] | None = None
    error_message: str | None = None
    steps: tuple[_Step, ...] = ()


_STORIES = (
    _Story(
        "speech model",
        "Find a speech model that fits into 8 GB and serve it on the GPU machine",
        "completed",
        12 * 24,
        estimated_s=600,
        approved_min=22,
        gpu_mb=6_144,
        cpu_ms=181_400,
        used_ai=("claude-opus", 21_400, 0.642),
        steps=(
            _Step("orchestrator", "plan", 4_200, "4 steps, no risk to other services"),
            _Step("research", "compare models", 96_000, "3 candidates; base.en is good enough"),
            _Step("infra", "pull image", 141_000, "2.1 GB", output_full={"bytes": 2_254_857_830}),
            _Step("infra", "start container", 18_500, "listening on port 8091"),
            _Step("code", "run smoke test", 9_300, "12 of 12 passed"),
        ),
    ),
    _Story(
        "public bucket",
        "Open the export bucket to the public for a day",
        "rejected",
        5 * 24 + 2,
        estimated_s=30,
        error_message="exports hold names of customers; share single files by signed links",
    ),
    _Story(
        "desktop client",
        "Roll out version 2.4 of the desktop client to the test bench",
        "failed",
        3 * 24 + 7,
        estimated_s=180,
        approved_min=9,
        gpu_mb=0,
        cpu_ms=24_800,
        used_ai=("claude-sonnet", 5_150, 0.0309),
        error_message="bench-2 did not come back after the restart",
        steps=(
            _Step("orchestrator", "plan", 2_900, "3 machines, one after the other"),
            _Step("desktop", "install on bench-1", 48_000, "2.4.0 runs"),
            _Step("desktop", "install on bench-2", 52_500, "installed; restart asked for"),
            _Step(
                "desktop",
                "wait for bench-2",
                120_000,
                "no answer after 120 s",
                "failed",
                {"host": "bench-2", "attempts": 24},
            ),
        ),
    ),
    _Story(
        "database upgrade",
        "Upgrade the team's Postgres from 15 to 16",
        "completed",
        2 * 24 + 4,
        estimated_s=900,
        approved_min=35,
        gpu_mb=0,
        cpu_ms=402_750,
        steps=(
            _Step("orchestrator", "plan", 3_300, "backup, rehearsal, upgrade, check"),
            _Step("infra", "back up", 188_000, "14.2 GB", output_full={"file": "team.dump"}),
            _Step("infra", "upgrade", 31_000, "the old server still had clients", "failed"),
            _Step("infra", "upgrade", 74_000, "16.4"),
            _Step("code", "run checks", 26_400, "all 41 queries answer as before"),
        ),
    ),
    _Story(
        "web API",
        "Deploy the conversations API behind the proxy",
        "completed",
        9,
        estimated_s=240,
        approved_min=4,
        gpu_mb=512,
        cpu_ms=61_300,
        used_ai=("claude-sonnet", 9_800, 0.0588),
        steps=(
            _Step("orchestrator", "plan", 2_100, "build, start, route"),
            _Step("code", "build image", 83_000, "148 MB"),
            _Step("infra", "start container", 12_200, "healthy after 3 s"),
            _Step("infra", "add route", 1_900, "/api/conversations"),
            _Step("orchestrator", "check", 700, "200 in 38 ms"),
        ),
    ),
    _Story(
        "log rotation",
        "Rotate the proxy's logs daily and keep two weeks",
        "approved",
        3,
        estimated_s=45,
        approved_min=11,
    ),
    _Story(
        "usage chart",
        "Draw the GPU's use over the last month",
        "executing",
        0.8,
        estimated_s=300,
        approved_min=6,
        used_ai=("claude-opus", 3_200, 0.096),
        steps=(
            _Step("orchestrator", "plan", 2_600, "collect, aggregate, draw"),
            _Step("research", "find the metrics", 14_800, "node exporter, 15 s apart"),
            _Step("code", "write the query", 22_000, "720 points"),
            _Step("code", "draw", None, None, "running"),
        ),
    ),
    _Story(
        "staging copy",
        "Make a staging copy of the billing database, without names",
        "pending",
        0.3,
        estimated_s=420,
    ),
)


def records(now: dt.datetime) -> Iterator[Record]:
    """Give the tasks and their steps, each task before its steps."""
    for story in _STORIES:
        steps = [*_steps(story, now)]
        yield _task(story, now, steps)
        yield from steps


def _steps(story: _Story, now: dt.datetime) -> Iterator[ExecutionLog]:
    begun = before(now, hours=story.age_hours, minutes=-(story.approved_min or 0) - 1)
    for number, step in enumerate(story.steps, 1):
        yield ExecutionLog(
            log_id=sample_id("execution_logs", f"{story.name}/{number}"),
            task=sample_id("tasks", story.name),
            step_number=number,
            agent_type=step.agent_type,
            action=step.action,
            status=step.status,
            output_summary=step.output_summary,
            output_full=step.output_full,
            timestamp=begun,
            duration_ms=step.duration_ms,
        )
        begun += dt.timedelta(milliseconds=step.duration_ms or 0)


def _task(story: _Story, now: dt.datetime, steps: list[ExecutionLog]) -> Task:
    created = before(now, hours=story.age_hours)
    approved = story.approved_min
    task = Task(
        task_id=sample_id("tasks", story.name),
        project_id=sample_id("projects", "demo"),
        request_text=story.request_text,
        created_by="kim@example.com",
        status=story.status,
        created_at=created,
        approved_at=None if approved is None else created + dt.timedelta(minutes=approved),
        estimated_resources={
            "duration_seconds": story.estimated_s,
            "gpu_vram_mb": story.gpu_mb or 0,
            "cpu_cores": 2,
        },
        error_message=story.error_message,
    )
    if story.used_ai is not None:
        model, tokens, cost_usd = story.used_ai
        task.external_ai_used = {"model": model, "token_count": tokens, "cost_usd": cost_usd}
    if story.status in ("completed", "failed"):
        used_ms = sum(step.duration_ms for step in steps)
        task.completed_at = steps[-1].timestamp + dt.timedelta(milliseconds=steps[-1].duration_ms)
        task.actual_resources = {
            "duration_seconds": round(used_ms / 1000),
            "gpu_vram_mb_used": story.gpu_mb,
            "cpu_time_ms": story.cpu_ms,
        }
    return task
