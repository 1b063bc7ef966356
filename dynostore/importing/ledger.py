"""What an import must remember of a source of any size: on disk, so that memory stays flat."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, overload

from dynostore.legacy import Finding

ItemT = TypeVar("ItemT")

_CHUNK_ITEMS = 4096
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE claimed (id BLOB PRIMARY KEY, path TEXT, hash TEXT) WITHOUT ROWID;
CREATE TABLE noted (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE owned (path TEXT, kind TEXT, PRIMARY KEY (path, kind)) WITHOUT ROWID;
CREATE TABLE lone (
    path TEXT, place INTEGER, kind TEXT, outcome TEXT, reason TEXT, files INTEGER, key TEXT,
    PRIMARY KEY (path, place)
) WITHOUT ROWID;
"""


class Log(Sequence[ItemT], Generic[ItemT]):
    """A list that grows to any length in flat memory: what is full goes to a file without a name.

    It ends with the object. Reading from its beginning to its end is fast, from elsewhere not.
    """

    def __init__(self, items: Iterable[ItemT] = ()) -> None:
        self._tail: list[ItemT] = []
        self._chunks: list[int] = []
        self._file: Any = None
        self += items

    def append(self, item: ItemT) -> None:
        """Add one to the end."""
        self._tail.append(item)
        if len(self._tail) == _CHUNK_ITEMS:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the log
                weakref.finalize(self, self._file.close)
            self._chunks.append(self._file.seek(0, 2))
            pickle.dump(self._tail, self._file, pickle.HIGHEST_PROTOCOL)
            self._tail = []

    def __iadd__(self, items: Iterable[ItemT]) -> Self:
        for item in items:
            self.append(item)
        return self

    def __len__(self) -> int:
        return len(self._chunks) * _CHUNK_ITEMS + len(self._tail)

    def __iter__(self) -> Iterator[ItemT]:
        for number in range(len(self._chunks)):
            yield from self._chunk(number)
        yield from self._tail

    @overload
    def __getitem__(self, index: int) -> ItemT: ...
    @overload
    def __getitem__(self, index: slice) -> list[ItemT]: ...
    def __getitem__(self, index: int | slice) -> ItemT | list[ItemT]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number, place = divmod(range(len(self))[index], _CHUNK_ITEMS)
        return self._chunk(number)[place]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as every list

    def __repr__(self) -> str:
        return repr([*self])

    def _chunk(self, number: int) -> list[ItemT]:
        if number == len(self._chunks):
            return self._tail
        self._file.seek(self._chunks[number])
        chunk: list[ItemT] = pickle.load(self._file)  # noqa: S301 - our own, in a file without name
        return chunk


class Ledger:
    """The keys that one import has met, and what several readers say of the same files.

    A private database of SQLite, which holds it in memory while it is small.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")
        self._claims = self._db.cursor()  # one for all: a new one each time takes as long as to ask

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def claim(self, identity: str, path: str, content_hash: str) -> tuple[str, str] | None:
        """Give path and hash of what has this identity already; None: it is new, and now taken."""
        key = _key_of(identity)
        statement = "INSERT OR IGNORE INTO claimed VALUES (?, ?, ?)"
        if self._claims.execute(statement, (key, path, content_hash)).rowcount:
            return None
        row = self._db.execute("SELECT path, hash FROM claimed WHERE id = ?", (key,)).fetchone()
        return str(row[0]), str(row[1])

    def release(self, identity: str) -> None:
        """Take a claim back: its record is not in the store."""
        self._db.execute("DELETE FROM claimed WHERE id = ?", (_key_of(identity),))

    def is_claimed(self, identity: str) -> bool:
        """Tell whether a record of this identity was met."""
        statement = "SELECT 1 FROM claimed WHERE id = ?"
        return self._db.execute(statement, (_key_of(identity),)).fetchone() is not None

    def note(self, identity: str) -> bool:
        """Remember the id of something invalid; tell whether it is the first time."""
        key = _key_of(identity)
        return bool(self._db.execute("INSERT OR IGNORE INTO noted VALUES (?)", (key,)).rowcount)

    def is_noted(self, identity: str) -> bool:
        """Tell whether something invalid has this id."""
        statement = "SELECT 1 FROM noted WHERE id = ?"
        return self._db.execute(statement, (_key_of(identity),)).fetchone() is not None

    def own(self, kind: str, path: str) -> None:
        """Remember that a reader made a record of a file, or of a directory with all below it."""
        self._db.execute("INSERT OR IGNORE INTO owned VALUES (?, ?)", (path, kind))

    def set_aside(self, place: int, kind: str, finding: Finding) -> None:
        """Keep what one of several readers says of a file of its own, until all were heard.

        :param place: the reader's, in the order in which they were asked.
        """
        self._db.execute(
            "INSERT OR IGNORE INTO lone VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                finding.path,
                place,
                kind,
                finding.outcome,
                finding.reason,
                finding.files,
                finding.key,
            ),
        )

    def unclaimed_files(self) -> Iterator[tuple[str, Finding]]:
        """Give each file that no reader made a record of, once: kind and finding, by path.

        Of a file in a record's directory the record's reader speaks, of one beside records theirs,
        of any other the first one.
        """
        told: dict[str, Finding] = {}
        path = None
        rows = self._db.execute(
            "SELECT path, kind, outcome, reason, files, key FROM lone ORDER BY path, place"
        )
        for row in rows:
            if row[0] != path and path is not None:
                yield from self._spokesman(path, told)
                told = {}
            path = row[0]
            told[row[1]] = Finding(row[0], row[2], row[3], files=row[4], key=row[5])
        if path is not None:
            yield from self._spokesman(path, told)

    def _spokesman(self, path: str, told: dict[str, Finding]) -> Iterator[tuple[str, Finding]]:
        owners = self._owners(path)
        # Who says that something is broken knows it for its own, such as a damaged database.
        broken = {kind for kind, finding in told.items() if finding.outcome == "invalid"}
        speakers = owners or broken or (self._neighbours(path) & told.keys())
        for kind, finding in told.items():
            if not speakers or kind in speakers:
                yield kind, finding
                return

    def _neighbours(self, path: str) -> set[str]:
        place = path.rpartition("/")[0]
        rows = self._db.execute(
            # "0" comes after "/": all that is below the place.
            "SELECT DISTINCT kind FROM owned WHERE path > ? || '/' AND path < ? || '0'",
            (place, place),
        )
        return {kind for (kind,) in rows}

    def _owners(self, path: str) -> set[str]:
        parts = path.split("/")
        places = [".", *("/".join(parts[: end + 1]) for end in range(len(parts)))]
        found: set[str] = set()
        for place in places:
            rows = self._db.execute("SELECT kind FROM owned WHERE path = ?", (place,))
            found.update(kind for (kind,) in rows)
        return found


def _key_of(identity: str) -> bytes:
    return bytes.fromhex(identity.replace("-", ""))  # uuid.UUID() takes six times as long


@contextlib.contextmanager
def opened_ledger() -> Iterator[Ledger]:
    """Give an empty ledger, and throw it away at the end."""
    ledger = Ledger()
    try:
        yield ledger
    finally:
        ledger.close()
