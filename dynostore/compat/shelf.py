"""How the records of one family lie in files: what a directory's mirror asks of each.

To add a family in files: write a class that fulfils :class:`Shelf`, and let
:func:`dynostore.compat.folders.open_folder` put it up.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Set
from typing import Any, Protocol

from dynostore.models.base import Record
from dynostore.repositories.base import Repository

Signature = tuple[int, int, int]
"""A file's time of change in nanoseconds, size and number."""


@dataclasses.dataclass(slots=True)
class Unit:
    """A record with all that belongs to it, in one main file.

    :ivar path: of the main file, below the directory, with ``/``.
    :ivar owner: the record's key; None where the file cannot be read.
    :ivar problem: why it cannot be read.
    :ivar memo: what its shelf wants to know of it again.
    """

    path: str
    signature: Signature
    seen_ns: int
    digest: str
    owner: str | None = None
    problem: str | None = None
    memo: Any = None


class Shelf(Protocol):
    """How the records of one family lie in the files of a directory."""

    @property
    def name(self) -> str:
        """The table of the records that own a file."""
        ...

    @property
    def owners(self) -> Mapping[type[Record], str]:
        """The family's tables, each with the column that names the owner; the owner's first."""
        ...

    @property
    def parts(self) -> Mapping[type[Record], str]:
        """Of tables whose rows have files of their own, the column that tells them apart."""
        ...

    @property
    def repository(self) -> Repository:
        """The family's, on the mirror."""
        ...

    def scan(self) -> Iterator[tuple[str, os.stat_result]]:
        """Give the main files that are there."""
        ...

    def read(self, path: str, data: bytes) -> tuple[str, list[Record], Any]:
        """Give the owner's key, all records of a main file, and its memo.

        :raises Unreadable: it is none; the message says why.
        """
        ...

    def beside(self, path: str) -> bytes:
        """Give something that is another whenever what lies beside a main file is."""
        ...

    def write(
        self, owner: str, unit: Unit | None, parts: Set[str]
    ) -> tuple[str, dict[str, bytes | None], Any]:
        """Give the main file's path, what files shall hold, and the memo.

        The main file is always among them: by it the others see that something changed.

        :param unit: what is there of the owner by now.
        :param parts: those of its parts that changed.
        """
        ...

    def looked(self) -> None:
        """Bring up to date what records say of those of other files, which may have changed."""
        ...

    def path_of(self, owner: str) -> str:
        """Give the main file that a new record of this key would have."""
        ...

    def wrote(self) -> None:
        """Bring up to date what can be made of all main files."""
        ...
