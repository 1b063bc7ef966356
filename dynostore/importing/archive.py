"""Moving what was taken over out of the way: verified, copied, verified, noted, then removed.

A file leaves its place only after all that was read from it is in the store, its copy has the
same content and is on the disk, and the store names the copy. A journal in the archive says which
originals are to be removed, so that one who comes after a crash goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynostore import errors
from dynostore.durable import flush_directory
from dynostore.importing.ledger import opened_ledger
from dynostore.importing.plan import ImportItem
from dynostore.importing.report import ImportReport, Remark
from dynostore.importing.source import Source
from dynostore.importing.verify import Difference, compared
from dynostore.legacy import ReadOptions
from dynostore.legacy.checksums import read_file
from dynostore.legacy.source_tree import shown
from dynostore.models import Run
from dynostore.store import Store

JOURNAL = ".dynostore-archive.json"
"""The journal's name in the archive: it is there only while something is being moved."""

_SIDECARS = ("-wal", "-journal")
_CHUNK_BYTES = 1024 * 1024
_SCHEMA = """
PRAGMA journal_mode = OFF;
CREATE TABLE units (place TEXT, import_id TEXT, record_table TEXT, record_key TEXT);
CREATE INDEX units_place ON units (place);
CREATE TABLE files (path TEXT PRIMARY KEY, place TEXT, size INTEGER, modified_ns INTEGER);
CREATE INDEX files_place ON files (place);
CREATE TABLE held (place TEXT PRIMARY KEY, reason TEXT);
"""
# "0" comes after "/": all that is below the place.
_IN_IT = (
    "(held.place = units.place OR "
    "(held.place > units.place || '/' AND held.place < units.place || '0'))"
)


class _Left(Exception):
    """A file stays where it is; the message is the reason."""


def require_archive(source: Source, directory: str | os.PathLike[str]) -> Path:
    """Give the archive's directory, if what is imported can be moved there; it is not made yet.

    :raises ConfigError: a server, or a directory that is in the source or has it below.
    :raises StoreUnwritable: it cannot be made or written to, as far as the rights tell.
    """
    archive = Path(os.path.realpath(directory))
    if source.is_url:
        raise errors.ConfigError(f"{source.shown}: only files can be moved to an archive")
    root = Path(source.root)
    if archive == root or archive.is_relative_to(root) or root.is_relative_to(archive):
        raise errors.ConfigError(f"{shown(str(archive))}: the archive must lie beside the source")
    _require_writable(archive)
    return archive


def _require_writable(archive: Path) -> None:
    places = (place for place in (archive, *archive.parents) if os.path.lexists(place))
    there = next(places, Path(archive.anchor))
    if not os.path.isdir(there):
        reason = "is a file" if os.path.isfile(there) else "is no directory"
    elif not _may_be_written_to(there):
        reason = "the directory may not be written to"
    else:
        return
    raise errors.StoreUnwritable(
        f"{shown(str(there))}: {reason}; the archive {shown(str(archive))} cannot be "
        f"{'written' if there == archive else 'made'}",
        hint="choose another place with --archive DIR",
    )


def _may_be_written_to(directory: str | os.PathLike[str]) -> bool:
    ids = os.access in os.supports_effective_ids
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=ids)


