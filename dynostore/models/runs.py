"""Runs: one execution of an analysis each, and the files that it read and wrote."""

from __future__ import annotations

from typing import Any, ClassVar

from dynostore.errors import quoted
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

STATUSES = (
    "pending",
    "downloading",
    "converting",
    "validating",
    "processing",
    "complete",
    "partial",
    "error",
)


class RunFilename(TextField):
    """The path of a file below its run's directory: relative, with ``/``, no ``..``."""

    def check(self, value: Any) -> str:
        """Accept ``output/VE.csv``; refuse what could leave the directory."""
        text = super().check(value)
        if any(part in ("", ".", "..") for part in text.split("/")):
            raise ValueError(f"{quoted(text)} is not a path below the run's directory")
        return text


class Sha256(StringField):
    """A SHA-256 in 64 lower-case hexadecimal digits."""

    def check(self, value: Any) -> str:
        """Accept 64 hexadecimal digits of either case."""
        text = super().check(value).lower()
        if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
            raise ValueError(f"{quoted(value)} is not a SHA-256 in 64 hexadecimal digits")
        return text


class Run(Record):
    """One execution of an analysis."""

    id = StringField(max_length=64, primary_key=True)
    status = StringField(max_length=16, choices=STATUSES)
    source = StringField(max_length=64)
    created_at = UtcTimeField()
    updated_at = UtcTimeField()
    jetstream_id = StringField(max_length=255, null=True)
    current_stage = TextField(null=True)
    progress_percent = WholeNumberField(low=0, high=100, null=True)
    results_summary = JsonField(null=True)
    error_info = JsonField(null=True)
    input_filename = TextField(null=True)
    config_snapshot = JsonField(null=True)
    metadata = JsonField(null=True)

    MERGES: ClassVar = {"updated_at": "max", "progress_percent": "max"}

    class Meta:
        table_name = "runs"
        indexes = (
            (("status",), False),
            (("source",), False),
            (("jetstream_id",), False),
            (("created_at",), False),
            (("status", "created_at"), False),
            (("source", "created_at"), False),
        )


class RunFile(Record):
    """One file of a run; the id is uuid5 of run and file name, so that two nodes meet on it."""

    id = UuidField(primary_key=True)
    run = ReferenceField(Run, column_name="run_id", on_delete="CASCADE", backref="+")
    filename = RunFilename()
    file_type = StringField(max_length=32, null=True)
    size_bytes = WholeNumberField(low=0, null=True)
    sha256 = Sha256(max_length=64, null=True)
    storage_path = TextField(null=True)
    created_at = UtcTimeField()
    metadata = JsonField(null=True)

    class Meta:
        table_name = "run_files"
        indexes = ((("created_at",), False),)
