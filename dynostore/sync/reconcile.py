"""Compares what this file remembers of the server with what the server holds, key by key.

Needed after the server was restored from a backup. It writes only the log, bases and cursors (and
removes rows that were deleted there), so it can be repeated; push and pull then act on the log. The
incarnation is stored last, in one transaction with the token: a reconcile that was interrupted
starts again, and one that was not is not taken for one that was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from dynostore.sync.local.changes import DirtyKeys, LocalFile
from dynostore.sync.local.journal import Pending
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Table

_FETCH_ROWS = 10_000
_EVER = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class _Known:
    """One key, as this file remembers it and as the server holds it.

    :ivar base: (revision, seq) or None; ``theirs`` likewise, of a row or a tombstone.
    :ivar here: the file has the row.
    """

    key: str
    base: tuple[int, int] | None
    here: bool
    theirs: tuple[int, int] | None


def reconcile(
    local: LocalFile, server: Server, *, token: int | None, restored_at: int | None
) -> None:
    """Log what the server lost, and make the next pull read everything once more.

    What the file knows of the server is now as new as the server is, and so must its token be: it
    is changed at the end, together with the incarnation.

    :param token: the server's for this node.
    :param restored_at: the clock at which the server's past ends to be this file's, when this file
        has just found that out; None when the server says it.
    :raises ModelsMissing: the file has tables whose models were not given.
    """
    local.require_all_models("every table must be compared with the server")
    incarnation = server.identity().incarnation
    node = local.journal.node()
    mine = node.incarnation
    cut = _EVER
    if mine != incarnation:
        # Who has just found out goes by its own clock alone: after a restore numbers are handed out
        # twice, and another node's cut may speak of the other ones.
        cut = server.incarnations().get(mine or 0, 0) if restored_at is None else restored_at
    # Children first: a parent is removed only where no child is left.
    for table in reversed(local.tables.values()):
        with _read_transaction(server), DirtyKeys(local.writer, table) as dirty:
            keys = _keys(local, server, table)
            while part := list(itertools.islice(keys, _FETCH_ROWS)):
                _carry_out(local, table, _judged(part, cut), dirty)
    pending = Pending.of_pull()
    with local.writing():
        local.journal.add_pending(pending)
    clock = server.identity().clock
    server.turn_token(dataclasses.replace(node, token=token), pending.token, clock)
    with local.writing() as writer:
        writer.execute("UPDATE sync_table SET cursor = 0")
        local.journal.set_identity(incarnation=incarnation)
        if restored_at is not None:
            # Of the past that the server lost no number may be taken for one of its own, should it
            # be restored to that past once more.
            writer.execute("UPDATE sync_history SET clock = min(clock, ?)", (restored_at,))
        local.journal.remember(pending.token, clock)
        local.journal.drop_pending()


@contextlib.contextmanager
def _read_transaction(server: Server) -> Iterator[None]:
    server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        server.rollback()


def _keys(local: LocalFile, server: Server, table: Table) -> Iterator[_Known]:
    """Join both sides' keys in their order; flat memory."""
    ours = _ours(local, table)
    theirs = _theirs(server, table)
    mine, held = next(ours, None), next(theirs, None)
    while mine or held:
        if mine and (held is None or mine[0] < held[0]):
            yield _Known(mine[0], (mine[1], mine[2]), bool(mine[3]), None)
            mine = next(ours, None)
        elif held and (mine is None or held[0] < mine[0]):
            yield _Known(held[0], None, False, (held[1], held[2]))
            held = next(theirs, None)
        elif mine and held:
            yield _Known(mine[0], (mine[1], mine[2]), bool(mine[3]), (held[1], held[2]))
            mine, held = next(ours, None), next(theirs, None)


def _ours(local: LocalFile, table: Table) -> Iterator[tuple[Any, ...]]:
    # Page by page: rows are written between the pages.
    last, beyond = "", ">="  # a key may be empty
    while True:
        page = local.writer.execute(
            "SELECT b.key, b.revision, b.seq, EXISTS"
            f" (SELECT 1 FROM {table.quoted} t WHERE t.{table.key.quoted} = b.key)"
            f" FROM sync_base b WHERE b.tbl = ? AND b.key {beyond} ?"
            " ORDER BY b.key LIMIT ?",
            (table.name, last, _FETCH_ROWS),
        ).fetchall()
        yield from page
        if len(page) < _FETCH_ROWS:
            return
        last, beyond = page[-1][0], ">"


def _theirs(server: Server, table: Table) -> Iterator[tuple[Any, ...]]:
    server.execute(
        "DECLARE dynostore_keys NO SCROLL CURSOR FOR"
        f' SELECT {table.key.quoted}::text COLLATE "C" AS key, sync_rev, sync_seq'
        f" FROM {table.quoted} UNION ALL SELECT key, rev, seq FROM dynostore_sync.tombstone"
        " WHERE tbl = %s ORDER BY key",
        (table.name,),
    )
    while page := server.execute(f"FETCH {_FETCH_ROWS} FROM dynostore_keys"):
        yield from page


@dataclasses.dataclass
class _Verdicts:
    """What is to be done about some keys.

    :ivar forward: the server lost what it once held: send it again.
    :ivar gone: deleted on the server.
    :ivar overtaken: newer here than the backup, and lost to a version written since: push archives
        it, without a conflict.
    """

    forward: list[str] = dataclasses.field(default_factory=list)
    gone: list[str] = dataclasses.field(default_factory=list)
    overtaken: list[str] = dataclasses.field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [*self.forward, *self.gone, *self.overtaken]


def _judged(keys: Iterable[_Known], cut: int) -> _Verdicts:
    verdicts = _Verdicts()
    for known in keys:
        if known.base is None or (known.theirs and known.theirs[0] == known.base[0]):
            continue
        seq = known.base[1]
        if known.theirs is None:
            if seq > cut:
                verdicts.forward.append(known.key)
            elif known.here:
                verdicts.gone.append(known.key)
        elif cut < seq and known.theirs[1] < seq:
            verdicts.forward.append(known.key)
        elif cut < seq:
            verdicts.overtaken.append(known.key)
    return verdicts


def _carry_out(local: LocalFile, table: Table, verdicts: _Verdicts, dirty: DirtyKeys) -> None:
    """Act on the keys that did not change here, in one transaction."""
    if not verdicts.keys:
        return
    with local.writing(applying=True) as writer:
        left = dirty.among(verdicts.keys)
        local.log(writer, table.name, [k for k in verdicts.forward if k not in left], "r")
        local.log(writer, table.name, [k for k in verdicts.overtaken if k not in left], "s")
        for key in verdicts.gone:
            if key not in left:
                _remove(local, writer, table, key)


def _remove(local: LocalFile, writer: sqlite3.Connection, table: Table, key: str) -> None:
    """Remove a row that was deleted on the server; one that has children here is judged by push."""
    for child, column in table.children:
        known = local.tables[child]
        reference = next(c for c in known.columns if c.name == column)
        found = writer.execute(
            f"SELECT 1 FROM {known.quoted} WHERE {reference.quoted} = ? LIMIT 1", (key,)
        )
        if found.fetchone():
            local.log(writer, table.name, [key], "p")
            return
    if local.has_strange_children(table, key):
        local.log(writer, table.name, [key], "p")
        return
    writer.execute(f"DELETE FROM {table.quoted} WHERE {table.key.quoted} = ?", (key,))
    writer.execute("DELETE FROM sync_base WHERE tbl = ? AND key = ?", (table.name, key))
