"""Runs in DynoAI's run directories, which RunManager reads and writes at the same time.

A run is ``<run>/run_state.json``. What RunManager has no key for (configuration, metadata, the
files' facts) is in the run's note below ``.dynostore``; keys of its that we do not know stay where
they are. ``index.json``, which it trusts, is made anew after each change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from dynostore.compat.file_names import file_name
from dynostore.compat.folder_database import FolderDatabase
from dynostore.compat.folder_verbs import FolderVerbs
from dynostore.compat.shelf import Unit
from dynostore.fields import time_text, utc_now
from dynostore.ids import derived_id
from dynostore.legacy.base import Unreadable
from dynostore.legacy.beside import OURS, Values, note_change, note_of, read_note, with_note
from dynostore.legacy.dynoai_draft import read_status
from dynostore.legacy.source_json import parse_object
from dynostore.legacy.timestamps import find_stamp, parse_utc
from dynostore.models.base import Record
from dynostore.models.runs import Run, RunFile
from dynostore.repositories.runs import RunRepository

_STATE = "run_state.json"
_BESIDE_STATE = "jetstream_metadata.json"
_DIRECTORIES = ("input", "output", "jetstream_raw")
_OUTPUT = "output/"
_KEYS = (
    "run_id",
    "status",
    "source",
    "created_at",
    "updated_at",
    "jetstream_id",
    "current_stage",
    "progress_percent",
    "files",
    "error",
    "results_summary",
)
"""RunManager's keys."""

# RunManager has no word for it and fails on one that it does not know.
_OLD_WORDS = {"partial": "complete"}
_SILENT = frozenset({"input_filename", "config_snapshot", "metadata"})


@dataclasses.dataclass(frozen=True, slots=True)
class _Memo:
    """What is needed of a run's file again.

    :ivar others: keys in it that are not RunManager's.
    :ivar text: all of it, for the index.
    """

    others: Values
    text: str
    created_at: dt.datetime


