"""One sync from beginning to end: one at a time, again after an interruption, with a report."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

from dynostore import config, errors
from dynostore.database import PostgresServer, require_psycopg2
from dynostore.driver_errors import is_disconnect, is_from_postgres, sqlstate, translate, translated
from dynostore.errors import quoted
from dynostore.own_models import OwnModels
from dynostore.store import Store
from dynostore.sync.exchange import Exchange, Limits, Progress, Reports, TableReport
from dynostore.sync.fence import pass_fence
from dynostore.sync.fork import forget_server
from dynostore.sync.kept import kept_for
from dynostore.sync.local.alone import alone
from dynostore.sync.local.capture import install
from dynostore.sync.local.changes import FileRebuilt, LocalFile, require_file
from dynostore.sync.local.turns import turns
from dynostore.sync.pull.pull import Pull
from dynostore.sync.push.push import Push
from dynostore.sync.reconcile import reconcile
from dynostore.sync.remote.server import Server
from dynostore.sync.remote.setup import Setup
from dynostore.sync.remote.statements import TOKEN_MOVED
from dynostore.sync.review.rejects import retry_after_upgrade
from dynostore.sync.tables import Table, select, tables_of

_log = logging.getLogger("dynostore.sync")

Direction = Literal["push", "pull", "both"]

_ROUNDS = 3
_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.1
_TRY_AGAIN = ("40", "53", "55", "57", "23505", TOKEN_MOVED)


@dataclasses.dataclass
class SyncReport:
    """What one sync did.

    :ivar tables: those in which anything happened, parents first.
    :ivar seconds: all of it, connecting included.
    :ivar left_out: tables that the file captures and whose models were not given, with the rows
        that wait there.
    :ivar not_asked_for: tables outside of those that the sync was restricted to, with the rows that
        wait there.
    """

    tables: list[TableReport]
    seconds: float
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    not_asked_for: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def up_to_date(self) -> bool:
        """Nothing had to be done."""
        return not self.tables

    @property
    def rows_per_s(self) -> float:
        """Rows sent, adopted or received in a second, of the whole sync."""
        rows = sum(t.sent + t.adopted + t.received for t in self.tables)
        return rows / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """3 when there are new conflicts or rejects, 1 when tables were left out, else 0."""
        if any(t.conflicts or t.rejected for t in self.tables):
            return 3
        return int(bool(self.left_out))

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys; seconds and rates rounded."""
        return {
            "up_to_date": self.up_to_date,
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.rows_per_s),
            "left_out": self.left_out,
            "not_asked_for": self.not_asked_for,
            "tables": [
                {
                    **dataclasses.asdict(table),
                    "seconds": round(table.seconds, 3),
                    "rows_per_s": round(table.rows_per_s),
                }
                for table in self.tables
            ],
        }


class Stopped(Exception):
    """Raised by ``progress`` to end a sync behind its present batch; the next one does the rest.

    :ivar report: what was done until then; set by :func:`sync`.
    """

    report: SyncReport | None = None


