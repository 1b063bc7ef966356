"""The verbs of the maturity of ideation sessions."""

from __future__ import annotations

from typing import Any, Protocol

from dynostore import errors
from dynostore.fields import utc_now
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationMaturity, IdeationSession
from dynostore.repositories.base import Repository


class Maturity(Protocol):
    """The contract of every store of maturities; a session has one, or none yet.

    Values that break a rule are refused with :class:`~dynostore.errors.InvalidValue`, naming the
    column. An unknown session raises :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def save(
        self,
        session_id: str,
        score: float,
        level: str,
        *,
        categories: Any = None,
        can_submit: bool = False,
        gaps: Any = None,
        metadata: Any = None,
    ) -> IdeationMaturity:
        """Record how far the session has come, in place of what was recorded before.

        :param level: the score in a word, up to 32 characters.
        :param categories: the scores by category, in whatever form.
        :param gaps: what is missing.
        """
        ...

    def get(self, session_id: str) -> IdeationMaturity | None:
        """Give what was saved last; None where nothing was."""
        ...


class MaturityRepository(Repository):
    """Maturities in a database; the contract is :class:`Maturity`."""

    MODELS = (IdeationMaturity,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def save(
        self,
        session_id: str,
        score: float,
        level: str,
        *,
        categories: Any = None,
        can_submit: bool = False,
        gaps: Any = None,
        metadata: Any = None,
    ) -> IdeationMaturity:
        row = checked(
            IdeationMaturity,
            {
                "score": score,
                "level": level,
                "categories": categories,
                "can_submit": can_submit,
                "gaps": gaps,
                "metadata": metadata,
            },
        )
        with self._db.writing():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND, lock=True)
            before = self._of(session)
            now = utc_now()
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = now if before is None else max(now, before.updated_at)
            row["session"] = session.id
            self._upsert(IdeationMaturity, [row])
        return IdeationMaturity(**row)

    def get(self, session_id: str) -> IdeationMaturity | None:
        with self._db.reading():
            return self._of(self._existing(IdeationSession, session_id, self.NOT_FOUND))

    def _of(self, session: IdeationSession) -> IdeationMaturity | None:
        query = IdeationMaturity.select().where(IdeationMaturity.session == session.id)
        return self._first(query)  # type: ignore[no-any-return]
