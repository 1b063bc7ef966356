"""Brings the server's changes into the model's file, from one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.sync.model.file import File
from tests.sync.model.incoming import Incoming
from tests.sync.model.reconcile import reconcile
from tests.sync.model.server import Server
from tests.sync.model.tables import Held, Steps
from tests.sync.model.token import turn_token


class Pull:
    """One pull into one file.

    :ivar logged: rows were logged that only the server can judge: another push is due.
    """

    def __init__(
        self,
        file: File,
        server: Server,
        on: Mapping[str, bool],
        *,
        scope: tuple[str, ...],
    ) -> None:
        self._file = file
        self._server = server
        self._on = on
        self._scope = scope
        self.logged = False

    def steps(self) -> Steps:
        """Write what is newer than the cursors; a window that is repeated is harmless."""
        file, server, on = self._file, self._server, self._on
        compared = None
        while on["horizon"] and self._is_behind() and compared != server.horizon:
            compared = server.horizon
            yield from reconcile(file, server, on, token=file.token)
            if not on["purged meanwhile"]:
                break
        snapshot = server.snapshot()
        yield "snapshot read"
        window = list(self._window(snapshot))
        hi = snapshot.hi
        # What a file knows of the server never runs ahead of its token: a server that is restored
        # to before the snapshot is known by the older token then.
        ahead = hi > file.history.get(file.token or 0, -1)
        if not window and compared is None:
            return
        if ahead and on["pull token"]:
            yield from self._turn_token(hi)
        incoming = Incoming(file, snapshot, on)
        for table, key, held in window:
            if self._is_news(incoming, table, key, held):
                if on["triggers"]:
                    file.require_triggers()
                incoming.take(table, key, held)
                self.logged = self.logged or incoming.logged
                yield "pulled"
        for table in self._scope if on["cursors"] else file.cursors:
            file.cursors[table] = hi
        yield "cursors moved"
        if ahead and not on["pull token"]:
            yield from self._turn_token(hi)

    def _is_behind(self) -> bool:
        """Tell whether tombstones were purged that this file has not seen."""
        return min(self._file.cursors[table] for table in self._scope) < self._server.horizon

    def _window(self, snapshot: Server) -> Iterator[tuple[str, str, Held]]:
        """Give rows, parents first, then tombstones, children first."""
        cursors = self._file.cursors
        for held, order in ((snapshot.rows, self._scope), (snapshot.tombstones, self._scope[::-1])):
            for table in order:
                cursor = cursors[table]
                for key, item in held[table].items():
                    if item[2] > cursor:
                        yield table, key, item

    def _is_news(self, incoming: Incoming, table: str, key: str, held: Held) -> bool:
        if not self._on["echo"]:
            return held[3] != self._file.id and not incoming.is_dirty(table, key)
        base = self._file.base[table].get(key)
        return (base is None or base[0] != held[1]) and not incoming.is_dirty(table, key)

    def _turn_token(self, hi: int) -> Steps:
        file = self._file
        announced = self._on["pending"]
        token = yield from turn_token(file, self._server, file.token, hi, announced=announced)
        file.token, file.pending = token, []
        file.history[token] = hi
        yield "token known"
