"""The contract of ``Ideation``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors, fields
from dynostore.ids import derived_id
from dynostore.models import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.models.ideation import PRIORITIES, REQUIREMENT_TYPES, ROLES, STATUSES
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
CHILDREN = (IdeationMessage, IdeationRequirement, IdeationMaturity, IdeationDraft, IdeationStory)
IMPOSSIBLE_IDS: list[Any] = ["none", "", "nul\0", "\ud800", "i" * 500, 5, None]


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def story(key: str, **values: Any) -> Any:
    words = {"title": f"Story {key}", "as_a": "rider", "i_want": "a map", "so_that": "it runs"}
    return {"key": key, **words, **values}


def whole_session(session_id: str, **values: Any) -> IdeationSession:
    row: dict[str, Any] = {
        "project_name": "Tuner",
        "user_id": "kim",
        "status": "draft",
        "data_source": "mock",
        "version": 1,
        "created_at": T0,
        "updated_at": T0,
    }
    return IdeationSession(id=session_id, **row | values)


def one_of_each(session_id: str) -> list[Any]:
    """Give a session and a record of each kind that hangs on it, parents first."""

    def key(table: str, name: str) -> str:
        return derived_id(table, session_id, name)

    return [
        whole_session(session_id, version=7, updated_at=at(-5), metadata={"a": None}),
        IdeationMessage(
            id=f"{session_id}-msg-0001",
            session=session_id,
            role="assistant",
            content="",
            timestamp=at(-9),
            maturity_delta=-2.5,
        ),
        IdeationRequirement(
            id=key("ideation_requirements", "REQ-001"),
            session=session_id,
            key="REQ-001",
            description="Maps are smooth",
            type="non_functional",
            priority="must_have",
            category_id="nfr",
            created_at=T0,
        ),
        IdeationMaturity(
            session=session_id,
            score=37.5,
            level="exploration",
            categories=[{"id": "users", "name": "Users", "score": 30, "required_for_submit": True}],
            can_submit=True,
            gaps=["users"],
            updated_at=T0,
        ),
        IdeationDraft(
            id=key("ideation_prd_drafts", "prd-1"),
            session=session_id,
            key="prd-1",
            title="Tuner",
            version="1.0",
            sections=[{"id": "sec-1", "heading": "Scope", "content": "é", "order": 1}],
            status="draft",
            created_at=T0,
        ),
        IdeationStory(
            id=key("ideation_user_stories", "US-001"),
            session=session_id,
            created_at=T0,
            priority="could_have",
            acceptance_criteria=["It runs"],
            linked_requirements=["REQ-001"],
            **story("US-001"),
        ),
    ]


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


@pytest.fixture
def idea(store: Store) -> str:
    """Give the id of a session with nothing on it."""
    return str(store.ideation.sessions.create().id)


def test_every_verb_says_that_a_session_is_unknown(store: Store) -> None:
    store.ideation.sessions.create(session_id="5")
    ideation = store.ideation
    verbs: list[Callable[[Any], object]] = [
        lambda key: ideation.sessions.get(key),
        lambda key: ideation.sessions.update(key, status="closed"),
        lambda key: ideation.sessions.delete(key),
        lambda key: ideation.messages.create(key, "user", "x"),
        lambda key: ideation.messages.list(key),
        lambda key: ideation.messages.delete_by_session(key),
        lambda key: ideation.requirements.create(key, "x"),
        lambda key: ideation.requirements.list(key),
        lambda key: ideation.requirements.update(key, "REQ-001", description="x"),
        lambda key: ideation.requirements.delete(key, "REQ-001"),
        lambda key: ideation.maturity.save(key, 1.0, "concept"),
        lambda key: ideation.maturity.get(key),
        lambda key: ideation.drafts.save(key, "x"),
        lambda key: ideation.drafts.latest(key),
        lambda key: ideation.drafts.list(key),
        lambda key: ideation.stories.save(key, []),
        lambda key: ideation.stories.list(key),
    ]
    for verb in verbs:
        for key in IMPOSSIBLE_IDS:
            with pytest.raises(errors.IdeationSessionNotFound):
                verb(key)


# sessions


def test_a_new_session_is_a_draft_of_nobodys_at_version_1(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    made = store.ideation.sessions.create()
    assert before <= made.created_at == made.updated_at <= dt.datetime.now(dt.UTC)
    assert (made.project_name, made.user_id) == ("Untitled Project", "anonymous")
    assert (made.status, made.data_source, made.version) == ("draft", "mock", 1)
    assert store.ideation.sessions.get(made.id) == made


def test_what_create_gives_is_what_get_gives(store: Store) -> None:
    made = store.ideation.sessions.create(
        session_id="ideation-1764979427000-abc123xyz",
        created_at=T0,
        project_name="Märklin 🏍",
        user_id="kim",
        status="in_build",
        data_source="configured",
        metadata={"team": [1, None]},
    )
    assert store.ideation.sessions.get("ideation-1764979427000-abc123xyz") == made
    assert (made.created_at, made.updated_at, made.metadata) == (T0, T0, {"team": [1, None]})
    with pytest.raises(errors.AlreadyExists, match="ideation-1764979427000"):
        store.ideation.sessions.create(session_id=made.id)


BAD_SESSIONS = [
    ("project_name", None),
    ("project_name", "\0"),
    ("user_id", None),
    ("user_id", "u" * 256),
    ("status", "open"),
    ("status", None),
    ("data_source", "live"),
    ("metadata", {"x": float("nan")}),
    ("version", 9),
    ("updated_at", T0),
    ("id", "x"),
    ("nonsense", 1),
]


def test_a_bad_value_of_a_session_is_refused_by_its_field(store: Store) -> None:
    made = store.ideation.sessions.create(session_id="s")
    for field, value in BAD_SESSIONS:
        values: Any = {field: value}
        with refused(field, value):
            store.ideation.sessions.create(**values)
        with refused(field, value):
            store.ideation.sessions.update("s", **values)
    for key in ("", "i" * 65, "\ud800"):
        with refused("id", key):
            store.ideation.sessions.create(session_id=key)
    assert list(store.ideation.sessions.list()) == [made]


def test_update_changes_what_is_passed_and_counts(store: Store) -> None:
    made = store.ideation.sessions.create(session_id="s", created_at=T0, metadata={"a": 1})
    for number, status in enumerate(STATUSES, 2):
        changed = store.ideation.sessions.update("s", status=status)
        assert changed == store.ideation.sessions.get("s")
        assert (changed.status, changed.version) == (status, number)
        assert changed.updated_at > made.updated_at
    found = store.ideation.sessions.update("s", metadata=None)
    assert (found.project_name, found.metadata, found.created_at) == ("Untitled Project", None, T0)


def test_an_update_of_another_version_is_stale_and_writes_nothing(store: Store, idea: str) -> None:
    first = store.ideation.sessions.update(idea, expected_version=1, project_name="first")
    assert first.version == 2
    for expected in (1, 3, 0):
        with pytest.raises(errors.StaleWrite) as caught:
            store.ideation.sessions.update(idea, expected_version=expected, project_name="late")
        assert (caught.value.data["expected"], caught.value.data["actual"]) == (expected, 2)
    assert store.ideation.sessions.get(idea) == first
    assert store.ideation.sessions.update(idea, expected_version=2).version == 3


def test_an_expected_version_that_none_can_be_is_refused(store: Store, idea: str) -> None:
    for expected in (True, "1", 1.0, -1):
        with pytest.raises(errors.InvalidValue, match="expected_version: "):
            store.ideation.sessions.update(idea, expected_version=expected, status="approved")  # type: ignore[arg-type]
    assert store.ideation.sessions.get(idea).version == 1


def test_no_clock_that_was_set_back_moves_updated_at_back(store: Store) -> None:
    store.ideation.put_many([whole_session("s", updated_at=FUTURE)])
    assert store.ideation.sessions.update("s", status="closed").updated_at == FUTURE


def test_versions_count_every_update_of_several_writers(store: Store, idea: str) -> None:
    failures: list[BaseException] = []
    stale: list[int] = []

    def write() -> None:
        try:
            done = 0
            while done < 10:
                now = store.ideation.sessions.get(idea)
                number = {"count": (now.metadata or {"count": 0})["count"] + 1}
                try:
                    store.ideation.sessions.update(
                        idea, expected_version=now.version, metadata=number
                    )
                    done += 1
                except errors.StaleWrite:
                    stale.append(now.version)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.ideation.sessions.get(idea)
    assert failures == []
    assert (found.version, found.metadata) == (41, {"count": 40})


@pytest.fixture
def thirty(store: Store) -> list[IdeationSession]:
    """Give thirty sessions of two users at ten moments, in the list's order."""
    rows = [
        whole_session(
            f"s{n:02}", updated_at=at(n % 10), user_id=f"u{n % 2}", status=STATUSES[n % 3]
        )
        for n in range(30)
    ]
    assert store.ideation.put_many(rows) == []
    return sorted(rows, key=lambda row: (row.updated_at, row.id), reverse=True)


