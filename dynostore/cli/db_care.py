"""``dynostore db check``, ``backup``, ``restore`` and ``vacuum``: the care of the file itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from dynostore import errors
from dynostore.cli._options import assured, examples, require_consent
from dynostore.cli._output import print_item
from dynostore.cli._session import Command, Session


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore db check",
        "dynostore db check --full",
    ),
)
@click.option("--full", is_flag=True, help="Compare indexes with their tables too.")
@click.pass_obj
def check(session: Session, full: bool) -> int:
    """Read everything, and say what is damaged or contradicts itself; never upgrades.

    Exits with 7 when anything is. Takes about a second for each gigabyte, several with --full; a
    first look in less than that: dynostore doctor.
    """
    problems = _problems(session, full)
    code = errors.IntegrityFailure.exit_code if problems else 0
    text = "\n".join(problems) or f"{session.place().shown}: nothing wrong was found"
    print_item(session, {"problems": problems, "full": full}, text=text, ok=not code)
    if problems:
        session.note(f"{len(problems):,} problems; to mend them: dynostore doctor")
    return code


def _problems(session: Session, full: bool) -> list[str]:
    from dynostore.compat import is_compat

    place = session.place()
    if is_compat(place.url):
        from dynostore.store import Store

        with contextlib.closing(Store.at(place, create=False)) as store:
            return store.check(full=full)
    from dynostore.integrity import find_problems

    with session.database() as database:
        return find_problems(database, full=full)


def _file_of(session: Session, what: str, hint: str) -> Path:
    """Give the path of the store's file.

    :raises ConfigError: the store is none.
    """
    from dynostore.compat import is_compat
    from dynostore.config import is_postgres, sqlite_path

    place = session.place()
    other = is_compat(place.url) or is_postgres(place.url)
    path = None if other else sqlite_path(place.url)
    if path is None:
        raise errors.ConfigError(f"{place.shown}: only a SQLite file can be {what} here", hint=hint)
    return Path(path)


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore db backup nightly.db",
        "dynostore db backup --yes /mnt/backups/runs.db  # over the last one, when it is good",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@assured
@click.pass_obj
def backup(session: Session, file: Path, yes: bool) -> None:
    """Copy the store to FILE while others write to it.

    The copy is one moment. It is opened, checked and compared before it gets its name: what is
    there is good, and a FILE that was there before is replaced by nothing less. The store is not
    upgraded.
    """
    from dynostore.backup import backup_file

    store = _file_of(session, "backed up", "for Postgres: pg_dump; for a directory: cp -a")
    with session.migrator() as migrator:
        steps = migrator.status()  # refuses what is missing, damaged or somebody else's
    version = max((step.number for step in steps if step.applied_at), default=0)
    if not version:
        raise errors.NotOurs(f"{store}: holds no tables of dynostore")
    if file.exists() and not file.is_dir():
        require_consent(session, f"{file}: would be replaced by the new backup", yes)
    backup_file(store, file)
    size_bytes = file.stat().st_size
    item = {"path": str(file), "size_bytes": size_bytes, "schema_version": version}
    print_item(session, item, text=f"{file}: {size_bytes:,} bytes, checked")


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore db restore nightly.db",
        "dynostore --db /data/runs.db db restore --yes /mnt/backups/runs.db",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@assured
@click.pass_obj
def restore(session: Session, file: Path, yes: bool) -> None:
    """Make the store what the backup FILE holds, and keep what it replaces.

    The backup is checked first; one of another program or of a newer dynostore is refused. The
    former file is kept beside the store, with its log, under a name that is said. Refused (exit 5)
    while another program has the store open.

    A restored file is older than what it has synced: its next sync notices, gives it a new identity
    and overwrites nothing on the server.
    """
    from dynostore.restore import examine_backup, restore_file

    store = _file_of(session, "restored", "for Postgres: pg_restore")
    contents = examine_backup(file)
    if store.exists():
        what = (
            f"{store}: {store.stat().st_size:,} bytes would be replaced by {file}, "
            f"{contents.size_bytes:,} bytes of schema version {contents.schema_version}; "
            "the former file is kept beside it"
        )
        require_consent(session, what, yes)
    done = restore_file(file, store)
    kept = [str(path) for path in done.kept]
    item = {"path": str(store), "schema_version": done.contents.schema_version, "kept": kept}
    lines = [f"{store}: restored from {file}", *(f"kept: {path}" for path in kept)]
    print_item(session, item, text="\n".join(lines))


@click.command(cls=Command, epilog=examples("dynostore db vacuum"))
@click.pass_obj
def vacuum(session: Session) -> None:
    """Give the room of what was deleted back to the disk.

    Writes the file anew, for which there must be room; other writers wait meanwhile, seconds for
    each gigabyte. On Postgres the dead rows are made room for new ones, and nobody waits.
    """
    from dynostore.config import is_postgres
    from dynostore.vacuum import vacuum as vacuum_database

    if not is_postgres(session.place().url):
        _file_of(session, "vacuumed", "dynostore --db FILE db vacuum")
    with session.migrator() as migrator:
        migrator.status()
    with session.database() as database:
        done = vacuum_database(database)
    item = {
        "before_bytes": done.before_bytes,
        "after_bytes": done.after_bytes,
        "gained_bytes": done.gained_bytes,
    }
    shown = f"{done.before_bytes:,} bytes before, {done.after_bytes:,} now"
    print_item(session, item, text=f"{session.place().shown}: {shown}")
