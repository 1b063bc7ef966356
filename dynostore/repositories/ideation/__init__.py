"""The verbs of ideation, by noun, and the family that they make up.

To add a noun: write its module here as the others are, hang its repository on
:class:`IdeationRepository`, and name its table in ``MODELS`` after the tables that it refers to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.models.base import Record
from dynostore.models.ideation import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.repositories.base import Refused, Repository
from dynostore.repositories.ideation.drafts import DraftRepository, Drafts
from dynostore.repositories.ideation.maturity import Maturity, MaturityRepository
from dynostore.repositories.ideation.messages import IdeationMessageRepository, IdeationMessages
from dynostore.repositories.ideation.requirements import (
    IdeationRequirementRepository,
    IdeationRequirements,
)
from dynostore.repositories.ideation.sessions import IdeationSessionRepository, IdeationSessions
from dynostore.repositories.ideation.stories import Stories, StoryRepository


class Ideation(Protocol):
    """The contract of every store of ideation: one contract for each noun.

    Every verb that changes something does so in one transaction. To delete a session deletes all
    that hangs on it.
    """

    @property
    def sessions(self) -> IdeationSessions:
        """Ideas, each with its project, user and status."""
        ...

    @property
    def messages(self) -> IdeationMessages:
        """What was said in a session."""
        ...

    @property
    def requirements(self) -> IdeationRequirements:
        """What a session has come to."""
        ...

    @property
    def maturity(self) -> Maturity:
        """How far a session has come."""
        ...

    @property
    def drafts(self) -> Drafts:
        """The document that a session leads to."""
        ...

    @property
    def stories(self) -> Stories:
        """The user stories of a session."""
        ...

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole records of all six kinds; give back the refused ones."""
        ...


class IdeationRepository(Repository):
    """Ideation in a database; the contract is :class:`Ideation`."""

    MODELS = (
        IdeationSession,
        IdeationMessage,
        IdeationRequirement,
        IdeationMaturity,
        IdeationDraft,
        IdeationStory,
    )
    NOT_FOUND = errors.IdeationSessionNotFound

    def __init__(self, database: StoreDatabase) -> None:
        super().__init__(database)
        self.sessions = IdeationSessionRepository(database)
        self.messages = IdeationMessageRepository(database)
        self.requirements = IdeationRequirementRepository(database)
        self.maturity = MaturityRepository(database)
        self.drafts = DraftRepository(database)
        self.stories = StoryRepository(database)
