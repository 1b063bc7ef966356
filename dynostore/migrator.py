"""Schema upgrades: what is pending, under a lock, behind a backup, all steps or none.

The steps run on ``playhouse.migrations``. All pending steps are **one** transaction: a process
killed anywhere leaves the file at its old version, which the old program still opens. That needs
``foreign_keys = OFF`` before the transaction begins (inside one the pragma does nothing, and a
table rebuild would then delete every child row).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import glob
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dynostore import errors, models
from dynostore.backup import backup_file
from dynostore.database import APPLICATION_ID, MemoryDatabase, SqliteFile
from dynostore.migration_steps import HISTORY_TABLE as HISTORY_TABLE
from dynostore.migration_steps import directory as directory
from dynostore.migration_steps import is_additive as is_additive
from dynostore.migration_steps import step_names as step_names
from dynostore.sqlite_dependents import lift_dependents, put_back_dependents

_ADVISORY_LOCK = 0x64796E6F6D6967  # "dynomig"
_BACKUPS_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Step:
    """One migration.

    :ivar applied_at: None while it is pending.
    :ivar known: False when the database has it and this program does not.
    """

    name: str
    applied_at: dt.datetime | None
    known: bool = True

    @property
    def number(self) -> int:
        """The four digits that its name begins with."""
        match = re.match(r"\d+", self.name)
        return int(match.group()) if match else 0


def require_number(steps: Iterable[Step], to: int | None) -> None:
    """Refuse a number that no step has; 0 is before the first, None any.

    :raises InvalidValue: names those that there are.
    """
    known = sorted({step.number for step in steps})
    if to not in (None, 0, *known):
        shown = ", ".join(map(str, known))
        raise errors.InvalidValue("to", f"there is no migration {to}; they are {shown}, 0 is none")


class Migrator:
    """The schema of one database.

    :param where: the directory of the steps; the package's own by default.
    """

    def __init__(self, database: Any, where: Path | None = None) -> None:
        self._db = database
        self._where = where or directory()

    def status(self) -> list[Step]:
        """Give all steps, in order, applied or not; reads only.

        :raises NotOurs: the database belongs to another program.
        """
        names = step_names(self._where)
        applied = self._applied()
        steps = [Step(name, applied.get(name)) for name in names]
        steps += [Step(name, applied[name], known=False) for name in set(applied) - set(names)]
        return sorted(steps, key=lambda step: step.name)

    def turn_on_log(self) -> None:
        """Turn on the write-ahead log of a file of ours: a restored backup comes without it.

        Nothing is written where the log is on, nor to a database that was opened read-only.

        :raises StoreUnwritable: the file cannot be written to.
        """
        if not self._db.read_only and isinstance(self._db, SqliteFile):
            with self._db.reading():
                self._db.set_wal()

    def ensure(self, *, migrate: bool = True) -> list[str]:
        """Make the database fit for this program, and give the names of the steps it took.

        An empty database is set up. A SQLite file that is behind is upgraded; a Postgres database
        never is, since a client that is merely newer must not change a server that others use.

        :param migrate: False: never write.
        :raises NotOurs: the database belongs to another program; nothing was written.
        :raises SchemaTooNew: a newer dynostore has upgraded it.
        :raises SchemaBehind: it must be upgraded first, and may not be here.
        """
        steps = self.status()
        self._refuse_newer(steps)
        pending = [step.name for step in steps if step.applied_at is None]
        if not pending:
            if migrate:
                self.turn_on_log()
            return []
        empty = len(pending) == len(steps)
        if self._db.read_only or not migrate or (self._db.dialect == "postgres" and not empty):
            raise errors.SchemaBehind(
                f"{self._db.shown}: {'has no tables yet' if empty else 'is behind'}; "
                f"pending: {', '.join(pending)}",
                hint=f"dynostore --db {shlex.quote(self._db.shown)} db upgrade",
                pending=pending,
            )
        return self.upgrade()

    def upgrade(self, to: int | None = None) -> list[str]:
        """Apply the pending steps up to number ``to``, all or none; give their names.

        Safe when many processes do it at once. Behind a checked backup when there is data.

        :raises MigrationFailed: a step failed; the database is as it was.
        :raises StoreLocked: another process upgrades it for longer than the timeout.
        """
        with self.locked():
            steps = self.status()
            self._refuse_newer(steps)
            require_number(steps, to)
            plan = [
                step.name
                for step in steps
                if step.applied_at is None and (to is None or step.number <= to)
            ]
            if plan:
                self._run(lambda runner: runner.up(plan[-1]), _latest(steps))
            return plan

    def downgrade(self, to: int) -> list[str]:
        """Revert every applied step above number ``to``, all or none; give their names, last first.

        :raises MigrationFailed: a step failed; the database is as it was.
        """
        with self.locked():
            steps = self.status()
            self._refuse_newer(steps)
            require_number(steps, to)
            plan = [step.name for step in steps if step.applied_at is not None and step.number > to]
            if plan:
                self._run(lambda runner: runner.down(plan[0]), _latest(steps))
            return plan[::-1]

    def _applied(self) -> dict[str, dt.datetime]:
        db = self._db
        with db.reading():
            tables = set(db.get_tables())
            if HISTORY_TABLE not in tables:
                self._refuse_foreign(tables)
                return {}
            from dynostore.fields import UtcTimeField

            rows = db.execute_sql(f"SELECT name, applied FROM {HISTORY_TABLE}").fetchall()
            as_time = UtcTimeField().python_value
            return {name: as_time(applied) for name, applied in rows}

    def _refuse_foreign(self, tables: set[str]) -> None:
        names = tables | {view.name for view in self._db.get_views()}
        if self._db.dialect == "sqlite":  # where "Runs" is "runs"
            names = {name.lower() for name in names}
        ours = sorted(names & {model._meta.table_name for model in models.ALL})
        if ours:
            raise errors.NotOurs(
                f"{self._db.shown}: holds a table {ours[0]!r} that dynostore did not make",
                hint="use another file or database; dynostore import can take over older data",
                tables=ours,
            )
        if self._db.dialect == "sqlite":
            application = self._db.application_id
            if application not in (0, APPLICATION_ID):
                raise errors.NotOurs(
                    f"{self._db.shown}: belongs to another program (application_id {application})"
                )

    def _refuse_newer(self, steps: list[Step]) -> None:
        unknown = [step.name for step in steps if not step.known]
        if unknown:
            raise errors.SchemaTooNew(
                f"{self._db.shown}: was upgraded by a newer dynostore ({', '.join(unknown)})",
                hint="pip install --upgrade dynostore",
                steps=unknown,
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a connection, and a lock that other upgrades wait for.

        A file beside a SQLite file; on Postgres an advisory lock, in the transaction of the steps.

        :raises StoreUnwritable: the database was opened for reading only.
        """
        db = self._db
        db.require_writable()
        with db.reading():
            if db.in_transaction():
                raise errors.MigrationFailed(
                    f"{db.shown}: the schema cannot change inside a transaction of yours"
                )
            if db.dialect == "postgres":
                with db.atomic():
                    timeout_ms = max(1, round(db.settings.busy_timeout_s * 1000))
                    db.execute_sql(f"SET LOCAL lock_timeout = {timeout_ms}")
                    db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
                    yield
            elif isinstance(db, MemoryDatabase):
                yield
            else:
                with file_lock(db.path, "lock", db.settings.busy_timeout_s):
                    yield

    def _run(self, act: Callable[[Any], Any], version: int) -> None:
        from dynostore.migration_runner import StoreRunner

        runner = StoreRunner(self._db, self._where)
        self.run(runner, act, backup=f"{version + 1:04d}" if version else None)

    def run(self, runner: Any, act: Callable[[Any], Any], *, backup: str | None) -> None:
        """Let ``act`` change the schema with a runner, all of it or nothing; inside :meth:`locked`.

        :param backup: what the name of a copy made before ends in, four digits last; None: no copy.
        :raises MigrationFailed: it failed; the database is as it was.
        """
        from playhouse.migrations import MigrationError

        try:
            if self._db.dialect == "postgres":
                self._db.execute_sql("SELECT set_config('dynostore_sync.apply', 'on', true)")
                act(runner)
            else:
                self._run_sqlite(runner, act, backup)
        except MigrationError as exc:
            raise errors.MigrationFailed(f"{self._db.shown}: {exc}") from exc

    def _run_sqlite(self, runner: Any, act: Callable[[Any], Any], backup: str | None) -> None:
        db = self._db
        db.set_wal()
        db.pragma("foreign_keys", 0)
        try:
            with db.atomic():
                if backup and not isinstance(db, MemoryDatabase):
                    self._back_up(backup)
                db.pragma("application_id", APPLICATION_ID)
                dependents = lift_dependents(db)
                act(runner)
                put_back_dependents(db, dependents)
                runner.check_foreign_keys()
        finally:
            db.pragma("foreign_keys", 1)

    def _back_up(self, suffix: str) -> None:
        # The write lock is held: the copy is exactly what the steps will start from.
        path = self._db.path
        backup_file(path, path.with_name(f"{path.name}.before-{suffix}.bak"), is_locked=True)
        kind = glob.escape(f"{path.name}.before-{suffix[:-4]}")
        found = path.parent.glob(f"{kind}[0-9][0-9][0-9][0-9].bak")
        for old in sorted(found, key=lambda p: p.stat().st_mtime_ns)[:-_BACKUPS_KEPT]:
            old.unlink(missing_ok=True)


