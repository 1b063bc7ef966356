"""What each of DynoAI's layouts says, as a run: which key is which column, all others metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from dynostore.legacy.base import SourceRecord
from dynostore.legacy.checksums import FileFacts
from dynostore.legacy.dynoai_draft import (
    Layout,
    RunDraft,
    add_beside,
    as_object,
    base_name,
    error_of,
    read_status,
)
from dynostore.legacy.dynoai_files import attach_outputs, attach_snapshots, file_rows
from dynostore.models import Run

_READER_VERSION = b"dynoai 1\n"  # a reader that reads more must see the same files as changed
_ROW_BYTES = 1000  # a file's row in memory, about


def build_record(draft: RunDraft) -> SourceRecord:
    """Give the run that a directory holds, with its files.

    :raises Unreadable: it is no run that the store could hold; the message names the field.
    """
    values = _LAYOUTS[draft.layout](draft)
    metadata: dict[str, Any] = values["metadata"]
    for name in ("session_log", "jetstream_metadata", "experiment_summary"):
        document = draft.documents.get(f"{name}.json")
        if document is not None:
            add_beside(metadata, name, document)
            if name == "session_log":
                attach_snapshots(document, draft.listed, draft.entries)
    if draft.layout == "D" or values["id"] != draft.name:
        add_beside(metadata, "directory", draft.full_name)
    values["metadata"] = metadata or None
    read_bytes = sum(f.size_bytes for n, f in draft.files.items() if n not in draft.listed)
    return SourceRecord(
        model=Run,
        key=values["id"],
        values=values,
        children=file_rows(values, draft.listed, draft.entries, draft.warnings),
        path=draft.path,
        place=draft.directory,
        content_hash=_content_hash(draft.files),
        files=len(draft.files),
        warnings=draft.warnings,
        members=[draft.files[draft.head].path, *_others(draft)],
        weight_bytes=read_bytes + _ROW_BYTES * len(draft.files),
    )


def _others(draft: RunDraft) -> Iterator[str]:
    return (facts.path for name, facts in draft.files.items() if name != draft.head)


def _content_hash(files: dict[str, FileFacts]) -> str:
    digest = hashlib.sha256(_READER_VERSION)
    for name in sorted(files):
        digest.update(name.encode())
        digest.update(b"\0")
        digest.update(files[name].digest)
    return digest.hexdigest()


def _state(draft: RunDraft) -> dict[str, Any]:
    """Layout A: RunManager's ``run_state.json``, with the manifest of ``output/``."""
    rest = dict(draft.document)
    key = draft.own_id(rest.pop("run_id", None), draft.name)
    status, _ = read_status(rest.pop("status", None))
    created = draft.time("created_at", rest.pop("created_at", None))
    updated = draft.time("updated_at", rest.pop("updated_at", None))
    created = draft.created_at(created, [key, draft.name], updated)
    values = {
        "id": key,
        "status": status,
        "source": _said_source(draft, rest.pop("source", None)),
        "created_at": created,
        "updated_at": updated or created,
        "jetstream_id": rest.pop("jetstream_id", None),
        "current_stage": rest.pop("current_stage", None),
        "progress_percent": _whole(rest.pop("progress_percent", None)),
        "results_summary": rest.pop("results_summary", None),
        "error_info": rest.pop("error", None),
        "input_filename": None,
        "config_snapshot": None,
        "metadata": rest,
    }
    if "input/dynoai_input.csv" in draft.files:
        values["input_filename"] = "dynoai_input.csv"
    manifest = draft.documents.get("output/manifest.json")
    if manifest is not None:
        manifest = dict(manifest)
        named = base_name(as_object(manifest.get("input")).get("path"))
        values["input_filename"] = named or values["input_filename"]
        values["config_snapshot"] = manifest.pop("config", None)
        attach_outputs(draft, manifest, "output/")
        add_beside(rest, "manifest", manifest)
    return values


