"""States and todo lists in files that Taskforce reads and writes at the same time."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.importer import import_from


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"dir:{tmp_path / '.taskforce'}"


def test_a_state_is_written_as_the_older_tool_would(url: str, old_states: Any) -> None:
    with Store.open(url) as store:
        store.sessions.save_state("s-1", {"mission": "Grüße"}, user_id="kim")
        store.sessions.save_state("s-1", {"mission": "Grüße ✅", "_version": 9})
        saved = store.sessions.get("s-1").updated_at
    text = (old_states.root / "s-1.json").read_text("utf-8")
    local = saved.astimezone().replace(tzinfo=None).isoformat()
    assert text == (
        "{\n"
        '  "session_id": "s-1",\n'
        f'  "timestamp": "{local}",\n'
        '  "state_data": {\n'
        '    "mission": "Grüße ✅",\n'
        '    "_version": 2,\n'
        f'    "_updated_at": "{local}"\n'
        "  }\n"
        "}"
    )
    assert old_states.sessions() == ["s-1"]


def test_what_the_older_tool_saves_is_a_version_of_its_own(url: str, old_states: Any) -> None:
    with Store.open(url) as store:
        store.sessions.save_state("s", {"n": 1}, user_id="kim", mission="m", metadata={"of": 1})
        store.sessions.save_state("s", {"n": 2})
        old_states.save("s", {**old_states.load("s"), "n": 3})
        assert store.sessions.versions("s") == [1, 2, 3]
        old_states.save("s", {"n": 4})  # a fresh state begins at 1 again
        assert store.sessions.versions("s") == [1, 2, 3]
        found = store.sessions.load_state("s")
        assert found is not None
        assert (found.version, found.state["n"], found.state["_version"]) == (3, 4, 1)
        with pytest.raises(errors.StaleWrite):
            store.sessions.save_state("s", {}, expected_version=2)
        assert store.sessions.save_state("s", {"n": 5}, expected_version=3) == 4
        assert old_states.load("s")["n"] == 5
    with Store.open(url) as store:
        states = {s.version: s.state["n"] for s in store.sessions.states("s")}
        assert states == {1: 1, 2: 2, 3: 4, 4: 5}
        first = store.sessions.load_state("s", 1)
        assert first is not None
        assert first.metadata == {"of": 1}
        session = store.sessions.get("s")
        assert (session.user_id, session.mission) == ("kim", "m")


def test_a_list_of_the_older_tool_belongs_to_the_session_that_names_it(
    url: str, old_states: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_states.root.parent / "todolists/todolist_t-1.json"
    path.parent.mkdir()
    now = dt.datetime(2026, 1, 2, 3, 4, 5).isoformat()
    document = {
        "todolist_id": "t-1",
        "items": [{"position": 1, "description": "a", "status": "done"}],
        "created_at": now,
        "updated_at": now,
        "owner": "kim",
    }
    path.write_text(json.dumps(document, indent=2))
    with Store.open(url) as store:
        assert store.todos.load("t-1").session_id is None
        old_states.save("s", {"todolist_id": "t-1"})
        assert store.todos.load("t-1").session_id == "s"
        assert [t.todolist_id for t in store.todos.list(session_id="s")] == ["t-1"]
        store.todos.update_step("t-1", 1, status="FAILED", seen=True)
        written = json.loads(path.read_text("utf-8"))
        assert written["items"][0]["status"] == "FAILED"
        assert written["owner"] == "kim"
        (old_states.root / "s.json").unlink()  # the older tool takes no list along
        assert store.todos.load("t-1").session_id is None
        assert path.exists()
        store.sessions.save_state("s", {"todolist_id": "t-1"})
        # As if it were long ago: no file is to be looked into again.
        monkeypatch.setattr("dynostore.compat.folder_database._UNSETTLED_NS", -(10**20))
        assert store.todos.load("t-1").session_id == "s"
        store.sessions.delete_state("s")
        assert not path.exists()


def test_a_half_written_state_is_named_and_never_replaced(url: str, old_states: Any) -> None:
    old_states.save("s", {})
    path = old_states.root / "s.json"
    path.write_bytes(b'{"session_id": "s", ')
    os.utime(path, (1, 1))
    with Store.open(url) as store:
        store.sessions.save_state("other", {})
        broken: list[Callable[[], object]] = [
            lambda: store.sessions.load_state("s"),
            lambda: store.sessions.save_state("s", {}),
            lambda: store.sessions.get("s"),
            lambda: store.sessions.list_sessions(),
            lambda: store.sessions.count(),
            lambda: store.sessions.delete_state("s"),
            lambda: store.sessions.prune_states(1),
        ]
        for verb in broken:
            with pytest.raises(errors.IntegrityFailure, match=r"states/s\.json: truncated"):
                verb()
        assert path.read_bytes() == b'{"session_id": "s", '
        assert store.sessions.save_state("other", {}) == 2


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_a_save_is_whole_or_not_there(
    tmp_path: Path, stride: int, killed_before: Callable[[int, Callable[[], object]], bool]
) -> None:
    def act(url: str) -> None:
        with Store.open(url) as store:
            store.sessions.save_state("s", {"n": 2}, user_id="kim")

    seen = []
    for number in range(1, 100, stride):
        root = tmp_path / f".taskforce_{number}"
        with Store.open(f"dir:{root}") as store:
            store.sessions.save_state("s", {"n": 1})
        was_killed = killed_before(number, lambda: act(f"dir:{root}"))  # noqa: B023
        with Store.open(f"dir:{root}") as store:
            found = store.sessions.load_state("s")
            assert found is not None
            versions, user = store.sessions.versions("s"), store.sessions.get("s").user_id
            assert (versions, found.state, user) in (
                ([1], {"n": 1}, None),
                ([1, 2], {"n": 2}, "kim"),
            )
            assert store.sessions.save_state("s", {"n": 3}) == found.version + 1
        seen.append(found.version)
        shutil.rmtree(root)
        if not was_killed:
            break
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


SAVER = """
import sys
from dynostore import Store
with Store.open(sys.argv[1]) as store:
    for number in range(12):
        store.sessions.save_state("s", {"by": sys.argv[2], "n": number})
