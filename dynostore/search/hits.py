"""What a search gives: records with the place where they match, the best ones first."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

Progress = Callable[[str, int, int], None]
"""Told what is being indexed, how many are done, and of how many about."""

MARKS = ("[", "]")
"""What stands around each match in a snippet."""

SNIPPET_WORDS = 24
ELLIPSIS = "…"
TITLE_CHARACTERS = 80


@dataclasses.dataclass(frozen=True)
class Match:
    """What an index knows of a record that fits.

    :ivar rank: higher is better.
    """

    kind: str
    id: str
    rank: float
    snippet: str


@dataclasses.dataclass(frozen=True)
class Hit(Match):
    """A record that fits.

    :ivar kind: one of the names in :data:`dynostore.search.KINDS`.
    :ivar id: its key.
    :ivar rank: how well it fits, higher is better; to be compared within one answer only.
    :ivar snippet: the part of its text that fits best, on one line, with the matches marked.
    :ivar parent: the id of the conversation or ideation session that it is a part of.
    :ivar title: what it is called, on one line; empty where it has no name.
    :ivar when: when it was created; UTC.
    """

    parent: str | None
    title: str
    when: dt.datetime


@dataclasses.dataclass(frozen=True)
class Hits:
    """An answer: the records that fit, best first.

    :ivar items: the hits.
    :ivar notes: what a person should know about the answer: it took no index, or not all words.
    """

    items: list[Hit]
    notes: list[str]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def one_line(text: str) -> str:
    """Give a text with every gap in it as one space."""
    return " ".join(text.split())
