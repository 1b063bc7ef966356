"""Tasks: what somebody asked agents to do each, and the log of the steps that were taken."""

from __future__ import annotations

from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
)
from dynostore.models.base import Record

STATUSES = ("pending", "approved", "executing", "completed", "failed", "rejected")
STEP_STATUSES = ("running", "completed", "failed")
AGENT_TYPES = ("orchestrator", "infra", "desktop", "code", "research")
SUMMARY_CHARACTERS = 500
MAX_DURATION_MS = 10**13
"""Three centuries: any number of steps can be added up in 64 bits."""


class Task(Record):
    """One request, from asking to its end.

    No CHECK orders the times: records whose ``approved_at`` lies before ``created_at`` exist.
    ``estimated_resources`` has ``duration_seconds``, ``gpu_vram_mb`` and ``cpu_cores``;
    ``actual_resources`` has ``duration_seconds``, ``gpu_vram_mb_used`` and ``cpu_time_ms``;
    ``external_ai_used`` has ``model``, ``token_count`` and ``cost_usd``. None of them is required.
    """

    task_id = UuidField(primary_key=True)
    project_id = UuidField(null=True)
    request_text = TextField()
    created_by = StringField(max_length=255, null=True)
    status = StringField(max_length=16, choices=STATUSES)
    created_at = UtcTimeField()
    approved_at = UtcTimeField(null=True)
    completed_at = UtcTimeField(null=True)
    estimated_resources = JsonField(null=True)
    actual_resources = JsonField(null=True)
    external_ai_used = JsonField(null=True)
    error_message = TextField(null=True)
    metadata = JsonField(null=True)

    class Meta:
        table_name = "tasks"
        indexes = (
            (("status",), False),
            (("project_id",), False),
            (("created_at",), False),
            (("approved_at",), False),
            (("completed_at",), False),
            (("status", "created_at"), False),
        )


class ExecutionLog(Record):
    """One step of a task, as an agent took it; a step that was tried again is logged again."""

    log_id = UuidField(primary_key=True)
    task = ReferenceField(Task, column_name="task_id", on_delete="CASCADE", backref="+")
    step_number = WholeNumberField(low=0)
    agent_type = StringField(max_length=16, choices=AGENT_TYPES)
    action = TextField()
    status = StringField(max_length=16, choices=STEP_STATUSES)
    output_summary = StringField(max_length=SUMMARY_CHARACTERS, null=True)
    output_full = JsonField(null=True)
    timestamp = UtcTimeField()
    duration_ms = WholeNumberField(low=0, high=MAX_DURATION_MS, null=True)
    metadata = JsonField(null=True)

    class Meta:
        table_name = "execution_logs"
        indexes = ((("timestamp",), False),)
