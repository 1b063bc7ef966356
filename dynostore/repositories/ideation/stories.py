"""The verbs of the user stories of ideation sessions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, NotRequired, Protocol, TypedDict

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import time_after, utc_now
from dynostore.ids import derived_id
from dynostore.models.base import checked
from dynostore.models.ideation import IdeationSession, IdeationStory
from dynostore.repositories.base import Repository, refuse_others

# Inside the classes below ``list`` is a verb.
StoryList = list[IdeationStory]


class NewStory(TypedDict):
    """What a story must and may say; ``created_at`` is aware."""

    key: str
    title: str
    as_a: str
    i_want: str
    so_that: str
    acceptance_criteria: NotRequired[Any]
    linked_requirements: NotRequired[Any]
    priority: NotRequired[str]
    created_at: NotRequired[dt.datetime]
    metadata: NotRequired[Any]


class Stories(Protocol):
    """The contract of every store of user stories.

    A story is known by its session and its key, such as US-001; other sessions may have one of the
    same key. Values that break a rule are refused with :class:`~dynostore.errors.InvalidValue`,
    naming the column. An unknown session raises
    :class:`~dynostore.errors.IdeationSessionNotFound`.
    """

    def save(self, session_id: str, stories: Iterable[NewStory]) -> StoryList:
        """Record the session's stories in place of all that it had, in one transaction.

        :param stories: in the order in which :meth:`list` is to give them: each is stamped a
            microsecond after the one before, where it has no ``created_at`` of its own. One that
            says nothing of its priority is a ``should_have``.
        :raises InvalidValue: also for a key that is given twice; nothing was changed.
        """
        ...

    def list(self, session_id: str) -> StoryList:
        """Give all of the session's stories, oldest ``created_at`` first, then by key."""
        ...


class StoryRepository(Repository):
    """User stories in a database; the contract is :class:`Stories`."""

    MODELS = (IdeationStory,)
    NOT_FOUND = errors.IdeationSessionNotFound

    def save(self, session_id: str, stories: Iterable[NewStory]) -> StoryList:
        rows = _checked_rows(stories)
        with self._db.writing():
            # Locked, so that of two that save at once one's stories are left, not some of each.
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND, lock=True)
            for row in rows:
                row["id"] = derived_id("ideation_user_stories", session.id, row["key"])
                row["session"] = session.id
            mine = IdeationStory.session == session.id
            IdeationStory.delete().where(mine).execute(self._db)
            self._insert(IdeationStory, rows)
        return [IdeationStory(**row) for row in rows]

    def list(self, session_id: str) -> StoryList:
        with self._db.reading():
            session = self._existing(IdeationSession, session_id, self.NOT_FOUND)
            query = IdeationStory.select().where(IdeationStory.session == session.id)
            order = (IdeationStory.created_at, IdeationStory.key)
            return [*query.order_by(*order).execute(self._db)]


def _checked_rows(stories: Iterable[NewStory]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    keys: set[str] = set()
    required = dict.fromkeys(NewStory.__required_keys__)
    latest = utc_now()
    for story in stories:
        refuse_others(story, NewStory)
        given = {**required, "priority": "should_have", "created_at": time_after(latest), **story}
        row = checked(IdeationStory, given)
        if row["key"] in keys:
            raise errors.InvalidValue("key", f"{quoted(row['key'])} is given twice")
        keys.add(row["key"])
        latest = max(latest, row["created_at"])
        rows.append(row)
    return rows
