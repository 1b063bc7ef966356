"""One Taskforce record on its way into the store, and the clock that its times were read from."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
from typing import Any

from dynostore.fields import INT64_MAX, time_text
from dynostore.ids import derived_id
from dynostore.legacy.base import Row, Unreadable
from dynostore.legacy.timestamps import from_file_time
from dynostore.models.base import Record

KIND = "taskforce"


class Clock:
    """Reads times that were mostly written without a zone, from the clock of some machine.

    :param zone: that machine's zone; None: the one of this machine.
    :ivar has_guessed: whether the zone was needed since this was last set to False.
    """

    def __init__(self, zone: dt.tzinfo | None) -> None:
        self.zone = zone
        self.has_guessed = False

    def read(self, value: Any) -> dt.datetime:
        """Give the instant that a text means.

        :raises ValueError: it is no time, or outside the years 1 to 9999 in UTC.
        """
        if not isinstance(value, str):
            raise ValueError(f"a time is expected, not {type(value).__name__}")
        try:
            moment = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value[:80]!r} is not a time") from None
        if moment.tzinfo is None:
            self.has_guessed = True
            moment = moment if self.zone is None else moment.replace(tzinfo=self.zone)
        try:
            return moment.astimezone(dt.UTC)  # of a naive one: from this machine's zone
        except (OverflowError, OSError, ValueError):
            raise ValueError(f"{value!r:.80} is outside the years that can be") from None

    @functools.cached_property
    def said(self) -> str:
        """The zone, for people; this machine's as it is called at the first question."""
        if self.zone is None:
            return f"this machine's zone ({dt.datetime.now().astimezone().tzname()})"
        return str(self.zone)


@dataclasses.dataclass(slots=True)
class Draft:
    """A record as it was read.

    :param modified_s: the file system's time of its file.
    :ivar values: its columns by name.
    :ivar metadata: what no column takes; a column after :meth:`finish`.
    :ivar children: see :meth:`add_child`.
    """

    model: type[Record]
    key_name: str
    clock: Clock
    modified_s: float
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    children: list[Row] = dataclasses.field(default_factory=list)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    _places: list[str] = dataclasses.field(default_factory=list)

    @property
    def key(self) -> str:
        """The record's key."""
        return str(self.values[self.key_name])

    def time(self, *said: tuple[str, Any]) -> dt.datetime | None:
        """Give the first of some times that is said; one that is no time is kept in metadata."""
        for name, value in said:
            if value is None or value == "":
                continue
            try:
                return self.clock.read(value)
            except ValueError as exc:
                self.warnings.append(f"{name}: {exc}")
                self.keep(name, value)
        return None

    def file_time(self, name: str) -> dt.datetime:
        """Give the time of the file where the document has none, with a warning.

        :raises Unreadable: it is none either.
        """
        moment = from_file_time(self.modified_s)
        if moment is None:
            raise Unreadable(f"{name}: is missing, and the file's own time is out of range")
        self.warnings.append(f"{name}: is missing; the file's own time is taken")
        return moment

    def set_key(self, said: Any, otherwise: str, created: dt.datetime) -> None:
        """Set the key: the id that is said; for a number one that is unique everywhere.

        :param otherwise: the key where nothing is said.
        :raises Unreadable: something is said that is no id.
        """
        if said is None or said == "":
            self.warnings.append(f"{self.key_name}: is missing; {otherwise!r} is taken")
            said = otherwise
        if isinstance(said, int | float) and not isinstance(said, bool):
            self.set_derived_key(said, created)
        elif isinstance(said, str):
            self.values[self.key_name] = said
        else:
            raise Unreadable(f"{self.key_name}: text expected, not {type(said).__name__}")

    def set_derived_key(self, old: Any, created: dt.datetime) -> None:
        """Give the record a key of kind, table, old id and creation time; keep the old one."""
        table = str(self.model._meta.table_name)
        key = derived_id(table, KIND, f"{old}\x1f{time_text(created)}")
        self.values[self.key_name] = key
        self.keep("old_id", old)
        for (model, row), place in zip(self.children, self._places, strict=True):
            self._hang(model, row, place)

    def add_child(self, model: type[Record], place: str, row: dict[str, Any]) -> None:
        """Add a row of another table, with its key and its reference to the record.

        :param place: what is its own within the record.
        """
        self._hang(model, row, place)
        self.children.append((model, row))
        self._places.append(place)

    def clear_children(self) -> None:
        """Begin anew with the rows that belong to the record."""
        self.children, self._places = [], []

    def _hang(self, model: type[Record], row: dict[str, Any], place: str) -> None:
        row["id"] = derived_id(str(model._meta.table_name), self.key, place)
        row[next(field.column_name for field in model._meta.refs)] = self.key

    def keep(self, name: str, value: Any) -> None:
        """Keep what no column takes, under a name that may be taken already."""
        while name in self.metadata and self.metadata[name] != value:
            name += "_as_read"
        self.metadata[name] = value

    def finish(self) -> None:
        """Make the metadata a column."""
        self.values["metadata"] = self.metadata or None


def as_text(value: Any) -> str:
    """Give text as it is and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_count(value: Any) -> int | None:
    """Give a whole number from 0 that a column can hold; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= INT64_MAX else None
