"""The way out: a store's records as lines of JSON, as CSV, or in an older tool's files.

To add a form: write what makes it from the rows of :mod:`dynostore.exporting.rows` into a place
of :mod:`dynostore.exporting.places`, name it in :data:`FORMATS`, and give ``dynostore export`` its
word.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from dynostore import __version__, compat, errors
from dynostore.canonical_json import json_text
from dynostore.database import SqliteFile
from dynostore.errors import quoted
from dynostore.exporting.cells import csv_line, header_cells, row_cells
from dynostore.exporting.folders import DERIVED, FORMS, copy_file, folder_store, put_rows, tables_of
from dynostore.exporting.places import whole_directory, whole_file, whole_stream
from dynostore.exporting.rows import Row, Selection, read_rows
from dynostore.fields import JsonField, time_text, utc_now
from dynostore.in_use import refuse_database_in_use, refuse_itself
from dynostore.legacy.base import Unreadable
from dynostore.legacy.jsonl import end_line, header_line
from dynostore.migrator import step_names
from dynostore.models.base import Record, key_field
from dynostore.models.runs import RunFile
from dynostore.store import Store

FORMATS = ("jsonl", "csv", *FORMS)
"""What an export can be."""

STDOUT = "stdout"
"""What a report calls a stream, which is nearly always this one."""

Output = str | os.PathLike[str] | BinaryIO
Progress = Callable[[int, int | None], None]

_REASONS_KEPT = 20


@dataclasses.dataclass
class ExportReport:
    """What an export wrote.

    :ivar output: the path, or :data:`STDOUT` for a stream.
    :ivar rows: how many were written, by table, parents before children.
    :ivar own_tables: those of a program's own models, which no form takes along.
    :ivar files: how many files of runs were copied.
    :ivar left_out: how many rows and files could not be written.
    :ivar reasons: of the first of these.
    """

    format: str
    output: str
    rows: dict[str, int] = dataclasses.field(default_factory=dict)
    own_tables: list[str] = dataclasses.field(default_factory=list)
    files: int = 0
    left_out: int = 0
    reasons: list[str] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 where a row or file was left out, else 0."""
        return 3 if self.left_out else 0

    def leave_out(self, reason: str) -> None:
        """Count a row or file that was not written."""
        self.left_out += 1
        if len(self.reasons) < _REASONS_KEPT:
            self.reasons.append(reason)


