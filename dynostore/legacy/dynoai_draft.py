"""One DynoAI directory on its way to a run, and how the words that all layouts share are read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ntpath
import os
from typing import Any, Literal

from dynostore.legacy.base import Unreadable
from dynostore.legacy.checksums import FileFacts
from dynostore.legacy.timestamps import find_stamp, from_file_time, parse_utc
from dynostore.models.runs import STATUSES

STATUS_WORDS = {
    **{status: status for status in STATUSES},
    "queued": "pending",
    "running": "processing",
    "success": "complete",
    "completed": "complete",
    "failed": "error",
}
"""DynoAI's words for a run's state, from its three vocabularies, as ours."""

STAMPED = ".manifest.json"
"""How the manifest's copy with the id in its name ends."""

Layout = Literal["A", "B", "C", "D"]


@dataclasses.dataclass(slots=True)
class RunDraft:
    """What a run's directory holds.

    :ivar directory: absolute.
    :ivar path: for people.
    :ivar head: the name of the state file or manifest, whose content is ``document``.
    :ivar files: all files that could be read, by their path below the directory.
    :ivar documents: the parsed ones among them, None for a copy of the manifest.
    :ivar listed: the files that become rows: those whose content the run itself does not hold.
    :ivar entries: what the documents say of a listed file, by its path below the directory.
    """

    layout: Layout
    directory: str
    path: str
    head: str
    document: dict[str, Any]
    files: dict[str, FileFacts]
    documents: dict[str, Any]
    warnings: list[str]
    listed: dict[str, FileFacts] = dataclasses.field(init=False)
    entries: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        consumed = {self.head, *self.documents}
        self.listed = {n: facts for n, facts in self.files.items() if n not in consumed}

    @property
    def name(self) -> str:
        """The directory's own name."""
        return os.path.basename(self.directory)

    @property
    def full_name(self) -> str:
        """The directory's name, with its parent's where it is ``out``, which alone says nothing."""
        if self.name == "out":
            return f"{os.path.basename(os.path.dirname(self.directory))}/out"
        return self.name

    @property
    def stamped_name(self) -> str:
        """The id in the name of the manifest's stamped copy, else the directory's name."""
        stamped = [n for n in self.files if n.endswith(STAMPED) and "/" not in n]
        return max(stamped).removesuffix(STAMPED) if stamped else self.name

    def time(self, field: str, value: Any) -> dt.datetime | None:
        """Read a time; None where nothing is said.

        :raises Unreadable: something is said and is no time.
        """
        if value is None or value == "":
            return None
        try:
            moment, has_offset = parse_utc(value)
        except ValueError as exc:
            raise Unreadable(f"{field}: {exc}") from None
        if not has_offset:
            self.warnings.append(f"{field}: has no offset; taken as UTC")
        return moment

    def created_at(
        self, said: dt.datetime | None, ids: list[Any], ended: dt.datetime | None
    ) -> dt.datetime:
        """Give the time that was said, else the stamp in an id, else a later one, with a warning.

        :param ids: where a stamp may be, the best first.
        :param ended: the last time that the run is known to have changed.
        """
        if said is not None:
            return said
        for text in ids:
            stamp = find_stamp(text) if isinstance(text, str) else None
            if stamp is not None:
                self.warnings.append(f"created_at: is missing; taken from the id {text!r:.80}")
                return stamp
        if ended is not None:
            self.warnings.append("created_at: is missing; the time of the last change is taken")
            return ended
        moment = from_file_time(self.files[self.head].modified_s)
        if moment is None:
            raise Unreadable("created_at: is missing, and the file's own time is out of range")
        self.warnings.append(f"created_at: is missing; the file time of {self.head} is taken")
        return moment

    def own_id(self, value: Any, otherwise: str) -> str:
        """Give the id that the document says, else another one, with a warning."""
        if value is None or value == "":
            self.warnings.append(f"run_id: is missing; {otherwise!r} is taken")
            return otherwise
        if not isinstance(value, str):
            raise Unreadable(f"run_id: text expected, not {type(value).__name__}")
        return value


def read_status(said: Any) -> tuple[str, dict[str, Any]]:
    """Give the store's word for a status, and the object that says more (empty for a bare word).

    :param said: a word, or an object with the word as ``code``.
    :raises Unreadable: missing, or a word that is not known.
    """
    field, word, more = "status", said, {}
    if isinstance(said, dict):
        field, word, more = "status.code", said.get("code"), said
    if word is None:
        raise Unreadable(f"{field}: is missing")
    status = STATUS_WORDS.get(word) if isinstance(word, str) else None
    if status is None:
        raise Unreadable(f"{field}: unknown value {word!r:.80}; one of {', '.join(STATUS_WORDS)}")
    return status, more


def error_of(status: str, more: dict[str, Any]) -> dict[str, Any] | None:
    """Give a manifest's status as the error that RunManager would have written."""
    if status not in ("error", "partial") or not more:
        return None
    return {
        "stage": more.get("last_stage"),
        "code": more.get("code"),
        "message": more.get("message"),
    }


def base_name(path: Any) -> str | None:
    """Give the last part of a Windows or POSIX path."""
    return ntpath.basename(path.rstrip("\\/")) or None if isinstance(path, str) else None


def as_object(value: Any) -> dict[str, Any]:
    """Give an object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def add_beside(metadata: dict[str, Any], name: str, value: Any) -> None:
    """Put a document beside the run's own keys, one of which may have its name."""
    while name in metadata:
        name += "_file"
    metadata[name] = value
