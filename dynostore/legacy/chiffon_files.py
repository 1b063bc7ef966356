"""Chiffon's files as tasks: audit records, the reports of runs, and the queue of YAML files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any, Literal

from dynostore.ids import derived_id
from dynostore.legacy.base import SourceRecord, Unreadable
from dynostore.legacy.cells import CellReader, as_uuid
from dynostore.legacy.checksums import FileFacts, read_file
from dynostore.legacy.chiffon_rows import KIND, TASK_STATUSES, status_of, task_key
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_json import MAX_BYTES, parse_object
from dynostore.legacy.source_yaml import parse_mapping
from dynostore.legacy.timestamps import find_stamp, from_file_time
from dynostore.models import Task

Form = Literal["audit", "report", "queued"]

_READER_VERSION = b"chiffon 1\n"
_STATES = {"done": "completed", "failed": "failed", "queue": "pending"}
"""A queue's directories, the one that says most of a task first."""

_RUN_PARTS = 4  # runs/<task_id>/<stamp>/report.json
_MARKS: dict[Form, re.Pattern[bytes]] = {
    "audit": re.compile(rb'"task_id"\s*:'),
    "report": re.compile(rb'"(goal|verify_results)"\s*:'),
    "queued": re.compile(rb"(?m)^(\xef\xbb\xbf)?[\"']?(id|goal)[\"']?\s*:"),
}
_FILE_TIME = frozenset({"created_at"})
_AUDITED = {"task_id", "status", "actual_resources", "metadata"}
_NOT_AUDITED = frozenset(Task._meta.columns) - _AUDITED
_KEYS_OF_AUDITS = {"plan_id", "plan_steps", "dispatch_info", "execution_result"}


def form_of(path: str) -> Form | None:
    """Tell by its path what a file of Chiffon's is; None for a file of somebody else's."""
    if path.endswith(".json"):
        if ".audit" not in path and not path.endswith("report.json"):  # nearly always
            return None
        parts = path.split(os.sep)
        if parts[-1] == "report.json" and parts[-_RUN_PARTS:-3] == ["runs"]:
            return "report"
        return "audit" if ".audit" in parts[:-1] else None
    if path.endswith((".yml", ".yaml")) and state_of(path) is not None:
        return "queued"
    return None


def form_within(head: FileHead) -> Form | None:
    """Tell by the first bytes what a file is whose path says nothing, as after copying it."""
    if not head.path.endswith(".json") or b'"task_id"' not in head.data:
        return None
    if _MARKS["audit"].search(head.data):
        if _MARKS["report"].search(head.data):
            return "report"
        if any(b'"%s"' % key.encode() in head.data for key in _KEYS_OF_AUDITS):
            return "audit"
    return None


def has_marks(head: FileHead, form: Form) -> bool:
    """Tell by the first bytes whether a file can be what its path says."""
    return bool(_MARKS[form].search(head.data))


def state_of(path: str) -> str | None:
    """Give the nearest directory of a queue that a file lies in: queue, done or failed."""
    parts = path.split(os.sep)[:-1]
    if "tasks" not in parts:
        return None
    below = parts[len(parts) - parts[::-1].index("tasks") :]
    return next((part for part in reversed(below) if part in _STATES), None)


def queue_order(path: str) -> tuple[int, str]:
    """Give the order in which the files of a queue are read, so that of copies the best wins."""
    return [*_STATES].index(state_of(path) or "queue"), path


@dataclasses.dataclass(slots=True)
class TaskFile:
    """A file that holds one task.

    :ivar path: for people.
    :ivar document: what it says.
    """

    path: str
    facts: FileFacts
    document: dict[str, Any]
    warning: str | None

    def cells(self) -> CellReader:
        """Give its values one by one; the document itself stays whole."""
        cells = CellReader(self.document)
        if self.warning:
            cells.warn(self.warning)
        return cells


def read_task_file(place: str, path: str) -> TaskFile:
    """Read and parse a file.

    :param place: absolute.
    :raises Unreadable: it cannot be read or is no document.
    """
    try:
        facts = read_file(place, keep_bytes=MAX_BYTES)
    except OSError as exc:
        raise Unreadable(f"cannot be read: {exc.strerror or exc}") from None
    if facts.data is None:
        raise Unreadable(f"a document of more than {MAX_BYTES // 2**20} MiB")
    if place.endswith((".yml", ".yaml")):
        return TaskFile(path, facts, parse_mapping(facts.data), None)
    return TaskFile(path, facts, *parse_object(facts.data))


def read_report(file: TaskFile) -> SourceRecord:
    """Give the task of a run's report, completed where all that was verified succeeded.

    :raises Unreadable: it is no report; names what is missing.
    """
    cells = file.cells()
    said = cells.raw("task_id")
    if said in (None, ""):
        raise Unreadable("task_id: is missing")
    stamp = cells.raw("timestamp") or os.path.basename(os.path.dirname(file.facts.path))
    moment = CellReader({"timestamp": stamp}).time("timestamp")
    assumed = frozenset[str]()
    if moment is None:
        moment, assumed = _file_time(cells, "timestamp", file), _FILE_TIME
        stamp = "" if not isinstance(stamp, str) else stamp
    created = stamp if isinstance(stamp, str) else moment
    values = _task(
        # One task may have run several times: only with the time of the run it is this task.
        task_key(said, created, is_unique=False),
        request_text=_goal_of(cells, "goal"),
        status="completed" if _succeeded(cells.raw("verify_results")) else "failed",
        created_at=moment,
        metadata=file.document,
    )
    return _record(file, values, cells, assumed)


