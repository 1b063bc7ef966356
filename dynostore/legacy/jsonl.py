"""Reading what ``dynostore export`` wrote: a line of JSON for each row, of every table.

The first line names the format and its version, the last one counts the rows by table, so that a
file that was cut off is known for it. Several exports may follow each other in one file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from dynostore import errors, models
from dynostore.fields import JsonField, UtcTimeField
from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.source_json import printable
from dynostore.legacy.source_tree import shown
from dynostore.models.base import Record, checked, key_field

FORMAT = "dynostore.jsonl"
VERSION = 1

_MAX_HEADER_BYTES = 65_536
_MAX_LINE_BYTES = 256 * 1024 * 1024  # far above what one value of Postgres' jsonb may have
_TAIL_BYTES = 65_536
_WEIGHT_OF_A_BYTE = 4  # of a line in memory, parsed
# What JSON text can say and no database can hold: NaN, infinity, also as 1e999, NUL, surrogates.
_SUSPICIOUS = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\\u(?:0000|[dD][89a-fA-F])|\d{300}")
_BOM = b"\xef\xbb\xbf"
_CUT_OFF = "the line that ends an export is missing: it was cut off, or is still being written"
_NO_HEADER = f"no line of {FORMAT} comes before this row; taken for version {VERSION}"
_TABLES: Mapping[str, type[Record]] = {
    str(model._meta.table_name): model for model in models.REPLICATED
}


def header_line(facts: Mapping[str, Any]) -> bytes:
    """Give the first line of an export: format and version, then facts for people."""
    return _line({"format": FORMAT, "version": VERSION, **facts})


def end_line(rows: Mapping[str, int]) -> bytes:
    """Give the last line of an export, with the numbers of its rows by table."""
    return _line({"end": True, "rows": rows})


def _line(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, separators=(",", ":")) + "\n").encode()


class JsonlReader:
    """Reads exports of dynostore; a :class:`~dynostore.legacy.base.Reader`."""

    kind = "jsonl"

    def detect(self, source: str) -> bool:
        """Tell whether a file begins with the line of an export."""
        if not os.path.isfile(source):
            return False
        try:
            with open(source, "rb") as file:
                first = _parsed(file.readline(_MAX_HEADER_BYTES).removeprefix(_BOM))
        except (OSError, Unreadable):
            return False
        return first.get("format") == FORMAT

    def count(self, source: str) -> int | None:
        """Give the number of rows that the last line says."""
        try:
            with open(source, "rb") as file:
                file.seek(max(0, os.path.getsize(source) - _TAIL_BYTES))
                rows = _parsed(file.read().rstrip().rpartition(b"\n")[2])["rows"]
                return int(sum(rows.values()))
        except (OSError, Unreadable, KeyError, TypeError, AttributeError):
            return None

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give a record for each row, in the order of the lines.

        :raises SourceNotFound: the file cannot be read.
        :raises SchemaTooNew: it is of a version that is not known.
        """
        try:
            with open(source, "rb") as file:
                yield from _Export(file, source).read()
        except OSError as exc:
            raise errors.SourceNotFound(f"{shown(source)}: {exc.strerror or exc}") from exc


