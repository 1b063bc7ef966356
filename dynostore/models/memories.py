"""Memories: lessons that an agent keeps from one session for all later ones."""

from __future__ import annotations

from dynostore.fields import JsonField, StringField, TextField, UtcTimeField, WholeNumberField
from dynostore.models.base import Record


class Memory(Record):
    """In which context which lesson was learned, about which tool, and how sure it is."""

    memory_id = StringField(max_length=255, primary_key=True)
    context = TextField()
    lesson = TextField()
    tool_name = StringField(max_length=255, null=True)
    confidence = WholeNumberField()
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    class Meta:
        table_name = "memories"
        indexes = (
            (("tool_name",), False),
            (("created_at",), False),
        )
