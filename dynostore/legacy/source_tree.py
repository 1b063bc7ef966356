"""Walking a directory of somebody else's: links, odd names and closed doors are findings."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterator

from dynostore.legacy.base import Finding
from dynostore.legacy.beside import OURS, main_of
from dynostore.legacy.source_json import printable

_OF_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini", ".gitkeep", ".gitignore"}


@dataclasses.dataclass(slots=True)
class Listing:
    """What a directory holds, each by name and in the order of names.

    :ivar files: the regular files that may be a part of a record.
    :ivar directories: real ones; links are never followed.
    :ivar findings: all the rest.
    """

    path: str
    files: list[str]
    directories: list[str]
    findings: list[Finding]


class SourceTree:
    """The directories below a root.

    :ivar root: absolute, with all links resolved.
    :param wanted: endings of names that are files to this reader, whatever they are to others.
    """

    def __init__(self, root: str, wanted: tuple[str, ...] = ()) -> None:
        self._wanted = wanted
        self.root = os.path.realpath(root)
        self._prefix = self.root.rstrip(os.sep) + os.sep

    def relative(self, path: str) -> str:
        """Give a path below the root in a form that can be printed, with ``/``; ``.`` the root."""
        below = path.removeprefix(self._prefix) if path != self.root else "."
        if os.sep != "/":
            below = below.replace(os.sep, "/")
        return below if below.isascii() else shown(below)

    def list(self, path: str) -> Listing:
        """Look into one directory; one that cannot be read is a finding itself."""
        result = Listing(path, [], [], [])
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=operator.attrgetter("name"))
        except OSError as exc:
            reason = f"the directory cannot be read: {exc.strerror or exc}"
            result.findings.append(Finding(self.relative(path), "invalid", reason))
            return result
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                unwanted = reason_to_skip(entry.name)
                if unwanted is not None and not entry.name.endswith(self._wanted):
                    self._skip(result, entry.path, unwanted)
                elif not is_utf8(entry.name):
                    shown_path = self.relative(entry.path)
                    result.findings.append(Finding(shown_path, "invalid", "its name is not UTF-8"))
                else:
                    result.files.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                if entry.name == OURS:
                    self._skip_ours(result, entry.path)
                else:
                    result.directories.append(entry.name)
            elif entry.is_symlink():
                result.findings.append(self._link(entry.path))
            else:
                self._skip(result, entry.path, "neither a file nor a directory")
        return result

    def walk(self) -> Iterator[str | Finding]:
        """Give the path of each file below the root, and a finding for all that is none."""
        pending = [self.root]
        while pending:
            listing = self.list(pending.pop())
            yield from listing.findings
            for name in listing.files:
                yield os.path.join(listing.path, name)
            pending += [os.path.join(listing.path, name) for name in reversed(listing.directories)]

    def _skip_ours(self, result: Listing, ours: str) -> None:
        """Account for all files of ours but the notes, which go with the files that they are on."""
        for place, directories, names in os.walk(ours):
            directories.sort()
            for name in sorted(names):
                path = os.path.join(place, name)
                main = main_of(path.removeprefix(ours + os.sep).replace(os.sep, "/"))
                if main is None:
                    self._skip(result, path, "dynostore's own: a lock, or unfinished")
                elif not os.path.isfile(os.path.join(result.path, main)):
                    self._skip(result, path, "dynostore's own: a note on what is gone")

    def _skip(self, result: Listing, path: str, reason: str) -> None:
        result.findings.append(Finding(self.relative(path), "skipped", reason))

    def _link(self, path: str) -> Finding:
        target = os.path.realpath(path)
        if target != self.root and not target.startswith(self._prefix):
            there = os.path.lexists(target)
            advice = "; import that place by itself" if there else ", where nothing is"
            reason = f"a link out of the tree, to {shown(target)}{advice}"
            return Finding(self.relative(path), "invalid", reason)
        if not os.path.lexists(target):
            return Finding(self.relative(path), "skipped", "a link to nothing")
        where = self.relative(target)
        return Finding(self.relative(path), "skipped", f"a link; {where} is read where it lies")


def is_utf8(name: str) -> bool:
    """Tell whether a file system's name is text."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str) -> str:
    """Give a path in a form that can be printed and stored, whatever bytes it is made of."""
    return path if is_utf8(path) else printable(path)


def reason_to_skip(name: str) -> str | None:
    """Say why a file is of no record by its name alone; None where it may be of one."""
    if name.endswith(".tmp"):
        return "a left-over temporary file"
    if name.endswith((".pkl", ".pickle")):
        return "a pickle: reading one can run any code"
    if name in _OF_THE_SYSTEM:
        return "not of the tool that wrote the rest"
    return None
