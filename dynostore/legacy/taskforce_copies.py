"""Choosing between a file of Taskforce and the temporary files that were to become it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Generator
from typing import Any

from dynostore.legacy.base import Finding, Unreadable
from dynostore.legacy.checksums import FileFacts, read_file
from dynostore.legacy.source_json import MAX_BYTES, parse
from dynostore.legacy.source_tree import SourceTree
from dynostore.legacy.taskforce_checklists import parse_checklist
from dynostore.legacy.taskforce_draft import Clock, as_count
from dynostore.legacy.taskforce_files import Group
from dynostore.legacy.timestamps import from_file_time

_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)


_NO_FILE = FileFacts("", 0, b"", 0.0, None)


@dataclasses.dataclass(slots=True)
class Found:
    """What a group says.

    :ivar facts: of the file that was taken.
    :ivar paths: of all files that the record stands for, the one that was taken first.
    :ivar notes: of them, those that :mod:`dynostore.compat` wrote.
    """

    facts: FileFacts
    document: Any
    paths: list[str]
    warnings: list[str]
    notes: list[FileFacts] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class _Copy:
    """One file of a group.

    :ivar facts: of no file, where it could not be opened.
    :ivar problem: why it cannot be read; then ``document`` is None.
    """

    name: str
    is_temporary: bool
    facts: FileFacts = dataclasses.field(default_factory=lambda: _NO_FILE)
    document: Any = None
    warning: str | None = None
    problem: str | None = None


def choose(
    tree: SourceTree, directory: str, group: Group, clock: Clock, notes: list[str]
) -> Generator[Finding, None, Found | None]:
    """Give the newest readable file of a group, and a finding for each that is left over.

    The file itself wins where no temporary one is newer.

    :param notes: the files that :mod:`dynostore.compat` wrote about it.
    """
    copies = [_read(directory, name, group) for name in group.names]
    good = [copy for copy in copies if copy.problem is None]
    if not good:
        yield from _all_broken(tree, directory, copies)
        for note in notes:
            yield Finding(tree.relative(note), "skipped", "a note on what cannot be read")
        return None
    # The first of equals; nearly always there is but one.
    best = max(good, key=lambda copy: _age_of(copy, clock)) if len(good) > 1 else good[0]
    found = Found(best.facts, best.document, [best.facts.path], [])
    if best.warning:
        found.warnings.append(best.warning)
    for copy in copies:
        if copy is best:
            continue
        path = tree.relative(os.path.join(directory, copy.name))
        if copy.is_temporary:
            why = copy.problem or f"not newer than {best.name}"
            yield Finding(path, "skipped", f"a left-over temporary file: {why}")
        elif copy.problem is None:
            found.paths.append(copy.facts.path)
            found.warnings.append(f"{best.name} is newer than {copy.name}, and was taken")
        else:
            yield Finding(path, "invalid", f"{copy.problem}; {best.name} was taken instead")
    yield from _add_notes(tree, found, notes)
    if best.is_temporary and group.name not in group.names:
        found.warnings.append(f"{best.name} is the only copy of {group.name}, and was taken")
    return found


def _all_broken(tree: SourceTree, directory: str, copies: list[_Copy]) -> Generator[Finding]:
    """Say why nothing is taken: one record is lost, unless all there is are empty leftovers."""
    is_counted = False
    for copy in copies:
        path = tree.relative(os.path.join(directory, copy.name))
        if copy.is_temporary and copy.facts.path and not copy.facts.size_bytes:
            yield Finding(path, "skipped", "a left-over temporary file: empty")
        else:
            yield Finding(path, "invalid", copy.problem or "", is_record=not is_counted)
            is_counted = True


def _add_notes(tree: SourceTree, found: Found, notes: list[str]) -> Generator[Finding]:
    for note in notes:
        try:
            found.notes.append(read_file(note))
            found.paths.append(note)
        except OSError as exc:
            yield Finding(tree.relative(note), "invalid", f"cannot be read: {exc.strerror or exc}")


def _read(directory: str, name: str, group: Group) -> _Copy:
    copy = _Copy(name, is_temporary=name != group.name)
    try:
        copy.facts = read_file(os.path.join(directory, name), keep_bytes=MAX_BYTES)
        if copy.facts.data is None:
            raise Unreadable(f"more than {MAX_BYTES // 2**20} MiB")
        if group.what == "checklist":
            copy.document = parse_checklist(copy.facts.data)
        else:
            copy.document, copy.warning = parse(copy.facts.data)
        if group.what in ("state", "todo") and not isinstance(copy.document, dict):
            kind = type(copy.document).__name__
            raise Unreadable(f"an object is expected at the top, not {kind}")
    except OSError as exc:
        copy.problem = f"cannot be read: {exc.strerror or exc}"
    except Unreadable as exc:
        copy.problem = str(exc)
    return copy


def _age_of(copy: _Copy, clock: Clock) -> tuple[dt.datetime, int]:
    """Give when a file was written, by its own word where it says, and its number."""
    document = copy.document if isinstance(copy.document, dict) else {}
    state = document.get("state_data")
    state = state if isinstance(state, dict) else document
    number = as_count(state.get("_version")) or 0
    for said in (document.get("timestamp"), document.get("updated_at"), state.get("_updated_at")):
        try:
            return clock.read(said), number
        except ValueError:
            continue
    return from_file_time(copy.facts.modified_s) or _EARLIEST, number
