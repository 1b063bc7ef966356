"""Agent sessions: their states, todo lists and history; and the memories that outlive them."""

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

    class AgentSession(db.Model):  # type: ignore[misc]
        session_id = StringField(max_length=255, primary_key=True)
        user_id = StringField(max_length=255, null=True)
        mission = TextField(null=True)
        status = StringField(max_length=50)
        created_at = UtcTimeField()
        updated_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "sessions"
            indexes = (
                (("user_id",), False),
                (("created_at",), False),
                (("updated_at",), False),
            )

    class SessionState(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        session = ReferenceField(
            AgentSession, column_name="session_id", on_delete="CASCADE", backref="+"
        )
        version = WholeNumberField()
        state = JsonField()
        saved_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "states"
            indexes = (
                (("session", "version"), False),
                (("saved_at",), False),
            )

    class TodoList(db.Model):  # type: ignore[misc]
        todolist_id = StringField(max_length=255, primary_key=True)
        session = ReferenceField(
            AgentSession, column_name="session_id", on_delete="CASCADE", backref="+", null=True
        )
        mission = TextField(null=True)
        plan = JsonField()
        status = StringField(max_length=16)
        created_at = UtcTimeField()
        updated_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "todo_lists"
            indexes = (
                (("created_at",), False),
                (("updated_at",), False),
            )

    class HistoryEntry(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        session = ReferenceField(
            AgentSession, column_name="session_id", on_delete="CASCADE", backref="+"
        )
        step_id = StringField(max_length=255, null=True)
        thought = TextField(null=True)
        action = TextField(null=True)
        observation = TextField(null=True)
        timestamp = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "execution_history"
            indexes = (
                (("timestamp",), False),
                (("session", "timestamp", "id"), False),
            )

    class Memory(db.Model):  # type: ignore[misc]
        memory_id = StringField(max_length=255, primary_key=True)
        context = TextField()
        lesson = TextField()
        tool_name = StringField(max_length=255, null=True)
        confidence = WholeNumberField()
        created_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "memories"
            indexes = (
                (("tool_name",), False),
                (("created_at",), False),
            )

    return [AgentSession, SessionState, TodoList, HistoryEntry, Memory]


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    db.create_tables(tables(db))


def down(migrator: Any, db: Any) -> None:
    """Drop them, children first."""
    db.drop_tables(tables(db))
