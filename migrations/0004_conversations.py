"""Conversations and their messages."""

from typing import Any

from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
)


def tables(db: Any) -> list[Any]:
    """Give this step's tables as they were when it was written."""

    class Conversation(db.Model):  # type: ignore[misc]
        id = StringField(max_length=255, primary_key=True)
        title = TextField(null=True)
        created_at = UtcTimeField()
        updated_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "conversations"
            indexes = ((("created_at",), False), (("updated_at",), False))

    class Message(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        conversation = ReferenceField(
            Conversation,
            column_name="conversation_id",
            on_delete="CASCADE",
            backref="+",
            index=False,
        )
        role = StringField(max_length=16)
        content = TextField()
        created_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "messages"
            indexes = (
                (("conversation", "created_at", "id"), False),
                (("created_at",), False),
                # Last: SQLite takes the index that was made later, and this one is half as wide.
                (("conversation",), False),
            )

    return [Conversation, Message]


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    db.create_tables(tables(db))


def down(migrator: Any, db: Any) -> None:
    """Drop them, children first."""
    db.drop_tables(tables(db))
