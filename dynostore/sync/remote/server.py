"""The server's side: the sync schema, and what can be asked of it."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import re
import secrets
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from dynostore import __version__, config, errors
from dynostore.driver_errors import sqlstate
from dynostore.migrator import Migrator, directory, is_additive, step_names
from dynostore.own_models import OwnModels
from dynostore.own_schema import OwnSchema
from dynostore.sync.local.journal import Node
from dynostore.sync.remote import statements
from dynostore.sync.remote.session import Session
from dynostore.sync.remote.survey import (
    IDENTITY,
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

PROTOCOL = 1
"""Raised when an older program could no longer sync safely with this one's server."""

_SETUP_LOCK = 0x64796E6F73796E63  # "dynosync"
_OLDEST_POSTGRES = 140000
_NOT_THERE = ("3F000", "42P01", "42703")  # SQLSTATEs: schema, table, column
_SETUP_PATIENCE = 10  # tables that are large already are rewritten


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a batch.

    :ivar seq: its number on the clock.
    :ivar exceptions: the keys that were not applied as sent: key, what, rev, seq, keep.
    """

    seq: int
    exceptions: list[dict[str, Any]]


def _are_all(applied: Collection[str]) -> bool:
    """Tell whether the steps that were applied are this program's, and later ones only added."""
    known = set(step_names())
    return known.issubset(applied) and all(map(is_additive, set(applied) - known))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


