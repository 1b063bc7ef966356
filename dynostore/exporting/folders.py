"""The way back to an older tool: its files, written by the stores that keep them beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from dynostore import errors
from dynostore.compat.file_names import file_name
from dynostore.exporting.places import whole_directory, whole_file
from dynostore.exporting.rows import FAMILIES, Row
from dynostore.fields import UtcTimeField
from dynostore.fleeting import is_same_file
from dynostore.legacy.base import Unreadable
from dynostore.models.base import Record
from dynostore.store import Store

FORMS: dict[str, tuple[str, ...]] = {"runs": ("runs",), "taskforce": ("sessions", "todos")}
"""What an older tool's directory can be, and the families that it holds, parents first."""

DERIVED = {"runs": ("index.json",), "taskforce": ()}
"""Files of theirs that are made anew whatever they held; others are read before."""

_CHUNK_BYTES = 1024 * 1024
_WRITTEN_ANEW = "run_state.json"
# What a directory of Taskforce is known by before anything is in it.
_MARKS = {"runs": (), "taskforce": ("states", "todolists")}


def tables_of(form: str) -> list[str]:
    """Give the tables that a form holds."""
    return [table for family in FORMS[form] for table in FAMILIES[family]]


@contextlib.contextmanager
def folder_store(path: Path, form: str, *, replace: bool) -> Iterator[tuple[Store, Path]]:
    """Give a store in the files of an older tool's directory, in one transaction, and their place.

    A new directory appears with all of its files, in one that is there all records are written or
    none; what it holds besides stays.

    :param replace: write into a directory that holds anything.
    :raises AlreadyExists: it does.
    :raises ConfigError: it is another tool's.
    """
    if replace and path.is_dir() and os.listdir(path):
        with _opened(path, form) as store:
            yield store, path
        return
    with whole_directory(path, replace=replace) as directory:
        for name in _MARKS[form]:
            (directory / name).mkdir()
        with _opened(directory, form) as store:
            yield store, directory


@contextlib.contextmanager
def _opened(path: Path, form: str) -> Iterator[Store]:
    with Store.open(f"dir:{path}") as store:
        if FORMS[form] != tuple(store.database.families):
            raise errors.ConfigError(
                f"{path}: holds {store.database.title}", hint="choose another directory"
            )
        with store.transaction():
            yield store


def put_rows(
    store: Store, model: type[Record], rows: Sequence[Row], refuse: Callable[[str], None]
) -> int:
    """Write rows of a table into the store that holds them; give how many it took.

    :param refuse: is told of each of the others, and why.
    """
    fields = model._meta.columns
    times = {name for name, field in fields.items() if isinstance(field, UtcTimeField)}
    records = [
        model(
            **{
                fields[name].name: fields[name].python_value(value) if name in times else value
                for name, value in row.items()
            }
        )
        for row in rows
    ]
    table = str(model._meta.table_name)
    family = next(name for name, tables in FAMILIES.items() if table in tables)
    refused = getattr(store, family).put_many(records)
    for one in refused:
        refuse(f"{table} {one.record!r}: {one.reason}")
    return len(records) - len(refused)


def copy_file(row: Row, directory: Path, refuse: Callable[[Path], None]) -> bool:
    """Copy a run's file from where the store says that it lies into the run's directory.

    :param row: of ``run_files``.
    :param directory: of all runs.
    :param refuse: raises StoreUnwritable for a place that must not be written over.
    :return: False for the file that is written anew.
    :raises Unreadable: it is not there any more, or not the one that was recorded, or its place is
        refused.
    """
    origin, filename = row["storage_path"], row["filename"]
    if filename == _WRITTEN_ANEW:
        return False
    if origin is None:
        raise Unreadable("the store does not know where the file is")
    place = directory / file_name(row["run_id"]) / filename
    try:
        with open(origin, "rb") as source:
            if is_same_file(place, origin):
                return True
            try:
                refuse(place)
            except errors.StoreUnwritable as exc:
                raise Unreadable(str(exc)) from exc
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy_checked(source, place, row["sha256"])
    except (OSError, ValueError) as exc:
        if isinstance(exc, Unreadable | errors.DynostoreError):
            raise
        raise Unreadable(f"{origin}: {getattr(exc, 'strerror', None) or exc}") from exc
    return True


def _copy_checked(source: BinaryIO, place: Path, sha256: str | None) -> None:
    digest = hashlib.sha256()
    with whole_file(place, replace=True) as copy:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
        if sha256 not in (None, digest.hexdigest()):
            raise Unreadable(f"{source.name}: has changed since it was recorded")