def test_lists_are_latest_first_then_by_descending_id(
    store: Store, thirty: list[IdeationSession]
) -> None:
    sessions = store.ideation.sessions
    assert list(sessions.list()) == thirty
    mine = [row for row in thirty if row.user_id == "u1"]
    for limit in (1, 4, 15, 16):
        page = sessions.list_by_user("u1", limit=limit)
        found = page.items
        while page.next is not None:
            page = sessions.list_by_user("u1", limit=limit, after=page.next)
            found = found + page.items
        assert found == mine
    assert list(sessions.list_by_user("u1", limit=3, offset=4)) == mine[4:7]
    assert list(sessions.list_by_user("stranger")) == []
    wanted = [row for row in mine if row.status == "draft"]
    assert list(sessions.list(user_id="u1", status="draft")) == wanted
    assert sessions.count(user_id="u1", status="draft") == len(wanted)
    assert (sessions.count(), sessions.count(user_id="u1")) == (30, 15)


def test_list_refuses_a_bad_argument_by_its_name(store: Store) -> None:
    arguments: list[tuple[str, Any]] = [
        ("limit", 0),
        ("offset", -1),
        ("after", "nonsense"),
        ("status", "open"),
        ("user_id", 5),
    ]
    for name, value in arguments:
        with refused(name, value):
            store.ideation.sessions.list(**{name: value})
    with refused("user_id", None):
        store.ideation.sessions.list_by_user(None)  # type: ignore[arg-type]


