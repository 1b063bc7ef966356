"""The verbs of agent sessions; those of the states that they were saved in are a part of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.repositories.base import Page, Refused, filtered, refuse_others
from dynostore.repositories.sessions.states import (
    SessionFacts,
    SessionStateRepository,
    SessionStates,
    new_session,
)

__all__ = [
    "SessionChanges",
    "SessionFacts",
    "SessionFilters",
    "SessionRepository",
    "SessionStateRepository",
    "SessionStates",
    "Sessions",
]


class SessionChanges(SessionFacts, total=False):
    """What can be said of a session; None clears the column."""

    metadata: Any


class SessionFilters(TypedDict, total=False):
    """Which sessions are wanted; all where nothing is said.

    ``since`` is created at or after, ``until`` created before; both aware.
    """

    user_id: str | None
    status: str | None
    since: dt.datetime | None
    until: dt.datetime | None


class Sessions(SessionStates, Protocol):
    """The contract of every store of agent sessions: a manager of their states.

    A session's status is free text up to 50 characters. Every verb that changes something does so
    in one transaction, and refuses a value that breaks a rule with
    :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ids raise
    :class:`~dynostore.errors.SessionNotFound`, except in the two verbs that say otherwise.
    """

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> AgentSession:
        """Record a new session and give it back: ``pending`` where nothing is said.

        :param session_id: the caller's own id, up to 255 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, session_id: str) -> AgentSession:
        """Give the session of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(self, session_id: str, **changes: Unpack[SessionChanges]) -> AgentSession:
        """Change what is passed and nothing else; None clears a column. Moves ``updated_at``."""
        ...

    def list_sessions(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[SessionFilters],
    ) -> Page[AgentSession]:
        """Give a page of sessions, newest ``created_at`` first, then by descending id.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def stream(self, **filters: Unpack[SessionFilters]) -> Iterator[AgentSession]:
        """Give all sessions in the order of :meth:`list_sessions`, in flat memory."""
        ...

    def count(self, **filters: Unpack[SessionFilters]) -> int:
        """Count the sessions that :meth:`list_sessions` would give."""
        ...

    def delete_state(self, session_id: str) -> None:
        """Remove everything of the session: itself, its states, todo lists and history."""
        ...

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole :class:`AgentSession` and :class:`SessionState` records.

        :return: those that break a rule, a state with an id that is not derived from its session
            and version among them; all others are stored.
        """
        ...


class SessionRepository(SessionStateRepository):
    """Sessions in a database; the contract is :class:`Sessions`."""

    MODELS = (AgentSession, SessionState)
    NOT_FOUND = errors.SessionNotFound

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> AgentSession:
        refuse_others(values, SessionChanges)
        row = new_session(new_id() if session_id is None else session_id, created_at, values)
        try:
            with self._db.writing():
                AgentSession.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a session {row['session_id']!r} already") from exc
        return AgentSession(**row)

    def get(self, session_id: str) -> AgentSession:
        return self._existing(AgentSession, session_id, errors.SessionNotFound)

    def resolve(self, prefix: str) -> str:
        return self._full_id(AgentSession, prefix)

    def update(self, session_id: str, **changes: Unpack[SessionChanges]) -> AgentSession:
        refuse_others(changes, SessionChanges)
        row = checked(AgentSession, changes)
        with self._db.writing():
            session = self._existing(AgentSession, session_id, errors.SessionNotFound, lock=True)
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = max(utc_now(), session.updated_at)
            mine = AgentSession.session_id == session.session_id
            AgentSession.update(row).where(mine).execute(self._db)
        for name, value in row.items():
            setattr(session, name, value)
        return session

    def list_sessions(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[SessionFilters],
    ) -> Page[AgentSession]:
        query = _filtered(filters)
        return self._page(query, AgentSession.created_at, limit=limit, after=after, offset=offset)

    def stream(self, **filters: Unpack[SessionFilters]) -> Iterator[AgentSession]:
        # Page by page: an open cursor would keep SQLite's WAL from being recycled for as long as
        # the reader takes.
        after: str | None = None
        while True:
            page = self.list_sessions(limit=1000, after=after, **filters)
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(self, **filters: Unpack[SessionFilters]) -> int:
        with self._db.reading():
            return int(_filtered(filters).count(self._db))

    def delete_state(self, session_id: str) -> None:
        with self._db.writing():
            session = self.get(session_id)
            mine = AgentSession.session_id == session.session_id
            AgentSession.delete().where(mine).execute(self._db)


def _filtered(filters: SessionFilters) -> Any:
    refuse_others(filters, SessionFilters)
    return filtered(AgentSession.select(), AgentSession.created_at, **filters)
