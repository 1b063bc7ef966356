"""playhouse.migrations for our stores: UTC history, checks after each step, offline SQL, drafts.

Apart from :mod:`dynostore.migrator`, which every open needs, because importing playhouse's runner
costs more than opening a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import peewee
from playhouse.migrations import Runner, template
from playhouse.schema_diff import diff_models

from dynostore import errors, models
from dynostore.config import Settings
from dynostore.database import APPLICATION_ID, MemoryDatabase, PostgresServer
from dynostore.driver_errors import translate
from dynostore.fields import StringField, UtcTimeField, utc_now
from dynostore.migrator import HISTORY_TABLE, Step, require_number, step_names
from dynostore.sqlite_dependents import SEARCH_PREFIX, quoted

_NOT_THE_STEPS_FAULT = (
    errors.AccessDenied,
    errors.RemoteUnavailable,
    errors.StoreCorrupt,
    errors.StoreLocked,
    errors.StoreUnwritable,
)


class StoreRunner(Runner):  # type: ignore[misc]  # untyped base
    """A runner whose history is in UTC and whose every step proves that it lost no rows.

    :param history: the table that lists the steps that were taken.
    """

    def __init__(
        self, database: Any, where: Path, now: Any = utc_now, history: str = HISTORY_TABLE
    ) -> None:
        super().__init__(database, str(where), history)

        class History(database.Model):  # type: ignore[misc]
            name = StringField(primary_key=True)
            applied = UtcTimeField(default=now)

            class Meta:
                legacy_table_names = False
                table_name = history

        self.History = History

    def _run(self, name: str, module: Any, direction: str, fake: bool = False) -> None:
        if getattr(module, "atomic", True) is not True:
            raise errors.MigrationFailed(f"{name}: a step must run inside the transaction")
        before = self._row_counts()
        try:
            super()._run(name, module, direction, fake)
        except errors.DynostoreError:
            raise
        except Exception as exc:  # a step is a program of its own
            cause = translate(exc, self.database.shown)
            if isinstance(cause, _NOT_THE_STEPS_FAULT):
                raise cause from exc
            raise errors.MigrationFailed(
                f"{name}: {direction} failed, nothing was changed: {exc}", step=name
            ) from exc
        after = self._row_counts()
        meant = {self.table_name, *getattr(module, "CHANGES_ROWS", ())}
        for table in sorted((set(before) & set(after)) - meant):
            if before[table] != after[table]:
                raise errors.MigrationFailed(
                    f"{name}: {table} would have {after[table]} rows instead of {before[table]}; "
                    "nothing was changed",
                    step=name,
                )

    def _row_counts(self) -> dict[str, int]:
        db = self.database
        return {
            table: db.execute_sql(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0]
            for table in db.changeable_tables()
            # Made anew after an upgrade, and not to be read without FTS5.
            if not table.startswith(SEARCH_PREFIX)
        }

    def check_foreign_keys(self) -> None:
        """Refuse to commit when a row refers to a missing parent.

        :raises MigrationFailed: names the first such table.
        """
        row = self.database.execute_sql("PRAGMA foreign_key_check").fetchone()
        if row is not None:
            raise errors.MigrationFailed(
                f"a row of {row[0]} (rowid {row[1]}) would refer to a missing row of {row[2]}; "
                "nothing was changed"
            )


class _Recorder:
    """Notes what would be executed; mixed into a database that answers, or into one that cannot."""

    def record(self, sql: str, params: Iterable[Any] | None) -> None:
        marker = self.param  # type: ignore[attr-defined]
        parts = sql.split(marker)
        values = [_literal(value) for value in params or ()]
        if len(parts) != len(values) + 1:
            raise errors.MigrationFailed(f"cannot write this as plain SQL: {sql}")
        text = parts[0] + "".join(v + p for v, p in zip(values, parts[1:], strict=True))
        self.statements.append(text.rstrip().rstrip(";"))  # type: ignore[attr-defined]


class _RecordingPostgres(_Recorder, PostgresServer):
    """A Postgres database that is never connected: every question has an empty answer."""

    server_version = 160000

    def __init__(self) -> None:
        self.statements: list[str] = []
        super().__init__("postgresql://offline/offline", Settings())

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if not sql.lstrip().upper().startswith("SELECT"):
            self.record(sql, params)
        return _NoRows()

    def _execute_cursor(self, sql: str, params: Any, **options: Any) -> Any:
        return self.execute_sql(sql, params)

    def connect(self, reuse_if_open: bool = False) -> bool:
        raise AssertionError("offline SQL never connects")

    def begin(self, *args: Any, **kwargs: Any) -> None:
        pass

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass

    def savepoint(self) -> Any:
        return self.transaction()


class _NoRows:
    """A cursor without rows."""

    description = None
    rowcount = 0

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def __iter__(self) -> Any:
        return iter(())


class _RecordingSqlite(_Recorder, MemoryDatabase):
    """A database in memory on which the steps really run, since rebuilds look at the schema."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.recording = False
        super().__init__(Settings())

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        head = sql.lstrip().upper()
        silent = head.startswith(("SELECT", "PRAGMA", "SAVEPOINT", "RELEASE", "ROLLBACK"))
        if self.recording and not silent:
            self.record(sql, params)
        return super().execute_sql(sql, params)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise errors.MigrationFailed(f"cannot write {value!r} as plain SQL")
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def offline_sql(
    dialect: str, where: Path, *, applied: Iterable[str] = (), to: int | None = None
) -> str:
    """Give a script that does what :meth:`Migrator.upgrade` would do, for psql or sqlite3.

    Connects to nothing.

    :param dialect: ``sqlite`` or ``postgres``.
    :param applied: the names of the steps that the database has; the script does the others.
    :param to: number of the last step to do; all by default.
    :raises InvalidValue: no such dialect, or no step of that number.
    """
    if dialect not in ("sqlite", "postgres"):
        raise errors.InvalidValue(
            "dialect", f"{errors.quoted(dialect)} is neither sqlite nor postgres"
        )
    done = set(applied)
    steps = [Step(name, None) for name in step_names(where)]
    require_number(steps, to)
    plan = [s.name for s in steps if s.name not in done and (to is None or s.number <= to)]
    if dialect == "postgres":
        now = peewee.SQL("now()")
        database: Any = _RecordingPostgres()
    else:
        now = peewee.SQL("strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')")
        database = _RecordingSqlite()
    runner = StoreRunner(database, where, now=lambda: now)
    try:
        if dialect == "postgres":
            runner.applied = lambda: dict.fromkeys(done, utc_now())
        elif done:
            runner.up(max(done))
        database.recording = True
        if plan:
            runner.up(plan[-1])
    finally:
        if dialect == "sqlite":
            database.shut()
    return _script(dialect, plan, database.statements)


