"""The verbs of conversations and their messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NotRequired, Protocol, TypedDict, Unpack

import peewee

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.errors import quoted
from dynostore.fields import time_after, utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.conversations import ROLES, Conversation, Message
from dynostore.prepared import Prepared, limit_slot, record_of, slot
from dynostore.repositories.base import Page, Refused, Repository, check_window, refuse_others

_COUNTED_AT_ONCE = (1, 10, 50, 100, 1_000)
_STREAM_MESSAGES = 1_000


class ConversationChanges(TypedDict, total=False):
    """What can be changed of a conversation; None clears the column."""

    title: str | None
    metadata: Any


class NewMessage(TypedDict):
    """What a message must and may say; ``created_at`` is aware."""

    role: str
    content: str
    created_at: NotRequired[dt.datetime | None]
    metadata: NotRequired[Any]


class Conversations(Protocol):
    """The contract of every store of conversations.

    Messages are given in the order in which they were added: each is stamped later than what its
    conversation holds, by a microsecond where the clock says otherwise, so that neither several in
    one call, nor several writers, nor a clock that was set back change it. Lists of messages are
    in ascending order of (``created_at``, ``id``).

    Every verb that changes something does so in one transaction, and refuses a value that breaks a
    rule with :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ids raise
    :class:`~dynostore.errors.ConversationNotFound`. What gives a conversation counts its messages
    into ``message_count``.
    """

    def create_conversation(
        self,
        title: str | None = None,
        *,
        conversation_id: str | None = None,
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> Conversation:
        """Begin a conversation and give it back.

        :param conversation_id: the caller's own id, up to 255 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get_conversation(self, conversation_id: str) -> Conversation:
        """Give the conversation of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id of the conversation that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update_conversation(
        self, conversation_id: str, **changes: Unpack[ConversationChanges]
    ) -> Conversation:
        """Change what is passed and nothing else; None clears a column. Moves ``updated_at``."""
        ...

    def delete_conversation(self, conversation_id: str) -> None:
        """Remove the conversation and its messages."""
        ...

    def list_conversations(
        self, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[Conversation]:
        """Give a page, latest ``updated_at`` first, then by descending id.

        A conversation that gets a message between two pages moves to the front of the list.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def add_message(
        self,
        conversation_id: str,
        role: str,
        content: str,
        *,
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> Message:
        """Add a message and give it back; moves the conversation's ``updated_at`` to its time.

        :param role: one of :data:`dynostore.models.conversations.ROLES`.
        :param created_at: aware, and kept as it is; now by default. One that lies before
            ``updated_at`` does not move that back.
        :raises EmptyContent: the content is empty.
        :raises InvalidRole: nobody has this role.
        """
        ...

    def add_messages(self, conversation_id: str, messages: Iterable[NewMessage]) -> list[Message]:
        """Add several messages in the given order, all or none.

        :param messages: what they mean and which errors they raise, :meth:`add_message` says.
        """
        ...

    def get_all_messages(self, conversation_id: str) -> list[Message]:
        """Give all messages, oldest first; :meth:`stream_messages` is for those without end."""
        ...

    def stream_messages(self, conversation_id: str) -> Iterator[Message]:
        """Give all messages, oldest first, in flat memory; the errors come with the first one."""
        ...

    def list_messages(
        self, conversation_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[Message]:
        """Give a page of messages, oldest first; see :meth:`list_conversations` for the window."""
        ...

    def get_context_messages(self, conversation_id: str, limit: int = 20) -> list[Message]:
        """Give the newest ``limit`` messages, oldest of them first."""
        ...

    def get_message_count(self, conversation_id: str) -> int:
        """Count the messages."""
        ...

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole :class:`Conversation` and :class:`Message` records; give back the refused.

        Messages of other programs may be empty.
        """
        ...


class ConversationRepository(Repository):
    """Conversations in a database; the contract is :class:`Conversations`."""

    MODELS = (Conversation, Message)
    NOT_FOUND = errors.ConversationNotFound

    def __init__(self, database: StoreDatabase) -> None:
        super().__init__(database)
        self._counting_texts: dict[int, str] = {}
        this = Conversation.id == slot(Conversation.id)
        # Locked, so that of two that append at once the later one sees the other's time.
        time = Conversation.select(Conversation.updated_at).where(this)
        self._time_of = Prepared(database, time.for_update() if database.for_update else time)
        row = {field.name: slot(field) for field in Message._meta.sorted_fields}
        self._add_one = Prepared(database, Message.insert(row).as_rowcount())
        move = Conversation.update(updated_at=slot(Conversation.updated_at)).where(this)
        self._move = Prepared(database, move)
        mine = Message.select().where(Message.conversation == slot(Message.conversation))
        self._all = Prepared(database, mine.order_by(Message.created_at, Message.id))
        newest_first = mine.order_by(Message.created_at.desc(), Message.id.desc())
        self._newest = Prepared(database, newest_first.limit(limit_slot()))

    def create_conversation(
        self,
        title: str | None = None,
        *,
        conversation_id: str | None = None,
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> Conversation:
        created = utc_now() if created_at is None else created_at
        row = checked(
            Conversation,
            {
                "id": new_id() if conversation_id is None else conversation_id,
                "title": title,
                "created_at": created,
                "updated_at": created,
                "metadata": metadata,
            },
        )
        try:
            with self._db.writing():
                Conversation.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a conversation {row['id']!r} already") from exc
        return Conversation(**row, message_count=0)

    def get_conversation(self, conversation_id: str) -> Conversation:
        with self._db.reading():
            conversation = self._get(conversation_id)
            self._counted([conversation])
        return conversation

    def _get(self, conversation_id: str, *, lock: bool = False) -> Conversation:
        return self._existing(Conversation, conversation_id, self.NOT_FOUND, lock=lock)

    def _counted(self, conversations: Sequence[Conversation]) -> None:
        for start in range(0, len(conversations), _COUNTED_AT_ONCE[-1]):
            part = {c.id: c for c in conversations[start : start + _COUNTED_AT_ONCE[-1]]}
            size = next(size for size in _COUNTED_AT_ONCE if size >= len(part))
            # Filled up with one of them, so that few texts are kept.
            keys = [*part, *[next(iter(part))] * (size - len(part))]
            for key, number in self._db.execute_sql(self._counting_text(size), keys).fetchall():
                part[key].message_count = number

    def _counting_text(self, size: int) -> str:
        """Give the statement that counts the messages of so many conversations."""
        text = self._counting_texts.get(size)
        if text is None:
            # A subquery for each, not GROUP BY, which compares every key of the index with the one
            # before it; COUNT(*), which looks at no column; and by the ids of the page, since a
            # database may count for rows that an offset or a sort then drops.
            mine = Message.conversation == Conversation.id
            count = Message.select(peewee.fn.COUNT(peewee.SQL("*"))).where(mine)
            query = Conversation.select(Conversation.id, count)
            query = query.where(Conversation.id.in_([""] * size))
            text = self._db.get_sql_context().sql(query).query()[0]
            self._counting_texts[size] = text
        return text

    def resolve(self, prefix: str) -> str:
        return self._full_id(Conversation, prefix)

    def update_conversation(
        self, conversation_id: str, **changes: Unpack[ConversationChanges]
    ) -> Conversation:
        refuse_others(changes, ConversationChanges)
        row = checked(Conversation, changes)
        with self._db.writing():
            conversation = self._get(conversation_id, lock=True)
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = max(utc_now(), conversation.updated_at)
            Conversation.update(row).where(Conversation.id == conversation_id).execute(self._db)
            for name, value in row.items():
                setattr(conversation, name, value)
            self._counted([conversation])
        return conversation

    def delete_conversation(self, conversation_id: str) -> None:
        with self._db.writing():
            query = Conversation.delete().where(Conversation.id == _known(conversation_id))
            if not query.execute(self._db):
                raise self.NOT_FOUND.of(conversation_id)

    def list_conversations(
        self, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[Conversation]:
        with self._db.reading():
            page = self._page(
                Conversation.select(),
                Conversation.updated_at,
                limit=limit,
                after=after,
                offset=offset,
            )
            self._counted(page.items)
        return page

    def add_message(
        self,
        conversation_id: str,
        role: str,
        content: str,
        *,
        created_at: dt.datetime | None = None,
        metadata: Any = None,
    ) -> Message:
        message = NewMessage(role=role, content=content, created_at=created_at, metadata=metadata)
        return self.add_messages(conversation_id, [message])[0]

    def add_messages(self, conversation_id: str, messages: Iterable[NewMessage]) -> list[Message]:
        rows = [_checked_message(message) for message in messages]
        with self._db.writing():
            found = self._time_of.run(id=_known(conversation_id)).fetchone()
            if found is None:
                raise self.NOT_FOUND.of(conversation_id)
            before = latest = Conversation.updated_at.python_value(found[0])
            for row in rows:
                row |= {"id": new_id(), "conversation": conversation_id}
                latest = max(latest, row.setdefault("created_at", time_after(latest)))
            if len(rows) == 1:
                self._add_one.run(**rows[0])
            else:
                self._insert(Message, rows)
            if latest > before:
                self._move.run(id=conversation_id, updated_at=latest)
        return [record_of(Message, row) for row in rows]

    def get_all_messages(self, conversation_id: str) -> list[Message]:
        with self._db.reading():
            found = self._all.records(conversation=_known(conversation_id))
            if not found:
                self._get(conversation_id)
        return found

    def stream_messages(self, conversation_id: str) -> Iterator[Message]:
        # Page by page: an open cursor would keep SQLite's WAL from being recycled for as long as
        # the reader takes.
        after: str | None = None
        while True:
            page = self.list_messages(conversation_id, limit=_STREAM_MESSAGES, after=after)
            yield from page
            if page.next is None:
                return
            after = page.next

    def list_messages(
        self, conversation_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[Message]:
        with self._db.reading():
            self._get(conversation_id)
            return self._page(
                _messages_of(conversation_id),
                Message.created_at,
                limit=limit,
                after=after,
                offset=offset,
                oldest_first=True,
            )

    def get_context_messages(self, conversation_id: str, limit: int = 20) -> list[Message]:
        check_window(limit)
        with self._db.reading():
            found = self._newest.records(conversation=_known(conversation_id), limit=limit)
            if not found:
                self._get(conversation_id)
        return found[::-1]

    def get_message_count(self, conversation_id: str) -> int:
        with self._db.reading():
            count = int(_messages_of(conversation_id).count(self._db))
            if not count:
                self._get(conversation_id)
        return count


def _known(conversation_id: str) -> str:
    """Give the id if a conversation can have it; the drivers raise errors of their own for some."""
    try:
        return str(Conversation.id.check(conversation_id))
    except ValueError:
        raise errors.ConversationNotFound.of(conversation_id) from None


def _messages_of(conversation_id: str) -> Any:
    return Message.select().where(Message.conversation == _known(conversation_id))


def _checked_message(message: NewMessage) -> dict[str, Any]:
    refuse_others(message, NewMessage)
    row = {"role": None, "content": None, "metadata": None, **message}
    if row["role"] not in ROLES:
        known = ", ".join(ROLES)
        raise errors.InvalidRole("role", f"unknown value {quoted(row['role'])}; one of {known}")
    if row["content"] is None or row["content"] == "":
        raise errors.EmptyContent("content", "must not be empty")
    if row.get("created_at") is None:
        row.pop("created_at", None)  # the conversation's clock gives it
    return checked(Message, row)
