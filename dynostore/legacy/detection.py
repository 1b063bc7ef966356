"""Finding out whose data lies below a directory: one walk, and each file opened once, for all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from dynostore.legacy.source_heads import FileHead
from dynostore.legacy.source_tree import Listing, SourceTree, reason_to_skip


@runtime_checkable
class TreeReader(Protocol):
    """A reader of what may lie anywhere below a directory.

    :ivar wanted: endings of names that are files to it, and left-overs to all others.
    """

    wanted: tuple[str, ...]

    def knows(self, listing: Listing, name: str, head: FileHead) -> bool:
        """Tell by names and first bytes whether a file is this tool's, readable or broken.

        :param listing: what its directory holds.
        """
        ...


def readers_below(root: str, readers: Iterable[TreeReader]) -> list[TreeReader]:
    """Give those of the readers that know a file below a directory, in their order."""
    readers = [*readers]
    asked = readers
    tree = SourceTree(root, tuple({ending for reader in asked for ending in reader.wanted}))
    pending = [tree.root]
    while pending and asked:
        listing = tree.list(pending.pop())
        for name in listing.files:
            head = FileHead(f"{listing.path}{os.sep}{name}")
            is_left_over = reason_to_skip(name) is not None
            asked = [
                reader
                for reader in asked
                if (is_left_over and not name.endswith(reader.wanted))
                or not reader.knows(listing, name, head)
            ]
        pending += [os.path.join(listing.path, name) for name in reversed(listing.directories)]
    return [reader for reader in readers if reader not in asked]


def is_below(root: str, reader: TreeReader) -> bool:
    """Tell whether a reader knows a file below a directory."""
    return bool(readers_below(root, [reader]))


def knows_file(path: str, reader: TreeReader) -> bool:
    """Tell whether a reader knows this one file."""
    directory, name = os.path.split(path)
    return reader.knows(Listing(directory, [name], [], []), name, FileHead(path))
