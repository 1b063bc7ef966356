"""Tasks and the log of their steps."""

from typing import Any

from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
)


def tables(db: Any) -> list[Any]:
    """Give this step's tables as they were when it was written."""

    class Task(db.Model):  # type: ignore[misc]
        task_id = UuidField(primary_key=True)
        project_id = UuidField(null=True)
        request_text = TextField()
        created_by = StringField(max_length=255, null=True)
        status = StringField(max_length=16)
        created_at = UtcTimeField()
        approved_at = UtcTimeField(null=True)
        completed_at = UtcTimeField(null=True)
        estimated_resources = JsonField(null=True)
        actual_resources = JsonField(null=True)
        external_ai_used = JsonField(null=True)
        error_message = TextField(null=True)
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "tasks"
            indexes = (
                (("status",), False),
                (("project_id",), False),
                (("created_at",), False),
                (("approved_at",), False),
                (("completed_at",), False),
                (("status", "created_at"), False),
            )

    class ExecutionLog(db.Model):  # type: ignore[misc]
        log_id = UuidField(primary_key=True)
        task = ReferenceField(Task, column_name="task_id", on_delete="CASCADE", backref="+")
        step_number = WholeNumberField()
        agent_type = StringField(max_length=16)
        action = TextField()
        status = StringField(max_length=16)
        output_summary = StringField(max_length=500, null=True)
        output_full = JsonField(null=True)
        timestamp = UtcTimeField()
        duration_ms = WholeNumberField(null=True)
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "execution_logs"
            indexes = ((("timestamp",), False),)

    return [Task, ExecutionLog]


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    db.create_tables(tables(db))


def down(migrator: Any, db: Any) -> None:
    """Drop them, children first."""
    db.drop_tables(tables(db))
