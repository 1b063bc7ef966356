"""The verbs of the drafts of the document that an ideation session leads to."""

from __future__ import annotations

import datetime as dt
from typing import Any, Protocol

from dynostore import errors
from dynostore.fields import time_after
from dynostore.ids import derived_id, new_id
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationDraft, IdeationSession
from dynostore.repositories.base import Repository

# Inside the classes below ``list`` is a verb.
DraftList = list[IdeationDraft]


class Drafts(Protocol):
    """The contract of every store of drafts.

    A draft is known by its session and its key; other sessions may have one of the same key.
    Values that break a rule are refused with :class:`~dynostore.errors.InvalidValue`, naming the
    column. An unknown session raises :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def save(
        self,
        session_id: str,
        title: str,
        *,
        key: str | None = None,
        version: str = "1.0",
        sections: Any = None,
        status: str = "draft",
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> IdeationDraft:
        """Record a draft and give it back; it becomes the latest.

        :param key: up to 64 characters. A draft of the session with this key is replaced as a
            whole. By default a new UUIDv7, and so a further draft.
        :param version: in the caller's own counting, up to 32 characters.
        :param sections: the document, in whatever form.
        :param status: a word, up to 32 characters.
        :param created_at: aware; by default now, or just after the session's latest draft where
            the clock is not past that. An earlier one does not make the draft the latest.
        """
        ...

    def latest(self, session_id: str) -> IdeationDraft | None:
        """Give the draft with the latest ``created_at``, of equal ones that of the greatest key.

        :return: None where there is no draft yet.
        """
        ...

    def list(self, session_id: str) -> DraftList:
        """Give all of the session's drafts, the latest first, then by descending key."""
        ...


class DraftRepository(Repository):
    """Drafts in a database; the contract is :class:`Drafts`."""

    MODELS = (IdeationDraft,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def save(
        self,
        session_id: str,
        title: str,
        *,
        key: str | None = None,
        version: str = "1.0",
        sections: Any = None,
        status: str = "draft",
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> IdeationDraft:
        values = {
            "key": new_id() if key is None else key,
            "title": title,
            "version": version,
            "sections": sections,
            "status": status,
            "metadata": metadata,
        }
        if created_at is not None:
            values["created_at"] = created_at
        row = checked(IdeationDraft, values)
        with self._db.writing():
            # Locked, so that of two that save at once the later one sees the other's time.
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND, lock=True)
            if created_at is None:
                last = self._first(_newest_first(session.id))
                row["created_at"] = time_after(
                    session.created_at if last is None else last.created_at
                )
            row["id"] = derived_id("ideation_prd_drafts", session.id, row["key"])
            row["session"] = session.id
            self._upsert(IdeationDraft, [row])
        return IdeationDraft(**row)

    def latest(self, session_id: str) -> IdeationDraft | None:
        with self._db.reading():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            return self._first(_newest_first(session.id))  # type: ignore[no-any-return]

    def list(self, session_id: str) -> DraftList:
        with self._db.reading():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            return [*_newest_first(session.id).execute(self._db)]


def _newest_first(session_id: str) -> Any:
    query = IdeationDraft.select().where(IdeationDraft.session == session_id)
    return query.order_by(IdeationDraft.created_at.desc(), IdeationDraft.key.desc())
