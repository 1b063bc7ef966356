"""Telling what an older tool's directory holds, and opening it as a store."""

from __future__ import annotations

import shlex
from pathlib import Path

from dynostore import errors
from dynostore.compat.file_journal import FileJournal
from dynostore.compat.folder_database import FolderDatabase
from dynostore.compat.run_folders import RunFolders, RunShelf
from dynostore.config import Place


def open_folder(place: Place, *, read_only: bool, create: bool) -> FolderDatabase:
    """Open ``dir:PATH``: runs of DynoAI, or the states and todo lists of Taskforce.

    A directory is one of Taskforce by its name, ``.taskforce`` and whatever follows, or by what
    lies in it; any other one is of runs.

    :raises StoreNotFound: there is no such directory, and none is to be made.
    :raises StoreUnwritable: it is none, or cannot be made.
    """
    path = Path(place.url.partition(":")[2] or ".")
    shown = f"dir:{path}"
    if not path.is_dir():
        if read_only or not create:
            raise errors.StoreNotFound(
                f"{shown}: there is no such directory", hint=f"mkdir {shlex.quote(str(path))}"
            )
        try:
            path.mkdir()
        except OSError as exc:
            raise errors.StoreUnwritable(f"{shown}: {exc.strerror or exc}") from exc
    files = FileJournal(
        path.absolute(), timeout_s=place.settings.busy_timeout_s, read_only=read_only
    )
    database = FolderDatabase(
        files, place.settings, title="DynoAI's run directories", shown=shown, read_only=read_only
    )
    shelf = RunShelf(database)
    database.put_up([shelf])
    database.families = {"runs": RunFolders(database, shelf)}
    return database
