"""DynoAI's database as runs: both of its schemas, of which the later one has more columns.

The old program's directories and its database knew nothing of each other. A run that is in both is
taken from its directory, which holds its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from dynostore.ids import derived_id
from dynostore.legacy.base import Finding, Row, SourceRecord, Unreadable
from dynostore.legacy.cells import CellReader, as_json, shown_value
from dynostore.legacy.dynoai_draft import read_status
from dynostore.legacy.source_sqlite import SqliteTables
from dynostore.legacy.source_tables import OURS, Cells, Table, has_columns
from dynostore.models import Run, RunFile

_READER_VERSION = "dynoai database 1\n"
_LONGEST_SOURCE, _LONGEST_JETSTREAM_ID, _LONGEST_FILE_TYPE = 64, 255, 32


def is_dynoai(tables: dict[str, Table]) -> bool:
    """Tell DynoAI's tables from those of a store of ours, which have the same names."""
    return OURS not in tables and has_columns(tables, "runs", "id", "status", "jetstream_id")


class RunTables:
    """Reads the runs of one database.

    :param is_taken: tells whether a run of this id was taken from its directory.
    """

    def __init__(
        self, source: SqliteTables, path: str, place: str, is_taken: Callable[[str], bool]
    ) -> None:
        self._source = source
        self._path = path
        self._place = place
        self._is_taken = is_taken
        self._files = source.tables.get("run_files")
        if not has_columns(source.tables, "run_files", "id", "run_id", "filename"):
            self._files = None

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give each run with its files, then the files of none."""
        runs = self._source.tables["runs"]
        try:
            for row in self._source.scan(runs):
                path = f"{self._path}#runs/{shown_value(row['id'])}"
                try:
                    yield self._run(row, path)
                except Unreadable as exc:
                    yield Finding(path, "invalid", str(exc), is_record=True, files=0)
            if self._files is not None:
                for row in self._source.without_parent(self._files, "run_id", runs, "id"):
                    path = f"{self._path}#run_files/{shown_value(row['id'])}"
                    yield Finding(path, "invalid", "its run is gone", is_record=True, files=0)
        except Unreadable as exc:
            reason = f"not all rows could be read: {exc}"
            yield Finding(self._path, "invalid", reason, files=0)

    def _run(self, row: Cells, path: str) -> SourceRecord | Finding:
        key = row["id"]
        if not isinstance(key, str) or not key:
            raise Unreadable("id: is missing, or no text")
        if self._is_taken(key):
            reason = "taken from its directory, which has the same id"
            return Finding(path, "skipped", reason, is_record=True, files=0)
        files = [*self._source.belonging(self._files, "run_id", key)] if self._files else []
        text = json.dumps([as_json(dict(row)), files], sort_keys=True, default=repr)
        cells = CellReader(row)
        values = _values_of(cells)
        children, odd = _rows_of(files, values, cells)
        metadata = cells.rest() | ({"files": odd} if odd else {})
        if cells.aside:
            metadata["legacy"] = cells.aside
        return SourceRecord(
            model=Run,
            key=key,
            values=values | {"metadata": metadata or None},
            children=children,
            path=path,
            place=self._place,
            content_hash=hashlib.sha256((_READER_VERSION + text).encode()).hexdigest(),
            files=0,
            warnings=cells.warnings,
            weight_bytes=2 * len(text),
        )


def _values_of(cells: CellReader) -> dict[str, Any]:
    """Take the columns of a run.

    :raises Unreadable: no status that is known, or no time.
    """
    key, (status, _) = cells.raw("id"), read_status(cells.raw("status"))
    created, updated = cells.time("created_at"), cells.time("updated_at")
    if created is None and updated is None:
        raise Unreadable("created_at: is missing, and there is no other time")
    if created is None:
        cells.warn("created_at: is missing; the time of the last change is taken")
    source = cells.text("source", _LONGEST_SOURCE)
    if source is None:
        cells.warn("source: is missing; 'unknown' is taken")
    return {
        "id": key,
        "status": status,
        "source": source or "unknown",
        "created_at": created or updated,
        "updated_at": updated or created,
        "jetstream_id": cells.text("jetstream_id", _LONGEST_JETSTREAM_ID),
        "current_stage": cells.text("current_stage"),
        "progress_percent": cells.whole("progress_percent", 0, 100),
        "results_summary": cells.json("results_summary"),
        "error_info": cells.json("error_info"),
        "input_filename": cells.text("input_filename"),
        "config_snapshot": cells.json("config_snapshot"),
    }


def _rows_of(
    files: list[Cells], run: dict[str, Any], cells: CellReader
) -> tuple[list[Row], list[Any]]:
    """Give the rows of a run's files, and those of which none can be made, for its metadata.

    :param cells: the run's; warnings are added.
    """
    rows: dict[str, Row] = {}
    odd = []
    for file in files:
        given = CellReader(file, f"run_files/{shown_value(file['id'])} ")
        number, name = given.raw("id"), given.text("filename")
        given.raw("run_id")
        filename = (name or "").replace("\\", "/")
        if filename in rows or any(part in ("", ".", "..") for part in filename.split("/")):
            odd.append({column: as_json(value) for column, value in file.items()})
            cells.warn(f"run_files/{shown_value(number)} filename: no path, or there twice")
            continue
        values = {
            "id": derived_id("run_files", run["id"], filename),
            "run_id": run["id"],
            "filename": filename,
            "file_type": given.text("file_type", _LONGEST_FILE_TYPE),
            "size_bytes": given.whole("size_bytes", 0),
            "sha256": None,
            "storage_path": given.text("storage_path"),
            "created_at": given.time("created_at") or run["created_at"],
        }
        metadata = {"legacy_id": as_json(number), **given.rest()}
        if given.aside:
            metadata["legacy"] = given.aside
        rows[filename] = (RunFile, values | {"metadata": metadata})
        cells.warnings += given.warnings
    return [*rows.values()], odd
