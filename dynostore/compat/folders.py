"""Telling what an older tool's directory holds, and opening it as a store."""

from __future__ import annotations

import shlex
from pathlib import Path

from dynostore import errors
from dynostore.compat import run_folders, taskforce_lists
from dynostore.compat.file_journal import FileJournal
from dynostore.compat.folder_database import FolderDatabase
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
    holds_taskforce = _is_taskforce(path)
    database = FolderDatabase(
        FileJournal(path.absolute(), timeout_s=place.settings.busy_timeout_s, read_only=read_only),
        place.settings,
        title="Taskforce's files" if holds_taskforce else "DynoAI's run directories",
        shown=shown,
        read_only=read_only,
    )
    database.families = (taskforce_lists if holds_taskforce else run_folders).open_shelves(database)
    return database


def _is_taskforce(path: Path) -> bool:
    if path.absolute().name.startswith(".taskforce"):
        return True
    has_lists = any((path / name).is_dir() for name in ("states", "todolists"))
    return has_lists and not any(path.glob("*/run_state.json"))