class Server(Session):
    """A session on the shared Postgres, and what the sync asks there.

    :param tables: those that replicate; none where nothing is to be set up.
    :param own: the user's models among them.
    :ivar unknown_columns: by table, those that a newer program has added.
    """

    def __init__(
        self,
        place: config.Place,
        tables: dict[str, Table] | None = None,
        own: OwnModels | None = None,
    ) -> None:
        super().__init__(place)
        self.tables = tables or {}
        self._own = own or OwnModels()
        self.unknown_columns: dict[str, list[str]] = {}
        self._strangers: dict[str, list[statements.Stranger]] | None = None

    # -- set-up ------------------------------------------------------------------------------

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
        version = self.connection.server_version
        if version < _OLDEST_POSTGRES:
            raise errors.SchemaError(
                f"{self.place.shown}: is PostgreSQL {version // 10000}; 14 or later is needed"
            )
        survey = self._survey()
        if survey:
            self._checked(survey.identity)
        if expected is not None:
            self._require(expected, survey.identity if survey else None)
        if survey and self._is_ready(survey):
            return survey.identity
        if not self._has_all_steps():
            with self.guard.patient(_SETUP_PATIENCE), self._answering():
                self._bring_up_to_date(upgrade=upgrade)
        if self._own.models:
            with self.guard.patient(_SETUP_PATIENCE), self._answering():
                migrator = Migrator(self.database)
                OwnSchema(self.database, self._own, migrator).ensure(upgrade=upgrade)
        if expected is None and not self.has_sync_schema():
            self._in_setup(self._create_sync_schema)
        if self.unattached():
            self._in_setup(self._attach)
        return self.identity()

    def _survey(self) -> Survey | None:
        """Ask everything at once; None: something that is asked for is not there."""
        try:
            row = self.one(SURVEY, (list(self.tables),))
        except Exception as exc:
            if sqlstate(exc) not in _NOT_THERE:
                raise
            return None
        return None if row is None else survey_of(row)

    def _is_ready(self, survey: Survey) -> bool:
        """Tell whether there is nothing to set up; the user's tables are compared more closely."""
        return not self._own.models and _are_all(survey.steps) and not self._lacking(survey.shapes)

    def _bring_up_to_date(self, *, upgrade: bool) -> None:
        migrator = Migrator(self.database)
        try:
            if not any(step.applied_at for step in migrator.status()):
                self._make_tables(migrator)
            else:
                migrator.ensure()
        except errors.SchemaTooNew as exc:
            exc.hint = self._version_to_install()
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
                self.execute(script.partition("BEGIN;")[2].rpartition("COMMIT;")[0])

    def _note_program(self) -> None:
        """Keep which version of dynostore knows these tables, for those that do not."""
        if self.has_sync_schema():
            self.execute("ALTER TABLE dynostore_sync.server ADD COLUMN IF NOT EXISTS program text")
            self.execute("UPDATE dynostore_sync.server SET program = %s", (__version__,))

    def _version_to_install(self) -> str:
        known = self.has_sync_schema() and self.one(
            "SELECT to_jsonb(s) ->> 'program' FROM dynostore_sync.server s"
        )
        # Where somebody upgraded the tables by other means, an older one stands there.
        if known and known[0] and _numbers(known[0]) > _numbers(__version__):
            return f"pip install 'dynostore>={known[0]}'"
        return "pip install --upgrade dynostore"

    def _require(self, expected: str, identity: ServerIdentity | None) -> None:
        if identity is None and self.has_sync_schema():
            identity = self.identity()
        found = identity.id if identity else None
        if found != expected:
            raise errors.IdentityMismatch(
                f"{self.place.shown}: is not the server that this file was synced with",
                hint="sync with the right server, or accept this one: dynostore sync --adopt",
                server_id=found,
                expected=expected,
            )

    def identity(self) -> ServerIdentity:
        """Ask the server who it is.

        :raises SchemaTooNew: its sync protocol is newer than this program's.
        """
        row = self.one(IDENTITY)
        if row is None:
            raise errors.SchemaError(f"{self.place.shown}: dynostore_sync.server is empty")
        return self._checked(ServerIdentity(*row))

    def _checked(self, identity: ServerIdentity) -> ServerIdentity:
        if identity.protocol > PROTOCOL:
            raise errors.SchemaTooNew(
                f"{self.place.shown}: speaks sync protocol {identity.protocol}, this program"
                f" {PROTOCOL}",
                hint=self._version_to_install(),
            )
        return identity

    def has_sync_schema(self) -> bool:
        """Tell whether anybody ever synced with this server."""
        # Not to_regclass(): what a session has once failed to find it may go on not to find until
        # it locks a table, and whoever waits for another's set-up locks none.
        return (
            self.one(
                "SELECT 1 FROM pg_catalog.pg_tables"
                " WHERE schemaname = 'dynostore_sync' AND tablename = 'server'"
            )
            is not None
        )

    def _has_all_steps(self) -> bool:
        """Tell whether the tables are this program's, in a tenth of the migrator's time.

        What later steps only added does not concern it.
        """
        if not self._has_table("dynostore_migration"):
            return False
        return _are_all({name for (name,) in self.execute("SELECT name FROM dynostore_migration")})

    def _has_table(self, name: str) -> bool:
        return self.one("SELECT to_regclass(%s) IS NOT NULL", (name,)) == (True,)

    def _in_setup(self, act: Any) -> None:
        """Run DDL in one transaction, alone among those who set up this server."""
        try:
            self.execute(f"BEGIN; SELECT pg_advisory_xact_lock({_SETUP_LOCK})")
            with self.guard.patient(_SETUP_PATIENCE):
                act()
            self.execute("COMMIT")
        except Exception:
            self.rollback()
            raise

    def _create_sync_schema(self) -> None:
        if self.has_sync_schema():
            return
        script = importlib.resources.files(__package__).joinpath("server.sql")
        self.execute(script.read_text(encoding="utf-8"))
        self.execute(
            "INSERT INTO dynostore_sync.server (id, incarnation, protocol, program)"
            " VALUES (%s, %s, %s, %s)",
            (str(uuid.uuid4()), secrets.randbits(63) or 1, PROTOCOL, __version__),
        )

    def unattached(self) -> list[Table]:
        """Give the tables whose sync columns or triggers are missing.

        A dump of one schema restores tables without the triggers of another's functions.
        """
        return self._lacking(shapes_of(self.execute(SHAPES, (list(self.tables),))))

    def _lacking(self, shapes: dict[str, Shape]) -> list[Table]:
        self.unknown_columns = {
            name: sorted(shape.columns.difference(SYNC_COLUMNS, self.tables[name].column_names))
            for name, shape in shapes.items()
        }
        return [
            t
            for t in self.tables.values()
            if t.name not in shapes
            or not shapes[t.name].columns.issuperset(SYNC_COLUMNS)
            or shapes[t.name].triggers != TRIGGERS
        ]

    def _attach(self) -> None:
        tables = [[table.name, table.key.name] for table in self.unattached()]
        self.execute(
            "SELECT dynostore_sync.attach(format('%%I.%%I', current_schema(), t ->> 0)::regclass,"
            " (t ->> 1)::name) FROM json_array_elements(%s) t",
            (json.dumps(tables),),
        )

    def strangers(self, table: Table) -> list[statements.Stranger]:
        """Give the foreign keys of other tables to one: a newer program's, or somebody's own.

        Deleting a row would delete or change theirs, which this program would not even notice.
        """
        if self._strangers is None:
            self._strangers = {}
            for parent, name, child, column in self.execute(
                "SELECT p.relname, c.relname, c.oid::regclass::text, a.attname"
                " FROM pg_constraint k JOIN pg_class p ON p.oid = k.confrelid"
                " JOIN pg_class c ON c.oid = k.conrelid"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]"
                " JOIN pg_namespace n ON n.oid = p.relnamespace"
                " WHERE k.contype = 'f' AND n.nspname = current_schema()"
                " AND p.relname = ANY(%s) AND cardinality(k.conkey) = 1",
                (list(self.tables),),
            ):
                if name not in self.tables:
                    found = statements.Stranger(name, child, column)
                    self._strangers.setdefault(parent, []).append(found)
        return self._strangers.get(table.name, [])

    # -- nodes -------------------------------------------------------------------------------

    def lock_node(self, node_id: str, *, shut_out: bool) -> tuple[bool, int | None]:
        """Begin a transaction and give (known, token) of a node.

        Waits for a batch of a client that died while the server was at work on it.

        :param shut_out: True: a batch of such a client that has not even arrived yet can no longer
            be committed, once this transaction is.
        """
        row = self.one(
            "BEGIN; SELECT token FROM dynostore_sync.node WHERE id = %s FOR UPDATE", (node_id,)
        )
        if shut_out:
            self.execute(
                "UPDATE dynostore_sync.node SET epoch = epoch + 1 WHERE id = %s", (node_id,)
            )
        return (row is not None, row[0] if row else None)

    def register(self, node_id: str, name: str) -> None:
        """Make the node known, inside the open transaction."""
        self.execute(
            "INSERT INTO dynostore_sync.node (id, name, schema_version) VALUES (%s, %s, %s)"
            " ON CONFLICT (id) DO NOTHING",
            (node_id, name, step_names()[-1]),
        )

    def turn_token(self, node: Node, token: int, clock: int) -> None:
        """Change a node's token without a batch, in a session of its own: this one may be reading.

        :param clock: the number up to which the node is about to know the server.
        """
        _, epoch = self.node_entry(node.node_id)
        other = Session(self.place)
        other.connect()
        try:
            other.execute(
                statements.turn_token(
                    node=node.node_id, epoch=epoch, old=node.token, token=token, seq=clock
                )
            )
        finally:
            other.close()

    def introduce(self, node_id: str, token: int) -> int:
        """Give a registered node its first token, inside the open transaction; give the clock."""
        self.execute(
            "UPDATE dynostore_sync.node SET token = %s WHERE id = %s;"
            " INSERT INTO dynostore_sync.node_history (node, token, seq, exceptions)"
            " SELECT %s, %s, coalesce(max(seq), 0), '[]' FROM dynostore_sync.tick",
            (token, node_id, node_id, token),
        )
        return self.verdict(node_id, token).seq

    def node_entry(self, node_id: str) -> tuple[int, int]:
        """Give the short number that rows carry in ``sync_node``, and the node's epoch."""
        row = self.one("SELECT no, epoch FROM dynostore_sync.node WHERE id = %s", (node_id,))
        if row is None:
            raise errors.IdentityMismatch(
                f"{self.place.shown}: does not know this node any more", hint="dynostore sync"
            )
        return int(row[0]), int(row[1])

    def has_batch(self, node_id: str, token: int) -> bool:
        """Tell whether a batch of the node was committed."""
        row = self.one(
            "SELECT 1 FROM dynostore_sync.node_history WHERE node = %s AND token = %s",
            (node_id, token),
        )
        return row is not None

    def verdict(self, node_id: str, token: int, *, after: str = "") -> Verdict:
        """Give what became of a committed batch.

        :param after: statements to run before, in the same round trip, such as those that commit.
        :raises IntegrityFailure: the server does not know it.
        """
        verdict = self.find_verdict(node_id, token, after=after)
        if verdict is None:
            raise errors.IntegrityFailure(f"{self.place.shown}: has lost the batch {token}")
        return verdict

    def find_verdict(self, node_id: str, token: int, *, after: str = "") -> Verdict | None:
        """Do the same for a batch that may not have been committed; None: it was not."""
        sql = statements.outcome(node_id, token)
        row = self.one(f"{after}; {sql}" if after else sql)
        return None if row is None else Verdict(row[0], json.loads(row[1]))

    def trim_history(self, node_id: str, kept: int) -> None:
        """Forget the oldest batches of a node."""
        self.execute(
            "DELETE FROM dynostore_sync.node_history WHERE node = %s AND seq <= (SELECT seq"
            " FROM dynostore_sync.node_history WHERE node = %s ORDER BY seq DESC"
            " LIMIT 1 OFFSET %s)",
            (node_id, node_id, kept),
        )

    def incarnations(self) -> dict[int, int]:
        """Give the earlier incarnations and the clock at which each ended."""
        rows = self.execute("SELECT incarnation, cut FROM dynostore_sync.ancestor")
        return dict(rows)

    def begin_incarnation(self, ended: Iterable[int], cut: int) -> int:
        """Start a new incarnation, inside the open transaction; give its number.

        :param ended: the incarnations that end, at the clock ``cut``.
        """
        new = secrets.randbits(63) or 1
        for incarnation in ended:
            self.execute(
                "INSERT INTO dynostore_sync.ancestor (incarnation, cut) VALUES (%s, %s)"
                " ON CONFLICT (incarnation) DO NOTHING",
                (incarnation, cut),
            )
        self.execute("UPDATE dynostore_sync.server SET incarnation = %s", (new,))
        return new

    def raise_clock(self, least: int) -> None:
        """Make every later number greater than ``least``, inside the open transaction.

        With the clock's lock held, since setval could otherwise take back a number just given.
        """
        self.execute(
            "SELECT setval('dynostore_sync.seq', greatest(dynostore_sync.take(), %s))", (least,)
        )
