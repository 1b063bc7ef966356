"""Makes the server ready to be synced with, tables, sync schema and triggers, or says why not."""

from __future__ import annotations

import importlib.resources
import json
import secrets
import uuid
from collections.abc import Callable, Collection

from dynostore import __version__, errors
from dynostore.driver_errors import sqlstate
from dynostore.migrator import Migrator, directory, is_additive, step_names
from dynostore.own_schema import OwnSchema
from dynostore.sync.local.journal import IS_ANOTHER
from dynostore.sync.remote.server import PROTOCOL, Server
from dynostore.sync.remote.survey import (
    SHAPES,
    SURVEY,
    TRIGGERS,
    ServerIdentity,
    Shape,
    Survey,
    shapes_of,
    survey_of,
)
from dynostore.sync.tables import SYNC_COLUMNS, Table

_SETUP_LOCK = 0x64796E6F73796E63  # "dynosync"
_OLDEST_POSTGRES = 140000
_NOT_THERE = ("3F000", "42P01", "42703")  # SQLSTATEs: schema, table, column
_SETUP_PATIENCE = 10  # tables that are large already are rewritten


def _are_all(applied: Collection[str]) -> bool:
    """Tell whether the steps that were applied are this program's, and later ones only added."""
    known = set(step_names())
    return known.issubset(applied) and all(map(is_additive, set(applied) - known))


