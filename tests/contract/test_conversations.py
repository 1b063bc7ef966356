"""The contract of ``Conversations``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors, fields
from dynostore.ids import new_id
from dynostore.models import Conversation, Message
from dynostore.models.conversations import ROLES
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def contents(messages: Any) -> list[str]:
    return [message.content for message in messages]


def ids(conversations: Any) -> list[str]:
    return [conversation.id for conversation in conversations]


def said(*texts: str) -> Any:
    return [{"role": "user", "content": text} for text in texts]


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"{number:05}" for number in range(start, start + count)]


def whole(conversation_id: str, **values: Any) -> Conversation:
    return Conversation(id=conversation_id, **{"created_at": T0, "updated_at": T0} | values)


def whole_message(conversation_id: str, content: str, **values: Any) -> Message:
    row = {"id": new_id(), "role": "user", "created_at": T0} | values
    return Message(conversation=conversation_id, content=content, **row)


@contextlib.contextmanager
def refused(field: str, value: Any, kind: type[errors.InvalidValue]) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = (exc.field, type(exc))
    assert found == (field, kind), f"{field}={value!r}"


# conversations


def test_a_new_conversation_is_empty_and_just_now(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    made = store.conversations.create_conversation()
    after = dt.datetime.now(dt.UTC)
    assert before <= made.created_at == made.updated_at <= after
    assert (len(made.id), made.title, made.metadata, made.message_count) == (36, None, None, 0)
    assert store.conversations.get_all_messages(made.id) == []
    assert store.conversations.get_context_messages(made.id) == []
    assert store.conversations.get_message_count(made.id) == 0


def test_what_create_gives_is_what_get_gives(store: Store) -> None:
    made = store.conversations.create_conversation(
        "Grüße 🏍", conversation_id="slack:C1/17", created_at=T0, metadata={"channel": ["é", None]}
    )
    assert store.conversations.get_conversation("slack:C1/17") == made
    assert made.values() == {
        "id": "slack:C1/17",
        "title": "Grüße 🏍",
        "created_at": T0,
        "updated_at": T0,
        "metadata": {"channel": ["é", None]},
    }


def test_a_taken_id_is_refused_and_its_conversation_unchanged(store: Store) -> None:
    store.conversations.create_conversation("first", conversation_id="c")
    store.conversations.add_message("c", "user", "hello")
    with pytest.raises(errors.AlreadyExists, match="'c'"):
        store.conversations.create_conversation("second", conversation_id="c")
    found = store.conversations.get_conversation("c")
    assert (found.title, found.message_count) == ("first", 1)


def test_create_refuses_a_bad_value_by_its_field(store: Store) -> None:
    bad: list[tuple[str, str, Any]] = [
        ("title", "title", 5),
        ("title", "title", "\0"),
        ("metadata", "metadata", {"x": float("nan")}),
        ("created_at", "created_at", dt.datetime(2026, 1, 1)),
        ("conversation_id", "id", ""),
        ("conversation_id", "id", "i" * 256),
        ("conversation_id", "id", "\ud800"),
        ("conversation_id", "id", 5),
    ]
    for argument, field, value in bad:
        with refused(field, value, errors.InvalidValue):
            store.conversations.create_conversation(**{argument: value})
    assert len(store.conversations.list_conversations()) == 0


def test_update_changes_what_is_passed_and_moves_updated_at(store: Store) -> None:
    store.conversations.create_conversation("old", conversation_id="c", created_at=T0)
    changed = store.conversations.update_conversation("c", metadata={"a": 1})
    assert (changed.title, changed.metadata, changed.created_at) == ("old", {"a": 1}, T0)
    assert changed.updated_at > T0
    store.conversations.update_conversation("c", title=None)
    found = store.conversations.get_conversation("c")
    assert (found.title, found.metadata) == (None, {"a": 1})
    for field in ("id", "updated_at", "nonsense"):
        values: Any = {field: T0}
        with refused(field, T0, errors.InvalidValue):
            store.conversations.update_conversation("c", **values)


def test_no_clock_that_was_set_back_moves_updated_at_back(store: Store) -> None:
    store.conversations.put_many([whole("c", updated_at=FUTURE)])
    assert store.conversations.update_conversation("c", title="x").updated_at == FUTURE


def test_a_unique_beginning_finds_the_id(store: Store) -> None:
    for key in ("alpha", "alpine", "beta"):
        store.conversations.create_conversation(conversation_id=key)
    assert store.conversations.resolve("b") == "beta"
    with pytest.raises(errors.AmbiguousId, match="alpha, alpine"):
        store.conversations.resolve("al")
    with pytest.raises(errors.ConversationNotFound):
        store.conversations.resolve("x")


def test_every_verb_says_that_a_conversation_is_unknown(store: Store) -> None:
    store.conversations.create_conversation(conversation_id="5")
    verbs: list[Callable[[Any], object]] = [
        lambda key: store.conversations.get_conversation(key),
        lambda key: store.conversations.update_conversation(key, title="x"),
        lambda key: store.conversations.delete_conversation(key),
        lambda key: store.conversations.add_message(key, "user", "x"),
        lambda key: store.conversations.add_messages(key, []),
        lambda key: store.conversations.get_all_messages(key),
        lambda key: list(store.conversations.stream_messages(key)),
        lambda key: store.conversations.list_messages(key),
        lambda key: store.conversations.get_context_messages(key),
        lambda key: store.conversations.get_message_count(key),
    ]
    for verb in verbs:
        for key in ("none", "", "nul\0", "\ud800", "i" * 500, 5, None):
            with pytest.raises(errors.ConversationNotFound):
                verb(key)


def test_deleting_takes_the_messages_along_and_no_others(store: Store) -> None:
    for key in ("kept", "gone"):
        store.conversations.create_conversation(conversation_id=key)
        store.conversations.add_messages(key, said("a", "b"))
    store.conversations.delete_conversation("gone")
    assert ids(store.conversations.list_conversations()) == ["kept"]
    assert store.conversations.get_message_count("kept") == 2
    with store.bound():
        assert Message.select().count() == 2


def test_a_new_conversation_never_adopts_the_messages_of_a_deleted_one(store: Store) -> None:
    first = store.conversations.create_conversation()
    store.conversations.add_messages(first.id, said("old", "older"))
    store.conversations.delete_conversation(first.id)
    second = store.conversations.create_conversation()
    assert second.id != first.id
    assert store.conversations.get_all_messages(second.id) == []
    # Nor where the caller gives the same id again.
    store.conversations.create_conversation(conversation_id=first.id)
    assert store.conversations.get_all_messages(first.id) == []


# adding messages


@pytest.fixture
def talk(store: Store) -> str:
    """Give the id of an empty conversation."""
    return str(store.conversations.create_conversation().id)


def test_what_add_gives_is_what_is_read(store: Store, talk: str) -> None:
    before = dt.datetime.now(dt.UTC)
    added = store.conversations.add_message(
        talk, "assistant", "Grüße\n🏍", metadata={1: ("a",), 2: None}
    )
    assert store.conversations.get_all_messages(talk) == [added]
    assert (added.role, added.content) == ("assistant", "Grüße\n🏍")
    assert added.metadata == {"1": ["a"], "2": None}
    assert before <= added.created_at <= dt.datetime.now(dt.UTC) + MICROSECOND
    assert len(added.id) == 36


def test_every_role_takes_part(store: Store, talk: str) -> None:
    for role in ROLES:
        store.conversations.add_message(talk, role, "x")
    assert [m.role for m in store.conversations.get_all_messages(talk)] == list(ROLES)


def test_each_refusal_has_a_class_of_its_own_and_writes_nothing(store: Store, talk: str) -> None:
    good: Any = {"role": "user", "content": "x"}
    bad: list[tuple[str, Any, type[errors.InvalidValue]]] = [
        ("content", "", errors.EmptyContent),
        ("content", None, errors.EmptyContent),
        ("content", 5, errors.InvalidValue),
        ("content", "\0", errors.InvalidValue),
        ("role", "robot", errors.InvalidRole),
        ("role", "", errors.InvalidRole),
        ("role", None, errors.InvalidRole),
        ("role", ["user"], errors.InvalidRole),
        ("metadata", {"x": float("nan")}, errors.InvalidValue),
        ("created_at", dt.datetime(2026, 1, 1), errors.InvalidValue),
        ("created_at", 0, errors.InvalidValue),
    ]
    before = store.conversations.get_conversation(talk)
    for field, value, kind in bad:
        with refused(field, value, kind):
            store.conversations.add_message(talk, **good | {field: value})
        with refused(field, value, kind):
            store.conversations.add_messages(talk, [good, good | {field: value}])
    for field in ("id", "conversation_id", "nonsense"):
        with refused(field, "x", errors.InvalidValue):
            store.conversations.add_messages(talk, [good | {field: "x"}])
    for field, kind in (("role", errors.InvalidRole), ("content", errors.EmptyContent)):
        with refused(field, "absent", kind):
            less: Any = {name: value for name, value in good.items() if name != field}
            store.conversations.add_messages(talk, [less])
    assert store.conversations.get_conversation(talk) == before
    assert store.conversations.get_message_count(talk) == 0


def test_adding_moves_updated_at_to_the_newest_message_and_never_back(
    store: Store, talk: str
) -> None:
    for texts in (said("a"), said("b", "c")):
        last = store.conversations.add_messages(talk, texts)[-1]
        assert store.conversations.get_conversation(talk).updated_at == last.created_at
    store.conversations.add_message(talk, "user", "old", created_at=T0)
    assert store.conversations.get_conversation(talk).updated_at == last.created_at
    store.conversations.add_message(talk, "user", "planned", created_at=FUTURE)
    assert store.conversations.get_conversation(talk).updated_at == FUTURE


def test_adding_nothing_changes_nothing(store: Store, talk: str) -> None:
    before = store.conversations.get_conversation(talk)
    assert store.conversations.add_messages(talk, []) == []
    assert store.conversations.get_conversation(talk) == before


def test_messages_of_one_call_keep_their_order(store: Store, talk: str) -> None:
    texts = numbered(300)
    added = store.conversations.add_messages(talk, said(*texts))
    assert contents(added) == texts
    assert store.conversations.get_all_messages(talk) == added
    times = [message.created_at for message in added]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_the_order_is_that_of_adding_whatever_the_clock_says(
    store: Store, talk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.conversations.add_messages(talk, said("0", "1"))
    with monkeypatch.context() as patch:
        patch.setattr(fields, "utc_now", lambda: T0)  # set back by months, and standing still
        store.conversations.add_message(talk, "user", "2")
        store.conversations.add_messages(talk, said("3", "4"))
    store.conversations.add_message(talk, "user", "5")
    assert contents(store.conversations.get_all_messages(talk)) == list("012345")
    assert contents(store.conversations.get_context_messages(talk, 2)) == ["4", "5"]


def test_a_given_time_is_kept_and_later_messages_follow_it(store: Store, talk: str) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    store.conversations.add_messages(
        talk,
        [
            {"role": "user", "content": "given", "created_at": soon},
            {"role": "user", "content": "next", "created_at": None},
        ],
    )
    store.conversations.add_message(talk, "user", "last")
    store.conversations.add_message(talk, "user", "first", created_at=T0)
    found = store.conversations.get_all_messages(talk)
    assert contents(found) == ["first", "given", "next", "last"]
    assert [m.created_at for m in found] == [T0, soon, soon + MICROSECOND, soon + 2 * MICROSECOND]


def test_at_the_end_of_the_calendar_a_message_is_still_taken(store: Store) -> None:
    latest = dt.datetime.max.replace(tzinfo=dt.UTC)
    store.conversations.put_many([whole("c", updated_at=latest)])
    assert store.conversations.add_message("c", "user", "x").created_at == latest


def test_writers_of_one_conversation_lose_nothing_and_keep_their_order(
    store: Store, talk: str
) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(20):
                store.conversations.add_message(talk, "user", f"{name}{number:02}")
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.conversations.get_all_messages(talk)
    assert failures == []
    assert len({m.created_at for m in found}) == len(found) == 80
    for name in "abcd":
        mine = [text for text in contents(found) if text.startswith(name)]
        assert mine == [f"{name}{number:02}" for number in range(20)]
    assert store.conversations.get_conversation(talk).updated_at == found[-1].created_at


def test_a_refused_message_does_not_end_the_callers_transaction(store: Store, talk: str) -> None:
    with store.transaction():
        store.conversations.add_message(talk, "user", "a")
        with pytest.raises(errors.ConversationNotFound):
            store.conversations.add_message("none", "user", "x")
        with pytest.raises(errors.EmptyContent):
            store.conversations.add_message(talk, "user", "")
        store.conversations.add_message(talk, "user", "b")
    assert contents(store.conversations.get_all_messages(talk)) == ["a", "b"]


# reading messages


def test_the_context_is_the_newest_messages_oldest_of_them_first(store: Store, talk: str) -> None:
    store.conversations.add_messages(talk, said(*numbered(25)))
    assert contents(store.conversations.get_context_messages(talk)) == numbered(20, 5)
    for limit, start in ((1, 24), (3, 22), (25, 0), (26, 0), (1000, 0)):
        found = store.conversations.get_context_messages(talk, limit)
        assert contents(found) == numbered(25 - start, start)
    store.conversations.add_message(talk, "user", "new")
    assert contents(store.conversations.get_context_messages(talk, limit=2)) == ["00024", "new"]


def test_a_context_without_a_sensible_limit_is_refused(store: Store, talk: str) -> None:
    limits: list[Any] = [0, -1, 1.5, "20", True, None]
    for limit in limits:
        with refused("limit", limit, errors.InvalidValue):
            store.conversations.get_context_messages(talk, limit)


def test_equal_times_are_ordered_by_id(store: Store, talk: str) -> None:
    messages = [whole_message(talk, str(n), created_at=at(n // 5)) for n in range(20)]
    store.conversations.put_many(messages[::-1])
    wanted = sorted(messages, key=lambda m: (m.created_at, m.id))
    assert store.conversations.get_all_messages(talk) == wanted
    assert store.conversations.get_context_messages(talk, 7) == wanted[-7:]
    assert list(store.conversations.stream_messages(talk)) == wanted
    found, after = [], None
    while True:
        page = store.conversations.list_messages(talk, limit=3, after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    assert found == wanted
    assert list(store.conversations.list_messages(talk, limit=4, offset=2)) == wanted[2:6]


def test_messages_of_others_are_never_among_them(store: Store, talk: str) -> None:
    other = store.conversations.create_conversation().id
    for number in range(10):
        store.conversations.add_message((talk, other)[number % 2], "user", str(number))
    for read in (
        store.conversations.get_all_messages,
        store.conversations.get_context_messages,
        store.conversations.list_messages,
        store.conversations.stream_messages,
    ):
        assert contents(read(talk)) == list("02468")


def test_a_long_conversation_comes_whole_by_every_way(store: Store, talk: str) -> None:
    texts = numbered(2500)
    store.conversations.add_messages(talk, said(*texts))
    assert contents(store.conversations.get_all_messages(talk)) == texts
    assert contents(store.conversations.stream_messages(talk)) == texts
    assert store.conversations.get_message_count(talk) == 2500
    page = store.conversations.list_messages(talk)
    assert (contents(page), page.next is None) == (texts[:50], False)


def test_more_messages_than_a_statement_can_bind_are_added_at_once(store: Store, talk: str) -> None:
    texts = numbered(6000)
    store.conversations.add_messages(talk, said(*texts))
    assert store.conversations.get_message_count(talk) == 6000
    assert contents(store.conversations.get_context_messages(talk, 3)) == texts[-3:]


# lists


@pytest.fixture
def thirty(store: Store) -> list[str]:
    """Give the ids of thirty conversations at ten moments, in the list's order."""
    rows = [whole(f"c{n:02}", updated_at=at(n % 10)) for n in range(30)]
    store.conversations.put_many(rows)
    rows.sort(key=lambda c: (c.updated_at, c.id), reverse=True)
    return [row.id for row in rows]