def export_to(
    store: Store,
    output: Output,
    form: str = "jsonl",
    *,
    selection: Selection | None = None,
    replace: bool = False,
    raw: bool = False,
    with_files: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a store's records to a file, a directory or a stream, all as of one moment.

    Nobody is kept from writing meanwhile, and memory does not grow with the store. A file is there
    whole or not at all. ``jsonl`` holds every value of every table that syncs, and
    :func:`dynostore.importer.import_from` makes an equal store of it. ``csv`` is a directory with a
    file for each table, or on a stream one table. ``runs`` and ``taskforce`` are directories that
    those tools read, with all that :mod:`dynostore.compat` keeps in them; these are held in memory
    while they are written. A row that plain SQL gave a value that no form can say is left out and
    named.

    :param output: the path; or a binary stream, which is flushed and left open.
    :param form: one of :data:`FORMATS`.
    :param selection: which rows; all by default.
    :param replace: write over what is at the path.
    :param raw: in CSV, leave text as it is that a spreadsheet would run as a formula.
    :param with_files: copy the runs' files into their directories, from where the store says that
        they lie; one that is gone or has changed since is left out and named.
    :param progress: called with how many rows are written, the total unknown.
    :raises AlreadyExists: something is at the path, and ``replace`` is off.
    :raises StoreUnwritable: the place cannot be written, or the disk is full, or a file would go
        over the store itself or a database in use; nothing was changed there.
    :raises NotHeld: the store is in an older tool's form.
    :raises ConfigError: no such form or table; several tables of CSV for a stream; a stream, or
        chosen tables, for an older tool's directory, or one that is another tool's.
    """
    if form not in FORMATS:
        raise errors.ConfigError(f"form: {quoted(form)} is none of {', '.join(FORMATS)}")
    compat.require_database(store.place, "exports")
    shown = os.fspath(output) if isinstance(output, str | os.PathLike) else STDOUT
    own = [str(model._meta.table_name) for model in store.own.models]
    report = ExportReport(form, shown, own_tables=own)
    export = _Export(store, selection or Selection(), report, progress)
    if isinstance(output, str | os.PathLike):
        export.refuse_in_use(Path(output))
    if form == "csv":
        export.write_csv(output, replace=replace, raw=raw)
    elif form in FORMS:
        export.write_folder(output, form, replace=replace, with_files=with_files)
    else:
        export.write_jsonl(output, replace=replace)
    return report


class _Export:
    """One export on its way."""

    def __init__(
        self,
        store: Store,
        selection: Selection,
        report: ExportReport,
        progress: Progress | None,
    ) -> None:
        self._db = store.database
        self._selection = selection
        self.report = report
        self._progress = progress

    def refuse_in_use(self, path: Path) -> None:
        """Refuse to write a file over the store or a database that somebody has open.

        :raises StoreUnwritable: it would.
        """
        if isinstance(self._db, SqliteFile):
            refuse_itself(path, self._db.path)
        refuse_database_in_use(path)

    def write_jsonl(self, output: Output, *, replace: bool) -> None:
        """Write header, rows and end as lines of JSON."""
        chosen = self._selection.models(with_parents=True)
        tables = [str(model._meta.table_name) for model in chosen]
        header = {
            "dynostore": __version__,
            "schema": step_names()[-1],
            "exported_at": time_text(utc_now()),
            "tables": tables,
        }
        with _opened(output, replace) as file, self._db.snapshot():
            file.write(header_line(header))
            for model in chosen:
                self._write_rows(file, model, functools.partial(_json_line, model))
            file.write(end_line(self.report.rows))

    def write_csv(self, output: Output, *, replace: bool, raw: bool) -> None:
        """Write a file for each table into a directory, or one table to a stream."""
        chosen = self._selection.models(with_parents=False)
        if not isinstance(output, str | os.PathLike):
            if len(chosen) != 1:
                raise errors.ConfigError(
                    "CSV without a directory is one table",
                    hint="dynostore export --format csv --tables runs",
                )
            with _opened(output, replace) as file, self._db.snapshot():
                self._write_table(file, chosen[0], raw)
            return
        names = {model: f"{model._meta.table_name}.csv" for model in chosen}
        for name in names.values():
            self.refuse_in_use(Path(output) / name)
        with whole_directory(Path(output), replace=replace) as directory, self._db.snapshot():
            for model, name in names.items():
                with whole_file(directory / name, replace=False) as file:
                    self._write_table(file, model, raw)

    def write_folder(self, output: Output, form: str, *, replace: bool, with_files: bool) -> None:
        """Write an older tool's directory."""
        if not isinstance(output, str | os.PathLike):
            raise errors.ConfigError(
                f"{form}: is a directory, and no stream",
                hint=f"dynostore export --format {form} --output DIR",
            )
        if self._selection.tables:
            raise errors.ConfigError(f"tables: {form} holds {', '.join(tables_of(form))}, always")
        selection = dataclasses.replace(self._selection, tables=tables_of(form))
        chosen = selection.models(with_parents=False)
        for name in DERIVED[form]:
            self.refuse_in_use(Path(output) / name)
        opened = folder_store(Path(output), form, replace=replace)
        with opened as (there, place), self._db.snapshot():
            for model in chosen:
                table = str(model._meta.table_name)
                self.report.rows[table] = 0
                for page in read_rows(self._db, model, selection.condition(model)):
                    taken = put_rows(there, model, page, self.report.leave_out)
                    self.report.rows[table] += taken
                    if with_files and model is RunFile:
                        self._copy_files(page, place)
                    self._tell()

    def _copy_files(self, rows: Sequence[Row], place: Path) -> None:
        for row in rows:
            try:
                self.report.files += copy_file(row, place, self.refuse_in_use)
            except Unreadable as exc:
                self.report.leave_out(f"file {row['filename']!r} of run {row['run_id']!r}: {exc}")

    def _write_table(self, file: BinaryIO, model: type[Record], raw: bool) -> None:
        columns = model._meta.columns
        in_json = frozenset(name for name, f in columns.items() if isinstance(f, JsonField))
        file.write(csv_line(header_cells([*columns])))
        self._write_rows(file, model, lambda row: csv_line(row_cells(row, in_json, raw=raw)))

    def _write_rows(
        self, file: BinaryIO, model: type[Record], line_of: Callable[[Row], bytes]
    ) -> None:
        """Write a table's rows, each as its line, and count them."""
        table = str(model._meta.table_name)
        self.report.rows[table] = 0
        for page in read_rows(self._db, model, self._selection.condition(model)):
            lines = []
            for row in page:
                try:
                    lines.append(line_of(row))
                except (TypeError, ValueError, RecursionError) as exc:
                    # Plain SQL may put anything into a file of SQLite: bytes, infinity.
                    key = row[key_field(model).column_name]
                    self.report.leave_out(f"{table} {key!r}: {exc}")
            file.write(b"".join(lines))
            self.report.rows[table] += len(lines)
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(sum(self.report.rows.values()), None)


def _opened(output: Output, replace: bool) -> AbstractContextManager[BinaryIO]:
    if isinstance(output, str | os.PathLike):
        return whole_file(Path(output), replace=replace)
    return whole_stream(output, STDOUT)


def _json_line(model: type[Record], row: Row) -> bytes:
    return f'{{"table":"{model._meta.table_name}","row":{json_text(row)}}}\n'.encode()
