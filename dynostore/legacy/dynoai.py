"""Finding DynoAI's runs on disk: four layouts that all call themselves a run, told apart here.

Its database is :mod:`dynostore.legacy.dynoai_tables`' matter.

==  ==========================================  ===================================================
A   ``runs/<id>/run_state.json`` and siblings   RunManager
B   ``outputs/<uuid>/manifest.json``            uploads: the directory is the id
C   ``runs/<id>/manifest.json``                 JetDrive: ``analysis`` or ``timestamp``, no schema
D   ``experiments/<name>/``, ``<any>/out/``     files as in B: the manifest's ``run_id`` is the id
==  ==========================================  ===================================================

Runs are found by walking directories: ``index.json`` is known to be stale. Every file below a
run's directory belongs to the run, except directories that hold a run of their own; the manifest in
``output/`` is not one.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from dynostore.legacy.base import Finding, ReadOptions, SourceRecord, Unreadable
from dynostore.legacy.beside import notes_on
from dynostore.legacy.checksums import FileFacts, read_file
from dynostore.legacy.detection import is_below
from dynostore.legacy.dynoai_draft import STAMPED, Layout, RunDraft
from dynostore.legacy.dynoai_layouts import build_record
from dynostore.legacy.dynoai_note import add_note
from dynostore.legacy.dynoai_tables import RunTables, is_dynoai
from dynostore.legacy.source_database import count_rows, holds_tables, read_database
from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_json import MAX_BYTES, parse_object
from dynostore.legacy.source_sqlite import NAMES, SIDECARS, SqliteTables
from dynostore.legacy.source_tree import Listing, SourceTree, is_utf8

STATE = "run_state.json"
MANIFEST = "manifest.json"
_SCHEMA = "dynoai.manifest@1"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")


class DynoaiReader:
    """Reads the runs of all four layouts; a :class:`~dynostore.legacy.base.Reader`."""

    kind = "dynoai"
    wanted: tuple[str, ...] = ()

    def detect(self, source: str) -> bool:
        """Tell whether a run is at or below ``source``, readable or broken."""
        if os.path.isdir(source):
            return is_below(source, self)
        return os.path.isfile(source) and _is_database(FileHead(source))

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell whether a file makes its directory a run, or is a database of runs."""
        if name in (STATE, MANIFEST) or name.endswith(STAMPED):
            return _find_head(listing) is not None
        return _is_database(head)

    def count(self, source: str) -> int | None:
        """Count the runs of one database; None for anything else."""
        is_database = os.path.isfile(source) and FileHead(source).is_sqlite
        return count_rows(source, is_dynoai, "runs") if is_database else None

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give every run, and every file that belongs to none, in the order of their paths.

        The runs of databases come last.
        """
        if os.path.isfile(source):
            yield from _read_database(SourceTree(os.path.dirname(source)), source, set())
            return
        tree = SourceTree(source)
        taken: set[int] = set()  # hashes of ids: there may be millions
        databases: list[str] = []
        for found in _walk(tree, databases):
            if isinstance(found, SourceRecord):
                taken.add(hash(found.key))
            yield found
        for path in databases:
            yield from _read_database(tree, path, taken)


def _walk(tree: SourceTree, databases: list[str]) -> Iterator[SourceRecord | Finding]:
    """Give the runs of directories and all other files; add the databases of runs."""
    pending = [tree.root]
    while pending:
        listing = tree.list(pending.pop())
        head = _find_head(listing)
        if head is not None:
            run = _RunReader(tree, listing, head)
            yield from run.read()
            below = run.nested
        else:
            yield from listing.findings
            for name in listing.files:
                path = os.path.join(listing.path, name)
                if _is_database(FileHead(path)):
                    databases.append(path)
                else:
                    reason = _reason_for_stray(name)
                    yield Finding(tree.relative(path), "skipped", reason)
            below = [os.path.join(listing.path, name) for name in listing.directories]
        pending += reversed(below)


def _is_database(head: FileHead) -> bool:
    return head.is_sqlite and holds_tables(head.path, is_dynoai)


def _read_database(
    tree: SourceTree, path: str, taken: set[int]
) -> Iterator[SourceRecord | Finding]:
    def tables(source: SqliteTables, relative: str, place: str) -> RunTables:
        return RunTables(source, relative, place, lambda key: hash(key) in taken)

    yield from read_database(
        path, tree.relative(path), is_dynoai, tables, tool="DynoAI", nouns="runs"
    )


@dataclasses.dataclass(slots=True)
class _Head:
    """The document that makes a directory a run.

    :ivar document: None where it cannot be read; then ``reason`` says why.
    """

    name: str
    facts: FileFacts | None = None
    document: dict[str, Any] | None = None
    warning: str | None = None
    reason: str = ""


def _find_head(listing: Listing) -> _Head | None:
    """Give what makes a directory a run: its state file, or a manifest that may be ours."""
    if STATE in listing.files:
        return _read_head(listing.path, STATE)
    # A program that died between its two writes leaves the stamped copy alone.
    stamped = [name for name in listing.files if name.endswith(STAMPED)]
    name = MANIFEST if MANIFEST in listing.files else max(stamped, default=None)
    if name is None:
        return None
    head = _read_head(listing.path, name)
    return head if head.document is None or _is_ours(head.document) else None


def _read_head(directory: str, name: str) -> _Head:
    head = _Head(name)
    try:
        head.facts = read_file(os.path.join(directory, name), keep_bytes=MAX_BYTES)
        head.document, head.warning = parse_object(_content(head.facts))
    except OSError as exc:
        head.reason = f"{name}: cannot be read: {exc.strerror or exc}"
    except Unreadable as exc:
        head.reason = f"{name}: {exc}"
    return head


def _content(facts: FileFacts) -> bytes:
    if facts.data is None:
        raise Unreadable(f"JSON of more than {MAX_BYTES // 2**20} MiB")
    return facts.data


def _is_ours(document: dict[str, Any]) -> bool:
    """Tell a DynoAI manifest from the many other things that are called manifest.json."""
    schema = document.get("schema_id")
    if schema is not None:
        return isinstance(schema, str) and schema.startswith("dynoai.")
    return any(key in document for key in ("analysis", "outputs", "timestamp"))


def layout_of(directory: str, head: str, document: dict[str, Any]) -> Layout:
    """Give the layout of a run.

    :param directory: the run's, absolute.
    :param head: the name of the file in it that makes it a run, whose content is ``document``.
    :raises Unreadable: a manifest of another version.
    """
    if head == STATE:
        return "A"
    name = os.path.basename(directory)
    parent, above = os.path.split(os.path.dirname(directory))[::-1]
    schema = document.get("schema_id")
    if schema is None:
        listed = isinstance(document.get("outputs"), list)
        if "analysis" in document or ("timestamp" in document and not listed):
            return "C"
        # The fifth, minimal shape that only tests of DynoAI wrote: its place does not matter.
        return "D" if name == "out" else "B"
    if schema != _SCHEMA:
        raise Unreadable(f"schema_id: unknown manifest {schema!r}; {_SCHEMA} is known")
    uploaded = parent == "outputs" and os.path.basename(above) != "experiments"
    return "B" if _UUID.fullmatch(name) or uploaded else "D"


class _RunReader:
    """Reads one run's directory.

    :ivar nested: directories below it that hold runs of their own, after :meth:`read`.
    """

    def __init__(self, tree: SourceTree, listing: Listing, head: _Head) -> None:
        self._tree = tree
        self._listing = listing
        self._head = head
        self._findings = list(listing.findings)
        self._names: list[str] = []
        self._documents: dict[str, Any] = {}
        self._warnings: list[str] = []
        self.nested: list[str] = []
        above, name = os.path.split(listing.path)
        has_note = head.name == STATE and listing.path != tree.root
        self._notes = notes_on(above, "runs", name) if has_note else []

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give the findings among the run's files, then the run, or the finding that it is none."""
        directory = self._listing.path
        self._collect()
        head = self._head
        path = self._tree.relative(directory)
        if head.document is None or head.facts is None or not is_utf8(directory):
            reason = head.reason or "the path is not UTF-8, so the store cannot name its files"
            yield from self._findings
            files_lost = len(self._names) + len(self._notes)
            yield Finding(path, "invalid", reason, is_record=True, files=files_lost)
            return
        files = self._read_files(head.facts)
        if head.warning:
            self._warnings.append(f"{head.name}: {head.warning}")
        yield from self._findings
        try:
            record = build_record(
                RunDraft(
                    layout=layout_of(directory, head.name, head.document),
                    directory=directory,
                    path=path,
                    head=head.name,
                    document=head.document,
                    files=files,
                    documents=self._documents,
                    warnings=self._warnings,
                )
            )
            for note in self._notes:
                add_note(record, note)
        except Unreadable as exc:
            files_lost = len(files) + len(self._notes)
            yield Finding(path, "invalid", str(exc), is_record=True, files=files_lost)
        else:
            yield record

    def _collect(self) -> None:
        """List all files below the directory by their paths below it, leaving out nested runs."""
        top = self._listing
        self._names = list(top.files)
        pending = top.directories[::-1]
        while pending:
            below = pending.pop()
            place = os.path.join(top.path, below)
            listing = self._tree.list(place)
            # The manifest in output/ describes this run; elsewhere it begins another.
            if STATE in listing.files or (below != "output" and _find_head(listing) is not None):
                self.nested.append(place)
                continue
            self._findings += listing.findings
            for name in listing.files:
                filename = f"{below}/{name}"
                if is_utf8(filename):
                    self._names.append(filename)
                else:
                    shown = self._tree.relative(os.path.join(place, name))
                    self._findings.append(Finding(shown, "invalid", "its name is not UTF-8"))
            pending += [f"{below}/{name}" for name in reversed(listing.directories)]

    def _read_files(self, head: FileFacts) -> dict[str, FileFacts]:
        """Read every file once; give those that could be read, documents parsed on the way."""
        files: dict[str, FileFacts] = {}
        documents = _DOCUMENTS_BESIDE_STATE if self._head.name == STATE else _DOCUMENTS
        for filename in self._names:
            if filename == self._head.name:
                files[filename] = head
                continue
            is_document = filename in documents
            path = f"{self._listing.path}{os.sep}{filename}"
            try:
                facts = read_file(path, MAX_BYTES) if is_document else read_file(path)
                if is_document:
                    self._documents[filename], warning = parse_object(_content(facts))
                    if warning:
                        self._warnings.append(f"{filename}: {warning}")
            except OSError as exc:
                self._refuse(path, f"cannot be read: {exc.strerror or exc}")
                continue
            except Unreadable as exc:
                self._refuse(path, str(exc))
                continue
            if facts.digest == head.digest and filename.endswith(STAMPED):
                self._documents[filename] = None  # the stamped copy says nothing new
            files[filename] = facts
        return files

    def _refuse(self, path: str, reason: str) -> None:
        self._findings.append(Finding(self._tree.relative(path), "invalid", reason))


# Files whose content becomes a part of the run's metadata.
_DOCUMENTS = frozenset({"session_log.json", "experiment_summary.json"})
_DOCUMENTS_BESIDE_STATE = frozenset(
    {"session_log.json", "jetstream_metadata.json", "output/manifest.json"}
)


def _reason_for_stray(name: str) -> str:
    if name == "index.json":
        return "an index, known to be stale; runs are found by their directories"
    if name == "experiment_summary.json":
        return "a summary without a manifest beside it"
    if name == MANIFEST:
        return "not a manifest of DynoAI"
    if name.endswith((*NAMES, *SIDECARS)):
        return "a part of a database, or one without runs of DynoAI's"
    return "not in a run's directory"