class RunShelf:
    """A :class:`~dynostore.compat.shelf.Shelf` of run directories."""

    name = "runs"
    owners: Mapping[type[Record], str] = {Run: "id", RunFile: "run_id"}
    parts: Mapping[type[Record], str] = {}

    def __init__(self, database: FolderDatabase) -> None:
        self.repository = RunRepository(database)
        self._db = database
        self._root = database.files.root
        self._left: list[Path] = []

    def path_of(self, owner: str) -> str:
        """Give the state file of a new run."""
        return f"{file_name(owner)}/{_STATE}"

    def scan(self) -> Iterator[tuple[str, os.stat_result]]:
        """Give the state files; ``index.json`` is known to be stale."""
        with os.scandir(self._root) as entries:
            names = [e.name for e in entries if e.name != OURS and e.is_dir()]
        for name in names:
            try:
                yield f"{name}/{_STATE}", os.stat(f"{self._root}{os.sep}{name}{os.sep}{_STATE}")
            except (FileNotFoundError, NotADirectoryError):
                continue

    def read(self, path: str, data: bytes) -> tuple[str, list[Record], _Memo]:
        """Give a run and its files."""
        directory = path.removesuffix(f"/{_STATE}")
        document, _ = parse_object(data)
        said = self._said(document, directory)
        run_id = said["id"]
        note = read_note(self._note(path))
        row = with_note(Run, said, note.get("columns", {}))
        files = {file["filename"]: file for file in _said_files(document, said)}
        try:
            for noted in note.get("files", []):
                files[noted["filename"]] = _noted_file(run_id, noted)
        except (TypeError, KeyError) as exc:
            raise Unreadable(f"the note on it in {OURS}: files: {exc!r}") from None
        records: list[Record] = [Run(**row), *(_file(values) for values in files.values())]
        return run_id, records, _memo(document, said["created_at"])

    def write(
        self, owner: str, unit: Unit | None, parts: Set[str]
    ) -> tuple[str, dict[str, bytes | None], _Memo | None]:
        """Give the state file and the note of a run as they shall be."""
        path = self.path_of(owner) if unit is None else unit.path
        directory = path.removesuffix(_STATE)
        run = next(iter(Run.select().where(Run.id == owner).execute(self._db)), None)
        others: Values = unit.memo.others if unit is not None else {}
        if run is None:
            self._left.append(self._root / directory)
            gone: dict[str, bytes | None] = {path: None}
            if (self._root / directory / _BESIDE_STATE).exists():
                gone[f"{directory}{_BESIDE_STATE}"] = None
            return path, gone | note_change(self._root, self._note(path), {}), None
        files = [
            *RunFile.select()
            .where(RunFile.run == owner)
            .order_by(RunFile.filename)
            .execute(self._db)
        ]
        row = run.values()
        document = _document(row, [file.filename for file in files], others)
        said = self._said(document, directory.removesuffix("/"))
        note = {
            "columns": note_of(row, said, _SILENT),
            "files": _noted_files(files, _said_files(document, said)),
        }
        wanted: dict[str, bytes | None] = {path: json.dumps(document, indent=2).encode()}
        noted = {key: value for key, value in note.items() if value}
        wanted |= note_change(self._root, self._note(path), noted)
        if unit is None:
            for name in _DIRECTORIES:
                (self._root / directory / name).mkdir(parents=True, exist_ok=True)
        return path, wanted, _memo(document, row["created_at"])

    def beside(self, path: str) -> bytes:
        """Give the note."""
        with contextlib.suppress(FileNotFoundError):
            return self._note(path).read_bytes()
        return b""

    def looked(self) -> None:
        """Do nothing: a run depends on no other file."""

    def wrote(self) -> None:
        """Make ``index.json`` anew and remove the directories of runs that are gone."""
        memos = [unit.memo for unit in self._db.units.values() if unit.memo is not None]
        memos.sort(key=lambda memo: memo.created_at, reverse=True)
        runs = ",\n".join(memo.text for memo in memos)
        inside = f"\n{runs}\n  " if runs else ""
        head = json.dumps({"updated_at": _old_time(utc_now()), "total": len(memos)}, indent=2)
        text = f'{head[:-2]},\n  "runs": [{inside}]\n}}'
        self._db.files.write_derived("index.json", text.encode())
        while self._left:
            directory = self._left.pop()
            for place in (*(directory / name for name in _DIRECTORIES), directory):
                with contextlib.suppress(OSError):  # what is not empty is somebody's
                    place.rmdir()

    def _note(self, path: str) -> Path:
        return self._root / OURS / "runs" / f"{path.removesuffix(f'/{_STATE}')}.json"

    def _said(self, document: Values, directory: str) -> Values:
        """Give the row that a state file says by itself."""
        run_id = document.get("run_id") or directory
        if not isinstance(run_id, str):
            raise Unreadable(f"run_id: text expected, not {type(run_id).__name__}")
        created = _time(document, "created_at")
        updated = _time(document, "updated_at")
        created = created or find_stamp(run_id) or updated
        if created is None:
            raise Unreadable("created_at: is missing")
        metadata = {key: value for key, value in document.items() if key not in _KEYS}
        try:
            data = (self._root / directory / _BESIDE_STATE).read_bytes()
            metadata["jetstream_metadata"] = parse_object(data)[0]
        except FileNotFoundError:
            pass
        except (OSError, Unreadable) as exc:
            raise Unreadable(f"{_BESIDE_STATE} beside it: {exc}") from None
        return {
            "id": run_id,
            "status": read_status(document.get("status"))[0],
            "source": document.get("source") or "unknown",
            "created_at": created,
            "updated_at": updated or created,
            "jetstream_id": document.get("jetstream_id"),
            "current_stage": document.get("current_stage"),
            "progress_percent": document.get("progress_percent"),
            "results_summary": document.get("results_summary"),
            "error_info": document.get("error"),
            "input_filename": None,
            "config_snapshot": None,
            "metadata": metadata or None,
        }


