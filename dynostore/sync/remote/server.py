"""What the sync asks of the server, and of nobody else: who it is, whom it knows, what it took."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Iterable
from typing import Any

from dynostore import __version__, config, errors
from dynostore.database import PostgresServer
from dynostore.migrator import step_names
from dynostore.own_models import OwnModels
from dynostore.sync.local.journal import Node
from dynostore.sync.remote import statements
from dynostore.sync.remote.judgement import Stranger
from dynostore.sync.remote.session import Session
from dynostore.sync.remote.survey import IDENTITY, ServerIdentity
from dynostore.sync.tables import Table

PROTOCOL = 1
"""Raised when an older program could no longer sync safely with this one's server."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a batch.

    :ivar seq: its number on the clock.
    :ivar exceptions: the keys that were not applied as sent: key, what, rev, seq, keep.
    """

    seq: int
    exceptions: list[dict[str, Any]]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


class Server(Session):
    """A session on the shared Postgres, and what the sync asks there.

    :param tables: those that replicate; none where nothing is to be set up.
    :ivar own: the user's models among them.
    :ivar unknown_columns: by table, those that a newer program has added.
    """

    def __init__(
        self,
        place: config.Place,
        tables: dict[str, Table] | None = None,
        own: OwnModels | None = None,
        pool: PostgresServer | None = None,
    ) -> None:
        super().__init__(place, pool)
        self.tables = tables or {}
        self.own = own or OwnModels()
        self.unknown_columns: dict[str, list[str]] = {}
        self._strangers: dict[str, list[Stranger]] | None = None

    def version_to_install(self) -> str:
        """Give the command that installs a version which knows this server's tables."""
        known = self.has_sync_schema() and self.one(
            "SELECT to_jsonb(s) ->> 'program' FROM dynostore_sync.server s"
        )
        # Where somebody upgraded the tables by other means, an older one stands there.
        if known and known[0] and _numbers(known[0]) > _numbers(__version__):
            return f"pip install 'dynostore>={known[0]}'"
        return "pip install --upgrade dynostore"

    def identity(self) -> ServerIdentity:
        """Ask the server who it is.

        :raises SchemaTooNew: its sync protocol is newer than this program's.
        """
        row = self.one(IDENTITY)
        if row is None:
            raise errors.SchemaError(f"{self.place.shown}: dynostore_sync.server is empty")
        return self.checked(ServerIdentity(*row))

    def checked(self, identity: ServerIdentity) -> ServerIdentity:
        """Give the identity of a server whose protocol this program speaks.

        :raises SchemaTooNew: it is newer.
        """
        if identity.protocol > PROTOCOL:
            raise errors.SchemaTooNew(
                f"{self.place.shown}: speaks sync protocol {identity.protocol}, this program"
                f" {PROTOCOL}",
                hint=self.version_to_install(),
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

    def strangers(self, table: Table) -> list[Stranger]:
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
                    found = Stranger(name, child, column)
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
