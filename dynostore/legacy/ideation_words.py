"""How the words of ideation's documents are read: what is absent, odd or of another form.

A document's keys are taken one by one; those that no column takes are metadata. What had to be
guessed is a warning, and a value that cannot be held is :class:`~dynostore.legacy.base.Unreadable`.
"""

from __future__ import annotations

import collections
import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Self

from dynostore.ids import derived_id
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_json import parse_object
from dynostore.legacy.timestamps import parse_utc

MAX_KEY = 64
NULL = "_null"
"""Where dynostore's own documents name the lists that are empty for the old program's sake."""
_FIRST_MILLISECOND = 100_000_000_000  # as seconds the year 5138, as milliseconds 1973


class Warnings:
    """What a person should know of one session, each once, with how often it was met."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, text: str) -> None:
        """Note a warning."""
        self._counts[text] += 1

    def texts(self) -> list[str]:
        """Give all warnings in the order in which they were first met."""
        return [
            text if count == 1 else f"{text} ({count} times)"
            for text, count in self._counts.items()
        ]


class Words:
    """A document on its way to a row: its keys are taken out one by one.

    :ivar rest: what was not taken.
    :param noun: what the document is, for warnings.
    """

    def __init__(self, data: bytes, noun: str, warnings: Warnings) -> None:
        self.rest, warning = parse_object(data)
        self._noun = noun
        self._warnings = warnings
        if warning:
            self.warn(warning)
        self._clear(self.rest)

    @classmethod
    def of(cls, document: dict[str, Any], noun: str, warnings: Warnings) -> Self:
        """Give the words of a document that was read as a part of another."""
        words = cls(b"{}", noun, warnings)
        words.rest = document
        words._clear(document)
        return words

    @staticmethod
    def _clear(document: dict[str, Any]) -> None:
        names = document.get(NULL)
        if isinstance(names, list) and all(document.get(str(name)) == [] for name in names):
            document |= dict.fromkeys(map(str, document.pop(NULL)))

    def warn(self, text: str) -> None:
        """Say what a person should know."""
        self._warnings.add(f"{self._noun}: {text}")

    def take(self, name: str) -> Any:
        """Take a value as it is; None where it is absent."""
        return self.rest.pop(name, None)

    def text(self, name: str, otherwise: str | None = None) -> str:
        """Take a text; a number is written as one.

        :param otherwise: what an absent one is taken for, with a warning; None: it must be there.
        """
        value = self.rest.pop(name, None)
        if isinstance(value, str):
            return value
        if value is None:
            if otherwise is None:
                raise Unreadable(f"{name}: is missing")
            self.warn(f"{name}: is missing; {otherwise!r} is taken")
            return otherwise
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise Unreadable(f"{name}: text expected, not {type(value).__name__}")

    def choice(self, name: str, allowed: Sequence[str], otherwise: str | None = None) -> str:
        """Take one of some words, whatever its case and with ``-`` or a space for ``_``."""
        said = self.text(name, otherwise)
        if said in allowed:
            return said
        word = said.strip().lower().replace("-", "_").replace(" ", "_")
        if word not in allowed:
            raise Unreadable(f"{name}: unknown value {said!r:.80}; one of {', '.join(allowed)}")
        self.rest[name] = said
        return word

    def number(self, name: str, otherwise: float | None = None) -> float:
        """Take a number with its fraction; text that is one is one."""
        value = self.rest.pop(name, None)
        if value is None and otherwise is not None:
            return otherwise
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise Unreadable(f"{name}: {value!r:.80} is not a number") from None
            self.warn(f"{name}: is a text; read as a number")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unreadable(f"{name}: number expected, not {type(value).__name__}")
        try:
            number = float(value)
        except OverflowError:
            raise Unreadable(f"{name}: is greater than any double") from None
        if not math.isfinite(number):
            raise Unreadable(f"{name}: is not a finite number")
        return number

    def flag(self, name: str) -> bool:
        """Take yes or no; absent is no."""
        value = self.rest.pop(name, None)
        if value is None or value in (0, 1):
            return bool(value)
        raise Unreadable(f"{name}: true or false expected, not {value!r:.80}")

    def time(self, name: str, otherwise: dt.datetime | None) -> dt.datetime:
        """Take a time: ISO, or a number of seconds or milliseconds since 1970.

        :param otherwise: what an absent one is taken for, with a warning; None: it must be there.
        """
        value = self.rest.pop(name, None)
        if value is None or value == "":
            if otherwise is None:
                raise Unreadable(f"{name}: is missing")
            self.warn(f"{name}: is missing; the nearest known time is taken")
            return otherwise
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.rest[name] = value
            self.warn(f"{name}: is a number; read as the time since 1970")
            return from_epoch(value, name)
        try:
            moment, has_offset = parse_utc(value)
        except ValueError as exc:
            raise Unreadable(f"{name}: {exc}") from None
        if not has_offset:
            self.warn(f"{name}: has no offset; taken as UTC")
        return moment

    def key(self, otherwise: str, table: str, parent: str) -> str:
        """Take the id that is a key inside its session.

        One that is too long is derived; the old one stays in the metadata.
        """
        said = self.rest.pop("id", None)
        if said is None or said == "":
            self.warn(f"id: is missing; {otherwise!r} is taken")
            said = otherwise
        if isinstance(said, int | float) and not isinstance(said, bool):
            said = str(said)
        if not isinstance(said, str):
            raise Unreadable(f"id: text expected, not {type(said).__name__}")
        if len(said) <= MAX_KEY:
            return said
        self.rest["id"] = said
        return derived_id(table, parent, said)

    def belongs_to(self, session: str) -> None:
        """Check whose it says that it is; the key that it was found under is right."""
        said = self.rest.get("session_id")
        if said == session:
            del self.rest["session_id"]
        elif "session_id" in self.rest:
            self.warn(f"session_id: is {said!r:.80}, but its key is of {session!r:.80}")

    def metadata(self) -> Any:
        """Give what is left, as the column holds it: what it calls so, and all other keys."""
        if not self.rest:
            return None
        own = self.rest.pop("metadata", None)
        if not self.rest:
            return own
        if own is None:
            return self.rest
        if not isinstance(own, dict):
            return {"metadata": own, **self.rest}
        for name, value in self.rest.items():
            while name in own:
                name += "_"
            own[name] = value
        return own


def from_epoch(value: float, name: str) -> dt.datetime:
    """Read a number of seconds, or of milliseconds where it is too great for that.

    :raises Unreadable: it is outside what a time can be.
    """
    seconds = value / 1000 if abs(value) >= _FIRST_MILLISECOND else value
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        raise Unreadable(f"{name}: {value!r:.40} is no time") from None