class _Export:
    """A file of exports on its way."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file = file
        self._source = source
        self._name = shown(os.path.basename(source))
        # Of the export that is being read: its rows by table; None outside of one.
        self._rows: dict[str, int] | None = None
        # Something must stand for the file itself, once.
        self._files = 1

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give what each line means, and what is missing."""
        for number, line in self._lines():
            try:
                found = [*self._take(line, number)]
            except Unreadable as exc:
                found = [self._lost(f"#line {number}", str(exc))]
            for one in found:
                yield self._counted(one)
        if self._rows is not None:
            yield self._counted(self._lost("", _CUT_OFF))
        if self._files:
            yield self._counted(Finding(self._name, "skipped", "an export without rows"))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := self._file.readline(_MAX_LINE_BYTES):
            number += 1
            rest = line
            while len(rest) == _MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = self._file.readline(_MAX_LINE_BYTES)  # _parsed() refuses what came before
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.strip():
                yield number, line

    def _take(self, line: bytes, number: int) -> Iterator[SourceRecord | Finding]:
        """Give what a line means; nothing where it is only about others.

        :raises Unreadable: it is not one of ours.
        """
        document = _parsed(line)
        if "format" in document:
            if self._rows is not None:
                yield self._lost(f"#line {number}", f"another export begins here; {_CUT_OFF}")
            self._rows = self._begin(document)
        elif "table" in document:
            if self._rows is None:
                yield self._lost(f"#line {number}", _NO_HEADER)
                self._rows = {}
            yield self._record(document, line, number, self._rows)
        elif "end" in document:
            yield from self._end(document, number)
            self._rows = None
        else:
            raise Unreadable("neither a row nor the beginning or end of an export")

    def _begin(self, header: dict[str, Any]) -> dict[str, int]:
        version = header.get("version")
        if header["format"] != FORMAT or not isinstance(version, int):
            raise Unreadable(f"format {header['format']!r}, version {version!r}: unknown")
        if version > VERSION:
            raise errors.SchemaTooNew(
                f"{shown(self._source)}: is an export in version {version} of {FORMAT}; "
                f"this program reads {VERSION}",
                hint="pip install -U dynostore",
            )
        return {}

    def _record(
        self, document: dict[str, Any], line: bytes, number: int, met: dict[str, int]
    ) -> SourceRecord:
        table, row = document["table"], document.get("row")
        model = _TABLES.get(table) if isinstance(table, str) else None
        if model is None:
            raise Unreadable(f"table {table!r}: there is no such one")
        met[table] = met.get(table, 0) + 1
        if not isinstance(row, dict):
            raise Unreadable("row: an object is expected")
        values = _values_of(model, row, line)
        key = values[key_field(model).column_name]
        return SourceRecord(
            model=model,
            key=key,
            values=values,
            children=[],
            path=f"{self._name}#{table}/{key}",
            place=self._source,
            content_hash=hashlib.sha256(line.strip()).hexdigest(),
            weight_bytes=len(line) * _WEIGHT_OF_A_BYTE,
            line=number,
        )

    def _end(self, document: dict[str, Any], number: int) -> Iterator[Finding]:
        said, met = document.get("rows"), self._rows or {}
        if not isinstance(said, dict):
            raise Unreadable("rows: an object is expected")
        for table, count in said.items():
            if count != met.get(table, 0):
                reason = f"{table}: {count} rows were exported, {met.get(table, 0)} could be read"
                yield self._lost(f"#line {number}", reason)

    def _lost(self, where: str, reason: str) -> Finding:
        # A record, though nobody knows which: a finding that is none and no file counts as nothing.
        path = f"{self._name}{where}"
        return Finding(path, "invalid", printable(reason), is_record=True, files=0)

    def _counted(self, found: SourceRecord | Finding) -> SourceRecord | Finding:
        found.files, self._files = self._files, 0
        return found


def _values_of(model: type[Record], row: Mapping[str, Any], line: bytes) -> dict[str, Any]:
    """Give a row's values by column, as the store would give them back.

    :param line: what the row was parsed from.
    :raises Unreadable: the store cannot hold one of them.
    """
    times, documents, names, key = _columns_of(model)
    given = dict(row)
    for name, read in times:
        if name in given:
            given[name] = read(given[name])
    plain = {}
    if not _SUSPICIOUS.search(line):  # nearly always: what was parsed can be stored as it is
        plain = {name: given.pop(column) for column, name in documents if column in given}
    try:
        found = checked(model, given) | plain
    except errors.InvalidValue as exc:
        raise Unreadable(exc.message) from None
    values = {column: found.get(name) for column, name in names}
    if values[key] is None:
        raise Unreadable(f"{key}: is missing")
    return values


_Columns = list[tuple[str, str]]


@functools.cache
def _columns_of(
    model: type[Record],
) -> tuple[list[tuple[str, Callable[[Any], Any]]], _Columns, _Columns, str]:
    """Give the columns of times with what reads them, those of JSON, all of them, and the key's.

    The two in the middle are with their fields' names.
    """
    columns = model._meta.columns
    times: list[tuple[str, Callable[[Any], Any]]] = [
        (column, field.python_value)
        for column, field in columns.items()
        if isinstance(field, UtcTimeField)
    ]
    # One that may be empty: of another the check must say that it is not.
    documents: _Columns = [
        (c, f.name) for c, f in columns.items() if type(f) is JsonField and f.null
    ]
    names: _Columns = [(column, field.name) for column, field in columns.items()]
    return times, documents, names, str(key_field(model).column_name)


def _parsed(line: bytes) -> dict[str, Any]:
    """Give the object that a line is.

    :raises Unreadable: it is none.
    """
    try:
        document = json.loads(line.strip().decode())
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except ValueError as exc:
        if len(line) >= _MAX_LINE_BYTES:
            raise Unreadable(f"a line of more than {_MAX_LINE_BYTES // 2**20} MiB") from None
        if not line.endswith(b"\n"):
            raise Unreadable("was cut off in the middle") from None
        where = (
            f"{exc.msg}, at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else exc
        )
        raise Unreadable(f"not JSON: {where}") from None
    if not isinstance(document, dict):
        raise Unreadable("an object is expected")
    return document
