"""Putting into a run what :mod:`dynostore.compat` noted beside it, which RunManager cannot hold."""

from __future__ import annotations

import hashlib
from typing import Any

from dynostore.ids import derived_id
from dynostore.legacy.base import SourceRecord, Unreadable
from dynostore.legacy.beside import read_note, with_note
from dynostore.legacy.checksums import read_file
from dynostore.models.runs import Run, RunFile


def add_note(record: SourceRecord, path: str) -> None:
    """Let a run be what its directory and the note on it say together.

    Of a file on disk its size and hash are those that it has; metadata of both sides are kept.

    :param path: the note's, which is there.
    :raises Unreadable: the note is broken.
    """
    try:
        facts = read_file(path)
    except OSError as exc:
        raise Unreadable(f"the note on it in .dynostore: {exc.strerror or exc}") from None
    note = read_note(path)
    read = record.values["metadata"]
    record.values = with_note(Run, record.values, note.get("columns", {}))
    noted = record.values["metadata"]
    if isinstance(read, dict) and isinstance(noted, dict):
        record.values["metadata"] = {**read, **noted}
    files = {row["filename"]: row for _, row in record.children}
    try:
        for said in note.get("files", []):
            _add_file(record, files, said)
    except (KeyError, TypeError, AttributeError) as exc:
        raise Unreadable(f"the note on it in .dynostore: files: {exc!r}") from None
    record.files += 1
    record.members = [*record.members, path]
    digest = hashlib.sha256(record.content_hash.encode() + facts.digest)
    record.content_hash = digest.hexdigest()


def _add_file(record: SourceRecord, files: dict[str, dict[str, Any]], said: dict[str, Any]) -> None:
    row = files.get(said["filename"])
    if row is not None:
        for column, value in said.items():
            if row[column] is None or column in ("file_type", "metadata"):
                row[column] = row[column] if value is None else value
        return
    key = derived_id("run_files", record.key, said["filename"])
    created = RunFile.created_at.python_value(said["created_at"])
    own = {"id": key, "run_id": record.key, "created_at": created}
    record.children.append((RunFile, {**said, **own}))
