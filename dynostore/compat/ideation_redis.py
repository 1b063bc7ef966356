"""A store of ideation in the old program's Redis, which both go on reading and writing."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from dynostore import errors
from dynostore.compat.ideation_redis_changes import NOUNS
from dynostore.compat.ideation_redis_mirror import ChangedMeanwhile, RedisMirror
from dynostore.config import Place
from dynostore.models import IdeationSession
from dynostore.models.base import Record
from dynostore.repositories.base import Page, Refused, Repository
from dynostore.repositories.ideation import IdeationRepository
from dynostore.repositories.ideation.drafts import DraftRepository
from dynostore.repositories.ideation.maturity import MaturityRepository
from dynostore.repositories.ideation.messages import IdeationMessageRepository
from dynostore.repositories.ideation.requirements import IdeationRequirementRepository
from dynostore.repositories.ideation.sessions import IdeationSessionRepository
from dynostore.repositories.ideation.stories import StoryRepository

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
_BATCH_RECORDS = 500
_LONGEST_PAUSE_S = 0.05


def open_ideation_redis(place: Place, *, read_only: bool) -> RedisMirror:
    """Open ``redis://`` or ``rediss://``; there is nothing to make where nothing is.

    :raises DynostoreError: as :func:`dynostore.redis_server.connect` does.
    """
    mirror = RedisMirror(place, read_only=read_only)
    mirror.families = {"ideation": RedisIdeation(mirror)}
    return mirror


def again(verb: _Verb) -> _Verb:
    """Do a verb again for as long as other programs change what it reads, but not for ever.

    Inside a transaction that is the caller's to do: what it did before would be lost.
    """

    @functools.wraps(verb)
    def done(self: _Verbs, *args: Any, **kwargs: Any) -> Any:
        if self._db.is_at_work:
            return verb(self, *args, **kwargs)
        deadline = time.monotonic() + self._db.settings.busy_timeout_s
        while True:
            try:
                return verb(self, *args, **kwargs)
            except ChangedMeanwhile as exc:
                if time.monotonic() > deadline:
                    raise errors.StoreLocked(exc.message, hint=exc.hint) from exc
            # At random, so that two that met do not meet again.
            time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311  # no secret

    return cast("_Verb", done)


class _Verbs(Repository):
    """The base of each noun's verbs on Redis, before its repository.

    :cvar NEEDS: what the verbs look at beside the session.
    """

    _db: RedisMirror
    NEEDS: tuple[str, ...] = ()

    def _by_key(self, model: Any, key: Any, *, lock: bool = False) -> Any:
        with self._db.reading():
            if model is IdeationSession:
                self._db.load(key, self.NEEDS)
            return super()._by_key(model, key, lock=lock)

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        refused: list[Refused] = []
        iterator = iter(records)
        while batch := list(itertools.islice(iterator, _BATCH_RECORDS)):
            refused += self._put_here(batch)
        return refused

    @again
    def _put_here(self, batch: Sequence[Record]) -> list[Refused]:
        with self._db.writing():
            wanted: dict[str, set[str]] = {}
            for record in batch:
                owner = record.__data__.get("id" if type(record) is IdeationSession else "session")
                if isinstance(owner, str) and type(record) in NOUNS:
                    wanted.setdefault(owner, set()).add(NOUNS[type(record)])
            for owner, nouns in wanted.items():
                if _is_an_id(owner):
                    self._db.load(owner, sorted(nouns))
            return super().put_many(batch)


def _is_an_id(text: Any) -> bool:
    try:
        IdeationSession.id.check(text)
    except ValueError:
        return False
    return True


class RedisSessions(_Verbs, IdeationSessionRepository):
    """Ideation sessions in Redis."""

    update = again(IdeationSessionRepository.update)
    delete = again(IdeationSessionRepository.delete)

    @again
    def create(self, *, session_id: str | None = None, **values: Any) -> IdeationSession:
        """Record a session, unless there is one of this id."""
        with self._db.writing():
            if _is_an_id(session_id):
                self._db.load(str(session_id), ())
            return super().create(session_id=session_id, **values)

    def resolve(self, prefix: str) -> str:
        """Look at the sessions whose ids begin so."""
        with self._db.reading():
            if _is_an_id(prefix):
                self._db.load_matching(prefix)
            return super().resolve(prefix)

    def list(self, **window: Any) -> Page[IdeationSession]:
        """Look at all sessions, of which the old form has no order."""
        with self._db.reading():
            self._db.load_matching("")
            return super().list(**window)

    def count(self, **filters: Any) -> int:
        """Look at all sessions."""
        with self._db.reading():
            self._db.load_matching("")
            return super().count(**filters)


class RedisMessages(_Verbs, IdeationMessageRepository):
    """The messages of ideation sessions in Redis; their ids are unique in their session."""

    NEEDS = ("messages",)
    create = again(IdeationMessageRepository.create)
    delete_by_session = again(IdeationMessageRepository.delete_by_session)


class RedisRequirements(_Verbs, IdeationRequirementRepository):
    """The requirements of ideation sessions in Redis."""

    NEEDS = ("requirements",)
    create = again(IdeationRequirementRepository.create)
    update = again(IdeationRequirementRepository.update)
    delete = again(IdeationRequirementRepository.delete)


class RedisMaturity(_Verbs, MaturityRepository):
    """The maturity of ideation sessions in Redis."""

    NEEDS = ("maturity",)
    save = again(MaturityRepository.save)


class RedisDrafts(_Verbs, DraftRepository):
    """The drafts of ideation sessions in Redis."""

    NEEDS = ("prd",)
    save = again(DraftRepository.save)


class RedisStories(_Verbs, StoryRepository):
    """The user stories of ideation sessions in Redis."""

    NEEDS = ("stories",)
    save = again(StoryRepository.save)


class RedisIdeation(_Verbs, IdeationRepository):
    """Ideation in Redis; the contract is :class:`~dynostore.repositories.Ideation`."""

    def __init__(self, mirror: RedisMirror) -> None:
        super().__init__(mirror)
        self.sessions = RedisSessions(mirror)
        self.messages = RedisMessages(mirror)
        self.requirements = RedisRequirements(mirror)
        self.maturity = RedisMaturity(mirror)
        self.drafts = RedisDrafts(mirror)
        self.stories = RedisStories(mirror)
