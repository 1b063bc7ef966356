"""What every reader of an older tool's data gives: records, and findings about all the rest."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from dynostore.models.base import Record

Row = tuple[type[Record], dict[str, Any]]
"""A table, and a row's values by column name."""


class Unreadable(ValueError):
    """What stands in the source cannot be taken over; the message is the reason."""


@dataclasses.dataclass(slots=True)
class SourceRecord:
    """One record of the older tool, as the store would hold it; an import takes it to pieces.

    Written, merged and refused as a whole: what has no end, such as the messages of a long talk, is
    given as several records, of which the later ones refer to a row of the earlier.

    :ivar model: the record's table.
    :ivar key: its key in that table.
    :ivar values: its columns by name, the key's included.
    :ivar children: the rows that belong to it, of any tables, keys and references included. They
        may refer to the record, to each other and to what was given before, in any order.
    :ivar path: where it was found, below the source's root, with ``/``; for people. Of several
        records in one file it says which, as in ``haia.db#conversations/3``.
    :ivar place: the file, directory or URL that it was read from, absolute, and nothing else.
    :ivar content_hash: SHA-256 in hex of all that it was read from. Equal content, equal hash:
        names and bytes count, times of files and the place do not.
    :ivar files: how many files it was read from that no other record counts: of several records in
        one file the first has 1, the others 0, and from a server all have 0.
    :ivar members: the absolute paths of the files that are its own and that an archive takes along,
        the one that makes it a record first; empty: ``place``, where that is a file.
    :ivar own_keys: the tables of children whose keys are unique in the record and perhaps nowhere
        else: one that another record's row has is replaced by a derived one, and kept in the
        metadata. Nothing may refer to such rows.
    :ivar derived_keys: the tables of children whose keys are made of the record's own key: such a
        row is in the store below the record or not at all.
    :ivar warnings: what a person should know, although the record is good.
    :ivar weight_bytes: about how much memory it holds.
    :ivar origin: which of several sources it comes from, where two of them may hold the same key
        and each its own values; empty where a key means one record, wherever it is found.
    :ivar line: which line of its file it is, where the path does not tell two such apart; else 0.
    :ivar assumed: the record's columns that the source does not say: they make a new record whole,
        and what the store has there already stays.
    """

    model: type[Record]
    key: str
    values: dict[str, Any]
    children: list[Row]
    path: str
    place: str
    content_hash: str
    files: int = 1
    warnings: list[str] = dataclasses.field(default_factory=list)
    weight_bytes: int = 0
    members: Sequence[str] = ()
    own_keys: frozenset[type[Record]] = frozenset()
    derived_keys: frozenset[type[Record]] = frozenset()
    origin: str = ""
    assumed: frozenset[str] = frozenset()
    line: int = 0


@dataclasses.dataclass(slots=True)
class Finding:
    """Something in the source that becomes no record, and why.

    :ivar outcome: ``skipped``: there is nothing to take over; ``invalid``: there may be.
    :ivar path: as a record's; of a file that is of no record, its path alone.
    :ivar is_record: True where a record is lost; False for a single file.
    :ivar files: how many files share its fate.
    """

    path: str
    outcome: Literal["skipped", "invalid"]
    reason: str
    is_record: bool = False
    files: int = 1
    key: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person knows of a source and the source does not say.

    :ivar timezone: the zone of times that a tool took from its machine's clock and wrote without
        one; None: this machine's.
    """

    timezone: dt.tzinfo | None = None


class Reader(Protocol):
    """A reader of one older tool's data. It reads its source and nothing else, and never writes.

    :ivar kind: the tool's short name, as in ``dynostore import --kind``.
    """

    kind: str

    def detect(self, source: str) -> bool:
        """Tell whether this tool's data is at ``source``, an absolute path or a URL.

        It is asked of every source: it looks at names and first bytes only, and never raises. Of a
        directory it is asked only where the reader is no
        :class:`~dynostore.legacy.detection.TreeReader`, which are asked in one walk together.
        """
        ...

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        """Give all that is there, in an order that depends on names alone.

        Each file of the source is counted in exactly one of the records and findings. What cannot
        be read is a finding and never an error; only a source that cannot be read at all raises.

        :raises SourceNotFound: a database cannot be opened or a server not be reached.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A reader that can say beforehand how much there is, for the remaining time."""

    def count(self, source: str) -> int | None:
        """Give about how many records :meth:`Reader.read` will give; None where nobody knows."""
        ...
