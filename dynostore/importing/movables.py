"""What of a source may be moved to its archive, and what is held back and why."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from dynostore.fleeting import size_of
from dynostore.importing.item import ImportItem
from dynostore.importing.move import Move, MovedFile
from dynostore.importing.source import Source
from dynostore.legacy.source_tree import shown

_SIDECARS = ("-wal", "-journal")
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


class Movables:
    """What may be moved and what is held back, in a private database, for there may be much."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._is_file = os.path.isfile(source.root)
        self._begun_ns = time.time_ns()
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Forget it all."""
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
            if any(size_of(path + end) for end in _SIDECARS):
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

    def units(self, archive: Path) -> Iterator[Move]:
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
            yield Move(
                path=self._path_of(place),
                place=place,
                copy=self._copy_of(place, archive),
                root=self._copy_of(self._source.root, archive),
                files=[MovedFile(p, self._copy_of(p, archive), s, m) for p, s, m in files],
                records=records.fetchall(),
            )

    def _path_of(self, place: str) -> str:
        return shown(os.path.basename(place)) if self._is_file else self._source.path_of(place)

    def _copy_of(self, path: str, archive: Path) -> str:
        root = os.path.dirname(self._source.root) if self._is_file else self._source.root
        return os.path.normpath(archive / os.path.relpath(path, root))
