"""Compares what the model's file remembers of the server with what the server holds."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sync.model.file import File
from tests.sync.model.incoming import Incoming
from tests.sync.model.server import Server
from tests.sync.model.tables import AGAIN, PUT, SUSPECT, Steps
from tests.sync.model.token import turn_token

EVER = 1 << 62


def reconcile(
    file: File,
    server: Server,
    on: Mapping[str, bool],
    *,
    token: int | None,
    restored_at: int | None = None,
) -> Steps:
    """Log what the server forgot, remove what was deleted there, and read all of it once more.

    :param token: becomes the file's together with the server's incarnation, at the end.
    :param restored_at: the clock at which the server's past ends to be the file's, where the file
        has just found that out.
    """
    incarnation, hi = server.incarnation, server.hi
    cut = EVER
    if file.incarnation != incarnation and on["cut"]:
        cut = restored_at or 0
        if restored_at is None or not on["own cut"]:
            cut = max(cut, server.ancestors.get(file.incarnation or 0, 0))
    order = list(file.schema.tables)
    for table in order[::-1] if on["children first"] else order:
        if on["triggers"]:
            file.require_triggers()
        _remove(file, table, _judge(file, server, on, table, cut))
        yield "compared"
    if on["turn"]:
        token = yield from turn_token(file, server, token, hi, announced=True)
        if restored_at is not None and on["branch"]:
            # What was numbered beyond that belongs to a past that the server no longer has.
            file.history = {old: min(at, restored_at) for old, at in file.history.items()}
        file.history[token] = hi
    file.cursors = dict.fromkeys(order, 0)
    file.incarnation, file.token, file.pending = incarnation, token, []
    yield "reconciled"


def _judge(file: File, server: Server, on: Mapping[str, bool], table: str, cut: int) -> list[str]:
    """Log what the server forgot, and what was overtaken there; give what was deleted there."""
    gone = []
    incoming = Incoming(file, server, on)
    for key, (revision, seq) in file.base[table].items():
        theirs = server.held(table, key)
        if (theirs and theirs[1] == revision) or incoming.is_dirty(table, key):
            continue
        row = file.rows[table].get(key)
        if theirs is None:
            if seq > cut:
                file.note(table, key, AGAIN)
            elif row is not None:
                gone.append(key)
        elif cut < seq and theirs[2] < seq:
            file.note(table, key, AGAIN)
        elif cut < seq:
            # The server's will stay, and mine be archived there: push sees to both.
            file.note(table, key, SUSPECT)
    return gone


def _remove(file: File, table: str, keys: list[str]) -> None:
    """Remove rows that were deleted on the server; push judges one that has children here."""
    while keys:
        kept = [key for key in keys if file.children_of(table, key)]
        for key in keys:
            if key not in kept:
                del file.rows[table][key]
                del file.base[table][key]
        if len(kept) == len(keys):
            break
        keys = kept
    for key in keys:
        file.note(table, key, PUT)
