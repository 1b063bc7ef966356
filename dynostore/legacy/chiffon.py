"""Finding Chiffon's tasks: its database in a file or on a server, and the three forms of its files.

============================================  ======================================================
``tasks``, ``execution_logs``                 a database of SQLite or Postgres, known by its tables
``.audit/tasks/<uuid>.json``                  how a task ended, written when it was committed
``runs/<task_id>/<stamp>/report.json``        one run of a task: a task of its own
``tasks/{queue,done,failed}/**/*.yml``        the queue of files: the directory is the state
============================================  ======================================================
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from dynostore.errors import SourceNotFound
from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.cells import as_uuid
from dynostore.legacy.chiffon_files import (
    READERS,
    Form,
    TaskFile,
    form_of,
    form_within,
    has_marks,
    queue_order,
    read_task_file,
)
from dynostore.legacy.chiffon_tables import TaskTables, is_chiffon
from dynostore.legacy.detection import is_below, knows_file
from dynostore.legacy.source_database import count_rows, holds_tables, read_database
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_postgres import opened_postgres
from dynostore.legacy.source_sqlite import stray_reason
from dynostore.legacy.source_tree import Listing, SourceTree
from dynostore.urls import is_postgres, mask


class ChiffonReader:
    """Reads tasks from a database and from files; a :class:`~dynostore.legacy.base.Reader`."""

    kind = "chiffon"
    wanted: tuple[str, ...] = ()

    def detect(self, source: str) -> bool:
        """Tell whether the tables are there, or one of the files at or below a path.

        :raises DynostoreError: a server cannot be asked.
        """
        if is_postgres(source):
            with opened_postgres(source) as database:
                return is_chiffon(database.tables)
        if "://" in source:
            return False
        return is_below(source, self) if os.path.isdir(source) else knows_file(source, self)

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell whether a file holds tasks, by its place, its first bytes or its tables."""
        form = form_of(head.path)
        if form is not None:
            return has_marks(head, form)
        if form_within(head) is not None:
            return True
        return head.is_sqlite and holds_tables(head.path, is_chiffon)

    def count(self, source: str) -> int | None:
        """Count the tasks of one database; None for anything else."""
        if is_postgres(source):
            with opened_postgres(source) as server:
                return server.count(server.tables["tasks"]) if is_chiffon(server.tables) else None
        if "://" in source or os.path.isdir(source) or not FileHead(source).is_sqlite:
            return None
        return count_rows(source, is_chiffon, "tasks")

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give every task, databases first, and every file that holds none."""
        if is_postgres(source):
            with opened_postgres(source) as database:
                if not is_chiffon(database.tables):
                    yield Finding(".", "invalid", "the database has no tables of Chiffon", files=0)
                    return
                name = source.partition("?")[0].rpartition("/")[2]
                yield from TaskTables(database, name, mask(source)).read()
            return
        if "://" in source:
            raise SourceNotFound(f"{mask(source)}: Chiffon kept its tasks in files or in Postgres")
        is_file = not os.path.isdir(source)
        tree = SourceTree(os.path.dirname(source) if is_file else source)
        yield from _TreeReader(tree).read([os.path.realpath(source)] if is_file else None)


class _TreeReader:
    """Reads what lies below one directory, or one file of it."""

    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self._databases: dict[str, None] = {}
        self._files: dict[Form, list[str]] = {"audit": [], "report": [], "queued": []}
        self._strays: list[str] = []
        self._audits: dict[str, str] = {}
        self._taken: dict[str, TaskFile] = {}
        self._joined: set[str] = set()

    def read(self, files: list[str] | None) -> Iterator[SourceRecord | Finding]:
        """Give all records and findings.

        :param files: the only ones to read; None for all in the tree.
        """
        for found in self._tree.walk() if files is None else files:
            if isinstance(found, Finding):
                yield found
            else:
                self._sort_in(found)
        # A task that lies here too has its audit record beside it, which is then none of its own.
        if self._databases or self._files["queued"]:
            for path in self._files["audit"]:
                if (key := self._audited(path)) is not None:
                    self._audits.setdefault(key, path)
        for path in self._databases:
            yield from self._database(path)
        yield from self._task_files()
        yield from map(self._stray, self._strays)

    def _sort_in(self, path: str) -> None:
        head = FileHead(path)
        form = form_of(path) or form_within(head)
        if form is not None:
            self._files[form].append(path)
        elif head.is_sqlite:
            self._databases[path] = None
        else:
            self._strays.append(path)

    def _audited(self, path: str) -> str | None:
        """Give the key of the task that an audit record speaks of."""
        try:
            return READERS["audit"](read_task_file(path, self._tree.relative(path))).key
        except Unreadable:
            return as_uuid(os.path.splitext(os.path.basename(path))[0])

    def _database(self, path: str) -> Iterator[SourceRecord | Finding]:
        for found in read_database(
            path,
            self._tree.relative(path),
            is_chiffon,
            TaskTables,
            tool="Chiffon",
            nouns="tasks",
        ):
            if isinstance(found, SourceRecord):
                yield from self._with_audit(found)
            else:
                yield found

    def _with_audit(self, task: SourceRecord) -> Iterator[SourceRecord | Finding]:
        place = self._audits.get(task.key)
        if place is not None:
            relative = self._tree.relative(place)
            self._joined.add(place)
            try:
                file = read_task_file(place, relative)
            except Unreadable as exc:
                yield Finding(relative, "invalid", str(exc))
            else:
                metadata = task.values["metadata"] or {}
                task.values["metadata"] = {**metadata, "audit": file.document}
                both = task.content_hash.encode() + file.facts.digest
                task.content_hash = hashlib.sha256(both).hexdigest()
                task.files += 1
                task.members = (task.place, place)
                self._taken[task.key] = file
        yield task

    def _task_files(self) -> Iterator[SourceRecord | Finding]:
        forms: tuple[Form, ...] = ("queued", "report", "audit")
        for form in forms:
            places = self._files[form]
            for place in sorted(places, key=queue_order) if form == "queued" else places:
                if place in self._joined:
                    continue
                path = self._tree.relative(place)
                try:
                    file = read_task_file(place, path)
                    record = READERS[form](file)
                except Unreadable as exc:
                    yield Finding(path, "invalid", str(exc), is_record=True)
                    continue
                first = self._taken.setdefault(record.key, file)
                if first is not file:
                    yield _copy(file, first)
                elif form == "audit":
                    yield record
                else:
                    yield from self._with_audit(record)

    def _stray(self, path: str) -> Finding:
        relative = self._tree.relative(path)
        otherwise = "not a file of Chiffon's tasks"
        if path.endswith((".yml", ".yaml")):
            otherwise = "in none of a queue's directories"
        may_be_lost, reason = stray_reason(path, self._databases, otherwise)
        return Finding(relative, "invalid" if may_be_lost else "skipped", reason)


def _copy(file: TaskFile, taken: TaskFile) -> Finding:
    """Speak of a file whose task was taken from a file that says more of it."""
    if file.document == taken.document:
        return Finding(file.path, "skipped", f"the same task as {taken.path}, which was taken")
    reason = f"has the id and the goal of {taken.path}, which was taken, and differs from it"
    return Finding(file.path, "invalid", reason, is_record=True)