def finish_interrupted(store: Store, archive: Path) -> None:
    """Remove the originals that an interrupted move had copied, verified and noted.

    Those that the store does not name by their copies stay: they are moved once more. So do those
    that may not be removed: the import that follows says so.

    :raises StoreUnwritable: the archive cannot be changed.
    """
    journal = archive / JOURNAL
    with _explained(archive):
        try:
            unit = _Unit.from_json(json.loads(journal.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return
        except (ValueError, KeyError, TypeError):  # cut off: the store had not been told yet
            journal.unlink()
            return
        if unit.is_noted(store):
            with contextlib.suppress(_Left):
                unit.remove_originals()
        journal.unlink()


def was_archived(
    store: Store, source: str | os.PathLike[str], directory: str | os.PathLike[str]
) -> bool:
    """Tell whether the store names copies in this archive, for a source that holds no records.

    A directory of which all was moved is still there, with what is of no record; a file is not.
    """
    root, archive = os.path.realpath(source), os.path.realpath(directory)
    if os.path.isfile(root):
        return False
    copy = archive if os.path.isdir(root) else os.path.join(archive, os.path.basename(root))
    return any(place == shown(copy) for _, place, _ in store.imports.sources())


def archive_source(
    source: Source,
    kinds: list[str],
    store: Store,
    archive: Path,
    options: ReadOptions,
    report: ImportReport,
) -> None:
    """Move each file of which all that it holds is in the store, to its place in the same tree.

    :param archive: as :func:`require_archive` gave it; made where it is not there.
    :param report: is told what was moved, and what was not and why: also where the archive cannot
        be written.
    :raises DynostoreError: the store failed; what was moved is moved.
    """
    movables = _Movables(source)
    try:
        for kind in kinds:
            with opened_ledger() as ledger:
                for item, differences in compared(store.imports, source, kind, options, ledger):
                    if not isinstance(item, ImportItem):
                        movables.hold(item.path, item.reason or "it is invalid")
                    elif differences and not _was_edited_here(store, item, differences):
                        movables.add(item, _reason(differences))
                    else:
                        movables.add(item, None)
        for unit in movables.units(archive):
            try:
                unit.move(store, archive)
                report.archived += len(unit.files)
            except _Left as exc:
                report.not_archived.append(Remark(unit.path, str(exc)))
        for path, reason in movables.held():
            report.not_archived.append(Remark(path, reason))
        _remove_empty(Path(source.root))
    finally:
        movables.close()


@contextlib.contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if isinstance(exc, errors.DynostoreError):
            raise
        place = shown(str(exc.filename or archive))
        raise errors.StoreUnwritable(f"{place}: {exc.strerror or exc}") from exc


def _was_edited_here(store: Store, item: ImportItem, differences: list[Difference]) -> bool:
    """Tell whether all of this content was taken over, and only the store has changed since."""
    taken = store.imports.seen([item.import_id]).get(item.import_id)
    is_taken = taken is not None and taken[0] == item.source.content_hash and taken[2] != "kept"
    return is_taken and all(found.field is not None for found in differences)


def _reason(differences: list[Difference]) -> str:
    first = differences[0]
    what = " ".join(filter(None, (first.table, first.key, first.field)))
    more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{what}: {first.reason}{more}"


@dataclasses.dataclass
class _File:
    """One file on its way.

    :ivar size, modified_ns: what it was when it was verified.
    """

    path: str
    copy: str
    size: int
    modified_ns: int

    def is_as_it_was(self) -> bool:
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns)

    def copy_and_verify(self) -> None:
        if not self.is_as_it_was():
            raise _Left("was changed since it was verified; import it again")
        os.makedirs(os.path.dirname(self.copy), exist_ok=True)
        digest = read_file(self.path, keep_bytes=0).digest
        if os.path.lexists(self.copy):
            if os.path.islink(self.copy) or read_file(self.copy, keep_bytes=0).digest != digest:
                raise _Left(f"{shown(self.copy)} is another file")
        else:
            self._copy_durably()
            if read_file(self.copy, keep_bytes=0).digest != digest:
                os.unlink(self.copy)
                raise _Left("its copy was not equal; nothing was moved")
        if not self.is_as_it_was():
            raise _Left("was changed while it was copied; import it again")

    def _copy_durably(self) -> None:
        part = f"{self.copy}.part"
        with open(self.path, "rb") as source, open(part, "wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        status = os.stat(self.path)
        os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.chmod(part, status.st_mode & 0o777)
        os.replace(part, self.copy)
        flush_directory(os.path.dirname(self.copy))


@dataclasses.dataclass
class _Unit:
    """Files that move together, with the records that were read from them.

    :ivar place: what ``imports`` names as theirs, and ``copy`` what it is to name.
    :ivar records: import id, table and key of each.
    """

    path: str
    place: str
    copy: str
    root: str
    files: list[_File]
    records: list[tuple[str, str, str]]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> _Unit:
        files = [_File(**file) for file in value.pop("files")]
        records = [(a, b, c) for a, b, c in value.pop("records")]
        return cls(files=files, records=records, **value)

    def move(self, store: Store, archive: Path) -> None:
        """Move them, and let the store follow.

        :raises _Left: they stay where they are, or the store names the copies of what stays.
        :raises DynostoreError: the store failed; a journal says what was begun.
        """
        self._require_removable()
        journal = archive / JOURNAL
        with self._or_left(archive):
            archive.mkdir(parents=True, exist_ok=True)
            for file in self.files:
                with self._or_left(file.path):
                    file.copy_and_verify()
            _write_durably(journal, json.dumps(self.to_json()))
        self._note(store)
        try:
            self.remove_originals()
        except _Left:  # whoever is interrupted here goes on by the journal
            with contextlib.suppress(OSError):
                journal.unlink()
            raise
        with contextlib.suppress(OSError):  # one that stays is true: the next import removes it
            journal.unlink()

    @staticmethod
    @contextlib.contextmanager
    def _or_left(place: str | os.PathLike[str]) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            named = shown(str(exc.filename or place))
            raise _Left(f"{named}: {exc.strerror or exc}") from exc

    def _require_removable(self) -> None:
        """Leave alone, before anything is copied, what could not be removed in the end.

        :raises _Left: a directory may not be written to.
        """
        for directory in sorted({os.path.dirname(file.path) for file in self.files}):
            if not _may_be_written_to(directory):
                raise _Left(f"{shown(directory)}: the directory may not be written to")

    def _note(self, store: Store) -> None:
        """Let the store name the copies: ``storage_path``, and where the source is now."""
        copies = {file.path: file.copy for file in self.files}
        with store.transaction():
            for import_id, table, key in self.records:
                if table == Run._meta.table_name:
                    store.runs.put_many(_relocated(store, key, copies))
                row = store.imports.get(import_id)
                row.source_path = shown(self.copy)
                row.image = _relocated_image(row.image, copies, shown(self.root))
                store.imports.put_many([row])

    def is_noted(self, store: Store) -> bool:
        found = store.imports.seen([import_id for import_id, _, _ in self.records])
        places = {place for _, place, _ in found.values()}
        return len(found) == len(self.records) and places == {shown(self.copy)}

    def remove_originals(self) -> None:
        """Remove what was copied and noted.

        :raises _Left: one cannot be removed; an import that follows tries once more.
        """
        try:
            for file in self.files:
                if file.is_as_it_was() and os.path.exists(file.copy):
                    os.unlink(file.path)
            for directory in {os.path.dirname(file.path) for file in self.files}:
                flush_directory(directory)
        except OSError as exc:
            place = shown(str(exc.filename or self.place))
            raise _Left(
                f"{place}: cannot be removed: {exc.strerror or exc}; the store names the copy"
            ) from exc


def _relocated(store: Store, run_id: str, copies: dict[str, str]) -> Iterator[Any]:
    for file in store.runs.files(run_id):
        copy = copies.get(file.storage_path or "")
        if copy is not None:
            file.storage_path = copy
            yield file


def _relocated_image(image: Any, copies: dict[str, str], root: str) -> Any:
    for rows in image.get("children", {}).values():
        for values in rows.values():
            if (copy := copies.get(values.get("storage_path", ""))) is not None:
                values["storage_path"] = copy
    image["read"] = {**image.get("read", {}), "root": root}
    return image


class _Movables:
    """What may be moved and what is held back, in a private database, for there may be much."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._is_file = os.path.isfile(source.root)
        self._begun_ns = time.time_ns()
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        self._db.close()

    def add(self, item: ImportItem, reason: str | None) -> None:
        """Take a record that was compared, good or not."""
        place = item.source.place
        if reason is not None:
            self._hold(place, reason)
        self._db.execute(
            "INSERT INTO units VALUES (?, ?, ?, ?)",
            (place, item.import_id, item.row.table, str(item.row.key)),
        )
        members = item.source.members or ([place] if os.path.isfile(place) else [])
        if not members:
            self._hold(place, "it is not known which files are its own")
        for path in members:
            try:
                status = os.stat(path, follow_symlinks=False)
            except OSError as exc:
                self._hold(place, f"{shown(path)}: {exc.strerror}")
                continue
            if status.st_mtime_ns > self._begun_ns:
                self._hold(place, "was changed a moment ago; import it again")
            if any(_size(path + end) for end in _SIDECARS):
                self._hold(place, "its log is beside it; end the program that uses it")
            self._db.execute(
                "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?)",
                (path, place, status.st_size, status.st_mtime_ns),
            )

    def hold(self, path: str, reason: str) -> None:
        """Keep what is invalid where it is, and the file with it that it stands in."""
        if self._is_file:
            self._hold(self._source.root, reason)
            return
        self._hold(self._source.place_of(path), reason)
        self._hold(self._source.place_of(path.partition("#")[0]), reason)

    def _hold(self, place: str, reason: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO held VALUES (?, ?)", (place, reason))

    def held(self) -> Iterator[tuple[str, str]]:
        """Give what of the records stays where it is, and why, by path."""
        rows = self._db.execute(
            "SELECT units.place, min(held.reason) FROM units JOIN held ON "
            f"{_IN_IT} GROUP BY 1 ORDER BY 1"
        )
        for place, reason in rows:
            yield self._path_of(place), reason

    def units(self, archive: Path) -> Iterator[_Unit]:
        """Give what is to be moved, by place."""
        places = self._db.execute(
            f"SELECT DISTINCT place FROM files AS units "
            f"WHERE NOT EXISTS (SELECT 1 FROM held WHERE {_IN_IT}) ORDER BY 1"
        ).fetchall()
        for (place,) in places:
            files = self._db.execute(
                "SELECT path, size, modified_ns FROM files WHERE place = ? ORDER BY rowid", (place,)
            )
            records = self._db.execute(
                "SELECT import_id, record_table, record_key FROM units WHERE place = ?", (place,)
            )
            yield _Unit(
                path=self._path_of(place),
                place=place,
                copy=self._copy_of(place, archive),
                root=self._copy_of(self._source.root, archive),
                files=[_File(p, self._copy_of(p, archive), s, m) for p, s, m in files],
                records=records.fetchall(),
            )

    def _path_of(self, place: str) -> str:
        return shown(os.path.basename(place)) if self._is_file else self._source.path_of(place)

    def _copy_of(self, path: str, archive: Path) -> str:
        root = os.path.dirname(self._source.root) if self._is_file else self._source.root
        return os.path.normpath(archive / os.path.relpath(path, root))


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _remove_empty(root: Path) -> None:
    """Remove the directories that were left empty, but the source itself, as far as one may."""
    for place, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            if Path(place) != root and not os.listdir(place):
                os.rmdir(place)


def _write_durably(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    flush_directory(path.parent)