class RunFolders(FolderVerbs, RunRepository):
    """Runs in run directories; the contract is :class:`dynostore.repositories.runs.Runs`."""

    def count(self, **filters: Any) -> int:
        """Count as the repository does; a run that cannot be read is not left out."""
        with self._db.reading():
            self._db.require_whole()
            return super().count(**filters)

    def delete(self, run_id: str) -> None:
        """Forget a run and what is recorded of its files; its directory keeps what else is in it.

        A directory that holds nothing else goes too.
        """
        with self._db.writing():
            self.get(run_id)
            super().delete(run_id)


def _document(row: Values, filenames: list[str], others: Values) -> Values:
    """Give what RunManager would have written of a run."""
    outputs = [name.removeprefix(_OUTPUT) for name in filenames if name.startswith(_OUTPUT)]
    document = {
        "run_id": row["id"],
        "status": _OLD_WORDS.get(row["status"], row["status"]),
        "source": row["source"],
        "created_at": _old_time(row["created_at"]),
        "updated_at": _old_time(row["updated_at"]),
        "jetstream_id": row["jetstream_id"],
        "current_stage": row["current_stage"],
        "progress_percent": row["progress_percent"],
        "files": [name for name in outputs if "/" not in name],
    }
    if row["error_info"]:
        document["error"] = _old_error(row["error_info"])
    if row["results_summary"]:
        document["results_summary"] = row["results_summary"]
    return {**document, **others}


def _old_error(error: Any) -> dict[str, str]:
    """Give an error with the three keys without which RunManager does not see the run at all."""
    known = error if isinstance(error, dict) else {"message": json.dumps(error)}
    return {key: str(known.get(key) or "") for key in ("stage", "code", "message")}


def _old_time(moment: dt.datetime) -> str:
    """Give a time as RunManager writes it, with more digits where it has more."""
    text = time_text(moment).removesuffix("+00:00")
    return f"{text.removesuffix('000')}Z"


def _time(document: Values, key: str) -> dt.datetime | None:
    value = document.get(key)
    if value in (None, ""):
        return None
    try:
        return parse_utc(value)[0]
    except ValueError as exc:
        raise Unreadable(f"{key}: {exc}") from None


def _said_files(document: Values, said: Values) -> list[Values]:
    """Give the rows of the files that a state file names."""
    names = document.get("files")
    return [
        {
            "id": derived_id("run_files", said["id"], f"{_OUTPUT}{name}"),
            "run_id": said["id"],
            "filename": f"{_OUTPUT}{name}",
            "file_type": None,
            "size_bytes": None,
            "sha256": None,
            "storage_path": None,
            "created_at": said["created_at"],
            "metadata": None,
        }
        for name in (names if isinstance(names, list) else ())
        if isinstance(name, str) and _is_filename(f"{_OUTPUT}{name}")
    ]


def _is_filename(name: str) -> bool:
    try:
        RunFile.filename.check(name)
    except ValueError:
        return False
    return True


def _noted_files(files: list[RunFile], said: list[Values]) -> list[Values]:
    """Give what must be noted of a run's files."""
    as_said = {values["filename"]: values for values in said}
    noted = []
    for file in files:
        values = file.values()
        if values != as_said.get(file.filename):
            created = time_text(values.pop("created_at"))
            del values["id"], values["run_id"]
            noted.append({**values, "created_at": created})
    return noted


def _noted_file(run_id: str, noted: Values) -> Values:
    """Give the row of a file from what was noted of it."""
    key = derived_id("run_files", run_id, noted["filename"])
    created = RunFile.created_at.python_value(noted["created_at"])
    return {**noted, "id": key, "run_id": run_id, "created_at": created}


def _file(values: Values) -> RunFile:
    return RunFile(**{**values, "run": values["run_id"]})


def _memo(document: Values, created_at: dt.datetime) -> _Memo:
    others = {key: value for key, value in document.items() if key not in _KEYS}
    text = json.dumps(document, indent=2).replace("\n", "\n    ")
    return _Memo(others, f"    {text}", created_at)


def open_shelves(database: FolderDatabase) -> dict[str, Any]:
    """Put up the shelf of run directories, and give its family."""
    shelf = RunShelf(database)
    database.put_up([shelf])
    return {"runs": RunFolders(database, shelf)}