def test_a_unique_beginning_finds_the_id(store: Store) -> None:
    for key in ("alpha", "alpine", "beta"):
        store.ideation.sessions.create(session_id=key)
    assert store.ideation.sessions.resolve("b") == "beta"
    with pytest.raises(errors.AmbiguousId):
        store.ideation.sessions.resolve("al")
    with pytest.raises(errors.IdeationSessionNotFound):
        store.ideation.sessions.resolve("x")


def test_deleting_a_session_takes_all_that_hangs_on_it_and_nothing_else(store: Store) -> None:
    store.ideation.put_many([*one_of_each("kept"), *one_of_each("gone")])
    store.ideation.sessions.delete("gone")
    with store.bound():
        for model in (IdeationSession, *CHILDREN):
            assert model.select().count() == 1, model
    assert store.ideation.stories.list("kept")[0].key == "US-001"


# messages


def test_messages_are_listed_in_the_order_in_which_they_were_made(
    store: Store, idea: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [store.ideation.messages.create(idea, role, role) for role in ROLES]
    monkeypatch.setattr(fields, "utc_now", lambda: T0)  # set back by months, and standing still
    made += [store.ideation.messages.create(idea, "user", str(n)) for n in range(3)]
    assert list(store.ideation.messages.list(idea)) == made
    assert len({message.timestamp for message in made}) == len(made)


def test_a_message_has_what_was_said_of_it(store: Store, idea: str) -> None:
    made = store.ideation.messages.create(
        idea,
        "assistant",
        "Grüße 🏍",
        message_id="msg-12ab34cd",
        timestamp=T0,
        maturity_delta=12.5,
        metadata={"a": [1]},
    )
    (found,) = store.ideation.messages.list(idea)
    assert found == made
    assert (found.id, found.timestamp, found.maturity_delta) == ("msg-12ab34cd", T0, 12.5)
    with pytest.raises(errors.AlreadyExists, match="msg-12ab34cd"):
        store.ideation.messages.create(idea, "user", "x", message_id="msg-12ab34cd")
    assert store.ideation.messages.create(idea, "user", "x").maturity_delta == 0


def test_a_bad_value_of_a_message_is_refused_by_its_field(store: Store, idea: str) -> None:
    good: dict[str, Any] = {"role": "user", "content": "x"}
    bad: list[tuple[str, str, Any]] = [
        ("role", "role", "tool"),
        ("role", "role", None),
        ("content", "content", None),
        ("content", "content", "\0"),
        ("message_id", "id", ""),
        ("message_id", "id", "i" * 65),
        ("timestamp", "timestamp", dt.datetime(2026, 1, 1)),
        ("maturity_delta", "maturity_delta", float("inf")),
        ("maturity_delta", "maturity_delta", None),
        ("metadata", "metadata", {"x": {1}}),
    ]
    for argument, field, value in bad:
        with refused(field, value):
            store.ideation.messages.create(idea, **good | {argument: value})
    assert list(store.ideation.messages.list(idea)) == []


def test_pages_of_messages_are_oldest_first_then_by_id(store: Store, idea: str) -> None:
    other = store.ideation.sessions.create().id
    rows = [
        IdeationMessage(
            id=f"m{n:03}",
            session=(idea, other)[n % 2],
            role="user",
            content=str(n),
            timestamp=at(n // 8),
            maturity_delta=0,
        )
        for n in range(300)
    ]
    assert store.ideation.put_many(rows[::-1]) == []
    mine = rows[::2]
    page = store.ideation.messages.list(idea)
    assert (list(page), page.next is None) == (mine[:50], False)
    found, after = [], None
    while True:
        page = store.ideation.messages.list(idea, limit=7, after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    assert found == mine
    assert list(store.ideation.messages.list(idea, limit=5, offset=140)) == mine[140:145]
    assert list(store.ideation.messages.list(idea, limit=1000)) == mine


def test_deleting_a_sessions_messages_leaves_the_session_and_others(
    store: Store, idea: str
) -> None:
    other = store.ideation.sessions.create().id
    for number in range(6):
        store.ideation.messages.create((idea, other)[number % 2], "user", "x")
    assert store.ideation.messages.delete_by_session(idea) == 3
    assert store.ideation.messages.delete_by_session(idea) == 0
    assert list(store.ideation.messages.list(idea)) == []
    assert len(store.ideation.messages.list(other)) == 3


# requirements


def test_a_requirement_is_functional_and_should_be_had(store: Store, idea: str) -> None:
    made = store.ideation.requirements.create(idea, "Maps are smooth")
    assert (made.type, made.priority, made.category_id) == ("functional", "should_have", None)
    assert (made.key[:4], len(made.key)) == ("REQ-", 10)
    assert made.id == derived_id("ideation_requirements", idea, made.key)
    assert store.ideation.requirements.list(idea) == [made]


def test_equal_keys_in_two_sessions_are_two_requirements(store: Store, idea: str) -> None:
    other = str(store.ideation.sessions.create().id)
    for session, text in ((idea, "mine"), (other, "theirs")):
        store.ideation.requirements.create(session, text, key="REQ-001")
    with pytest.raises(errors.AlreadyExists, match="'REQ-001'"):
        store.ideation.requirements.create(idea, "again", key="REQ-001")
    store.ideation.requirements.update(idea, "REQ-001", description="changed")
    store.ideation.requirements.delete(other, "REQ-001")
    assert [r.description for r in store.ideation.requirements.list(idea)] == ["changed"]
    assert store.ideation.requirements.list(other) == []


def test_requirements_are_oldest_first_then_by_key(store: Store, idea: str) -> None:
    for key, seconds in (("b", 1), ("z", 0), ("a", 1), ("B", 1), ("m", 2)):
        store.ideation.requirements.create(idea, "x", key=key, created_at=at(seconds))
    found = store.ideation.requirements.list(idea)
    assert [requirement.key for requirement in found] == ["z", "B", "a", "b", "m"]


def test_a_requirement_changes_by_what_is_passed(store: Store, idea: str) -> None:
    made = store.ideation.requirements.create(idea, "x", key="k", category_id="c", metadata=[1])
    replacements: dict[str, Any] = {
        "description": "y",
        "type": REQUIREMENT_TYPES[1],
        "priority": PRIORITIES[0],
        "category_id": None,
        "metadata": {"a": 1},
    }
    wanted = made.values()
    for field, value in replacements.items():
        changes: Any = {field: value}
        changed = store.ideation.requirements.update(idea, "k", **changes)
        wanted |= changes
        assert changed.values() == wanted
        assert store.ideation.requirements.list(idea) == [changed]
    assert store.ideation.requirements.update(idea, "k") == changed


def test_a_bad_value_of_a_requirement_is_refused_by_its_field(store: Store, idea: str) -> None:
    made = store.ideation.requirements.create(idea, "x", key="k")
    bad: list[tuple[str, Any]] = [
        ("description", None),
        ("type", "wish"),
        ("priority", "nice"),
        ("category_id", "c" * 65),
        ("metadata", {"x": float("nan")}),
        ("nonsense", 1),
        ("id", "x"),
    ]
    for field, value in bad:
        values: Any = {field: value}
        with refused(field, value):
            store.ideation.requirements.update(idea, "k", **values)
        if field != "description":
            with refused(field, value):
                store.ideation.requirements.create(idea, "x", **values)
    for key in ("k" * 65, "\0", 5):
        with refused("key", key):
            store.ideation.requirements.create(idea, "x", key=key)  # type: ignore[arg-type]
    assert store.ideation.requirements.list(idea) == [made]


def test_a_requirement_that_is_not_there_is_unknown(store: Store, idea: str) -> None:
    store.ideation.requirements.create(idea, "x", key="k")
    for key in IMPOSSIBLE_IDS:
        with pytest.raises(errors.RequirementNotFound):
            store.ideation.requirements.update(idea, key, description="y")
        with pytest.raises(errors.RequirementNotFound):
            store.ideation.requirements.delete(idea, key)


# maturity


def test_a_session_has_no_maturity_or_the_one_that_was_saved_last(store: Store, idea: str) -> None:
    assert store.ideation.maturity.get(idea) is None
    first = store.ideation.maturity.save(
        idea, 37.5, "exploration", categories=[{"id": "users"}], can_submit=True, gaps=["users"]
    )
    assert store.ideation.maturity.get(idea) == first
    assert (type(first.score), first.score, first.can_submit) == (float, 37.5, True)
    second = store.ideation.maturity.save(idea, 80, "complete")
    found = store.ideation.maturity.get(idea)
    assert found == second
    assert found is not None
    assert (found.score, found.level, found.categories) == (80.0, "complete", None)
    assert (found.can_submit, found.gaps) == (False, None)
    assert found.updated_at >= first.updated_at
    with store.bound():
        assert IdeationMaturity.select().count() == 1


def test_no_clock_that_was_set_back_moves_a_maturity_back(store: Store) -> None:
    session, *_, maturity = one_of_each("s")[:4]
    maturity.updated_at = FUTURE
    store.ideation.put_many([session, maturity])
    assert store.ideation.maturity.save("s", 1, "concept").updated_at == FUTURE


def test_a_bad_value_of_a_maturity_is_refused_by_its_field(store: Store, idea: str) -> None:
    good: dict[str, Any] = {"score": 1.0, "level": "concept"}
    bad: list[tuple[str, Any]] = [
        ("score", None),
        ("score", float("nan")),
        ("score", "1"),
        ("level", None),
        ("level", "l" * 33),
        ("categories", {"x": object()}),
        ("can_submit", 1),
        ("can_submit", None),
        ("gaps", ["\0"]),
        ("metadata", {"x": float("inf")}),
    ]
    for field, value in bad:
        with refused(field, value):
            store.ideation.maturity.save(idea, **good | {field: value})
    assert store.ideation.maturity.get(idea) is None


# drafts


def test_drafts_without_a_key_add_up_and_the_last_saved_is_the_latest(
    store: Store, idea: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.ideation.drafts.latest(idea) is None
    assert store.ideation.drafts.list(idea) == []
    first = store.ideation.drafts.save(idea, "first", sections=[{"heading": "Scope"}])
    assert (first.version, first.status) == ("1.0", "draft")
    monkeypatch.setattr(fields, "utc_now", lambda: T0)  # set back by months, and standing still
    second = store.ideation.drafts.save(idea, "second", version="2.0", status="final")
    third = store.ideation.drafts.save(idea, "third")
    assert store.ideation.drafts.latest(idea) == third
    assert store.ideation.drafts.list(idea) == [third, second, first]


def test_a_draft_of_the_same_key_is_replaced_as_a_whole_and_is_the_latest(
    store: Store, idea: str
) -> None:
    other = str(store.ideation.sessions.create().id)
    theirs = store.ideation.drafts.save(other, "theirs", key="prd-1")
    store.ideation.drafts.save(idea, "one", key="prd-1", sections=[1], metadata={"a": 1})
    two = store.ideation.drafts.save(idea, "two", key="prd-2")
    again = store.ideation.drafts.save(idea, "one again", key="prd-1")
    assert (again.sections, again.metadata) == (None, None)
    assert store.ideation.drafts.list(idea) == [again, two]
    assert store.ideation.drafts.list(other) == [theirs]


def test_drafts_of_given_times_are_latest_first_then_by_descending_key(
    store: Store, idea: str
) -> None:
    for key, seconds in (("b", 1), ("z", 0), ("a", 1), ("c", 1)):
        store.ideation.drafts.save(idea, "x", key=key, created_at=at(seconds))
    assert [draft.key for draft in store.ideation.drafts.list(idea)] == ["c", "b", "a", "z"]
    latest = store.ideation.drafts.latest(idea)
    assert latest is not None
    assert latest.key == "c"


def test_a_bad_value_of_a_draft_is_refused_by_its_field(store: Store, idea: str) -> None:
    good: dict[str, Any] = {"title": "x"}
    bad: list[tuple[str, Any]] = [
        ("title", None),
        ("key", "k" * 65),
        ("key", 5),
        ("version", "v" * 33),
        ("version", 1),
        ("sections", [object()]),
        ("status", None),
        ("created_at", dt.datetime(2026, 1, 1)),
        ("metadata", {"x": float("nan")}),
    ]
    for field, value in bad:
        with refused(field, value):
            store.ideation.drafts.save(idea, **good | {field: value})
    assert store.ideation.drafts.list(idea) == []


# stories


def test_saving_stories_replaces_all_and_keeps_the_given_order(store: Store, idea: str) -> None:
    other = str(store.ideation.sessions.create().id)
    theirs = store.ideation.stories.save(other, [story("US-001")])
    keys = [f"US-{number:03}" for number in range(40, 0, -1)]
    first = store.ideation.stories.save(idea, [story(key) for key in keys])
    assert [s.key for s in first] == keys
    assert store.ideation.stories.list(idea) == first
    assert {s.priority for s in first} == {"should_have"}
    second = store.ideation.stories.save(
        idea,
        [
            story("US-007", title="new", acceptance_criteria=["é"], linked_requirements=["REQ-1"]),
            story("US-100", priority="must_have", metadata={"a": 1}),
        ],
    )
    assert store.ideation.stories.list(idea) == second
    assert [s.title for s in second] == ["new", "Story US-100"]
    assert store.ideation.stories.list(other) == theirs
    assert store.ideation.stories.save(idea, []) == []
    assert store.ideation.stories.list(idea) == []


def test_stories_of_given_times_are_oldest_first_then_by_key(store: Store, idea: str) -> None:
    moments = (("b", 1), ("z", 0), ("a", 1))
    store.ideation.stories.save(idea, [story(k, created_at=at(n)) for k, n in moments])
    assert [s.key for s in store.ideation.stories.list(idea)] == ["z", "a", "b"]


def test_a_bad_story_leaves_the_old_ones(store: Store, idea: str) -> None:
    old = store.ideation.stories.save(idea, [story("US-001")])
    bad: list[tuple[str, Any]] = [
        ("key", None),
        ("key", "US-002"),  # given twice
        ("key", "k" * 65),
        ("title", None),
        ("as_a", 5),
        ("i_want", None),
        ("so_that", "\0"),
        ("acceptance_criteria", {1, 2}),
        ("linked_requirements", float("nan")),
        ("priority", "nice"),
        ("created_at", dt.datetime(2026, 1, 1)),
        ("id", "x"),
        ("nonsense", 1),
    ]
    for field, value in bad:
        with refused(field, value):
            store.ideation.stories.save(idea, [story("US-002"), story("US-003") | {field: value}])
        assert store.ideation.stories.list(idea) == old
    for field in ("key", "title", "as_a", "i_want", "so_that"):
        less = {name: value for name, value in story("US-002").items() if name != field}
        with refused(field, "absent"):
            store.ideation.stories.save(idea, [less])  # type: ignore[list-item]


def test_of_two_that_save_stories_at_once_one_wins_whole(store: Store, idea: str) -> None:
    failures: list[BaseException] = []

    def save(name: str) -> None:
        try:
            for _ in range(10):
                store.ideation.stories.save(idea, [story(f"{name}-{n}") for n in range(5)])
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=save, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.ideation.stories.list(idea)
    assert failures == []
    assert len(found) == 5
    assert len({s.key[0] for s in found}) == 1


# put_many


def test_put_many_writes_whole_records_of_every_kind_as_they_are(store: Store) -> None:
    records = one_of_each("s")
    assert store.ideation.put_many(records[::-1]) == []
    session, message, requirement, maturity, draft, user_story = records
    assert store.ideation.sessions.get("s") == session
    assert list(store.ideation.messages.list("s")) == [message]
    assert store.ideation.requirements.list("s") == [requirement]
    assert store.ideation.maturity.get("s") == maturity
    assert store.ideation.drafts.list("s") == [draft]
    assert store.ideation.stories.list("s") == [user_story]


def test_put_many_replaces_by_key_and_leaves_what_hangs_on_a_session(store: Store) -> None:
    store.ideation.put_many(one_of_each("s"))
    assert store.ideation.put_many([whole_session("s", status="closed")]) == []
    assert store.ideation.sessions.get("s").status == "closed"
    assert len(store.ideation.stories.list("s")) == 1


def test_put_many_gives_back_bad_records_and_stores_all_others(store: Store) -> None:
    _, message, requirement, maturity, draft, user_story = one_of_each("s")
    message.role = "tool"
    requirement.id = derived_id("ideation_requirements", "other", "REQ-001")
    maturity.session = "none"
    draft.key = "prd-2"
    user_story.priority = "nice"
    bounced = store.ideation.put_many(
        [message, requirement, maturity, draft, user_story, whole_session("s")]
    )
    reasons = [refusal.reason.partition(":")[0] for refusal in bounced]
    assert sorted(reasons) == ["id", "id", "priority", "role", "session_id"]
    assert store.ideation.sessions.count() == 1


def test_a_noun_writes_its_own_records_and_no_others(store: Store) -> None:
    session, message, *_ = one_of_each("s")
    assert store.ideation.sessions.put_many([session]) == []
    assert store.ideation.messages.put_many([message]) == []
    with pytest.raises(errors.InvalidValue, match="another family"):
        store.ideation.messages.put_many([session])


def test_an_exception_undoes_the_whole_transaction(store: Store, idea: str) -> None:
    with contextlib.suppress(RuntimeError), store.transaction():
        store.ideation.requirements.create(idea, "x")
        store.ideation.stories.save(idea, [story("US-001")])
        store.ideation.sessions.update(idea, status="approved")
        raise RuntimeError
    assert store.ideation.requirements.list(idea) == store.ideation.stories.list(idea) == []
    assert store.ideation.sessions.get(idea).version == 1
