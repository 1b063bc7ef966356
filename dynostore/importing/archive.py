"""Moving what was taken over out of the way: verified, copied, verified, noted, then removed.

A file leaves its place only after all that was read from it is in the store, its copy has the
same content and is on the disk, and the store names the copy. A journal in the archive says which
originals are to be removed, so that one who comes after a crash goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dynostore import errors
from dynostore.importing.item import ImportItem
from dynostore.importing.ledger import opened_ledger
from dynostore.importing.movables import Movables
from dynostore.importing.move import JOURNAL, Left, Move
from dynostore.importing.report import ImportReport, Remark
from dynostore.importing.source import Source
from dynostore.importing.verify import Difference, compared
from dynostore.legacy import ReadOptions
from dynostore.legacy.source_tree import shown
from dynostore.rights import may
from dynostore.store import Store


def require_archive(source: Source, directory: str | os.PathLike[str]) -> Path:
    """Give the archive's directory, if what is imported can be moved there; it is not made yet.

    :raises ConfigError: a server, or a directory that is in the source or has it below.
    :raises StoreUnwritable: it cannot be made or written to, as far as the rights tell.
    """
    archive = Path(os.path.realpath(directory))
    if source.is_url:
        raise errors.ConfigError(f"{source.shown}: only files can be moved to an archive")
    root = Path(source.root)
    if archive == root or archive.is_relative_to(root) or root.is_relative_to(archive):
        raise errors.ConfigError(f"{shown(str(archive))}: the archive must lie beside the source")
    _require_writable(archive)
    return archive


def _require_writable(archive: Path) -> None:
    places = (place for place in (archive, *archive.parents) if os.path.lexists(place))
    there = next(places, Path(archive.anchor))
    if not os.path.isdir(there):
        reason = "is a file" if os.path.isfile(there) else "is no directory"
    elif not may(there, os.W_OK | os.X_OK):
        reason = "the directory may not be written to"
    else:
        return
    raise errors.StoreUnwritable(
        f"{shown(str(there))}: {reason}; the archive {shown(str(archive))} cannot be "
        f"{'written' if there == archive else 'made'}",
        hint="choose another place with --archive DIR",
    )


def finish_interrupted(store: Store, archive: Path) -> None:
    """Remove the originals that an interrupted move had copied, verified and noted.

    Those that the store does not name by their copies stay: they are moved once more. So do those
    that may not be removed: the import that follows says so.

    :raises StoreUnwritable: the archive cannot be changed.
    """
    journal = archive / JOURNAL
    with _explained(archive):
        try:
            unit = Move.from_json(json.loads(journal.read_text("utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return
        except (ValueError, KeyError, TypeError):  # cut off: the store had not been told yet
            journal.unlink()
            return
        if unit.is_noted(store):
            with contextlib.suppress(Left):
                unit.remove_originals()
        journal.unlink()


def was_archived(
    store: Store, source: str | os.PathLike[str], directory: str | os.PathLike[str]
) -> bool:
    """Tell whether the store names copies in this archive, for a source that holds no records.

    A directory of which all was moved is still there, with what is of no record; a file is not.
    """
    root, archive = os.path.realpath(source), os.path.realpath(directory)
    if os.path.isfile(root):
        return False
    copy = archive if os.path.isdir(root) else os.path.join(archive, os.path.basename(root))
    return any(place == shown(copy) for _, place, _ in store.imports.sources())


def archive_source(
    source: Source,
    kinds: list[str],
    store: Store,
    archive: Path,
    options: ReadOptions,
    report: ImportReport,
) -> None:
    """Move each file of which all that it holds is in the store, to its place in the same tree.

    :param archive: as :func:`require_archive` gave it; made where it is not there.
    :param report: is told what was moved, and what was not and why: also where the archive cannot
        be written.
    :raises DynostoreError: the store failed; what was moved is moved.
    """
    movables = Movables(source)
    try:
        for kind in kinds:
            with opened_ledger() as ledger:
                for item, differences in compared(store.imports, source, kind, options, ledger):
                    if not isinstance(item, ImportItem):
                        movables.hold(item.path, item.reason or "it is invalid")
                    elif differences and not _was_edited_here(store, item, differences):
                        movables.add(item, _reason(differences))
                    else:
                        movables.add(item, None)
        for unit in movables.units(archive):
            try:
                unit.move(store, archive)
                report.archived += len(unit.files)
            except Left as exc:
                report.not_archived.append(Remark(unit.path, str(exc)))
        for path, reason in movables.held():
            report.not_archived.append(Remark(path, reason))
        _remove_empty(Path(source.root))
    finally:
        movables.close()


@contextlib.contextmanager
def _explained(archive: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if isinstance(exc, errors.DynostoreError):
            raise
        place = shown(str(exc.filename or archive))
        raise errors.StoreUnwritable(f"{place}: {exc.strerror or exc}") from exc


def _was_edited_here(store: Store, item: ImportItem, differences: list[Difference]) -> bool:
    """Tell whether all of this content was taken over, and only the store has changed since."""
    taken = store.imports.seen([item.import_id]).get(item.import_id)
    is_taken = taken is not None and taken[0] == item.source.content_hash and taken[2] != "kept"
    return is_taken and all(found.field is not None for found in differences)


def _reason(differences: list[Difference]) -> str:
    first = differences[0]
    what = " ".join(filter(None, (first.table, first.key, first.field)))
    more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
    return f"{what}: {first.reason}{more}"


def _remove_empty(root: Path) -> None:
    """Remove the directories that were left empty, but the source itself, as far as one may."""
    for place, _, _ in os.walk(root, topdown=False):
        with contextlib.suppress(OSError):
            if Path(place) != root and not os.listdir(place):
                os.rmdir(place)
