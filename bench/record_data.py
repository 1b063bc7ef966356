"""What ``bench records`` stores: a table of messages, written past the verbs, and one state."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynostore import Store
from dynostore.fields import time_text, utc_now

CONTEXT_MESSAGES = 20
TEXT = "hello world, " * 12
STATE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "x" * 180, "n": number} for number in range(90)]
}
"""About 20 KB as JSON."""


@dataclasses.dataclass(frozen=True)
class Talks:
    """How many conversations there are, and how many messages each has."""

    number: int
    messages: int


def make_talks(path: Path, talks: Talks) -> None:
    """Make a store with so many conversations, their messages interleaved as programs write them.

    In plain SQL: the verbs would take minutes for a million of them.
    """
    Store.open(path).close()
    begun = utc_now() - dt.timedelta(days=talks.messages)
    ids = [_uuid7(number) for number in range(talks.number)]
    times = [time_text(begun + dt.timedelta(seconds=number)) for number in range(talks.number)]
    with contextlib.closing(sqlite3.connect(path)) as db:
        with db:
            db.executemany(
                "INSERT INTO conversations (id, created_at, updated_at) VALUES (?, ?, ?)",
                zip(ids, times, times, strict=True),
            )
            db.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, NULL)", _messages(ids, talks, begun)
            )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _messages(ids: list[str], talks: Talks, begun: dt.datetime) -> Iterator[tuple[Any, ...]]:
    number = talks.number
    for turn in range(talks.messages):
        for key in ids:
            number += 1
            at = time_text(begun + dt.timedelta(milliseconds=number))
            yield _uuid7(number), key, ("user", "assistant")[turn % 2], TEXT, at


def _uuid7(number: int) -> str:
    """Give the UUIDv7 of this millisecond, with the same rest each time."""
    return str(uuid.UUID(int=number << 80 | 7 << 76 | 2 << 62 | number * 2654435761 % 2**62))
