"""What settles a difference: log entries, forgotten bases, cursors moved back. Push and pull do it.

Nothing here writes or deletes a row. Where both sides have one under the same version, nobody can
tell which was tampered with: the file forgets that it knew the version, so that push takes its row
for one that another node changed too: the server's stays, the file's is archived and listed. On the
server such a row is touched as any SQL user would, so that the other nodes learn of it as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Table
from dynostore.sync.verify.judge import Kind, Sighting
from dynostore.sync.verify.lines import Version

_KEYS_PER_STATEMENT = 1000


@dataclasses.dataclass
class _OfTable:
    """What is to be done about one table.

    :ivar logged: (op, key): ``p`` for a row that is here, ``d`` for one that is not, ``r`` to send
        it on under the version that it had.
    :ivar forgotten: keys whose base goes.
    :ivar touched: (key, revision) of the server's rows that get a new version and number.
    :ivar after: where the next pull begins at the latest.
    """

    table: Table
    logged: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    forgotten: list[bytes] = dataclasses.field(default_factory=list)
    touched: list[tuple[bytes, int | None]] = dataclasses.field(default_factory=list)
    after: int | None = None


class Repairs:
    """Collects what is to be done, and writes it down at once: for push and pull to act on."""

    def __init__(self) -> None:
        self._tables: dict[str, _OfTable] = {}

    def add(self, table: Table, key: bytes, kind: Kind, seen: Sighting, high: int) -> None:
        """Decide what settles one difference.

        :param high: the greatest number that the server has handed out.
        """
        work = self._tables.setdefault(table.name, _OfTable(table))
        version = seen.there.version if seen.there else (None, None)
        unnumbered = seen.there is not None and None in version
        if kind in (Kind.CONTENTS, Kind.MISFIT) or unnumbered:
            work.touched.append((key, version[0]))
        if kind is Kind.CONTENTS or (kind is Kind.REVISION and not _is_possible(seen.base, high)):
            work.forgotten.append(key)
        if kind in (Kind.CONTENTS, Kind.REVISION):
            work.logged.append(("p" if seen.here else "d", key))
        elif kind is Kind.MISSING_THERE:
            work.logged.append(("p" if seen.stone or seen.base is None else "r", key))
        elif kind is Kind.TOMBSTONE:
            work.logged.append(("r", key))
        elif kind is Kind.MISSING_HERE:
            work.forgotten.append(key)
            if version[1] is not None:
                before = version[1] - 1
                work.after = before if work.after is None else min(work.after, before)

    def write_down(self, local: LocalFile, server: Server) -> None:
        """Write all of it: first in the file, in one transaction, then on the server.

        Killed in between, the rows that were to be touched are settled between this file and the
        server all the same, and the other nodes find them when they verify.
        """
        with local.writing() as writer:
            for work in self._tables.values():
                name = work.table.name
                writer.executemany(
                    "INSERT INTO sync_log (tbl, key, op) VALUES (?, CAST(? AS TEXT), ?)",
                    [(name, key, op) for op, key in work.logged],
                )
                writer.executemany(
                    "DELETE FROM sync_base WHERE tbl = ? AND key = CAST(? AS TEXT)",
                    [(name, key) for key in work.forgotten],
                )
                if work.after is not None:
                    writer.execute(
                        "UPDATE sync_table SET cursor = min(cursor, ?) WHERE name = ?",
                        (work.after, name),
                    )
        for work in self._tables.values():
            for start in range(0, len(work.touched), _KEYS_PER_STATEMENT):
                _touch(server, work.table, work.touched[start : start + _KEYS_PER_STATEMENT])


def _is_possible(base: Version | None, high: int) -> bool:
    """Tell whether the server can have given out a base's number; else it says nothing."""
    return base is not None and (base[1] or 0) <= high


def _touch(server: Server, table: Table, rows: Sequence[tuple[bytes, int | None]]) -> None:
    """Give rows a new version and number through the triggers that see every SQL user's writes.

    A row that somebody has changed since has got them already.
    """
    key = table.key.quoted
    kind = "uuid" if table.key.kind == "uuid" else "text"
    server.execute(
        f"UPDATE {table.quoted} t SET {key} = t.{key}"
        f" FROM unnest(%s::{kind}[], %s::bigint[]) AS seen (key, rev)"
        f" WHERE t.{key} = seen.key AND t.sync_rev IS NOT DISTINCT FROM seen.rev",
        ([k.decode() for k, _ in rows], [revision for _, revision in rows]),
    )
