"""A run's files as rows, each with what DynoAI's documents say of it, checksums compared."""

from __future__ import annotations

import datetime as dt
import ntpath
from typing import Any

from dynostore.ids import derived_id
from dynostore.legacy.base import Row
from dynostore.legacy.checksums import FileFacts, agrees
from dynostore.legacy.dynoai_draft import RunDraft
from dynostore.legacy.timestamps import from_file_time, parse_utc
from dynostore.models import RunFile

_TYPES = {"txt": "text", "log": "text", "htm": "html", "jpeg": "jpg"}
_LONGEST_TYPE = 32
_PATH_PARTS_TRIED = 4

Files = dict[str, FileFacts]
Entries = dict[str, dict[str, Any]]


def attach_outputs(draft: RunDraft, document: dict[str, Any], prefix: str) -> None:
    """Move what a manifest's ``outputs`` say to the files that they speak of.

    ``outputs`` is a list of objects, or an object of paths by name. What speaks of no file on disk
    stays in the document, and is warned of.

    :param prefix: where the manifest stands below the run's directory: ``output/`` or nothing.
    """
    files, entries = draft.listed, draft.entries
    outputs = document.get("outputs")
    if isinstance(outputs, list):
        rest: Any = [item for item in outputs if not _attach(item, files, entries, prefix)]
    elif isinstance(outputs, dict):
        rest = {
            name: path
            for name, path in outputs.items()
            if not _attach({"name": name, "path": path}, files, entries, prefix)
        }
    else:
        return
    if rest:
        draft.warnings.append(
            f"outputs: {len(rest)} of {len(outputs)} could not be matched with a file"
        )
    if rest or not outputs:
        document["outputs"] = rest
    else:
        del document["outputs"]


def _attach(item: Any, files: Files, entries: Entries, prefix: str) -> bool:
    entry = {"path": item} if isinstance(item, str) else item
    if not isinstance(entry, dict):
        return False
    filename = _find(entry, files, prefix)
    if filename is None or filename in entries:
        return False
    entries[filename] = entry
    return True


def _find(entry: dict[str, Any], files: Files, prefix: str) -> str | None:
    """Find the file that an entry means: by its name, else by the end of its path.

    Paths are Windows or POSIX, absolute on a machine that is long gone, or relative.
    """
    for said in (entry.get("name"), entry.get("path")):
        if not isinstance(said, str):
            continue
        parts = said.replace("\\", "/").split("/")[-_PATH_PARTS_TRIED:]
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            for candidate in (prefix + end, end):
                if candidate in files:
                    return candidate
    return None


def attach_snapshots(log: Any, files: Files, entries: Entries) -> None:
    """Note what a session log says of the snapshots beside it; the log itself keeps it too."""
    events = log.get("events") if isinstance(log, dict) else None
    for event in events if isinstance(events, list) else ():
        for key in ("snapshot_before", "snapshot_after"):
            snapshot = event.get(key) if isinstance(event, dict) else None
            if isinstance(snapshot, dict) and isinstance(snapshot.get("id"), str):
                filename = f"snapshots/{snapshot['id']}.csv"
                if filename in files:
                    entries.setdefault(filename, snapshot)


def file_rows(
    run: dict[str, Any], files: Files, entries: Entries, warnings: list[str]
) -> list[Row]:
    """Give the rows of a run's files, and add a warning for each that is not as was said."""
    run_id = run["id"]
    rows: list[Row] = []
    without_offset = 0
    for filename in sorted(files):
        facts = files[filename]
        entry = entries.get(filename)
        if entry is not None:
            _compare(filename, facts, entry, warnings)
        created, has_offset = _created_at(filename, facts, entry, warnings)
        without_offset += not has_offset
        row = {
            "id": derived_id("run_files", run_id, filename),
            "run_id": run_id,
            "filename": filename,
            "file_type": _file_type(filename, entry),
            "size_bytes": facts.size_bytes,
            "sha256": facts.sha256,
            "storage_path": facts.path,
            "created_at": created or run["created_at"],
            "metadata": entry,
        }
        rows.append((RunFile, row))
    if without_offset:
        warnings.append(f"the times of {without_offset} files have no offset; taken as UTC")
    return rows


def _compare(filename: str, facts: FileFacts, entry: dict[str, Any], warnings: list[str]) -> None:
    expected = entry.get("sha256")
    if not isinstance(expected, str) or not expected:
        return
    try:
        if agrees(facts, expected):
            return
    except OSError as exc:
        warnings.append(f"{filename}: its checksum cannot be compared: {exc.strerror or exc}")
        return
    warnings.append(
        f"{filename}: checksum mismatch: the file has sha256 {facts.sha256}, "
        f"{expected[:64]!r} was expected, also with CRLF line endings"
    )


def _created_at(
    filename: str, facts: FileFacts, entry: dict[str, Any] | None, warnings: list[str]
) -> tuple[dt.datetime | None, bool]:
    said = (entry.get("created") or entry.get("timestamp")) if entry is not None else None
    if said:
        try:
            return parse_utc(said)
        except ValueError as exc:
            warnings.append(f"{filename}: created: {exc}; the file's own time is taken")
    return from_file_time(facts.modified_s), True


def _file_type(filename: str, entry: dict[str, Any] | None) -> str | None:
    said = entry.get("type") if entry is not None else None
    if isinstance(said, str) and 0 < len(said) <= _LONGEST_TYPE:
        return said
    ending = ntpath.splitext(filename)[1][1:].lower()
    known = _TYPES.get(ending, ending)
    return known if 0 < len(known) <= _LONGEST_TYPE else None
