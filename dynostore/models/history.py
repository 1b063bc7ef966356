"""Execution history: what an agent thought, did and saw, entry by entry."""

from __future__ import annotations

from typing import Any

from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
)
from dynostore.models.base import Record
from dynostore.models.sessions import AgentSession


class StepId(StringField):
    """The step that an entry belongs to: a name, or a position of the plan as its digits."""

    def check(self, value: Any) -> str:
        """Accept text, and an integer for its digits."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return super().check(value)


class HistoryEntry(Record):
    """One turn of a session: a thought, the action that it led to, what was observed then."""

    id = UuidField(primary_key=True)
    session = ReferenceField(
        AgentSession, column_name="session_id", on_delete="CASCADE", backref="+"
    )
    session_id: str  # Peewee's name for the key itself
    step_id = StepId(max_length=255, null=True)
    thought = TextField(null=True)
    action = TextField(null=True)
    observation = TextField(null=True)
    timestamp = UtcTimeField()
    metadata = JsonField(null=True)

    class Meta:
        table_name = "execution_history"
        indexes = (
            (("timestamp",), False),
            (("session", "timestamp", "id"), False),
        )