def sync(
    store: Store,
    remote: str | config.Place,
    *,
    direction: Direction = "push",
    tables: Sequence[str] = (),
    skip: Sequence[str] = (),
    full: bool = False,
    adopt: bool = False,
    upgrade_server: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Send what changed in a store's file to the shared Postgres, or bring what changed there.

    Parents go before children. Each batch is one transaction on each side, and a batch sent twice
    changes nothing: killed anywhere, the next sync goes on. An empty server is set up. A lost
    connection is tried again for some seconds. A sync with nothing to do writes nothing on either
    side.

    :param remote: a Postgres URL.
    :param direction: ``push``, ``pull`` or ``both``: first push, then pull.
    :param tables: only these, and the tables that they refer to; all where none is named.
    :param skip: all but these.
    :param full: first compare every key that this file knows with the server.
    :param adopt: accept a server that is not the one that the file was synced with, or that has
        forgotten it: the file becomes a new node, and sends every row as in a first sync.
    :param upgrade_server: bring the server's older tables up to date. Nodes with an older program
        are refused from then on, unless tables and columns were only added.
    :param limits: rows and bytes of a batch.
    :return: rows sent, received, adopted, in conflict and set aside, per table.
    :raises SyncRunning: another sync of this file is running.
    :raises RemoteUnavailable: nothing of the current batch was written; try again.
    :raises SchemaError: the server's tables are older or newer than this program's.
    :raises ModelsMissing: every table must be compared, and the file has some whose models were not
        given. Otherwise these are left as they are, and named in the report.
    :raises IdentityMismatch: this is not the server that the file was synced with.
    :raises ConfigError: the store is not a SQLite file, the remote no Postgres, or a table unknown.
    """
    require_psycopg2()
    if direction not in get_args(Direction):
        raise errors.ConfigError(
            f"direction: {quoted(direction)} is none of {', '.join(get_args(Direction))}"
        )
    place = config.Place.of(remote)
    started = time.perf_counter()
    file = require_file(store)
    file.require_writable()
    reports = Reports()
    with alone(file), turns.counted(), (kept := kept_for(store, file)).used(place) as pool:
        described = tables_of(store)
        scope = select(described, tables, skip)
        local = LocalFile(file.path, file.settings, described, kept.connections)
        try:
            with translated(file.shown):
                plan = _Plan(
                    direction,
                    scope,
                    store.own,
                    limits or Limits(),
                    progress,
                    full,
                    adopt,
                    upgrade_server,
                )
                _with_patience(local, place, pool, plan, reports)
                left_out = {name: local.waiting(name) for name in local.left_out()}
                rest = [table for table in described.values() if table not in scope]
                waiting = {table.name: local.waiting(table.name) for table in rest}
        except errors.DynostoreError as exc:
            local.note_error(exc.message)
            raise
        except Stopped as exc:
            exc.report = SyncReport(_in_order(reports, local), time.perf_counter() - started)
            raise
        finally:
            local.close()
    not_asked_for = {name: rows for name, rows in waiting.items() if rows}
    done = _in_order(reports, local)
    return SyncReport(done, time.perf_counter() - started, left_out, not_asked_for)


def _in_order(reports: Reports, local: LocalFile) -> list[TableReport]:
    return [reports[name] for name in local.tables if name in reports]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a sync was asked to do."""

    direction: Direction
    scope: list[Table]
    own: OwnModels
    limits: Limits
    progress: Progress | None
    full: bool
    adopt: bool
    upgrade_server: bool

    def carry_out(self, local: LocalFile, server: Server, reports: Reports) -> None:
        """Push and pull. What a pull had to leave to the server is pushed, and pulled once more."""
        exchange = Exchange(local, server, self.scope, self.limits, reports, self.progress)
        for _ in range(_ROUNDS):
            if self.direction != "pull" and local.something_waits(self.scope):
                Push(exchange).run()
            if self.direction == "push":
                return
            pull = Pull(exchange)
            pull.run()
            if not pull.logged or self.direction == "pull":
                return


def _with_patience(
    local: LocalFile, place: config.Place, pool: PostgresServer, plan: _Plan, reports: Reports
) -> None:
    """Sync, and begin again after what a second attempt may get past."""
    for attempt in range(1, _ATTEMPTS + 1):
        server = Server(place, local.tables, plan.own, pool)
        end = server.close
        try:
            install(local)
            retry_after_upgrade(local)
            server.connect()
            _meet(local, server, plan, reports)
            plan.carry_out(local, server, reports)
            end = server.leave
            return
        except FileRebuilt:
            if attempt == _ATTEMPTS:
                raise errors.StoreLocked(
                    f"{local.path}: its tables are being rebuilt all the time",
                    hint="sync when the other program is done",
                ) from None
            _log.info("%s: its tables were rebuilt meanwhile; again", local.path)
        except Exception as exc:
            if not (is_from_postgres(exc) or isinstance(exc, errors.RemoteUnavailable)):
                raise
            again = _is_worth_a_try(exc) and (attempt > 1 or bool(reports) or is_from_postgres(exc))
            if not again or attempt == _ATTEMPTS:
                raise translate(exc, place.shown) from exc
            pause_s = _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            _log.info("%s: %s; again in %.1f s", place.shown, type(exc).__name__, pause_s)
            time.sleep(pause_s)
        finally:
            end()
    raise AssertionError("unreachable")


def _meet(local: LocalFile, server: Server, plan: _Plan, reports: Reports) -> None:
    """Make sure that this is the server, set it up, and find out what happened since last time."""
    try:
        identity = Setup(server).ensure(local.journal.node().server_id, upgrade=plan.upgrade_server)
        pass_fence(local, server, identity, reports)
    except errors.IdentityMismatch:
        if not plan.adopt:
            raise
        local.require_all_models("every row must be sent anew")
        forget_server(local)
        identity = Setup(server).ensure(None, upgrade=plan.upgrade_server)
        pass_fence(local, server, identity, reports)
    if plan.full:
        reconcile(local, server, token=local.journal.node().token, restored_at=None)


def _is_worth_a_try(exc: BaseException) -> bool:
    if isinstance(exc, errors.RemoteUnavailable):
        return True
    return is_disconnect(exc) or (sqlstate(exc) or "").startswith(_TRY_AGAIN)
