"""Conversations: titled sequences of messages, each by the system, a user, a model or a tool."""

from __future__ import annotations

from typing import ClassVar

from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
)
from dynostore.models.base import Record

ROLES = ("system", "user", "assistant", "tool")


class Conversation(Record):
    """One conversation.

    :ivar message_count: how many messages it had when it was read; counted, not stored, since two
        nodes' stored counts could not be merged. None on a record that no verb gave.
    """

    id = StringField(max_length=255, primary_key=True)
    title = TextField(null=True)
    created_at = UtcTimeField()
    updated_at = UtcTimeField()
    metadata = JsonField(null=True)

    message_count: int | None = None

    MERGES: ClassVar = {"updated_at": "max"}

    class Meta:
        table_name = "conversations"
        indexes = ((("created_at",), False), (("updated_at",), False))


class Message(Record):
    """One message of a conversation."""

    id = UuidField(primary_key=True)
    conversation = ReferenceField(
        Conversation, column_name="conversation_id", on_delete="CASCADE", backref="+", index=False
    )
    role = StringField(max_length=16, choices=ROLES)
    content = TextField()
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    class Meta:
        table_name = "messages"
        indexes = (
            (("conversation", "created_at", "id"), False),
            (("created_at",), False),
            # The first one could replace it, but messages are counted in this one in half the
            # time, since it is half as wide. Last, because of two that would do SQLite takes the
            # one that was made later.
            (("conversation",), False),
        )