def _said_source(draft: RunDraft, said: Any) -> Any:
    if said is not None:
        return said
    draft.warnings.append("source: is missing; 'unknown' is taken")
    return "unknown"


def _whole(value: Any) -> Any:
    """Give 62 for 62.0; anything else is for the column to judge."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _manifest(draft: RunDraft) -> dict[str, Any]:
    """Layouts B and D: ``dynoai.manifest@1``, and the minimal shape without a schema."""
    rest = dict(draft.document)
    said_id = rest.get("run_id")
    if draft.layout == "B":
        key, source = draft.name, "upload"
    else:
        key, source = draft.own_id(rest.pop("run_id", None), draft.stamped_name), "experiment"
    status, more = "complete", dict[str, Any]()
    if "schema_id" not in rest and rest.get("status") is None:
        draft.warnings.append("status: is missing; 'complete' is taken")
    else:
        status, more = read_status(rest.get("status"))
    timing = as_object(rest.get("timing"))
    started = draft.time("timing.start", timing.get("start") or rest.get("timestamp"))
    ended = draft.time("timing.end", timing.get("end"))
    created = draft.created_at(started, [said_id, key, draft.stamped_name], ended)
    attach_outputs(draft, rest, "")
    return {
        "id": key,
        "status": status,
        "source": source,
        "created_at": created,
        "updated_at": ended or created,
        "jetstream_id": None,
        "current_stage": more.get("last_stage"),
        "progress_percent": None,
        "results_summary": rest.pop("stats", None),
        "error_info": error_of(status, more),
        "input_filename": base_name(as_object(rest.get("input")).get("path")),
        "config_snapshot": rest.pop("config", None),
        "metadata": rest,
    }


def _jetdrive(draft: RunDraft) -> dict[str, Any]:
    """Layout C: the manifest of JetDrive's auto-tune, written once, when the analysis is done."""
    rest = dict(draft.document)
    key = draft.own_id(rest.pop("run_id", None), draft.name)
    said = rest.get("status")
    status, more = ("complete", {}) if said is None else read_status(said)
    timing = as_object(rest.get("timing"))
    started = draft.time("timestamp", rest.pop("timestamp", None) or timing.get("start"))
    ended = draft.time("timing.end", timing.get("end"))
    created = draft.created_at(started, [key, draft.name], ended)
    results = rest.pop("analysis", None)
    source_file = rest.get("source_file")
    attach_outputs(draft, rest, "")
    return {
        "id": key,
        "status": status,
        "source": _jetdrive_source(as_object(rest.get("inputs")).get("mode"), source_file),
        "created_at": created,
        "updated_at": ended or created,
        "jetstream_id": None,
        "current_stage": more.get("last_stage"),
        "progress_percent": None,
        "results_summary": _older_peaks(rest) if results is None else results,
        "error_info": error_of(status, more),
        "input_filename": base_name(source_file),
        "config_snapshot": rest.pop("config", None),
        "metadata": rest,
    }


def _older_peaks(document: dict[str, Any]) -> dict[str, Any] | None:
    """Give the peaks from where manifests without ``analysis`` have them; they stay there too."""
    peaks = dict(as_object(document.get("peak_performance")))
    peaks |= {k: document[k] for k in ("peak_hp", "peak_tq", "peak_torque") if k in document}
    return peaks or None


def _jetdrive_source(mode: Any, source_file: Any) -> str:
    name = (base_name(source_file) or "").lower()
    if mode in ("simulator_pull", "simulate") or name == "simulated" or name.endswith("_pull.csv"):
        return "simulator_pull"
    return "real" if name.endswith((".csv", ".wp8")) else "unknown"


_LAYOUTS: dict[Layout, Callable[[RunDraft], dict[str, Any]]] = {
    "A": _state,
    "B": _manifest,
    "C": _jetdrive,
    "D": _manifest,
}
