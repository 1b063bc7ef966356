"""A directory of records as a database: the verbs of the repositories, on files.

The records are mirrored in SQLite in memory, where the repositories work as they do anywhere.
Before each verb the mirror takes over which files are new, changed or gone, whoever wrote them;
after each transaction the files of the records that it changed are written back, and only when they
are in place does it end well. How records lie in files: :class:`~dynostore.compat.shelf.Shelf`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dynostore import errors
from dynostore.compat.file_journal import FileJournal
from dynostore.compat.shelf import Shelf, Signature, Unit
from dynostore.config import Settings
from dynostore.database import MemoryDatabase
from dynostore.inventory import Inventory
from dynostore.legacy.base import Unreadable
from dynostore.models.base import Record

# File systems count time in ticks: two writes within one leave the same signature.
_UNSETTLED_NS = 50_000_000
# An older tool empties a file and then writes it; what is broken for longer than that is broken.
_BEING_WRITTEN_S = 1.0
_TRIES, _PAUSE_S = 20, 0.01

_TRACK = """
CREATE TRIGGER {model}_{event} AFTER {event} ON {model} BEGIN
    INSERT INTO changed VALUES ('{shelf}', {row}.{owner}, {part}); END
"""
_CHANGED = "SELECT DISTINCT owner, part FROM changed WHERE shelf = ? ORDER BY 1"


class FolderDatabase(MemoryDatabase):
    """The mirror of a directory.

    :param journal: of the directory.
    :ivar families: see :class:`dynostore.compat.OldForm`; set by whoever puts up the shelves.
    :ivar units: all main files by path.
    """

    def __init__(
        self, journal: FileJournal, settings: Settings, *, title: str, shown: str, read_only: bool
    ) -> None:
        super().__init__(settings)
        self.files = journal
        self.title = title
        self.shown = shown
        self.read_only = read_only
        self.families: dict[str, Any] = {}
        self.units: dict[str, Unit] = {}
        self._shelves: list[Shelf] = []
        self._paths: dict[tuple[str, str], str] = {}
        self._busy = False
        self._is_stale = False

    def put_up(self, shelves: Sequence[Shelf]) -> None:
        """Say what lies in the directory, owners of others first."""
        models = [model for shelf in shelves for model in shelf.owners]
        with super().reading(), self.bind_ctx(models, bind_refs=False, bind_backrefs=False):
            self.create_tables(models)
            self._run("CREATE TABLE changed (shelf TEXT, owner TEXT, part TEXT)")
            for shelf in shelves:
                for model, owner in shelf.owners.items():
                    self._track(
                        shelf.name, str(model._meta.table_name), owner, shelf.parts.get(model)
                    )
        self._shelves = list(shelves)

    def _track(self, shelf: str, model: str, owner: str, part: str | None) -> None:
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            column = "NULL" if part is None else f"{row}.{part}"
            self._run(
                _TRACK.format(
                    model=model, event=event, shelf=shelf, row=row, owner=owner, part=column
                )
            )

    def _run(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        execute: Any = self.execute_sql  # Peewee's stubs do not type it
        return execute(sql, parameters)

    def forget_inherited(self) -> None:
        """Let a forked child begin outside of the transaction that another thread had open."""
        super().forget_inherited()
        self._busy = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the mirror, brought up to date."""
        with super().reading():
            if not self._busy:
                with self._alone(), self.files.looking():
                    self._look()
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the mirror in a transaction, at whose end the files are written."""
        if self.read_only and not self._busy:
            raise errors.StoreUnwritable(
                f"{self.shown}: was opened for reading only", hint="open it without read_only"
            )
        with super().reading():
            if self._busy:
                with self.atomic():
                    yield
                return
            with self.files.writing(), self._alone():
                with self.files.looking():
                    self._look()
                with self.atomic():
                    yield
                    try:
                        self._write_back()
                    except BaseException:
                        # Some files may be in place, and shelves think that all are.
                        self._is_stale = True
                        raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let verbs inside find the mirror as it is."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    # From files to records.

    def _look(self) -> None:
        """Take over what changed in the directory."""
        if self._is_stale:
            self._begin_anew()
        there: set[str] = set()
        fresh: list[tuple[Shelf, str, Signature]] = []
        now_ns = time.time_ns()
        for shelf in self._shelves:
            for path, status in shelf.scan():
                there.add(path)
                signature = _signature_of(status)
                unit = self.units.get(path)
                if unit is None or unit.signature != signature or _is_unsettled(unit):
                    fresh.append((shelf, path, signature))
        gone = [path for path in self.units if path not in there]
        if not gone and not fresh:
            return
        with self.atomic():
            for path in gone:
                self._forget(path)
            for shelf in self._shelves:
                mine = [(path, sign) for s, path, sign in fresh if s is shelf]
                self._take_over(shelf, mine, now_ns)
            for shelf in self._shelves:
                shelf.looked()
            self._run("DELETE FROM changed")

    def _begin_anew(self) -> None:
        with self.atomic():
            for shelf in reversed(self._shelves):
                for model in reversed([*shelf.owners]):
                    model.delete().execute(self)
        self.units.clear()
        self._paths.clear()
        self._is_stale = False

    def _take_over(self, shelf: Shelf, fresh: Sequence[tuple[str, Signature]], now_ns: int) -> None:
        records: list[Record] = []
        units: dict[int, Unit] = {}
        for path, signature in fresh:
            unit, found = self._read(shelf, path, signature, now_ns)
            if unit is None:
                continue
            self.units[path] = unit
            for record in found:
                units[id(record)] = unit
            records += found
        for refused in shelf.repository.put_many(records):
            unit = units[id(refused.record)]
            unit.problem = unit.problem or refused.reason
        for unit in {id(u): u for u in units.values() if u.problem}.values():
            self._remove(shelf, unit)

    def _read(
        self, shelf: Shelf, path: str, signature: Signature, now_ns: int
    ) -> tuple[Unit | None, list[Record]]:
        """Read a main file again; give None where it holds what it held."""
        before = self.units.get(path)
        unit = Unit(path, signature, now_ns, "")
        records: list[Record] = []
        for _ in range(_TRIES):
            unit.problem = None
            try:
                data = (self.files.root / path).read_bytes()
                unit.digest = _digest(data, shelf.beside(path))
                if before is not None and before.digest == unit.digest:
                    before.signature, before.seen_ns = signature, now_ns
                    return None, []
                unit.owner, records, unit.memo = shelf.read(path, data)
                break
            except OSError as exc:
                unit.problem = f"cannot be read: {exc.strerror or exc}"
            except Unreadable as exc:
                unit.problem = str(exc)
            if time.time() - signature[0] / 1e9 > _BEING_WRITTEN_S:
                break
            time.sleep(_PAUSE_S)
        if before is not None and before.owner is not None:
            # What is replaced is removed first, its children with it.
            self._remove(shelf, before, keep_owner=before.owner == unit.owner)
        if unit.owner is not None:
            other = self._paths.setdefault((shelf.name, unit.owner), path)
            if other != path:
                unit.problem = f"has the id {unit.owner!r} of {other}"
                unit.owner = None
        return unit, [] if unit.problem else records

    def _forget(self, path: str) -> None:
        unit = self.units.pop(path)
        for shelf in self._shelves:
            if unit.owner is not None and self._paths.get((shelf.name, unit.owner)) == path:
                self._remove(shelf, unit)

    def _remove(self, shelf: Shelf, unit: Unit, *, keep_owner: bool = False) -> None:
        """Take a unit's rows out of the mirror, those of other units alone."""
        for model, column in reversed([*shelf.owners.items()]):
            mine = model._meta.columns[column]
            if mine.primary_key:
                if keep_owner:
                    continue
                self._let_go(model, unit.owner)
            model.delete().where(mine == unit.owner).execute(self)
        if not keep_owner and unit.owner is not None:
            self._paths.pop((shelf.name, unit.owner), None)

    def _let_go(self, parent: type[Record], key: str | None) -> None:
        """Clear what refers to a record and may do without it: those files are still there."""
        for shelf in self._shelves:
            for model in shelf.owners:
                for field, referred in model._meta.refs.items():
                    if referred is parent and field.null:
                        model.update({field: None}).where(field == key).execute(self)

    # From records to files.

    def _write_back(self) -> None:
        """Write the files of all records that the transaction changed."""
        files: dict[str, bytes | None] = {}
        written: list[tuple[Shelf, str, str, Any]] = []
        for shelf in self._shelves:
            changed: dict[str, set[str]] = {}
            for owner, part in self._run(_CHANGED, (shelf.name,)).fetchall():
                changed.setdefault(owner, set()).update([] if part is None else [part])
            for owner, parts in changed.items():
                known = self._paths.get((shelf.name, owner))
                unit = None if known is None else self.units[known]
                path, wanted, memo = shelf.write(owner, unit, parts)
                if unit is None and wanted[path] is None:
                    continue  # came and went
                written.append((shelf, owner, path, memo))
                files |= wanted
        if not written:
            return
        with self.files.looking():
            for *_, path, _memo in written:
                self._require_unchanged(path)
            self.files.change(files)
            for shelf, owner, path, memo in written:
                self._remember(shelf, owner, path, files.get(path), memo)
            for shelf in {id(s): s for s, *_ in written}.values():
                shelf.wrote()
        for shelf in self._shelves:
            shelf.looked()
        self._run("DELETE FROM changed")

    def _require_unchanged(self, path: str) -> None:
        """Refuse to replace what nobody of ours has read."""
        unit = self.units.get(path)
        if unit is not None and unit.problem is not None:
            raise self.damage(unit)
        try:
            status = (self.files.root / path).stat()
        except FileNotFoundError:
            changed = unit is not None
        else:
            changed = unit is None or unit.signature != _signature_of(status)
        if changed:
            raise errors.StaleWrite(
                f"{self.shown}: {path} was changed by another program meanwhile; nothing was "
                "written",
                hint="try again",
            )

    def _remember(self, shelf: Shelf, owner: str, path: str, data: bytes | None, memo: Any) -> None:
        if data is None:
            self.units.pop(path, None)
            self._paths.pop((shelf.name, owner), None)
            return
        status = (self.files.root / path).stat()
        digest = _digest(data, shelf.beside(path))
        signature = _signature_of(status)
        self.units[path] = Unit(path, signature, time.time_ns(), digest, owner, None, memo)
        self._paths[shelf.name, owner] = path

    # Damage.

    def damage(self, unit: Unit) -> errors.IntegrityFailure:
        """Give the error that names a file that cannot be read."""
        return errors.IntegrityFailure(
            f"{self.shown}: {unit.path}: {unit.problem}",
            hint="mend the file, or move it out of the directory",
            path=unit.path,
        )

    def require_whole(self) -> None:
        """Refuse to speak of all records while a file cannot be read.

        :raises IntegrityFailure: names the first one.
        """
        broken = [unit for unit in self.units.values() if unit.problem is not None]
        if broken:
            raise self.damage(min(broken, key=lambda unit: unit.path))

    def require_readable(self, path: str, key: str) -> None:
        """Refuse to say that a record is missing while a file is broken that could be its.

        :param path: the main file that it would have.
        :raises IntegrityFailure: names the file.
        """
        for unit in self.units.values():
            if unit.problem is not None and (unit.path == path or key in unit.path):
                raise self.damage(unit)

    def check(self) -> list[str]:
        """Name each file that cannot be read."""
        with self.reading():
            broken = [unit for unit in self.units.values() if unit.problem is not None]
        return [f"{unit.path}: {unit.problem}" for unit in broken]

    def inventory(self) -> Inventory:
        """Count records and the bytes of their files."""
        with self.reading():
            rows = {
                str(model._meta.table_name): int(model.select().count(self))
                for shelf in self._shelves
                for model in shelf.owners
            }
            size_bytes = sum(unit.signature[1] for unit in self.units.values())
            broken = sum(unit.problem is not None for unit in self.units.values())
        engine = f"{self.title}, of which {broken} cannot be read" if broken else self.title
        return Inventory(engine, size_bytes, rows, schema_version=0, pending=[])


def _signature_of(status: os.stat_result) -> Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(data: bytes, beside: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(data).digest() + beside).hexdigest()


def _is_unsettled(unit: Unit) -> bool:
    return unit.seen_ns - unit.signature[0] < _UNSETTLED_NS
