"""The verbs of the requirements that ideation sessions come to."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import utc_now
from dynostore.ids import derived_id
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationRequirement, IdeationSession
from dynostore.repositories.base import Repository, refuse_others

# Inside the classes below ``list`` is a verb.
Requirements = list[IdeationRequirement]


class RequirementDetails(TypedDict, total=False):
    """What can be said of a requirement beside its description; None clears the column."""

    type: str
    priority: str
    category_id: str | None
    metadata: Any


class RequirementChanges(RequirementDetails, total=False):
    """What can be changed of a requirement."""

    description: str


class IdeationRequirements(Protocol):
    """The contract of every store of requirements.

    A requirement is found by its session and its key, such as REQ-001; other sessions may have one
    of the same key. Values that break a rule are refused with
    :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ones raise
    :class:`~dynostore.errors.RequirementNotFound`, and an unknown session
    :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def create(
        self,
        session_id: str,
        description: str,
        *,
        key: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[RequirementDetails],
    ) -> IdeationRequirement:
        """Record a requirement and give it back.

        It is ``functional`` and a ``should_have`` where nothing is said.

        :param key: up to 64 characters; ``REQ-`` and six random digits by default, since numbers
            that two machines count up would meet.
        :param created_at: aware; now by default.
        :raises AlreadyExists: the session has a requirement of this key.
        """
        ...

    def list(self, session_id: str) -> Requirements:
        """Give all of the session's requirements, oldest ``created_at`` first, then by key."""
        ...

    def update(
        self, session_id: str, key: str, **changes: Unpack[RequirementChanges]
    ) -> IdeationRequirement:
        """Change what is passed and nothing else, and give the requirement back."""
        ...

    def delete(self, session_id: str, key: str) -> None:
        """Remove the requirement."""
        ...


class IdeationRequirementRepository(Repository):
    """Requirements in a database; the contract is :class:`IdeationRequirements`."""

    MODELS = (IdeationRequirement,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def create(
        self,
        session_id: str,
        description: str,
        *,
        key: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[RequirementDetails],
    ) -> IdeationRequirement:
        refuse_others(details, RequirementDetails)
        row = checked(
            IdeationRequirement,
            {
                "key": f"REQ-{secrets.token_hex(3)}" if key is None else key,
                "description": description,
                "type": "functional",
                "priority": "should_have",
                "created_at": utc_now() if created_at is None else created_at,
                **details,
            },
        )
        try:
            with self._db.writing():
                session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
                row |= {"id": _id_of(session.id, row["key"]), "session": session.id}
                IdeationRequirement.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(
                f"ideation session {session_id!r} has a requirement {row['key']!r} already"
            ) from exc
        return IdeationRequirement(**row)

    def list(self, session_id: str) -> Requirements:
        with self._db.reading():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            query = IdeationRequirement.select().where(IdeationRequirement.session == session.id)
            order = (IdeationRequirement.created_at, IdeationRequirement.key)
            return [*query.order_by(*order).execute(self._db)]

    def update(
        self, session_id: str, key: str, **changes: Unpack[RequirementChanges]
    ) -> IdeationRequirement:
        refuse_others(changes, RequirementChanges)
        row = checked(IdeationRequirement, changes)
        with self._db.writing():
            found = self._get(session_id, key, lock=True)
            if row:
                this = IdeationRequirement.id == found.id
                IdeationRequirement.update(row).where(this).execute(self._db)
        for name, value in row.items():
            setattr(found, name, value)
        return found

    def delete(self, session_id: str, key: str) -> None:
        with self._db.writing():
            found = self._get(session_id, key)
            IdeationRequirement.delete().where(IdeationRequirement.id == found.id).execute(self._db)

    def _get(self, session_id: str, key: str, *, lock: bool = False) -> IdeationRequirement:
        session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
        try:
            this = _id_of(session.id, IdeationRequirement.key.check(key))
            return self._existing(IdeationRequirement, this, errors.RequirementNotFound, lock=lock)
        except (ValueError, errors.RequirementNotFound):
            raise errors.RequirementNotFound(
                f"ideation session {session_id!r} has no requirement {quoted(key)}",
                hint=f"dynostore ideation requirements list {session_id}",
                session_id=session_id,
                key=key,
            ) from None


def _id_of(session_id: str, key: str) -> str:
    return derived_id("ideation_requirements", session_id, key)
