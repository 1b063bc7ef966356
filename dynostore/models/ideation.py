"""Ideation: talks in which a product idea becomes requirements, a document and user stories."""

from __future__ import annotations

from typing import ClassVar

from dynostore.fields import (
    FlagField,
    JsonField,
    RealField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
)
from dynostore.models.base import Record

STATUSES = ("draft", "approved", "in_build", "closed")
DATA_SOURCES = ("mock", "configured")
ROLES = ("user", "assistant", "system")
REQUIREMENT_TYPES = ("functional", "non_functional")
PRIORITIES = ("must_have", "should_have", "could_have")


class IdeationSession(Record):
    """One product idea on its way from a draft to a build; ``version`` counts its updates."""

    id = StringField(max_length=64, primary_key=True)
    project_name = TextField()
    user_id = StringField(max_length=255)
    status = StringField(max_length=16, choices=STATUSES)
    data_source = StringField(max_length=16, choices=DATA_SOURCES)
    version = WholeNumberField(low=0)
    created_at = UtcTimeField()
    updated_at = UtcTimeField()
    metadata = JsonField(null=True)

    MERGES: ClassVar = {"updated_at": "max"}

    class Meta:
        table_name = "ideation_sessions"
        indexes = (
            (("user_id", "updated_at"), False),
            (("created_at",), False),
            (("updated_at",), False),
        )


class IdeationMessage(Record):
    """One message of the talk that a session is."""

    id = StringField(max_length=64, primary_key=True)
    session = ReferenceField(
        IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
    )
    role = StringField(max_length=16, choices=ROLES)
    content = TextField()
    timestamp = UtcTimeField()
    maturity_delta = RealField()
    metadata = JsonField(null=True)

    class Meta:
        table_name = "ideation_messages"
        indexes = (
            (("session", "timestamp", "id"), False),
            (("timestamp",), False),
        )


class IdeationRequirement(Record):
    """One requirement; ``key``, such as REQ-001, exists once in its session."""

    id = UuidField(primary_key=True)
    session = ReferenceField(
        IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
    )
    key = StringField(max_length=64)
    description = TextField()
    type = StringField(max_length=16, choices=REQUIREMENT_TYPES)
    priority = StringField(max_length=16, choices=PRIORITIES)
    category_id = StringField(max_length=64, null=True)
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    NATURAL_KEY: ClassVar = ("session", "key")

    class Meta:
        table_name = "ideation_requirements"
        indexes = (
            (("session", "created_at"), False),
            (("created_at",), False),
        )


class IdeationMaturity(Record):
    """How far a session has come: its key is the session's, so that there is one for each."""

    session = ReferenceField(
        IdeationSession,
        column_name="session_id",
        on_delete="CASCADE",
        backref="+",
        primary_key=True,
    )
    score = RealField()
    level = StringField(max_length=32)
    categories = JsonField(null=True)
    can_submit = FlagField()
    gaps = JsonField(null=True)
    updated_at = UtcTimeField()
    metadata = JsonField(null=True)

    MERGES: ClassVar = {"updated_at": "max"}

    class Meta:
        table_name = "ideation_maturity"
        indexes = ((("updated_at",), False),)


class IdeationDraft(Record):
    """One draft of the session's requirements document."""

    id = UuidField(primary_key=True)
    session = ReferenceField(
        IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
    )
    key = StringField(max_length=64)
    title = TextField()
    version = StringField(max_length=32)
    sections = JsonField(null=True)
    status = StringField(max_length=32)
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    NATURAL_KEY: ClassVar = ("session", "key")

    class Meta:
        table_name = "ideation_prd_drafts"
        indexes = (
            (("session", "created_at"), False),
            (("created_at",), False),
        )


class IdeationStory(Record):
    """One user story; ``key``, such as US-001, exists once in its session."""

    id = UuidField(primary_key=True)
    session = ReferenceField(
        IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
    )
    key = StringField(max_length=64)
    title = TextField()
    as_a = TextField()
    i_want = TextField()
    so_that = TextField()
    acceptance_criteria = JsonField(null=True)
    linked_requirements = JsonField(null=True)
    priority = StringField(max_length=16, choices=PRIORITIES)
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    NATURAL_KEY: ClassVar = ("session", "key")

    class Meta:
        table_name = "ideation_user_stories"
        indexes = (
            (("session", "created_at"), False),
            (("created_at",), False),
        )
