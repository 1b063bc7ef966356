"""What became of everything that an import found, in numbers that add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dynostore.importing.ledger import Log
from dynostore.legacy.source_tree import shown

OUTCOMES = ("created", "updated", "same", "skipped", "invalid")


@dataclasses.dataclass(slots=True)
class Counts:
    """How many ended in each outcome."""

    created: int = 0
    updated: int = 0
    same: int = 0
    skipped: int = 0
    invalid: int = 0

    @property
    def found(self) -> int:
        """The sum: all that there was."""
        return sum(getattr(self, outcome) for outcome in OUTCOMES)

    def add(self, outcome: str, count: int = 1) -> None:
        """Count ``count`` more of an outcome."""
        setattr(self, outcome, getattr(self, outcome) + count)

    def to_json(self) -> dict[str, int]:
        """Give the numbers by name, ``found`` first."""
        return {"found": self.found, **{name: getattr(self, name) for name in OUTCOMES}}


@dataclasses.dataclass(slots=True)
class Entry:
    """What became of one record, or of one file that belongs to none.

    :ivar path: below the source, with ``/``.
    :ivar reason: why it was skipped, is invalid, or was not taken in full.
    :ivar files: how many files it stands for.
    :ivar kind: the reader that found it.
    :ivar kept: the columns in which both the source and the store changed and the store's value
        stayed, as ``status`` or ``run_files output/VE.csv sha256``.
    """

    path: str
    outcome: str
    reason: str | None = None
    is_record: bool = True
    files: int = 1
    table: str | None = None
    key: str | None = None
    kept: Sequence[str] = ()
    kind: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give all of it by stable names."""
        return {
            "kind": self.kind,
            "path": self.path,
            "outcome": self.outcome,
            "reason": self.reason,
            "record": self.is_record,
            "files": self.files,
            "table": self.table,
            # An id that is invalid may be made of bytes that are no text.
            "key": None if self.key is None else shown(self.key),
            "kept": list(self.kept),
        }


@dataclasses.dataclass(slots=True)
class Remark:
    """Something that a person should know about one path: a warning, or a difference."""

    path: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Give both by name."""
        return {"path": self.path, "message": self.message}


@dataclasses.dataclass
class ImportReport:
    """What an import did, or would do.

    :ivar source: the absolute path or the URL that was read, printable and without a password.
    :ivar kind: the reader that read it; several with commas between them.
    :ivar timezone: the zone in which times without one were read.
    :ivar records: runs and the like, by outcome.
    :ivar files: everything found on disk, by outcome; a record's files share its outcome.
    :ivar kinds: the records by reader, where data of several tools was found.
    :ivar invalid: all that is invalid, also what is neither a record nor a file, such as damage of
        which nobody knows what it cost.
    :ivar entries: one for each record and each file that belongs to none, reader by reader, each in
        the order in which it reads. It may be longer than memory: it is kept on disk.
    :ivar warnings: what is in the store and yet not as one would expect, such as a checksum that
        does not match.
    :ivar differences: where reading back from the store gave something else than was written.
    :ivar archived: how many files were moved to the archive.
    :ivar not_archived: which records' files were not, and why.
    :ivar seconds: how long it took.
    """

    source: str
    kind: str
    dry_run: bool = False
    existing: str = "merge"
    timezone: str = "local"
    records: Counts = dataclasses.field(default_factory=Counts)
    files: Counts = dataclasses.field(default_factory=Counts)
    kinds: dict[str, Counts] = dataclasses.field(default_factory=dict)
    entries: Log[Entry] = dataclasses.field(default_factory=Log)
    warnings: Log[Remark] = dataclasses.field(default_factory=Log)
    differences: Log[Remark] = dataclasses.field(default_factory=Log)
    invalid: int = 0
    kept: int = 0
    archived: int = 0
    not_archived: Log[Remark] = dataclasses.field(default_factory=Log)
    seconds: float = 0.0

    def add(self, entry: Entry) -> None:
        """Count an entry; it shares its outcome with its files."""
        self.entries.append(entry)
        self.files.add(entry.outcome, entry.files)
        if entry.is_record:
            self.records.add(entry.outcome)
            if entry.kind in self.kinds:
                self.kinds[entry.kind].add(entry.outcome)
        self.invalid += entry.outcome == "invalid"
        self.kept += bool(entry.kept)

    @property
    def exit_code(self) -> int:
        """Give 3 where anything was left out, else 0.

        That is: invalid, kept back, read back differently, or not moved to the archive.
        """
        return 3 if self.invalid or self.kept or self.differences or self.not_archived else 0

    def to_json(self) -> dict[str, Any]:
        """Give the whole report by stable names; ``ok`` is whether the exit code is 0."""
        return {
            **self.numbers_to_json(),
            "items": [entry.to_json() for entry in self.entries],
            "warnings": [remark.to_json() for remark in self.warnings],
            "differences": [remark.to_json() for remark in self.differences],
            "not_archived": [remark.to_json() for remark in self.not_archived],
        }

    def numbers_to_json(self) -> dict[str, Any]:
        """Give all of it but what has an entry for each record."""
        return {
            "ok": self.exit_code == 0,
            "source": self.source,
            "kind": self.kind,
            "dry_run": self.dry_run,
            "existing": self.existing,
            "timezone": self.timezone,
            "exit_code": self.exit_code,
            "records": self.records.to_json(),
            "files": self.files.to_json(),
            "kinds": {kind: counts.to_json() for kind, counts in self.kinds.items()},
            "kept": self.kept,
            "archived": self.archived,
            "seconds": round(self.seconds, 3),
        }
