"""The contract of ``Memories``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.models import Memory
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
IMPOSSIBLE_IDS: list[Any] = ["", "nul\0", "\ud800", "i" * 500, 5, None]


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def whole_memory(memory_id: str, **values: Any) -> Memory:
    row = {"context": "c", "lesson": "l", "confidence": 0, "created_at": T0}
    return Memory(memory_id=memory_id, **row | values)


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


def test_what_add_gives_is_what_get_gives(store: Store) -> None:
    details: dict[str, Any] = {"tool_name": "t", "confidence": -3, "metadata": {"success_count": 2}}
    memory = store.memories.add("c", "l", memory_id="m", created_at=T0, **details)
    whole = {"memory_id": "m", "context": "c", "lesson": "l", "created_at": T0, **details}
    assert store.memories.get("m").values() == memory.values() == whole
    before = dt.datetime.now(dt.UTC)
    bare = store.memories.add("", "")
    assert before <= bare.created_at <= dt.datetime.now(dt.UTC)
    assert (bare.confidence, bare.tool_name, len(bare.memory_id)) == (0, None, 36)
    with pytest.raises(errors.AlreadyExists, match="'m'"):
        store.memories.add("c", "l", memory_id="m")


def test_a_bad_value_is_refused_by_its_field_and_nothing_written(store: Store) -> None:
    kept = store.memories.add("c", "l", memory_id="m")
    bad: list[tuple[str, Any]] = [
        ("context", None),
        ("lesson", "nul\0"),
        ("tool_name", "t" * 256),
        ("confidence", None),
        ("confidence", 0.5),
        ("confidence", True),
        ("confidence", 2**63),
        ("metadata", {"x": float("nan")}),
        ("nonsense", 1),
    ]
    for field, value in bad:
        values: Any = {field: value}
        with refused(field, value):
            store.memories.add(**{"context": "c", "lesson": "l"} | values)
        with refused(field, value):
            store.memories.update("m", **values)
    for memory_id in IMPOSSIBLE_IDS[:-1]:
        with refused("memory_id", memory_id):
            store.memories.add("c", "l", memory_id=memory_id)
    assert list(store.memories.list()) == [kept]


def test_every_verb_says_that_a_memory_is_unknown(store: Store) -> None:
    store.memories.add("c", "l", memory_id="other")
    verbs: list[Callable[[Any], object]] = [
        lambda memory_id: store.memories.get(memory_id),
        lambda memory_id: store.memories.update(memory_id, confidence=1),
        lambda memory_id: store.memories.delete(memory_id),
    ]
    for verb in verbs:
        for memory_id in ("none", *IMPOSSIBLE_IDS):
            with pytest.raises(errors.MemoryNotFound):
                verb(memory_id)
    with pytest.raises(errors.MemoryNotFound):
        store.memories.resolve("none")
    assert store.memories.resolve("oth") == "other"


def test_update_changes_what_is_passed_and_nothing_else(store: Store) -> None:
    store.memories.put_many([whole_memory("m", tool_name="t", metadata=[1])])
    changes: list[dict[str, Any]] = [
        {"context": "other"},
        {"lesson": ""},
        {"tool_name": None},
        {"confidence": 7},
        {"metadata": None},
        {},
    ]
    for change in changes:
        before = store.memories.get("m").values()
        changed = store.memories.update("m", **change)
        assert changed == store.memories.get("m")
        assert changed.values() == before | change


def test_lists_are_newest_first_by_pages_and_tool(store: Store) -> None:
    memories = [
        whole_memory(f"m{n:02}", created_at=at(n % 4), tool_name=f"t{n % 2}") for n in range(14)
    ]
    assert store.memories.put_many(memories) == []
    memories.sort(key=lambda memory: (memory.created_at, memory.memory_id), reverse=True)
    for limit in (1, 5, 13, 14):
        page = store.memories.list(limit=limit)
        found = page.items
        while page.next is not None:
            page = store.memories.list(limit=limit, after=page.next)
            found = found + page.items
        assert found == memories
    ones = [memory for memory in memories if memory.tool_name == "t1"]
    assert list(store.memories.list(tool_name="t1")) == ones
    assert list(store.memories.search("c", tool_name="t1", limit=2, offset=1)) == ones[1:3]
    page = store.memories.search("c", limit=10)
    assert page.items + store.memories.search("c", after=page.next).items == memories


def test_a_search_finds_what_holds_every_word_in_context_or_lesson(store: Store) -> None:
    texts = {
        "csv": ("large CSV files", "read them in chunks"),
        "wild": ("100%_done", "back\\slash"),
        "plain": ("100 percent done", "backslash"),
        "accent": ("Grüße", "走 🏍"),
    }
    for memory_id, (context, lesson) in texts.items():
        store.memories.add(context, lesson, memory_id=memory_id)

    def found(text: str) -> set[str]:
        return {memory.memory_id for memory in store.memories.search(text)}

    assert found("csv") == found("CHUNKS  Large") == found("hunk") == {"csv"}
    assert found("csv missing") == set()
    assert found("100") == {"wild", "plain"}
    assert found("%") == found("0%_d") == found("k\\s") == {"wild"}
    assert found("üß") == found("走") == {"accent"}
    assert found("GRÜSSE") == set()


def test_letters_outside_of_a_to_z_keep_their_case_on_every_database(store: Store) -> None:
    store.memories.add("Über", "straße", memory_id="m")
    assert list(store.memories.search("über")) == []
    assert len(store.memories.search("Über STRAßE")) == 1


def test_a_search_for_nothing_or_too_much_is_refused(store: Store) -> None:
    store.memories.add("c", "l")
    assert len(store.memories.search(" ".join(["c"] * 32))) == 1
    bad: list[Any] = ["", "  ", "nul\0", None, 5, "x" * 1001, "c " * 33]
    for text in bad:
        with refused("text", text):
            store.memories.search(text)


def test_a_deleted_memory_is_gone(store: Store) -> None:
    store.memories.add("c", "l", memory_id="a")
    kept = store.memories.add("c", "l", memory_id="b")
    store.memories.delete("a")
    assert list(store.memories.list()) == [kept]


def test_put_many_gives_back_bad_records_with_their_reasons(store: Store) -> None:
    good, bad = whole_memory("m", metadata={"a": 1}), whole_memory("bad", confidence=1.5)
    assert [r.reason.partition(":")[0] for r in store.memories.put_many([bad, good])] == [
        "confidence"
    ]
    assert list(store.memories.list()) == [good]
