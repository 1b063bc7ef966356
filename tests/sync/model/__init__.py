"""The sync protocol as a model without databases: files, one server, and a death at every step.

It says what docs/sync.md says, in modules with the names of the real ones, short enough to be read
beside it. A sync is a generator that stops after every transaction on either side; whoever runs it
lets others go on there, or kills it. What a person does to a file or to the server is a method
with the name of the real thing, and all can be read as plain dicts, so that one script can drive
the model and the real code.

Each rule has a name in ``RULES`` and can be switched off, to see what it is there for.
"""

from __future__ import annotations

from tests.sync.model.file import File
from tests.sync.model.rules import RULES
from tests.sync.model.server import Server
from tests.sync.model.tables import IdentityMismatch, Row, Table
from tests.sync.model.world import Model

__all__ = ["RULES", "File", "IdentityMismatch", "Model", "Row", "Server", "Table"]
