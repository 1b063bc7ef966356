"""The verbs of the execution history of sessions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.fields import time_after, utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.history import HistoryEntry
from dynostore.models.sessions import AgentSession
from dynostore.repositories.base import Page, Refused, Repository, filtered, refuse_others

# Inside the classes below ``list`` is a verb.
Entries = list[HistoryEntry]
RefusedList = list[Refused]


class EntryFacts(TypedDict, total=False):
    """What can be said of one turn.

    ``step_id`` is the step's name, or its position in the plan; ``timestamp`` is aware.
    """

    step_id: str | int | None
    thought: str | None
    action: str | None
    observation: str | None
    timestamp: dt.datetime
    metadata: Any


class History(Protocol):
    """The contract of every store of execution histories; entries are never changed.

    Values that break a rule are refused with :class:`~dynostore.errors.InvalidValue`, naming the
    column. An unknown session raises :class:`~dynostore.errors.SessionNotFound`.
    """

    def append(self, session_id: str, **facts: Unpack[EntryFacts]) -> HistoryEntry:
        """Record one turn and give it back.

        Where no ``timestamp`` is passed it is now, or just after the session's last entry where
        the clock is not past that: what is appended later stands later in the list.
        """
        ...

    def append_many(self, session_id: str, entries: Iterable[Mapping[str, Any]]) -> Entries:
        """Record several turns in their order, all or none; each mapping has the same facts."""
        ...

    def list(
        self,
        session_id: str,
        *,
        step_id: str | int | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[HistoryEntry]:
        """Give a page of the session's turns, oldest ``timestamp`` first, then by ascending id.

        :param step_id: only those of this step.
        :param after: the ``next`` of the page before.
        """
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`HistoryEntry` records; give back the refused ones."""
        ...


class HistoryRepository(Repository):
    """Histories in a database; the contract is :class:`History`."""

    MODELS = (HistoryEntry,)
    NOT_FOUND = errors.SessionNotFound

    def append(self, session_id: str, **facts: Unpack[EntryFacts]) -> HistoryEntry:
        return self.append_many(session_id, [facts])[0]

    def append_many(self, session_id: str, entries: Iterable[Mapping[str, Any]]) -> Entries:
        rows = []
        for facts in entries:
            refuse_others(facts, EntryFacts)
            rows.append(checked(HistoryEntry, {"id": new_id(), **facts}))
        with self._db.writing():
            # Locked, so that of two that append at once the later one sees the other's time.
            self._existing(AgentSession, session_id, errors.SessionNotFound, lock=True)
            now = self._next_time(session_id)
            for row in rows:
                row["session"] = session_id
                row.setdefault("timestamp", now)
            self._insert(HistoryEntry, rows)
        return [HistoryEntry(**row) for row in rows]

    def _next_time(self, session_id: str) -> dt.datetime:
        mine = HistoryEntry.select(HistoryEntry.timestamp).where(HistoryEntry.session == session_id)
        last = self._first(mine.order_by(HistoryEntry.timestamp.desc()))
        return utc_now() if last is None else time_after(last.timestamp)

    def list(
        self,
        session_id: str,
        *,
        step_id: str | int | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[HistoryEntry]:
        self._existing(AgentSession, session_id, errors.SessionNotFound)
        query = filtered(
            HistoryEntry.select(), HistoryEntry.timestamp, session=session_id, step_id=step_id
        )
        return self._page(
            query,
            HistoryEntry.timestamp,
            limit=limit,
            after=after,
            offset=offset,
            oldest_first=True,
        )