"""


def test_savers_in_several_processes_share_versions_without_a_gap(
    url: str, start_python: Callable[..., Any]
) -> None:
    with Store.open(url) as store:
        savers = [start_python(SAVER, url, name) for name in ("a", "b")]
        assert [saver.wait(timeout=120) for saver in savers] == [0, 0]
        assert store.sessions.versions("s") == [*range(1, 25)]
        states = [*store.sessions.states("s")]
    for name in ("a", "b"):
        mine = [state.state["n"] for state in reversed(states) if state.state["by"] == name]
        assert mine == [*range(12)]


def test_a_directory_is_taskforces_by_its_name_or_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "agent/states").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    for name, family in ((".taskforce_x", "sessions"), ("agent", "sessions"), ("runs", "runs")):
        with Store.open(f"dir:{tmp_path / name}") as store:
            assert getattr(store, family).count() == 0


def test_an_import_takes_over_what_was_written_here_notes_and_versions_and_all(
    url: str, tmp_path: Path, old_states: Any
) -> None:
    with Store.open(url) as store:
        for number in (1, 2, 3):
            store.sessions.save_state("a/b", {"n": number}, user_id="kim", metadata=[number])
        store.sessions.update("a/b", metadata={"from": "here"}, status="waiting")
        store.sessions.create(session_id="empty", mission="m")
        store.todos.create(todolist_id="t", session_id="a/b", metadata={"x": 1}, status="failed")
        old_states.save("old", {"todolist_id": "t"})
        store.sessions.save_state("old", {"n": 2})
        sessions = {session.session_id: session for session in store.sessions.stream()}
        states = {key: [*store.sessions.states(key)] for key in sessions}
        todo = store.todos.load("t")
    with Store.open(tmp_path / "new.db") as new:
        report = import_from(tmp_path / ".taskforce", new)
        assert (report.exit_code, report.records.created) == (0, 4)
        files = [path for path in (tmp_path / ".taskforce").rglob("*") if path.is_file()]
        assert report.files.found == len(files)
        assert {s.session_id: s for s in new.sessions.stream()} == sessions
        assert {key: [*new.sessions.states(key)] for key in sessions} == states
        assert new.todos.load("t") == todo
        assert import_from(tmp_path / ".taskforce", new).records.same == 4
