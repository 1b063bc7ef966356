"""The verbs of ideation sessions."""

from __future__ import annotations

import datetime as dt
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationSession
from dynostore.repositories.base import Page, Repository, filtered, refuse_others


class SessionChanges(TypedDict, total=False):
    """What can be said of an ideation session; None clears the metadata."""

    project_name: str
    user_id: str
    status: str
    data_source: str
    metadata: Any


class IdeationSessions(Protocol):
    """The contract of every store of ideation sessions.

    Statuses are those of :data:`dynostore.models.ideation.STATUSES`; any may follow any. Values
    that break a rule are refused with :class:`~dynostore.errors.InvalidValue`, naming the column.
    Unknown ids raise :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> IdeationSession:
        """Record a new session at version 1 and give it back.

        It is a ``draft`` of ``Untitled Project`` on ``mock`` data by ``anonymous`` where nothing
        is said.

        :param session_id: the caller's own id, up to 64 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, session_id: str) -> IdeationSession:
        """Give the session of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(
        self,
        session_id: str,
        *,
        expected_version: int | None = None,
        **changes: Unpack[SessionChanges],
    ) -> IdeationSession:
        """Change what is passed and nothing else; ``version`` grows by 1, ``updated_at`` moves.

        :param expected_version: the version that the changes were derived from; None: whatever it
            is now.
        :raises StaleWrite: the session is at another version; nothing was written.
        """
        ...

    def delete(self, session_id: str) -> None:
        """Remove the session and all that hangs on it."""
        ...

    def list(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[IdeationSession]:
        """Give a page of sessions, latest ``updated_at`` first, then by descending id.

        A session that is updated between two pages moves to the front of the list.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def list_by_user(
        self, user_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[IdeationSession]:
        """Give a page of one user's sessions, as :meth:`list` does; empty for a stranger."""
        ...

    def count(self, *, user_id: str | None = None, status: str | None = None) -> int:
        """Count the sessions that :meth:`list` would give."""
        ...


class IdeationSessionRepository(Repository):
    """Ideation sessions in a database; the contract is :class:`IdeationSessions`."""

    MODELS = (IdeationSession,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> IdeationSession:
        refuse_others(values, SessionChanges)
        created = utc_now() if created_at is None else created_at
        row = checked(
            IdeationSession,
            {
                "id": new_id() if session_id is None else session_id,
                "project_name": "Untitled Project",
                "user_id": "anonymous",
                "status": "draft",
                "data_source": "mock",
                "version": 1,
                "created_at": created,
                "updated_at": created,
                **values,
            },
        )
        try:
            with self._db.writing():
                IdeationSession.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(
                f"there is an ideation session {row['id']!r} already"
            ) from exc
        return IdeationSession(**row)

    def get(self, session_id: str) -> IdeationSession:
        return self._existing(IdeationSession, session_id, self.NOT_FOUND)

    def resolve(self, prefix: str) -> str:
        return self._full_id(IdeationSession, prefix)

    def update(
        self,
        session_id: str,
        *,
        expected_version: int | None = None,
        **changes: Unpack[SessionChanges],
    ) -> IdeationSession:
        refuse_others(changes, SessionChanges)
        row = checked(IdeationSession, changes)
        if expected_version is not None:
            _check_version(expected_version)
        with self._db.writing():
            found = self._existing(IdeationSession, session_id, self.NOT_FOUND, lock=True)
            if expected_version not in (None, found.version):
                raise _stale(session_id, expected_version, found.version)
            row["version"] = found.version + 1
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = max(utc_now(), found.updated_at)
            IdeationSession.update(row).where(IdeationSession.id == session_id).execute(self._db)
        for name, value in row.items():
            setattr(found, name, value)
        return found

    def delete(self, session_id: str) -> None:
        with self._db.writing():
            found = self.get(session_id)
            IdeationSession.delete().where(IdeationSession.id == found.id).execute(self._db)

    def list(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[IdeationSession]:
        time = IdeationSession.updated_at
        query = filtered(IdeationSession.select(), time, user_id=user_id, status=status)
        return self._page(query, time, limit=limit, after=after, offset=offset)

    def list_by_user(
        self, user_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[IdeationSession]:
        if user_id is None:  # which would mean: of all users
            raise errors.InvalidValue("user_id", "must not be empty")
        return self.list(user_id=user_id, limit=limit, after=after, offset=offset)

    def count(self, *, user_id: str | None = None, status: str | None = None) -> int:
        time = IdeationSession.updated_at
        with self._db.reading():
            query = filtered(IdeationSession.select(), time, user_id=user_id, status=status)
            return int(query.count(self._db))


def _check_version(version: int) -> None:
    # Not left to the comparison: True is 1 there.
    try:
        IdeationSession.version.check(version)
    except ValueError as exc:
        raise errors.InvalidValue("expected_version", str(exc)) from None


def _stale(session_id: str, expected: int | None, actual: int) -> errors.StaleWrite:
    return errors.StaleWrite(
        f"ideation session {session_id!r} is at version {actual}, not {expected}",
        hint=f"dynostore ideation show {session_id}",
        session_id=session_id,
        expected=expected,
        actual=actual,
    )
