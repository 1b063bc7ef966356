"""What a reader finds in a source, checked at the door, and without the source's password."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from dynostore import errors
from dynostore.importing.item import ImportItem, as_item
from dynostore.importing.ledger import Ledger
from dynostore.importing.report import Entry
from dynostore.importing.source import Source
from dynostore.legacy import Finding, Reader, ReadOptions, SourceRecord
from dynostore.legacy.source_json import printable

Warn = Callable[[str, str], None]


class Reading:
    """One way through a source, with as many readers as know it.

    :param several: whether there are several readers. Then what each says of files that are of no
        record is kept in the ledger until all were heard.
    :param warn: takes a path and what should be known of it.
    """

    def __init__(
        self, source: Source, ledger: Ledger, options: ReadOptions, *, several: bool, warn: Warn
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._options = options
        self._several = several
        self._warn = warn
        self._read = {"root": source.shown, "timezone": name_of(options)}

    def read(self, place: int, reader: Reader) -> Iterator[ImportItem | Entry]:
        """Give what a reader finds; of records with the same key the first wins.

        A later one with the same content is skipped, another one is invalid.

        :param place: the reader's among the others.
        """
        for found in reader.read(self._source.root, self._options):
            if isinstance(found, SourceRecord):
                yield self._record(reader.kind, found)
            elif (entry := self._finding(place, reader.kind, found)) is not None:
                yield entry

    def _finding(self, place: int, kind: str, found: Finding) -> Entry | None:
        found.path, found.reason = map(self._source.hide, (found.path, found.reason))
        if self._several and not found.is_record:
            self._ledger.set_aside(place, kind, found)
            return None
        if self._several:
            self._ledger.own(kind, found.path)
        return entry_of(kind, found)

    def _record(self, kind: str, found: SourceRecord) -> ImportItem | Entry:
        hide = self._source.hide
        found.path, found.place = hide(found.path), hide(found.place or self._source.root)
        if self._several:
            self._ledger.own(kind, self._source.path_of(found.place))
            for member in found.members:
                if not member.startswith(f"{found.place}{os.sep}"):
                    self._ledger.own(kind, self._source.path_of(member))
        try:
            item = as_item(found, kind, self._read)
        except errors.InvalidValue as exc:
            return _invalid(found, kind, exc.message)
        place = f"{found.path} (line {found.line})" if found.line else found.path
        first = self._ledger.claim(item.import_id, place, found.content_hash)
        if first is not None and first[1] == found.content_hash:
            reason = f"{place} is the same as {first[0]}, which was taken"
            return _left_out(found, kind, "skipped", reason)
        if first is not None:
            reason = (
                f"has the id {item.row.key!r} of {first[0]}, which came first and was taken; "
                f"{place} differs from it and was not: to have it instead, import it alone"
            )
            return _invalid(found, kind, reason)
        for warning in found.warnings:
            self._warn(found.path, hide(warning))
        return item


def name_of(options: ReadOptions) -> str:
    """Give the zone of times without one by its name; ``local`` for this machine's."""
    return str(options.timezone or "local")


def entry_of(kind: str, finding: Finding) -> Entry:
    """Give a finding's line in the report."""
    return Entry(
        path=finding.path,
        outcome=finding.outcome,
        reason=printable(finding.reason),
        is_record=finding.is_record,
        files=finding.files,
        key=finding.key,
        kind=kind,
    )


def _invalid(source: SourceRecord, kind: str, reason: str) -> Entry:
    return _left_out(source, kind, "invalid", reason)


def _left_out(source: SourceRecord, kind: str, outcome: str, reason: str) -> Entry:
    return Entry(
        path=source.path,
        outcome=outcome,
        reason=printable(reason),
        files=source.files,
        table=str(source.model._meta.table_name),
        key=source.key if isinstance(source.key, str) else None,
        kind=kind,
    )