def test_lists_are_latest_first_then_by_descending_id(store: Store, thirty: list[str]) -> None:
    assert ids(store.conversations.list_conversations()) == thirty
    for limit in (1, 3, 7, 29, 30, 31):
        page = store.conversations.list_conversations(limit=limit)
        found = ids(page)
        while page.next is not None:
            page = store.conversations.list_conversations(limit=limit, after=page.next)
            found += ids(page)
        assert found == thirty
    assert ids(store.conversations.list_conversations(limit=5, offset=10)) == thirty[10:15]
    after = store.conversations.list_conversations(limit=10).next
    page = store.conversations.list_conversations(limit=5, after=after, offset=2)
    assert ids(page) == thirty[12:17]


def test_what_gets_a_message_moves_to_the_front(store: Store, thirty: list[str]) -> None:
    store.conversations.add_message(thirty[-1], "user", "x")
    assert ids(store.conversations.list_conversations(limit=2)) == [thirty[-1], thirty[0]]


def test_lists_count_messages(store: Store, thirty: list[str]) -> None:
    for number, key in enumerate(thirty):
        store.conversations.put_many(whole_message(key, "x") for _ in range(number))
    page = store.conversations.list_conversations()
    assert [c.message_count for c in page] == list(range(30))
    page = store.conversations.list_conversations(limit=3, offset=20)
    assert [c.message_count for c in page] == [20, 21, 22]
    assert store.conversations.get_conversation(thirty[7]).message_count == 7
    assert store.conversations.update_conversation(thirty[7], title="x").message_count == 7


