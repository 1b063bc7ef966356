"""The verbs of the messages of ideation sessions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Protocol

from dynostore import errors
from dynostore.fields import time_after
from dynostore.ids import new_id
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationMessage, IdeationSession
from dynostore.repositories.base import Page, Repository, filtered


class IdeationMessages(Protocol):
    """The contract of every store of the messages of ideation sessions.

    Values that break a rule are refused with :class:`~dynostore.errors.InvalidValue`, naming the
    column. An unknown session raises :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def create(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        message_id: str | None = None,
        timestamp: dt.datetime | None = None,
        maturity_delta: float = 0.0,
        metadata: Any = None,
    ) -> IdeationMessage:
        """Record a message and give it back.

        :param role: one of :data:`dynostore.models.ideation.ROLES`.
        :param message_id: the caller's own id, up to 64 characters; a UUIDv7 by default.
        :param timestamp: aware; by default now, or just after the session's latest message where
            the clock is not past that.
        :param maturity_delta: what the message did to the maturity's score.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def list(
        self, session_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[IdeationMessage]:
        """Give a page of the session's messages, oldest ``timestamp`` first, then by id.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def delete_by_session(self, session_id: str) -> int:
        """Remove all messages of the session; give their number."""
        ...


class IdeationMessageRepository(Repository):
    """Ideation messages in a database; the contract is :class:`IdeationMessages`."""

    MODELS = (IdeationMessage,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def create(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        message_id: str | None = None,
        timestamp: dt.datetime | None = None,
        maturity_delta: float = 0.0,
        metadata: Any = None,
    ) -> IdeationMessage:
        values = {
            "id": new_id() if message_id is None else message_id,
            "role": role,
            "content": content,
            "maturity_delta": maturity_delta,
            "metadata": metadata,
        }
        if timestamp is not None:
            values["timestamp"] = timestamp
        row = checked(IdeationMessage, values)
        try:
            with self._db.writing():
                # Locked, so that of two that write at once the later one sees the other's time.
                session = self._existing(IdeationSession, session_id, self.NOT_FOUND, lock=True)
                if timestamp is None:
                    row["timestamp"] = time_after(self._latest(session))
                row["session"] = session.id
                IdeationMessage.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(
                f"there is an ideation message {row['id']!r} already"
            ) from exc
        return IdeationMessage(**row)

    def _latest(self, session: IdeationSession) -> dt.datetime:
        time = IdeationMessage.timestamp
        mine = IdeationMessage.select(time).where(IdeationMessage.session == session.id)
        last = self._first(mine.order_by(time.desc()))
        return session.created_at if last is None else last.timestamp  # type: ignore[no-any-return]

    def list(
        self, session_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[IdeationMessage]:
        time = IdeationMessage.timestamp
        with self._db.reading():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            query = filtered(IdeationMessage.select(), time, session=session.id)
            return self._page(
                query, time, limit=limit, after=after, offset=offset, oldest_first=True
            )

    def delete_by_session(self, session_id: str) -> int:
        with self._db.writing():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            query = IdeationMessage.delete().where(IdeationMessage.session == session.id)
            return int(query.execute(self._db))
