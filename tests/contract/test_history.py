"""The contract of ``History``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.ids import new_id
from dynostore.models import HistoryEntry
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def whole_entry(session_id: str, **values: Any) -> HistoryEntry:
    return HistoryEntry(session=session_id, **{"id": new_id(), "timestamp": T0} | values)


@pytest.fixture
def session_id(store: Store) -> str:
    """A session without history."""
    return str(store.sessions.create(session_id="s").session_id)


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


def test_what_append_gives_is_what_the_list_gives(store: Store, session_id: str) -> None:
    facts: dict[str, Any] = {
        "step_id": "2",
        "thought": "Which port → 8000?",
        "action": "ask_user",
        "observation": "8080 ✅",
        "timestamp": T0,
        "metadata": {"tokens": 12},
    }
    entry = store.history.append("s", **facts)
    assert list(store.history.list("s")) == [entry]
    assert entry.values() == {"id": entry.id, "session_id": "s", **facts}
    before = dt.datetime.now(dt.UTC)
    bare = store.history.append("s")
    assert before <= bare.timestamp <= dt.datetime.now(dt.UTC)
    assert set(bare.values().values()) == {bare.id, "s", None, bare.timestamp}


def test_a_position_is_a_step_by_its_digits(store: Store, session_id: str) -> None:
    entry = store.history.append("s", step_id=2)
    store.history.append("s", step_id="two")
    assert entry.step_id == "2"
    assert list(store.history.list("s", step_id=2)) == [entry]
    assert list(store.history.list("s", step_id="2")) == [entry]


def test_many_keep_their_order_also_where_times_are_equal(store: Store, session_id: str) -> None:
    # More than one statement can bind.
    made = store.history.append_many("s", ({"thought": str(n)} for n in range(5000)))
    last = store.history.append("s", thought="last")
    found, after = [], None
    while True:
        page = store.history.list("s", limit=700, after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    assert found == [*made, last]
    assert [entry.thought for entry in made] == [str(n) for n in range(5000)]


def test_many_may_say_different_things(store: Store, session_id: str) -> None:
    facts: list[dict[str, Any]] = [
        {"thought": "t", "timestamp": at(2)},
        {"action": "a", "timestamp": at(1)},
        {"observation": "o", "metadata": [1], "timestamp": at(3)},
    ]
    made = store.history.append_many("s", facts)
    assert list(store.history.list("s")) == [made[1], made[0], made[2]]
    assert store.history.append_many("s", []) == []


def test_many_are_all_or_none(store: Store, session_id: str) -> None:
    with refused("thought", 5):
        store.history.append_many("s", [{"thought": "good"}, {"thought": 5}])
    assert list(store.history.list("s")) == []


def test_what_is_appended_later_stands_later_whatever_the_clock_says(
    store: Store, session_id: str
) -> None:
    future = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    early = store.history.append("s", thought="early", timestamp=T0)
    skewed = store.history.append("s", thought="by a fast clock", timestamp=future)
    made = [store.history.append("s", thought=str(n)) for n in range(5)]
    assert list(store.history.list("s")) == [early, skewed, *made]
    assert made[0].timestamp == future + dt.timedelta(microseconds=1)


def test_lists_are_oldest_first_then_by_ascending_id(store: Store, session_id: str) -> None:
    store.sessions.create(session_id="other")
    entries = [whole_entry("s", timestamp=at(n % 3), step_id=str(n % 2)) for n in range(12)]
    assert store.history.put_many([*entries, whole_entry("other")]) == []
    entries.sort(key=lambda entry: (entry.timestamp, entry.id))
    for limit in (1, 5, 11, 12):
        page = store.history.list("s", limit=limit)
        found = page.items
        while page.next is not None:
            page = store.history.list("s", limit=limit, after=page.next)
            found = found + page.items
        assert found == entries
    assert list(store.history.list("s", limit=3, offset=4)) == entries[4:7]
    ones = [entry for entry in entries if entry.step_id == "1"]
    assert list(store.history.list("s", step_id=1)) == ones
    bad: list[tuple[str, Any]] = [("limit", 0), ("offset", -1), ("after", "x"), ("step_id", 1.5)]
    for name, value in bad:
        with refused(name, value):
            store.history.list("s", **{name: value})


def test_an_unknown_session_has_no_history(store: Store, session_id: str) -> None:
    verbs: list[Callable[[Any], object]] = [
        lambda unknown: store.history.append(unknown, thought="t"),
        lambda unknown: store.history.append_many(unknown, []),
        lambda unknown: store.history.list(unknown),
    ]
    for verb in verbs:
        for unknown in ("none", "", "nul\0", "\ud800", "i" * 500, 5, None):
            with pytest.raises(errors.SessionNotFound):
                verb(unknown)


def test_a_bad_value_is_refused_by_its_field_and_nothing_written(
    store: Store, session_id: str
) -> None:
    bad: list[tuple[str, Any]] = [
        ("step_id", "x" * 256),
        ("step_id", 1.5),
        ("step_id", True),
        ("thought", {"rationale": "r"}),
        ("action", "nul\0"),
        ("observation", "\ud800"),
        ("timestamp", dt.datetime(2026, 1, 1)),
        ("timestamp", None),
        ("metadata", {"x": float("nan")}),
        ("id", new_id()),
        ("nonsense", 1),
    ]
    for field, value in bad:
        facts: Any = {field: value}
        with refused(field, value):
            store.history.append("s", **facts)
    assert list(store.history.list("s")) == []


def test_put_many_writes_entries_as_they_are_and_gives_back_orphans(
    store: Store, session_id: str
) -> None:
    entry = whole_entry("s", observation="o")
    bounced = store.history.put_many([whole_entry("missing"), entry])
    assert [r.reason for r in bounced] == ["session_id: there is no 'missing' in sessions"]
    assert list(store.history.list("s")) == [entry]


def test_deleting_a_session_takes_its_history_and_no_other(store: Store) -> None:
    for session_id in ("a", "b"):
        store.sessions.create(session_id=session_id)
        store.history.append(session_id, thought="t")
    store.sessions.delete_state("a")
    assert len(store.history.list("b")) == 1
    store.sessions.create(session_id="a")
    assert len(store.history.list("a")) == 0
