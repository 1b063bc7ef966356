"""Compares the file with the server, and finds what no push or pull would ever notice.

Somebody wrote with the triggers off, restored one table, edited ``sync_base``: rows and revisions
say then what nobody sent. Both sides are read in one view each, while no sync of this file runs; so
writers at work make no difference. What seems to differ is read again a moment later, in new views.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from dynostore import config, errors
from dynostore.database import SqliteFile, require_psycopg2
from dynostore.driver_errors import translated
from dynostore.store import Store
from dynostore.sync.exchange import Progress
from dynostore.sync.local.alone import alone
from dynostore.sync.local.changes import LocalFile, require_file
from dynostore.sync.remote.server import Server
from dynostore.sync.remote.setup import Setup
from dynostore.sync.run import SyncReport, sync
from dynostore.sync.tables import Table, select, tables_of
from dynostore.sync.verify.judge import Difference
from dynostore.sync.verify.look import Look, TableCheck
from dynostore.sync.verify.sides import Here, There


@dataclasses.dataclass
class VerifyReport:
    """What a comparison found.

    :ivar tables: all that were compared, parents first.
    :ivar differences: the first of them, by table and key.
    :ivar total: how many there are.
    :ivar repaired: how many of those found first are gone; None where no repair was asked for.
    :ivar synced: what the push and the pull of the repair did; None where there was none.
    :ivar left_out: the tables that the file captures and whose models were not given.
    """

    deep: bool
    tables: list[TableCheck]
    differences: list[Difference]
    seconds: float
    repaired: int | None = None
    synced: SyncReport | None = None
    left_out: list[str] = dataclasses.field(default_factory=list)

    @property
    def total(self) -> int:
        """All differences, those that are not listed included."""
        return sum(table.differences for table in self.tables)

    @property
    def rows_per_s(self) -> float:
        """Rows compared in a second."""
        return sum(table.rows for table in self.tables) / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """7 when the sides differ, 3 when the repair has left something to look at, else 0.

        1 when tables were left out, whose models were not given.
        """
        if self.total:
            return errors.IntegrityFailure.exit_code
        return (self.synced.exit_code if self.synced else 0) or int(bool(self.left_out))

    def to_json(self) -> dict[str, Any]:
        """Give all of it with stable keys; seconds and rates rounded."""
        return {
            "equal": not self.total,
            "deep": self.deep,
            "total": self.total,
            "differences": [dataclasses.asdict(found) for found in self.differences],
            "tables": [dataclasses.asdict(table) for table in self.tables],
            "repaired": self.repaired,
            "left_out": self.left_out,
            "synced": self.synced.to_json() if self.synced else None,
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.rows_per_s),
        }


def verify(
    store: Store,
    remote: str | config.Place,
    *,
    deep: bool = False,
    repair: bool = False,
    tables: Sequence[str] = (),
    skip: Sequence[str] = (),
    limit: int = 50,
    delay_s: float = 0.5,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare a store's file with the shared Postgres; without ``repair`` no row is written.

    What waits to be sent, is set aside, or was not pulled yet is counted, and is no difference.
    As every sync does, it makes the sync's triggers on the server again where they are missing.

    :param deep: compare every value; else keys and versions, which shows what is missing or stale.
    :param repair: log what differs, or forget what the file falsely remembers, then push, pull and
        compare again. Where both sides have a row, the server's stays; the file's is archived and
        listed as a conflict. Nothing is deleted on either side.
    :param tables: only these, and the tables that they refer to; all where none is named.
    :param skip: all but these.
    :param limit: most differences to list; 0 is all. All are counted, and repaired.
    :param delay_s: how long to wait before what seems to differ is read again.
    :return: the differences, after the repair where there was one.
    :raises SyncRunning: a sync of this file is running.
    :raises IdentityMismatch: the file was synced with another server, or never.
    :raises RemoteUnavailable: the server cannot be reached; try again.
    :raises ConfigError: the store is not a SQLite file, the remote no Postgres, or a table unknown.
    """
    require_psycopg2()
    place = config.Place.of(remote)
    file = require_file(store)
    if repair:
        file.require_writable()
    started = time.perf_counter()
    described = tables_of(store)
    scope = select(described, tables, skip)

    def compare(*, mend: bool) -> VerifyReport:
        with _sides(store, file, place, described) as (local, server, here):
            look = Look(here, There(server), scope, deep=deep, limit=limit, progress=progress)
            look.run(delay_s)
            if mend:
                look.repairs.write_down(local, server)
            checks = list(look.checks.values())
            report = VerifyReport(deep, checks, look.found, time.perf_counter() - started)
            report.left_out = local.left_out()
            return report

    report = compare(mend=repair)
    if repair:
        found, synced = report.total, None
        if found:
            synced = sync(store, place, direction="both", tables=tables, skip=skip)
            report = compare(mend=False)
        report.repaired, report.synced = found - report.total, synced
    return report


@contextmanager
def _sides(
    store: Store, file: SqliteFile, place: config.Place, tables: dict[str, Table]
) -> Iterator[tuple[LocalFile, Server, Here]]:
    """Reach both sides, while no sync of the file runs."""
    with (
        alone(file),
        translated(file.shown),
        closing(LocalFile(file.path, file.settings, tables)) as local,
        closing(Here(file)) as here,
    ):
        if not here.was_synced():
            raise errors.IdentityMismatch(
                f"{file.shown}: was never synced", hint="dynostore sync --to URL"
            )
        with closing(Server(place, tables, store.own)) as server, translated(place.shown):
            server.connect()
            Setup(server).ensure(local.journal.node().server_id)
            yield local, server, here
