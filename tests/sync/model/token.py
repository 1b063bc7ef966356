"""Changes the token on both sides of the model without sending anything."""

from __future__ import annotations

from tests.sync.model.file import File, Pending
from tests.sync.model.server import Server
from tests.sync.model.tables import PUT, Steps, Stopped


def turn_token(
    file: File, server: Server, old: int | None, clock: int, *, announced: bool
) -> Steps:
    """Give the server a new token for a file; give it, for the file to take over.

    What a file knows of the server must never run ahead of its token: a server that is restored to
    before the token was turned is known by the older one.

    :param old: the token that the server must have.
    :param clock: what the file is about to know goes up to this number.
    :param announced: False: the batch of nothing is not listed as pending.
    """
    epoch = server.nodes[file.id][1]
    token = server.new()
    if announced:
        file.pending = [Pending(token, "", PUT, "", "", 0, ())]
    yield "turn announced"
    if server.nodes[file.id] != (old, epoch):
        raise Stopped("the token has moved")
    server.nodes[file.id] = (token, epoch)
    server.history.setdefault(file.id, {})[token] = (clock, {})
    yield "token turned"
    return token
