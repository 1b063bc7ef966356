"""What the push and the pull of one sync share: both sides, the tables, the figures by table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.remote.server import Server
from dynostore.sync.tables import Table

if TYPE_CHECKING:
    from dynostore.sync.push.verdicts import Outcome

Progress = Callable[[str, int], None]
"""Called after each batch with a table's name and how many of its rows are done."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much goes in one batch."""

    rows: int = 25_000
    bytes: int = 16 * 1024 * 1024


@dataclasses.dataclass
class TableReport:
    """What a sync did with one table; rows and seconds.

    :ivar sent: rows that the server took, deletions included.
    :ivar adopted: rows that the server held already, word for word.
    :ivar conflicts: rows that another node had changed or deleted as well.
    :ivar rejected: rows that the other side cannot hold, set aside.
    :ivar received: rows that came from the server, deletions included.
    """

    name: str
    sent: int = 0
    received: int = 0
    adopted: int = 0
    conflicts: int = 0
    rejected: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count what became of a batch."""
        self.sent += outcome.sent
        self.adopted += outcome.adopted
        self.conflicts += outcome.conflicts
        self.rejected += outcome.rejected

    @property
    def rows_per_s(self) -> float:
        """Rows sent, adopted or received in a second."""
        return (self.sent + self.adopted + self.received) / self.seconds if self.seconds else 0.0


class Reports(dict[str, TableReport]):
    """Reports by table, each made when it is first asked for."""

    def __missing__(self, name: str) -> TableReport:
        return self.setdefault(name, TableReport(name))


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One attempt of a sync.

    :ivar scope: the tables that it is about, parents first.
    """

    local: LocalFile
    server: Server
    scope: Sequence[Table]
    limits: Limits
    reports: Reports
    progress: Progress | None = None