def _script(dialect: str, plan: list[str], statements: list[str]) -> str:
    lines = [f"-- dynostore schema, {dialect}: {', '.join(plan) or 'nothing is pending'}"]
    # Both shells go on after an error, and sqlite3 would then commit the half of it.
    command = "psql -v ON_ERROR_STOP=1" if dialect == "postgres" else "sqlite3 -bail"
    lines += [f"-- run it with: {command}"]
    if plan:
        if dialect == "postgres":
            lines += ["BEGIN;", "SELECT set_config('dynostore_sync.apply', 'on', true);"]
        else:
            lines += [
                "PRAGMA foreign_keys = OFF;",
                "PRAGMA journal_mode = WAL;",
                "BEGIN IMMEDIATE;",
            ]
            lines += [f"PRAGMA application_id = {APPLICATION_ID};"]
        lines += [f"{statement};" for statement in statements]
        lines += ["COMMIT;"]
    return "\n".join(lines) + "\n"


def draft(name: str, where: Path) -> Path | None:
    """Write the step that leads from the migrations to the models; None when they agree.

    Read it before it is used: renames look like a drop and an add, and types are not compared.
    """
    database = MemoryDatabase(Settings())
    try:
        runner = StoreRunner(database, where)
        runner.up()
        difference = diff_models(database, list(models.ALL))
        if not difference:
            return None
        with database.bind_ctx(models.ALL, bind_refs=False, bind_backrefs=False):
            return Path(runner.create(name, body=template(difference)))
    finally:
        database.shut()
