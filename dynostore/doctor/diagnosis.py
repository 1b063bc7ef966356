"""Which looks a store of each kind gets, in which order, and where a look ends."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from dynostore import compat, config, errors
from dynostore.database import SqliteFile
from dynostore.doctor.contents import look_at_contents
from dynostore.doctor.file import look_at_file
from dynostore.doctor.findings import Diagnosis, Finding, telling
from dynostore.doctor.machine import look_at_machine
from dynostore.doctor.old_forms import look_at_old_form
from dynostore.doctor.schema import look_at_schema
from dynostore.doctor.server import look_at_remote, look_at_store
from dynostore.doctor.syncing import known_server, look_at_sync
from dynostore.own_models import OwnModels
from dynostore.rights import no_file

_PATIENCE_S = 0.5


def diagnose(
    place: config.Place,
    *,
    own: OwnModels | None = None,
    remote: config.Place | None = None,
) -> Diagnosis:
    """Look a store over, quickly, without changing it; what cannot be opened is a finding.

    Of a large SQLite file the header, the free pages and a sample are looked at, in less than two
    seconds whatever its size; :func:`dynostore.integrity.find_problems` reads all of it.

    :param own: the user's own models.
    :param remote: the shared server, which is asked too.
    :return: the findings, those that are in order among them.
    :raises StoreNotFound: there is no such file or directory.
    :raises ConfigError: a store in memory.
    """
    own = own or OwnModels()
    if compat.is_compat(place.url):
        return Diagnosis(look_at_old_form(place))
    if config.is_postgres(place.url):
        return Diagnosis(look_at_store(place, own))
    name = config.sqlite_path(place.url)
    if name is None:
        raise errors.ConfigError(f"{place.shown}: a store in memory is what its program makes it")
    return Diagnosis(_of_file(Path(name), place, own, remote))


def _of_file(
    path: Path, place: config.Place, own: OwnModels, remote: config.Place | None
) -> list[Finding]:
    path = path.absolute()
    if not path.exists():
        raise errors.StoreNotFound(
            f"{path}: there is no store here yet",
            hint=f"dynostore --db {shlex.quote(str(path))} init",
        )
    if kind := no_file(path):
        mend = f"dynostore --db {f'dir:{path}' if path.is_dir() else 'FILE'} doctor"
        return [Finding("file", "error", f"{path}: is {kind}, not a file", mend)]
    findings = [*look_at_machine(path), *look_at_file(path)]
    known = None
    if not _refused(findings):
        # A connection that only reads would leave a log beside a file that has none, and one that
        # may write would put the log that is there into the file.
        log = path.with_name(path.name + "-wal")
        read_only = log.exists() or _is_unwritable(findings)
        with telling("file", findings):
            # Who holds the file for himself holds up a look for a moment, and is then told of.
            settings = dataclasses.replace(place.settings, busy_timeout_s=_PATIENCE_S)
            db = SqliteFile(path, settings, read_only=read_only, create=False)
            try:
                findings += _opened(db, own, has_remote=remote is not None)
                known = known_server(db)
            finally:
                db.shut()
    if remote is not None:
        findings += look_at_remote(remote, own, known)
    return findings


def _opened(db: SqliteFile, own: OwnModels, *, has_remote: bool) -> list[Finding]:
    findings = look_at_schema(db, own)
    foreign = [f for f in findings if f.check == "schema" and f.severity == "error"]
    if not foreign or "newer" in foreign[0].message:
        findings += look_at_contents(db)
    if not foreign:
        findings += look_at_sync(db, own, has_remote=has_remote)
    return findings


def _refused(findings: list[Finding]) -> bool:
    return any(f.severity == "error" and f.check in ("file", "rights") for f in findings)


def _is_unwritable(findings: list[Finding]) -> bool:
    return any(f.severity == "warning" and f.check == "rights" for f in findings)
