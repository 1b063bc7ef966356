"""What was taken over from older tools: which record, from which file, with which content."""

from __future__ import annotations

from dynostore.fields import JsonField, StringField, TextField, UtcTimeField, UuidField
from dynostore.models.base import Record

STATUSES = ("created", "updated", "same", "kept", "skipped", "invalid")


class Import(Record):
    """One source record and what became of it; about this machine's files, so it does not sync.

    ``image`` is what was read, as the store would hold it: the next import compares with it to
    tell what changed in the source from what was edited in the store.
    """

    id = UuidField(primary_key=True)
    kind = StringField(max_length=32)
    source_path = TextField()
    record_table = StringField(max_length=63, null=True)
    record_key = StringField(max_length=255, null=True)
    content_hash = StringField(max_length=64, null=True)
    image = JsonField(null=True)
    status = StringField(max_length=16, choices=STATUSES)
    reason = TextField(null=True)
    imported_at = UtcTimeField()

    class Meta:
        table_name = "imports"
        indexes = (
            (("source_path",), False),
            (("record_table", "record_key"), False),
            (("imported_at",), False),
        )