def _succeeded(results: Any) -> bool:
    """Tell whether no command is known to have failed."""
    checks = results if isinstance(results, list) else []
    codes = [check.get("exit_code", 0) for check in checks if isinstance(check, dict)]
    return all(code in (0, "0") and code is not False for code in codes)


def read_queued(file: TaskFile) -> SourceRecord:
    """Give the task of a YAML file of the queue; the directory says what became of it.

    :raises Unreadable: its place or the file does not say enough.
    """
    cells = file.cells()
    place = file.facts.path
    state = state_of(place)
    if state is None:
        raise Unreadable("its place does not say whether it is queued, done or failed")
    said = cells.raw("id")
    if said in (None, ""):
        said = os.path.splitext(os.path.basename(place))[0]
        cells.warn(f"id: is missing; {said!r} is taken from the name")
    goal = _goal_of(cells, "goal")
    project = _project_of(place)
    created = cells.time("created_at") or cells.time("created") or cells.time("timestamp")
    created = created or find_stamp(str(said))
    assumed = frozenset[str]()
    if created is None:
        created, assumed = _file_time(cells, "created_at", file), _FILE_TIME
    own = as_uuid(said)
    values = _task(
        # Without a time, which a queued task does not have; so it is the same when it is done.
        own or derived_id("tasks", KIND, f"{project}\x1f{said}\x1f{goal}"),
        request_text=goal,
        status=_STATES[state],
        created_at=created,
        completed_at=cells.time("completed_at"),
        metadata={**file.document, "queue": {"project": project or None, "state": state}},
    )
    return _record(file, values, cells, assumed)


def _project_of(place: str) -> str:
    """Give the directory of a queue that is neither ``tasks`` nor a state; empty for none."""
    parts = place.split(os.sep)[:-1]
    below = parts[len(parts) - parts[::-1].index("tasks") :]
    return "/".join(part for part in below if part not in _STATES)


def read_audit(file: TaskFile) -> SourceRecord:
    """Give the task of an audit record, which says how it ended and not what was asked for.

    :raises Unreadable: it is no audit record; names what is missing.
    """
    cells = file.cells()
    said = cells.raw("task_id")
    if said in (None, ""):
        raise Unreadable("task_id: is missing")
    status = status_of(cells, TASK_STATUSES)
    result = _inner(cells, "execution_result")
    dispatch = _inner(cells, "dispatch_info")
    ended = result.time("end_time")
    written = cells.time("timestamp")
    created = result.time("start_time") or dispatch.time("dispatch_timestamp") or written or ended
    if created is None:
        created = _file_time(cells, "timestamp", file)
    values = _task(
        task_key(said, created),
        request_text=_goal_of(cells, "request_text"),
        status=status,
        created_at=created,
        completed_at=(ended or written) if status in ("completed", "failed") else None,
        actual_resources=result.raw("resources_used"),
        metadata=file.document,
    )
    for reader in (result, dispatch):
        cells.warnings += reader.warnings
    record = _record(file, values, cells, _NOT_AUDITED)
    # The database has the same task and says more of it: each is compared with what it said itself.
    record.origin = "audit"
    return record


def _inner(cells: CellReader, name: str) -> CellReader:
    value = cells.raw(name)
    return CellReader(value if isinstance(value, dict) else {}, f"{name}.")


def _goal_of(cells: CellReader, name: str) -> str:
    text = cells.text(name)
    if text is None:
        cells.warn(f"{name}: is missing; left empty")
    return text or ""


def _file_time(cells: CellReader, name: str, file: TaskFile) -> Any:
    moment = from_file_time(file.facts.modified_s)
    if moment is None:
        raise Unreadable(f"{name}: is missing, and the file's own time is out of range")
    cells.warn(f"{name}: there is none that could be read; the file's own time is taken")
    return moment


def _task(key: str, **said: Any) -> dict[str, Any]:
    return {**dict.fromkeys(Task._meta.columns), "task_id": key, **said}


def _record(
    file: TaskFile, values: dict[str, Any], cells: CellReader, assumed: frozenset[str]
) -> SourceRecord:
    digest = hashlib.sha256(_READER_VERSION + file.facts.digest)
    if state := state_of(file.facts.path):
        digest.update(state.encode())  # where it lies is a part of what it says
    return SourceRecord(
        model=Task,
        key=values["task_id"],
        values=values,
        children=[],
        path=file.path,
        place=file.facts.path,
        content_hash=digest.hexdigest(),
        warnings=cells.warnings,
        weight_bytes=2 * file.facts.size_bytes,
        assumed=assumed,
    )


READERS = {"audit": read_audit, "report": read_report, "queued": read_queued}
"""By form, what makes a record of a file."""

__all__: Sequence[str] = (
    "READERS",
    "Form",
    "TaskFile",
    "form_of",
    "form_within",
    "has_marks",
    "queue_order",
    "read_task_file",
)
