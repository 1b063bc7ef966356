"""Agent sessions: work that outlives its process, and each state that it was saved in."""

from __future__ import annotations

from typing import ClassVar

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


class AgentSession(Record):
    """One mission of an agent; real old sessions have no mission, and ids of any kind."""

    session_id = StringField(max_length=255, primary_key=True)
    user_id = StringField(max_length=255, null=True)
    mission = TextField(null=True)
    status = StringField(max_length=50)
    created_at = UtcTimeField()
    updated_at = UtcTimeField()
    metadata = JsonField(null=True)

    MERGES: ClassVar = {"updated_at": "max"}

    class Meta:
        table_name = "sessions"
        indexes = (
            (("user_id",), False),
            (("created_at",), False),
            (("updated_at",), False),
        )


class SessionState(Record):
    """A session's state at one version, whole; the id is uuid5 of session and version."""

    id = UuidField(primary_key=True)
    session = ReferenceField(
        AgentSession, column_name="session_id", on_delete="CASCADE", backref="+"
    )
    session_id: str  # Peewee's name for the key itself
    version = WholeNumberField(low=1)
    state = JsonField()
    saved_at = UtcTimeField()
    metadata = JsonField(null=True)

    NATURAL_KEY: ClassVar = ("session", "version")

    class Meta:
        table_name = "states"
        indexes = (
            (("session", "version"), False),
            (("saved_at",), False),
        )
