"""The verbs of memories: what an agent learned once and looks up later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.fields import StringField, utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.memories import Memory
from dynostore.repositories.base import Page, Refused, Repository, filtered, refuse_others

# Inside the classes below ``list`` is a verb.
RefusedList = list[Refused]

# Each word is two conditions; SQLite takes no expression deeper than 1,000.
_MAX_WORDS = 32
_MAX_QUERY_CHARACTERS = 1000


class MemoryDetails(TypedDict, total=False):
    """What can be said of a memory beside its text; None clears the column."""

    tool_name: str | None
    confidence: int
    metadata: Any


class MemoryChanges(MemoryDetails, total=False):
    """What can be changed of a memory."""

    context: str
    lesson: str


class Memories(Protocol):
    """The contract of every store of memories.

    Every verb that changes something does so in one transaction, and refuses a value that breaks a
    rule with :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ids raise
    :class:`~dynostore.errors.MemoryNotFound`.
    """

    def add(
        self,
        context: str,
        lesson: str,
        *,
        memory_id: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[MemoryDetails],
    ) -> Memory:
        """Record a lesson and give it back; its confidence is 0 where nothing is said.

        :param context: where it was learned.
        :param memory_id: the caller's own id, up to 255 characters; a UUIDv7 by default.
        :param created_at: aware; now by default.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, memory_id: str) -> Memory:
        """Give the memory of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def list(
        self,
        *,
        tool_name: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Memory]:
        """Give a page of memories, newest ``created_at`` first, then by descending id.

        :param tool_name: only those about this tool.
        :param after: the ``next`` of the page before.
        """
        ...

    def search(
        self,
        text: str,
        *,
        tool_name: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Memory]:
        """Give a page of the memories that hold every word of ``text``, in the order of ``list``.

        A word is found in context or lesson, inside other words too; a to z match A to Z.

        :param text: 1 to 32 words with spaces between, at most 1,000 characters.
        """
        ...

    def update(self, memory_id: str, **changes: Unpack[MemoryChanges]) -> Memory:
        """Change what is passed and nothing else; None clears a column."""
        ...

    def delete(self, memory_id: str) -> None:
        """Remove the memory."""
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`Memory` records; give back the refused ones."""
        ...


class MemoryRepository(Repository):
    """Memories in a database; the contract is :class:`Memories`."""

    MODELS = (Memory,)
    NOT_FOUND = errors.MemoryNotFound

    def add(
        self,
        context: str,
        lesson: str,
        *,
        memory_id: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[MemoryDetails],
    ) -> Memory:
        refuse_others(details, MemoryDetails)
        row = checked(
            Memory,
            {
                "memory_id": new_id() if memory_id is None else memory_id,
                "context": context,
                "lesson": lesson,
                "confidence": 0,
                "created_at": utc_now() if created_at is None else created_at,
                **details,
            },
        )
        try:
            with self._db.writing():
                Memory.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a memory {row['memory_id']!r} already") from exc
        return Memory(**row)

    def get(self, memory_id: str) -> Memory:
        return self._existing(Memory, memory_id, errors.MemoryNotFound)

    def resolve(self, prefix: str) -> str:
        return self._full_id(Memory, prefix)

    def list(
        self,
        *,
        tool_name: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Memory]:
        query = filtered(Memory.select(), Memory.created_at, tool_name=tool_name)
        return self._page(query, Memory.created_at, limit=limit, after=after, offset=offset)

    def search(
        self,
        text: str,
        *,
        tool_name: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[Memory]:
        query = filtered(Memory.select(), Memory.created_at, tool_name=tool_name)
        for word in _words(text):
            query = query.where(Memory.context.contains(word) | Memory.lesson.contains(word))
        return self._page(query, Memory.created_at, limit=limit, after=after, offset=offset)

    def update(self, memory_id: str, **changes: Unpack[MemoryChanges]) -> Memory:
        refuse_others(changes, MemoryChanges)
        row = checked(Memory, changes)
        with self._db.writing():
            memory = self._existing(Memory, memory_id, errors.MemoryNotFound, lock=True)
            if row:
                mine = Memory.memory_id == memory.memory_id
                Memory.update(row).where(mine).execute(self._db)
        for name, value in row.items():
            setattr(memory, name, value)
        return memory

    def delete(self, memory_id: str) -> None:
        with self._db.writing():
            memory = self.get(memory_id)
            Memory.delete().where(Memory.memory_id == memory.memory_id).execute(self._db)


def _words(text: str) -> list[str]:
    try:
        words = StringField(max_length=_MAX_QUERY_CHARACTERS).check(text).split()
        if not 0 < len(words) <= _MAX_WORDS:
            raise ValueError(f"{len(words)} words; 1 to {_MAX_WORDS} are searched for")
    except ValueError as exc:
        raise errors.InvalidValue("text", str(exc)) from None
    return words
