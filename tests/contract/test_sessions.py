"""The contract of ``Sessions``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.ids import derived_id
from dynostore.models import AgentSession, SessionState
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
IMPOSSIBLE_IDS: list[Any] = ["", "nul\0", "\ud800", "i" * 500, 5, None]
STATE: dict[str, Any] = {
    "answers": {"filename": "data.csv"},
    "conversation_history": [{"role": "user", "content": "Grüße ✅"}],
    "ratio": 0.1,
    "paused_step": None,
}


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def ids(sessions: Any) -> list[str]:
    return [session.session_id for session in sessions]


def whole_session(session_id: str, **values: Any) -> AgentSession:
    row = {"status": "pending", "created_at": T0, "updated_at": T0}
    return AgentSession(session_id=session_id, **row | values)


def whole_state(session_id: str, version: int, **values: Any) -> SessionState:
    key = derived_id("states", session_id, str(version))
    row = {"id": key, "state": {"n": version}, "saved_at": T0}
    return SessionState(session=session_id, version=version, **row | values)


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


def loaded(store: Store, session_id: str, version: int | None = None) -> SessionState:
    state = store.sessions.load_state(session_id, version)
    assert state is not None
    return state


# sessions


def test_a_new_session_is_pending_and_nobodys_and_just_now(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    session = store.sessions.create()
    assert before <= session.created_at == session.updated_at <= dt.datetime.now(dt.UTC)
    assert (session.status, session.user_id, session.mission) == ("pending", None, None)
    assert len(session.session_id) == 36
    assert store.sessions.get(session.session_id) == session


def test_what_create_gives_is_what_get_gives(store: Store) -> None:
    values: dict[str, Any] = {
        "user_id": "kim",
        "mission": "Analyze data.csv",
        "status": "waiting for an answer",
        "metadata": {"channel": "cli"},
    }
    session = store.sessions.create(session_id="a--sub_b_ctx/1", created_at=T0, **values)
    whole = {"session_id": "a--sub_b_ctx/1", "created_at": T0, "updated_at": T0, **values}
    assert store.sessions.get("a--sub_b_ctx/1").values() == session.values() == whole


def test_a_taken_id_is_refused_and_its_session_unchanged(store: Store) -> None:
    store.sessions.create(session_id="s", mission="first")
    with pytest.raises(errors.AlreadyExists, match="'s'"):
        store.sessions.create(session_id="s", mission="second")
    assert store.sessions.get("s").mission == "first"


BAD_VALUES: list[tuple[str, Any]] = [
    ("status", None),
    ("status", "s" * 51),
    ("status", 3),
    ("user_id", "u" * 256),
    ("mission", "nul\0"),
    ("metadata", {"x": float("nan")}),
    ("updated_at", T0),
    ("session_id", "other"),
    ("nonsense", 1),
]


def test_a_bad_value_is_refused_by_its_field_and_nothing_written(store: Store) -> None:
    kept = store.sessions.create(session_id="s")
    for field, value in BAD_VALUES:
        values: Any = {field: value}
        if field != "session_id":
            with refused(field, value):
                store.sessions.create(**values)
            if field != "metadata":  # which is the state's
                with refused(field, value):
                    store.sessions.save_state("s", {}, **values)
            with refused(field, value):
                store.sessions.update("s", **values)
    for session_id in IMPOSSIBLE_IDS[:-1]:
        with refused("session_id", session_id):
            store.sessions.create(session_id=session_id)
    assert list(store.sessions.list_sessions()) == [kept]
    assert store.sessions.versions("s") == []


def test_every_verb_says_that_a_session_is_unknown(store: Store) -> None:
    store.sessions.create(session_id="other")
    verbs: list[Callable[[Any], object]] = [
        lambda session_id: store.sessions.get(session_id),
        lambda session_id: store.sessions.update(session_id, status="x"),
        lambda session_id: store.sessions.versions(session_id),
        lambda session_id: store.sessions.states(session_id),
        lambda session_id: store.sessions.delete_state(session_id),
    ]
    for verb in verbs:
        for session_id in ("none", *IMPOSSIBLE_IDS):
            with pytest.raises(errors.SessionNotFound):
                verb(session_id)
    with pytest.raises(errors.SessionNotFound):
        store.sessions.prune_states(1, session_id="none")
    with pytest.raises(errors.SessionNotFound):
        store.sessions.resolve("none")


def test_update_changes_what_is_passed_and_nothing_else(store: Store) -> None:
    store.sessions.put_many([whole_session("s", user_id="kim", mission="m", metadata=[1])])
    for field, value in (("status", "x"), ("user_id", None), ("mission", ""), ("metadata", None)):
        changes: Any = {field: value}
        before = store.sessions.get("s").values()
        changed = store.sessions.update("s", **changes)
        assert changed == store.sessions.get("s")
        assert changed.updated_at > T0
        assert changed.values() == before | {**changes, "updated_at": changed.updated_at}


def test_no_clock_that_was_set_back_moves_updated_at_back(store: Store) -> None:
    future = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    store.sessions.put_many([whole_session("s", updated_at=future)])
    assert store.sessions.update("s", status="x").updated_at == future
    store.sessions.save_state("s", {})
    assert store.sessions.get("s").updated_at == future


def test_lists_are_newest_first_by_pages_and_filters(store: Store) -> None:
    sessions = [
        whole_session(f"s{n:02}", created_at=at(n % 5), user_id=f"u{n % 2}", status=f"x{n % 3}")
        for n in range(20)
    ]
    assert store.sessions.put_many(sessions) == []
    sessions.sort(key=lambda s: (s.created_at, s.session_id), reverse=True)
    assert list(store.sessions.list_sessions()) == list(store.sessions.stream()) == sessions
    for limit in (1, 3, 19, 20):
        page = store.sessions.list_sessions(limit=limit)
        found = page.items
        while page.next is not None:
            page = store.sessions.list_sessions(limit=limit, after=page.next)
            found = found + page.items
        assert found == sessions
    assert list(store.sessions.list_sessions(limit=2, offset=3)) == sessions[3:5]
    filters: dict[str, Any] = {"user_id": "u1", "status": "x2", "since": at(1), "until": at(4)}
    wanted = [s for s in sessions if s.user_id == "u1" and s.status == "x2"]
    wanted = [s for s in wanted if at(1) <= s.created_at < at(4)]
    assert len(wanted) == 2
    assert list(store.sessions.list_sessions(**filters)) == wanted
    assert store.sessions.count(**filters) == 2
    naive = dt.datetime(2026, 1, 1)
    bad: list[tuple[str, Any]] = [("limit", 0), ("after", "x"), ("status", 3), ("since", naive)]
    bad += [("mission", "x"), ("nonsense", 1)]  # not what can be asked for
    for name, value in bad:
        with refused(name, value):
            store.sessions.list_sessions(**{name: value})


# states


def test_versions_count_from_one_and_the_newest_is_loaded(store: Store) -> None:
    for number in range(1, 12):
        assert store.sessions.save_state("s", {"n": number}) == number
    assert loaded(store, "s").state == {"n": 11}
    assert loaded(store, "s").version == 11
    assert store.sessions.versions("s") == list(range(1, 12))


def test_the_newest_is_that_of_the_greatest_version_whatever_the_times(store: Store) -> None:
    store.sessions.put_many(
        [whole_session("s"), *(whole_state("s", n, saved_at=at(-n)) for n in (9, 10, 2))]
    )
    assert loaded(store, "s").version == 10
    assert store.sessions.save_state("s", {}) == 11


def test_what_is_saved_is_what_is_loaded(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    store.sessions.save_state("s", STATE, metadata={"by": "cli"})
    found = loaded(store, "s")
    assert before <= found.saved_at <= dt.datetime.now(dt.UTC)
    assert found.values() == {
        "id": derived_id("states", "s", "1"),
        "session_id": "s",
        "version": 1,
        "state": STATE,
        "saved_at": found.saved_at,
        "metadata": {"by": "cli"},
    }
    states: list[Any] = [{}, [], 0, "", False]
    for state in states:
        store.sessions.save_state("s", state)
        assert loaded(store, "s").state == state


def test_saving_creates_the_session_with_its_facts(store: Store) -> None:
    store.sessions.save_state("new", {}, user_id="kim", mission="m", status="running")
    session = store.sessions.get("new")
    assert (session.user_id, session.mission, session.status) == ("kim", "m", "running")
    store.sessions.save_state("plain", {})
    assert store.sessions.get("plain").status == "pending"


def test_saving_changes_of_the_session_what_is_passed_and_updated_at(store: Store) -> None:
    store.sessions.put_many([whole_session("s", user_id="kim", mission="m", metadata={"a": 1})])
    store.sessions.save_state("s", {})
    session = store.sessions.get("s")
    assert session.updated_at > T0
    assert session.values() == {
        **whole_session("s", user_id="kim", mission="m", metadata={"a": 1}).values(),
        "updated_at": session.updated_at,
    }
    store.sessions.save_state("s", {}, status="done", mission=None)
    session = store.sessions.get("s")
    assert (session.status, session.mission, session.user_id) == ("done", None, "kim")


def test_a_stale_version_is_refused_with_both_and_nothing_is_written(store: Store) -> None:
    assert store.sessions.save_state("s", {"n": 1}, 0) == 1
    assert store.sessions.save_state("s", {"n": 2}, expected_version=1) == 2
    before = store.sessions.get("s")
    for expected in (0, 1, 3):
        with pytest.raises(errors.StaleWrite, match=f"version 2, not {expected}") as info:
            store.sessions.save_state("s", {"n": 9}, expected, status="late")
        assert (info.value.data["expected"], info.value.data["actual"]) == (expected, 2)
    assert store.sessions.get("s") == before
    assert store.sessions.versions("s") == [1, 2]


def test_a_stale_first_save_leaves_no_session(store: Store) -> None:
    with store.transaction():
        with pytest.raises(errors.StaleWrite):
            store.sessions.save_state("s", {}, 1)
        store.sessions.save_state("kept", {})
    assert ids(store.sessions.list_sessions()) == ["kept"]


def test_what_cannot_be_saved_is_refused_by_its_name(store: Store) -> None:
    bad: list[tuple[str, Any]] = [
        ("state", None),
        ("state", {"x": float("nan")}),
        ("state", {"x": "\0"}),
        ("state", object()),
        ("metadata", {"x": {1}}),
        ("expected_version", -1),
        ("expected_version", "1"),
        ("expected_version", True),
        *(("session_id", session_id) for session_id in IMPOSSIBLE_IDS),
    ]
    for name, value in bad:
        values: Any = {"session_id": "s", "state": {}} | {name: value}
        with refused(name, value):
            store.sessions.save_state(**values)
    assert store.sessions.count() == 0


def test_where_nothing_was_saved_nothing_is_loaded(store: Store) -> None:
    store.sessions.create(session_id="s")
    for session_id in ("s", "none", *IMPOSSIBLE_IDS):
        assert store.sessions.load_state(session_id) is None
    assert store.sessions.versions("s") == []
    assert store.sessions.states("s").items == []


def test_one_version_is_loaded_by_its_number(store: Store) -> None:
    for number in (1, 2, 3):
        store.sessions.save_state("s", number)
    assert loaded(store, "s", 2).state == 2
    for session_id, version in (("s", 4), ("none", 1)):
        with pytest.raises(errors.StateNotFound, match=f"version {version}"):
            store.sessions.load_state(session_id, version)
    with refused("version", 0):
        store.sessions.load_state("s", 0)


def test_sessions_do_not_share_versions(store: Store) -> None:
    store.sessions.save_state("a", "a1")
    store.sessions.save_state("b", "b1")
    assert store.sessions.save_state("a", "a2") == 2
    assert (loaded(store, "a").state, loaded(store, "b").state) == ("a2", "b1")


def test_a_caller_keeps_its_state_to_itself(store: Store) -> None:
    state = {"n": [1]}
    store.sessions.save_state("s", state)
    state["n"].append(2)
    assert loaded(store, "s").state == {"n": [1]}


def test_states_come_by_pages_newest_version_first(store: Store) -> None:
    store.sessions.put_many([whole_session("s"), *(whole_state("s", n) for n in range(1, 31))])
    store.sessions.save_state("other", {})
    for limit in (1, 7, 29, 30, 31):
        page = store.sessions.states("s", limit=limit)
        found = page.items
        while page.next is not None:
            page = store.sessions.states("s", limit=limit, after=page.next)
            found = found + page.items
        assert [state.version for state in found] == list(range(30, 0, -1))
    assert [s.version for s in store.sessions.states("s", limit=2, offset=5)] == [25, 24]
    sessions_cursor = store.sessions.list_sessions(limit=1).next
    for name, value in (("limit", 0), ("offset", -1), ("after", "x"), ("after", sessions_cursor)):
        with refused(name, value):
            store.sessions.states("s", **{name: value})  # type: ignore[arg-type]


def test_deleting_takes_all_that_hangs_on_the_session_and_no_other(store: Store) -> None:
    for session_id in ("a", "b"):
        store.sessions.save_state(session_id, {})
        store.sessions.save_state(session_id, {})
        store.todos.create(session_id=session_id)
    free = store.todos.create()
    store.sessions.delete_state("a")
    assert ids(store.sessions.list_sessions()) == ["b"]
    assert store.sessions.load_state("a") is None
    assert len(store.todos.list()) == 2
    assert store.todos.load(free.todolist_id) == free
    assert store.sessions.versions("b") == [1, 2]
    assert store.sessions.save_state("a", "anew") == 1
    assert len(store.todos.list(session_id="a")) == 0


# pruning


def test_pruning_keeps_the_newest_of_each_session(store: Store) -> None:
    for session_id, versions in (("a", [1, 2, 3, 4]), ("b", [1]), ("gaps", [2, 30, 31])):
        records: list[Any] = [whole_state(session_id, version) for version in versions]
        assert store.sessions.put_many([whole_session(session_id), *records]) == []
    assert store.sessions.prune_states(2) == 3
    kept = {session_id: store.sessions.versions(session_id) for session_id in ("a", "b", "gaps")}
    assert kept == {"a": [3, 4], "b": [1], "gaps": [30, 31]}
    assert store.sessions.prune_states(2) == 0
    assert store.sessions.prune_states(1, session_id="a") == 1
    assert (store.sessions.versions("a"), store.sessions.versions("gaps")) == ([4], [30, 31])
    assert store.sessions.save_state("a", {}, expected_version=4) == 5
    impossible: list[Any] = [0, -1, "1", None]
    for keep_last in impossible:
        with refused("keep_last", keep_last):
            store.sessions.prune_states(keep_last)


# put_many


def test_put_many_writes_whole_records_as_they_are(store: Store) -> None:
    session = whole_session("s", mission=None, updated_at=at(-5), metadata=[1])
    state = whole_state("s", 7, metadata={"from": "file"}, saved_at=at(3))
    assert store.sessions.put_many([state, session]) == []
    assert store.sessions.get("s") == session
    assert loaded(store, "s") == state


def test_put_many_refuses_a_second_state_of_one_version(store: Store) -> None:
    strange = whole_state("s", 1, id=derived_id("states", "s", "2"))
    bounced = store.sessions.put_many([whole_session("s"), whole_state("s", 1), strange])
    assert [(r.record, r.reason.partition(":")[0]) for r in bounced] == [(strange, "id")]
    assert store.sessions.versions("s") == [1]


def test_put_many_gives_back_bad_records_and_orphans_with_their_reasons(store: Store) -> None:
    bad: list[Any] = [
        whole_session("bad", status=None),
        whole_state("s", 0),
        whole_state("s", 5, state=None),
        whole_state("missing", 1),
    ]
    bounced = store.sessions.put_many([*bad, whole_session("s"), whole_state("s", 1)])
    reasons = {id(r.record): r.reason for r in bounced}
    assert [reasons[id(record)].partition(":")[0] for record in bad] == [
        "status",
        "version",
        "state",
        "session_id",
    ]
    assert store.sessions.versions("s") == [1]
