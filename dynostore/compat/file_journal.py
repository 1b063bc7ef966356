"""Several files of a directory changed as one: locked, written whole, and finished after a crash.

Everything of ours lies in ``.dynostore`` inside of the directory, which the older tools pass over:
two locks, new files until they are whole, and ``journal.json``, which holds a transaction of more
than one file from the moment in which it is decided until all of its files are in place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from dynostore import errors
from dynostore.durable import flush_directory
from dynostore.legacy.beside import OURS
from dynostore.rights import may

_NEW = "new"

Files = Mapping[str, bytes | None]
"""What files shall hold, by path below the directory with ``/``; None: there is no such file."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Move:
    """One file's part of a change.

    :ivar name: its path below the directory.
    :ivar new: the name of the file that takes its place; None: it is removed.
    :ivar before: the hash of what was there when the change was decided; None: nothing.
    """

    name: str
    new: str | None
    before: str | None


class FileJournal:
    """The files of one directory, for a program that is not alone in it.

    :param root: the directory; it exists.
    """

    def __init__(self, root: Path, *, timeout_s: float, read_only: bool) -> None:
        self.root = root
        self._ours = root / OURS
        self._journal = self._ours / "journal.json"
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._numbers = 0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only program of ours that decides on changes.

        :raises StoreLocked: another one writes for too long.
        :raises StoreUnwritable: nothing can be written there.
        """
        with self._locked("write.lock"):
            yield

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Let no program of ours put files into place meanwhile; finish what a dead one left.

        :raises StoreLocked: a reader that may not write found what a dead writer left.
        """
        if self._read_only or not may(self.root, os.W_OK):
            if self._journal.exists():
                raise errors.StoreLocked(
                    f"{self.root}: a transaction is being written, or its program died",
                    hint="try again; open it once for writing",
                )
            yield
            return
        with self._locked("files.lock"):
            self._finish()
            yield

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            self._ours.mkdir(exist_ok=True)
            # A new lock each time: one that is kept lets its own thread in twice, and a forked
            # child would hold its parent's.
            lock = FileLock(self._ours / name, timeout=self._timeout_s)
            lock.acquire()
        except Timeout:
            raise errors.StoreLocked(
                f"{self.root}: another program writes for more than {self._timeout_s:g} s",
                hint="try again",
            ) from None
        except OSError as exc:
            raise errors.StoreUnwritable(f"{self.root}: {exc.strerror or exc}") from exc
        try:
            yield
        finally:
            lock.release()

    def change(self, files: Files) -> None:
        """Put all files into place or none, whatever happens; call it with both locks held.

        Each is written beside its place and flushed to the disk, then all are renamed. Directories
        are made as they are needed and stay.

        :raises StoreUnwritable: nothing was changed; or, where a file cannot be renamed, the next
            look finishes it.
        """
        try:
            moves = [
                _Move(name, None if data is None else self._new_file(data), self._hash_of(name))
                for name, data in files.items()
            ]
            if len(moves) > 1:
                # In it, the change is decided: whoever finds it here makes it.
                text = json.dumps([dataclasses.astuple(move) for move in moves])
                os.replace(self._ours / _NEW / self._new_file(text.encode()), self._journal)
                flush_directory(self._ours)
            self._make(moves)
            if len(moves) > 1:
                self._journal.unlink()
        except OSError as exc:
            raise errors.StoreUnwritable(f"{self.root}: {exc.strerror or exc}") from exc

    def write_derived(self, name: str, data: bytes) -> None:
        """Replace a file that can be made anew from the others: whole, but not flushed."""
        with contextlib.suppress(OSError):
            os.replace(self._ours / _NEW / self._new_file(data, flush=False), self.root / name)

    def _new_file(self, data: bytes, *, flush: bool = True) -> str:
        place = self._ours / _NEW
        place.mkdir(exist_ok=True)
        self._numbers += 1
        name = f"{os.getpid()}-{self._numbers}"
        with open(place / name, "wb") as file:
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        return name

    def _make(self, moves: Sequence[_Move]) -> None:
        changed = set()
        for move in moves:
            place = self.root / move.name
            if move.new is None:
                place.unlink(missing_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                new = self._ours / _NEW / move.new
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(new, place.stat().st_mode)
                os.replace(new, place)
            changed |= {place.parent, place.parent.parent}
        for directory in changed:
            if directory.is_dir():
                flush_directory(directory)

    def _finish(self) -> None:
        """Make the change that a program had decided when it died; else clear what it left."""
        new = self._ours / _NEW
        try:
            decided = [_Move(*move) for move in json.loads(self._journal.read_bytes())]
        except FileNotFoundError:
            decided = []
        if decided:
            self._make([move for move in decided if self._is_to_make(move)])
            self._journal.unlink()
        with contextlib.suppress(FileNotFoundError):
            for left in new.iterdir():
                left.unlink()

    def _is_to_make(self, move: _Move) -> bool:
        if move.new is not None and not (self._ours / _NEW / move.new).exists():
            return False  # it was made
        # Where something else is than was there, somebody wrote since: that is newer.
        return self._hash_of(move.name) == move.before

    def _hash_of(self, name: str) -> str | None:
        try:
            return hashlib.sha256((self.root / name).read_bytes()).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None