class Setup:
    """The set-up of one server, as far as a sync of the server's tables needs it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def ensure(self, expected: str | None, *, upgrade: bool = False) -> ServerIdentity:
        """Make sure that the server can be synced with, setting up an empty one; say who it is.

        :param expected: the identity of the server that the file knows; None before its first sync.
        :param upgrade: True: bring older tables up to date, which may shut out older programs.
        :raises IdentityMismatch: it is another one, or was emptied; nothing was written.
        :raises SchemaBehind: its tables are older than this program's; nothing was written.
        :raises SchemaTooNew: its tables or its protocol are newer.
        :raises ModelChanged: the table of one of the user's models is otherwise there.
        :raises AccessDenied: it must be set up, and these credentials may not.
        """
        version = self._server.connection.server_version
        if version < _OLDEST_POSTGRES:
            raise errors.SchemaError(
                f"{self._server.place.shown}: is PostgreSQL {version // 10000};"
                " 14 or later is needed"
            )
        survey = self._survey()
        if survey:
            self._server.checked(survey.identity)
        if expected is not None:
            self._require(expected, survey.identity if survey else None)
        if survey and self._is_ready(survey):
            return survey.identity
        if not self._has_all_steps():
            with self._server.guard.patient(_SETUP_PATIENCE), self._server.answering():
                self._bring_up_to_date(upgrade=upgrade)
        if self._server.own.models:
            with self._server.guard.patient(_SETUP_PATIENCE), self._server.answering():
                migrator = Migrator(self._server.database)
                OwnSchema(self._server.database, self._server.own, migrator).ensure(upgrade=upgrade)
        if expected is None and not self._server.has_sync_schema():
            self._in_setup(self._create_sync_schema)
        if self._unattached():
            self._in_setup(self._attach)
        return self._server.identity()

    def _survey(self) -> Survey | None:
        """Ask everything at once; None: something that is asked for is not there."""
        try:
            row = self._server.one(SURVEY, (list(self._server.tables),))
        except Exception as exc:
            if sqlstate(exc) not in _NOT_THERE:
                raise
            return None
        return None if row is None else survey_of(row)

    def _is_ready(self, survey: Survey) -> bool:
        """Tell whether there is nothing to set up; the user's tables are compared more closely."""
        return (
            not self._server.own.models
            and _are_all(survey.steps)
            and not self._lacking(survey.shapes)
        )

    def _bring_up_to_date(self, *, upgrade: bool) -> None:
        migrator = Migrator(self._server.database)
        try:
            if not any(step.applied_at for step in migrator.status()):
                self._make_tables(migrator)
            else:
                migrator.ensure()
        except errors.SchemaTooNew as exc:
            exc.hint = self._server.version_to_install()
            raise
        except errors.SchemaBehind as exc:
            if upgrade:
                migrator.upgrade()
                self._note_program()
                return
            exc.hint = "dynostore sync --upgrade-server, once every node can be upgraded too"
            raise

    def _make_tables(self, migrator: Migrator) -> None:
        """Take all steps in an empty database at once.

        One by one they are hundreds of statements: over a long wire that takes seconds.
        """
        from dynostore.migration_runner import offline_sql  # imported late: few are ever the first

        script = offline_sql("postgres", directory())
        with migrator.locked():
            if not any(step.applied_at for step in migrator.status()):  # nobody was faster
                # The transaction is the lock's.
                self._server.execute(script.partition("BEGIN;")[2].rpartition("COMMIT;")[0])

    def _note_program(self) -> None:
        """Keep which version of dynostore knows these tables, for those that do not."""
        if self._server.has_sync_schema():
            self._server.execute(
                "ALTER TABLE dynostore_sync.server ADD COLUMN IF NOT EXISTS program text"
            )
            self._server.execute("UPDATE dynostore_sync.server SET program = %s", (__version__,))

    def _require(self, expected: str, identity: ServerIdentity | None) -> None:
        if identity is None and self._server.has_sync_schema():
            identity = self._server.identity()
        found = identity.id if identity else None
        if found != expected:
            raise errors.IdentityMismatch(
                f"{self._server.place.shown}: {IS_ANOTHER}",
                hint="sync with the right server, or accept this one: dynostore sync --adopt",
                server_id=found,
                expected=expected,
            )

    def _has_all_steps(self) -> bool:
        """Tell whether the tables are this program's, in a tenth of the migrator's time.

        What later steps only added does not concern it.
        """
        if not self._has_table("dynostore_migration"):
            return False
        return _are_all(
            {name for (name,) in self._server.execute("SELECT name FROM dynostore_migration")}
        )

    def _has_table(self, name: str) -> bool:
        return self._server.one("SELECT to_regclass(%s) IS NOT NULL", (name,)) == (True,)

    def _in_setup(self, act: Callable[[], None]) -> None:
        """Run DDL in one transaction, alone among those who set up this server."""
        try:
            self._server.execute(f"BEGIN; SELECT pg_advisory_xact_lock({_SETUP_LOCK})")
            with self._server.guard.patient(_SETUP_PATIENCE):
                act()
            self._server.execute("COMMIT")
        except Exception:
            self._server.rollback()
            raise

    def _create_sync_schema(self) -> None:
        if self._server.has_sync_schema():
            return
        script = importlib.resources.files(__package__).joinpath("server.sql")
        self._server.execute(script.read_text(encoding="utf-8"))
        self._server.execute(
            "INSERT INTO dynostore_sync.server (id, incarnation, protocol, program)"
            " VALUES (%s, %s, %s, %s)",
            (str(uuid.uuid4()), secrets.randbits(63) or 1, PROTOCOL, __version__),
        )

    def _unattached(self) -> list[Table]:
        """Give the tables whose sync columns or triggers are missing.

        A dump of one schema restores tables without the triggers of another's functions.
        """
        return self._lacking(shapes_of(self._server.execute(SHAPES, (list(self._server.tables),))))

    def _lacking(self, shapes: dict[str, Shape]) -> list[Table]:
        self._server.unknown_columns = {
            name: sorted(
                shape.columns.difference(SYNC_COLUMNS, self._server.tables[name].column_names)
            )
            for name, shape in shapes.items()
        }
        return [
            t
            for t in self._server.tables.values()
            if t.name not in shapes
            or not shapes[t.name].columns.issuperset(SYNC_COLUMNS)
            or shapes[t.name].triggers != TRIGGERS
        ]

    def _attach(self) -> None:
        tables = [[table.name, table.key.name] for table in self._unattached()]
        self._server.execute(
            "SELECT dynostore_sync.attach(format('%%I.%%I', current_schema(), t ->> 0)::regclass,"
            " (t ->> 1)::name) FROM json_array_elements(%s) t",
            (json.dumps(tables),),
        )