def test_a_page_of_thousands_is_counted_whole(store: Store) -> None:
    store.conversations.put_many(whole(key) for key in numbered(6000))
    store.conversations.add_message("00000", "user", "x")
    store.conversations.add_message("05999", "user", "x")
    page = store.conversations.list_conversations(limit=10_000)
    assert len(page) == 6000
    assert {c.id for c in page if c.message_count == 1} == {"00000", "05999"}


def test_list_refuses_a_bad_window_by_its_name(store: Store) -> None:
    windows: list[tuple[str, Any]] = [
        ("limit", 0),
        ("limit", "x"),
        ("offset", -1),
        ("after", "nonsense"),
        ("after", ""),
        ("after", 5),
    ]
    for name, value in windows:
        with refused(name, value, errors.InvalidValue):
            store.conversations.list_conversations(**{name: value})


# put_many


def test_put_many_writes_whole_records_as_they_are(store: Store) -> None:
    conversation = whole("c", title="t", updated_at=at(-5), metadata=[1])
    messages = [
        whole_message("c", "old", role="tool", created_at=at(-9), metadata={"x": None}),
        whole_message("c", "", created_at=at(3)),  # older tools let empty ones through
    ]
    assert store.conversations.put_many([*messages, conversation]) == []
    assert store.conversations.get_conversation("c") == conversation
    assert store.conversations.get_all_messages("c") == messages


def test_put_many_gives_back_bad_records_and_stores_all_others(store: Store) -> None:
    bad = {
        "role": whole_message("c", "x", role="robot"),
        "content": whole_message("c", None),  # type: ignore[arg-type]
        "id": whole_message("c", "x", id="no uuid"),
        "created_at": whole_message("c", "x", created_at=dt.datetime(2026, 1, 1)),
        "conversation_id": whole_message("none", "x"),
    }
    good = [whole("c"), whole_message("c", "good")]
    bounced = store.conversations.put_many([*bad.values(), *good])
    reasons = {id(r.record): r.reason for r in bounced}
    assert len(bounced) == len(bad)
    for field, record in bad.items():
        assert reasons[id(record)].startswith(f"{field}: ")
    assert contents(store.conversations.get_all_messages("c")) == ["good"]


def test_replacing_a_conversation_leaves_its_messages(store: Store, talk: str) -> None:
    store.conversations.add_message(talk, "user", "x")
    assert store.conversations.put_many([whole(talk, title="new")]) == []
    found = store.conversations.get_conversation(talk)
    assert (found.title, found.message_count) == ("new", 1)
