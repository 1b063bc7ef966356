"""Moving the files of some records to their archive, so that any crash can be gone on from.

Copied, verified, noted in a journal, named by the store, and only then removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynostore.durable import flush_directory
from dynostore.legacy.checksums import read_file
from dynostore.legacy.source_tree import shown
from dynostore.models import Run
from dynostore.rights import may
from dynostore.store import Store

JOURNAL = ".dynostore-archive.json"
"""The journal's name in the archive: it is there only while something is being moved."""
_UNFINISHED = ".dynostore-archive.part"
"""What is being copied, beside its place: a name made of the file's own may be another file's."""

_CHUNK_BYTES = 1024 * 1024


class Left(Exception):
    """A file stays where it is; the message is the reason."""


@dataclasses.dataclass
class MovedFile:
    """One file on its way.

    :ivar size, modified_ns: what it was when it was verified.
    """

    path: str
    copy: str
    size: int
    modified_ns: int

    def is_as_it_was(self) -> bool:
        """Tell whether nobody has written to it since."""
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self.modified_ns)

    def copy_and_verify(self) -> None:
        """Copy it to the disk, and compare; a copy that is there already must be equal.

        :raises Left: it is not, or somebody writes to the file.
        :raises OSError: it cannot be read, or the copy not be written.
        """
        if not self.is_as_it_was():
            raise Left("was changed since it was verified; import it again")
        os.makedirs(os.path.dirname(self.copy), exist_ok=True)
        digest = read_file(self.path, keep_bytes=0).digest
        if os.path.lexists(self.copy):
            if os.path.islink(self.copy) or read_file(self.copy, keep_bytes=0).digest != digest:
                raise Left(f"{shown(self.copy)} is another file")
        else:
            self._copy_durably()
            if read_file(self.copy, keep_bytes=0).digest != digest:
                os.unlink(self.copy)
                raise Left("its copy was not equal; nothing was moved")
        if not self.is_as_it_was():
            raise Left("was changed while it was copied; import it again")

    def _copy_durably(self) -> None:
        part = os.path.join(os.path.dirname(self.copy), _UNFINISHED)
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
class Move:
    """Files that move together, with the records that were read from them.

    :ivar place: what ``imports`` names as theirs, and ``copy`` what it is to name.
    :ivar records: import id, table and key of each.
    """

    path: str
    place: str
    copy: str
    root: str
    files: list[MovedFile]
    records: list[tuple[str, str, str]]

    def to_json(self) -> dict[str, Any]:
        """Give all of it, for the journal."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Move:
        """Give what a journal holds.

        :raises ValueError, KeyError, TypeError: it holds something else.
        """
        files = [MovedFile(**file) for file in value.pop("files")]
        records = [(a, b, c) for a, b, c in value.pop("records")]
        return cls(files=files, records=records, **value)

    def move(self, store: Store, archive: Path) -> None:
        """Move them, and let the store follow.

        :raises Left: they stay where they are, or the store names the copies of what stays.
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
        except Left:  # whoever is interrupted here goes on by the journal
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
            raise Left(f"{named}: {exc.strerror or exc}") from exc

    def _require_removable(self) -> None:
        """Leave alone, before anything is copied, what could not be removed in the end.

        :raises Left: a directory may not be written to.
        """
        for directory in sorted({os.path.dirname(file.path) for file in self.files}):
            if not may(directory, os.W_OK | os.X_OK):
                raise Left(f"{shown(directory)}: the directory may not be written to")

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
        """Tell whether the store names the copies."""
        found = store.imports.seen([import_id for import_id, _, _ in self.records])
        places = {place for _, place, _ in found.values()}
        return len(found) == len(self.records) and places == {shown(self.copy)}

    def remove_originals(self) -> None:
        """Remove what was copied and noted.

        :raises Left: one cannot be removed; an import that follows tries once more.
        """
        try:
            for file in self.files:
                if file.is_as_it_was() and os.path.exists(file.copy):
                    os.unlink(file.path)
            for directory in {os.path.dirname(file.path) for file in self.files}:
                flush_directory(directory)
        except OSError as exc:
            place = shown(str(exc.filename or self.place))
            raise Left(
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


def _write_durably(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    flush_directory(path.parent)
