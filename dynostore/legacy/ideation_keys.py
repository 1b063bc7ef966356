"""The names that ideation gave its keys in Redis, in the order of what hangs on what.

Measured: no key has a time to live, and every one is below ``ideation:``. A store with hundreds of
thousands of sessions has millions of keys, so that their names are kept on disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator

PREFIX = b"ideation:"

TYPES = {
    "session": "string",
    "messages": "list",
    "requirements": "hash",
    "maturity": "string",
    "prd": "string",
    "stories": "list",
    "user_sessions": "set",
}
"""What Redis calls the value of each noun's keys, by noun: ``ideation:<noun>:<owner>``."""

OF_A_SESSION = tuple(noun for noun in TYPES if noun != "user_sessions")
_NUMBERS = {noun: number for number, noun in enumerate(TYPES)}
_NOUNS = tuple(TYPES)


def key_of(noun: str, owner: bytes) -> bytes:
    """Give the name of a session's or user's key."""
    return b"%b%b:%b" % (PREFIX, noun.encode(), owner)


def path_of(noun: str, owner: bytes) -> str:
    """Give the same in a form that can be printed."""
    return text_of(key_of(noun, owner))


def parse_key(key: bytes) -> tuple[str, bytes] | None:
    """Give the noun of a key and whose it is; None where it is none of ideation's."""
    if not key.startswith(PREFIX):
        return None
    noun, colon, owner = key[len(PREFIX) :].partition(b":")
    name = noun.decode("latin-1")
    return (name, owner) if colon and name in TYPES else None


def text_of(name: bytes) -> str:
    """Give a name in a form that can be printed, whatever bytes it is made of."""
    return name.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


@dataclasses.dataclass(slots=True)
class Place:
    """Where a key's value lies in a file, in bytes; nothing is said where a server knows it."""

    start: int = 0
    size_bytes: int = 0


@dataclasses.dataclass(slots=True)
class Owner:
    """A session, or the name of one, with the keys that there are of it."""

    name: bytes
    places: dict[str, Place]


class KeyIndex:
    """The keys of a source by their owner, in a temporary database of its own."""

    def __init__(self) -> None:
        # An empty name is a file that SQLite keeps in memory until it grows, and removes at last.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE keys (owner BLOB, noun INTEGER, start INTEGER, size INTEGER,"
            " PRIMARY KEY (owner, noun)) WITHOUT ROWID;"
            "CREATE TABLE members (session BLOB, user BLOB,"
            " PRIMARY KEY (session, user)) WITHOUT ROWID;"
            "CREATE INDEX by_user ON members (user);"
        )

    def close(self) -> None:
        """Remove it."""
        self._db.close()

    def add(self, noun: str, owner: bytes, place: Place) -> bool:
        """Note a key; give whether it is new."""
        values = (owner, _NUMBERS[noun], place.start, place.size_bytes)
        made = self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?)", values)
        return made.rowcount == 1

    def add_many(self, keys: Iterable[tuple[str, bytes]]) -> None:
        """Note keys of a server, which may name one more than once."""
        with self._at_once():
            self._db.executemany(
                "INSERT OR IGNORE INTO keys VALUES (?, ?, 0, 0)",
                ((owner, _NUMBERS[noun]) for noun, owner in keys),
            )

    def add_members(self, user: bytes, sessions: Iterable[bytes]) -> None:
        """Note whose sessions these are, as the user's set has it."""
        with self._at_once():
            self._db.executemany(
                "INSERT OR IGNORE INTO members VALUES (?, ?)", ((s, user) for s in sessions)
            )

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        yield
        self._db.execute("COMMIT")

    def owners(self) -> Iterator[Owner]:
        """Give each owner of a session's keys, in the order of their names."""
        found: Owner | None = None
        rows = self._db.execute(
            "SELECT owner, noun, start, size FROM keys WHERE noun <> ? ORDER BY owner, noun",
            (_NUMBERS["user_sessions"],),
        )
        for name, number, start, size in rows:
            if found is None or found.name != name:
                if found is not None:
                    yield found
                found = Owner(name, {})
            found.places[_NOUNS[number]] = Place(start, size)
        if found is not None:
            yield found

    def users(self) -> list[tuple[bytes, Place]]:
        """Give the users that have a set, in the order of their names."""
        rows = self._db.execute(
            "SELECT owner, start, size FROM keys WHERE noun = ? ORDER BY owner",
            (_NUMBERS["user_sessions"],),
        )
        return [(name, Place(start, size)) for name, start, size in rows]

    def users_of(self, session: bytes) -> list[bytes]:
        """Give the users whose set names the session."""
        rows = self._db.execute("SELECT user FROM members WHERE session = ?", (session,))
        return [row[0] for row in rows]

    def forget_user(self, user: bytes) -> None:
        """Take back a key that is no set after all."""
        self._db.execute(
            "DELETE FROM keys WHERE owner = ? AND noun = ?", (user, _NUMBERS["user_sessions"])
        )

    def missing_of(self, user: bytes) -> tuple[int, list[bytes]]:
        """Count what a user's set names, and give the sessions among it that are not there."""
        total = self._db.execute("SELECT count(*) FROM members WHERE user = ?", (user,))
        missing = self._db.execute(
            "SELECT session FROM members WHERE user = ? AND NOT EXISTS"
            " (SELECT 1 FROM keys WHERE owner = session AND noun = 0) ORDER BY session",
            (user,),
        )
        return total.fetchone()[0], [row[0] for row in missing]
