"""Runs, their files, and what was imported from where."""

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

    class Run(db.Model):  # type: ignore[misc]
        id = StringField(max_length=64, primary_key=True)
        status = StringField(max_length=16)
        source = StringField(max_length=64)
        created_at = UtcTimeField()
        updated_at = UtcTimeField()
        jetstream_id = StringField(max_length=255, null=True)
        current_stage = TextField(null=True)
        progress_percent = WholeNumberField(null=True)
        results_summary = JsonField(null=True)
        error_info = JsonField(null=True)
        input_filename = TextField(null=True)
        config_snapshot = JsonField(null=True)
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "runs"
            indexes = (
                (("status",), False),
                (("source",), False),
                (("jetstream_id",), False),
                (("created_at",), False),
                (("status", "created_at"), False),
                (("source", "created_at"), False),
            )

    class RunFile(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        run = ReferenceField(Run, column_name="run_id", on_delete="CASCADE", backref="+")
        filename = TextField()
        file_type = StringField(max_length=32, null=True)
        size_bytes = WholeNumberField(null=True)
        sha256 = StringField(max_length=64, null=True)
        storage_path = TextField(null=True)
        created_at = UtcTimeField()
        metadata = JsonField(null=True)

        class Meta:
            legacy_table_names = False
            table_name = "run_files"
            indexes = ((("created_at",), False),)

    class Import(db.Model):  # type: ignore[misc]
        id = UuidField(primary_key=True)
        kind = StringField(max_length=32)
        source_path = TextField()
        record_table = StringField(max_length=63, null=True)
        record_key = StringField(max_length=255, null=True)
        content_hash = StringField(max_length=64, null=True)
        image = JsonField(null=True)
        status = StringField(max_length=16)
        reason = TextField(null=True)
        imported_at = UtcTimeField()

        class Meta:
            legacy_table_names = False
            table_name = "imports"
            indexes = (
                (("source_path",), False),
                (("record_table", "record_key"), False),
                (("imported_at",), False),
            )

    return [Run, RunFile, Import]


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    db.create_tables(tables(db))


def down(migrator: Any, db: Any) -> None:
    """Drop them, children first."""
    db.drop_tables(tables(db))