def _latest(steps: list[Step]) -> int:
    return max((step.number for step in steps if step.applied_at is not None), default=0)


@contextlib.contextmanager
def file_lock(path: Path, suffix: str, timeout_s: float) -> Iterator[None]:
    """Hold the lock file ``<path>.<suffix>``; the system frees it when the process dies.

    :raises StoreLocked: somebody else has it for longer than the timeout.
    """
    import filelock  # imported late: only upgrades and syncs lock

    lock = filelock.FileLock(f"{path}.{suffix}", timeout=timeout_s, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as exc:
        raise errors.StoreLocked(
            f"{path}: another process holds {path.name}.{suffix}", hint="try again", suffix=suffix
        ) from exc
    except OSError as exc:
        raise errors.StoreUnwritable(f"{path}.{suffix}: {exc.strerror or exc}") from exc
    try:
        yield
    finally:
        lock.release()


def main(argv: list[str]) -> int:
    """``python -m dynostore.migrator draft NAME``: write the next step from the models."""
    from dynostore.migration_runner import draft

    if len(argv) != 2 or argv[0] != "draft":
        print("usage: python -m dynostore.migrator draft NAME", file=sys.stderr)
        return 2
    path = draft(argv[1], directory())
    print(path if path else "the models and the migrations agree: nothing to draft")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
