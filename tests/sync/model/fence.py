"""First thing in every sync of the model: are these the file and the server that agreed last."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.sync.model.acknowledge import Acknowledgement
from tests.sync.model.file import File, Pending
from tests.sync.model.reconcile import reconcile
from tests.sync.model.server import Server
from tests.sync.model.tables import PUT, IdentityMismatch, Steps


class Fence:
    """The fence between one file and one server.

    :ivar cases: which cases of the table were taken, in order.
    """

    def __init__(
        self, file: File, server: Server, on: Mapping[str, bool], new: Callable[[], int]
    ) -> None:
        self._file = file
        self._server = server
        self._on = on
        self._new = new
        self.cases: list[str] = []

    def steps(self) -> Steps:
        """Find out what happened since the last sync, and set both sides to rights.

        :raises IdentityMismatch: the server has forgotten this file, or is another one.
        """
        while not (yield from self._pass()):
            pass

    def _pass(self) -> Steps:
        """Take one case of the table; give False when another look is needed."""
        file, server = self._file, self._server
        if file.server_id not in (None, server.id):
            raise IdentityMismatch(file.name)
        known = file.id in server.nodes
        theirs, epoch = server.nodes.get(file.id, (None, 0))
        announced = [batch.token for batch in file.pending]
        if not known and file.token is None:
            self.cases.append("register")
            server.nodes[file.id] = (None, 0)
            yield "registered"
            return (yield from self._identify())
        older = theirs is None or theirs in file.history
        if not known or (older and theirs not in (file.token, *announced)):
            self.cases.append("restored")
            return (yield from self._server_was_restored(theirs))
        if announced:
            server.nodes[file.id] = (theirs, epoch + 1)
            yield "shut out"
        if theirs == file.token:
            if file.pending or file.server_id is None:
                yield from self._identify()
            if file.incarnation != server.incarnation or server.hi < max(file.cursors.values()):
                self.cases.append("reconcile")
                yield from reconcile(file, server, self._on, token=file.token)
            return True
        if theirs in announced:
            self.cases.append("finish")
            yield from self._finish()
            return False
        return (yield from self._file_is_a_copy())

    def _identify(self) -> Steps:
        file = self._file
        file.drop_pending()
        file.server_id = self._server.id
        file.incarnation = file.incarnation or self._server.incarnation
        yield "identified"
        return file.incarnation == self._server.incarnation

    def _finish(self) -> Steps:
        """The server has batches that were not acknowledged: write down what it made of them."""
        file = self._file
        for batch in list(file.pending):
            batches = self._server.history.get(file.id, {})
            if batch.token in file.history or batch.token not in batches:
                continue
            keys = self._keys_of(batch, batches[batch.token][0])
            yield from Acknowledgement(file, self._server, batch, keys, self._on).steps()
            file.forget_done(batch, itself=True)
            yield "forgotten"

    def _keys_of(self, batch: Pending, seq: int) -> list[str]:
        """Tell which keys the batch held.

        Those that did not change again are in the log, up to its marker; of others only the server
        can say whether they were in it, as long as it holds them as the batch left them.
        """
        if not batch.table:
            return []
        file, server, table = self._file, self._server, batch.table
        held = (server.rows if batch.op == PUT else server.tombstones)[table]
        keys = {key for key, (_, rev, at, _) in held.items() if (rev, at) == (batch.token, seq)}
        if self._on["crash bases"]:
            later = file.keys_after(batch.marker, table)
            for number, name, key, _ in file.log:
                if number < batch.marker and name == table and key not in later:
                    sent = (key in file.rows[table]) == (batch.op == PUT)
                    aside = (table, key) in file.rejects
                    if batch.first <= key <= batch.last and sent and not aside:
                        keys.add(key)
        return sorted(keys)

    def _file_is_a_copy(self) -> Steps:
        """The server is ahead of a token that it once gave: this is a copy, or an old backup."""
        file, server = self._file, self._server
        theirs = server.history.get(file.id, {})
        tokens = [batch.token for batch in file.pending] + [file.token]
        if file.token is not None and not any(token in theirs for token in tokens):
            raise IdentityMismatch(file.name)
        self.cases.append("copy")
        if not self._on["copy"]:
            file.pending, file.token = [], server.nodes[file.id][0]
            return False
        yield from self._finish()
        node, token, clock = f"{file.name}/{self._new()}", None, server.hi
        if self._on["born"]:
            token = self._new()
            server.nodes[node] = (token, 0)
            server.history[node] = {token: (clock, {})}
            yield "born"
        file.drop_pending()
        file.id, file.token = node, token
        file.history = {} if token is None else {token: clock}
        yield "new identity"
        return False

    def _server_was_restored(self, theirs: int | None) -> Steps:
        """The server has an older token of mine. Who notices first begins a new incarnation."""
        file, server = self._file, self._server
        cut = 0 if theirs is None else file.history.get(theirs, 0)
        current = server.incarnation
        mine = file.incarnation or current
        if mine not in (current, *server.ancestors):
            cut = 0
        server.raise_clock(file.latest_clock())
        if mine == current or mine not in server.ancestors:
            for ended in (current, mine):
                server.ancestors.setdefault(ended, cut)
            server.incarnation = self._new()
        server.nodes.setdefault(file.id, (None, 0))
        yield "new incarnation"
        file.drop_pending()
        yield "pending dropped"
        yield from reconcile(file, server, self._on, token=theirs, restored_at=cut)
        return False
