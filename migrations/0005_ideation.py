"""Ideation sessions and what hangs on them."""

from typing import Any

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


def tables(db: Any) -> list[Any]:
    """Give this step's tables as they were when it was written."""

    class IdeationSession(db.Model):  # type: ignore[misc]
        id = StringField(max_length=64, primary_key=True)
        project_name = TextField()
        user_id = StringField(max_length=255)
        status = StringField(max_length=16)
        data_source = StringField(max_length=16)
        version = WholeNumberField()
        created_at = UtcTimeField()
        updated_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "ideation_sessions"
            indexes = (
                (("user_id", "updated_at"), False),
                (("created_at",), False),
                (("updated_at",), False),
            )

    class IdeationMessage(db.Model):  # type: ignore[misc]
        id = StringField(max_length=64, primary_key=True)
        session = ReferenceField(
            IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
        )
        role = StringField(max_length=16)
        content = TextField()
        timestamp = UtcTimeField()
        maturity_delta = RealField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "ideation_messages"
            indexes = (
                (("session", "timestamp", "id"), False),
                (("timestamp",), False),
            )

    class IdeationRequirement(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        session = ReferenceField(
            IdeationSession, column_name="session_id", on_delete="CASCADE", backref="+", index=False
        )
        key = StringField(max_length=64)
        description = TextField()
        type = StringField(max_length=16)
        priority = StringField(max_length=16)
        category_id = StringField(max_length=64, null=True)
        created_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "ideation_requirements"
            indexes = (
                (("session", "created_at"), False),
                (("created_at",), False),
            )

    class IdeationMaturity(db.Model):  # type: ignore[misc]
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

        class Meta:
            legacy_table_names = False
            table_name = "ideation_maturity"
            indexes = ((("updated_at",), False),)

    class IdeationDraft(db.Model):  # type: ignore[misc]
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

        class Meta:
            legacy_table_names = False
            table_name = "ideation_prd_drafts"
            indexes = (
                (("session", "created_at"), False),
                (("created_at",), False),
            )

    class IdeationStory(db.Model):  # type: ignore[misc]
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
        priority = StringField(max_length=16)
        created_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "ideation_user_stories"
            indexes = (
                (("session", "created_at"), False),
                (("created_at",), False),
            )

    return [
        IdeationSession,
        IdeationMessage,
        IdeationRequirement,
        IdeationMaturity,
        IdeationDraft,
        IdeationStory,
    ]


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    db.create_tables(tables(db))


def down(migrator: Any, db: Any) -> None:
    """Drop them, children first."""
    db.drop_tables(tables(db))
