"""Refuses to write a file over one that is at work: a database, its logs, what is being read."""

from __future__ import annotations

import os
from pathlib import Path

from dynostore import errors
from dynostore.fleeting import is_same_file, size_of

_BESIDE = ("-wal", "-shm", "-journal", ".lock", ".sync-lock")
_ANOTHER = "choose another name"


def refuse_itself(path: Path, own: Path, what: str = "the store itself") -> None:
    """Refuse to write over a file, or over one that SQLite or a lock keeps beside it.

    Told by the file, whatever the links, and by the name where there is none yet.

    :param own: the file, there or not.
    :param what: it is, for the message.
    :raises StoreUnwritable: ``path`` is one of them.
    """
    real = os.path.realpath(own)
    for suffix in ("", *_BESIDE):
        if _is_same(path, f"{real}{suffix}"):
            raise errors.StoreUnwritable(
                f"{path}: {'belongs to' if suffix else 'is'} {what}", hint=_ANOTHER
            )


def refuse_database_in_use(path: Path) -> None:
    """Refuse to write over a file with a log beside it, which SQLite would play into the new one.

    :raises StoreUnwritable: there is such a log.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device is no database
        return
    # SQLite keeps the log beside the file that a link leads to.
    for place in (os.fspath(path), os.path.realpath(path)):
        for log in (f"{place}-wal", f"{place}-journal"):
            if size_of(log):  # a reader leaves an empty one
                raise errors.StoreUnwritable(
                    f"{path}: is a database in use; {os.path.basename(log)} is beside it",
                    hint="choose another name, or close the programs that use it",
                )


def refuse_below(path: Path, directory: Path, what: str) -> None:
    """Refuse to write over a file in a directory; a new one may be made there.

    :param what: the directory is, for the message.
    :raises StoreUnwritable: ``path`` is there, and below the directory.
    """
    root = Path(os.path.realpath(directory))
    # A link in the directory is one of its files, wherever it leads.
    parent = Path(os.path.realpath(path.absolute().parent))
    is_below = root in (parent, *parent.parents) or root in Path(os.path.realpath(path)).parents
    if is_below and os.path.lexists(path):
        raise errors.StoreUnwritable(f"{path}: is a file of {what}", hint=_ANOTHER)


def _is_same(one: Path, other: str) -> bool:
    if is_same_file(one, other):
        return True
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(other)
