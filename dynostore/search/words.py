"""What somebody typed becomes words, phrases and beginnings of words; nothing in it is syntax."""

from __future__ import annotations

import dataclasses
import re

MOST_WORDS = 100
MOST_CHARACTERS = 2000
"""Beyond either nothing is searched for: SQLite's time grows with the square of the words."""

_PIECES = re.compile(r'"([^"]*)"(\*?)|(\S+)')
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Term:
    """Something that must be there.

    :ivar text: one word or several; several must stand side by side.
    :ivar begins: the last word may go on.
    """

    text: str
    begins: bool


@dataclasses.dataclass(frozen=True)
class Query:
    """What is looked for.

    :ivar terms: all of them must be in a record; none where nothing in the text is a word.
    :ivar is_cut: the text had more than is searched for.
    """

    terms: tuple[Term, ...]
    is_cut: bool


def read_query(text: str) -> Query:
    """Read what a person typed; every text is a query.

    Words, ``"several words"`` for a phrase, ``beg*`` for the beginning of a word. Everything else
    is taken as it is: what is no letter or digit separates words, as it does in the records.
    """
    text = _NO_TEXT.sub(" ", text)
    is_long = len(text) > MOST_CHARACTERS
    if is_long:
        # The word that is cut in the middle would be another one.
        text = text[:MOST_CHARACTERS].rsplit(None, 1)[0]
    terms: dict[Term, None] = {}
    for phrase, star, word in _PIECES.findall(text):
        begins = bool(star) or word.endswith("*")
        words = (phrase or word).replace('"', " ").replace("*", " ")
        if any(map(str.isalnum, words)):
            terms[Term(words, begins)] = None
    return Query(tuple(terms)[:MOST_WORDS], is_long or len(terms) > MOST_WORDS)
