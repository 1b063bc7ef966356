"""What Taskforce left, in its real formats with invented content, and what becomes of it."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dynostore import Store
from dynostore.ids import derived_id
from dynostore.importer import import_from
from dynostore.legacy import ReadOptions

REAL = (Path(__file__).resolve().parents[3] / "shared/legacy-samples/taskforce").resolve()
ZONE = ReadOptions(timezone=ZoneInfo("Europe/Berlin"))
LOCAL = "2026-01-15T13:28:29.182386"
AS_UTC = dt.datetime(2026, 1, 15, 12, 28, 29, 182386, tzinfo=dt.UTC)


def state(session_id: Any = "s-1", **changes: Any) -> dict[str, Any]:
    """Give a state file's document; a change of ... leaves the key out."""
    document = {
        "session_id": session_id,
        "timestamp": LOCAL,
        "state_data": {"planner_state": {"tasks": []}, "_version": 3, "_updated_at": LOCAL},
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def step(position: int, status: Any = "PENDING", **changes: Any) -> dict[str, Any]:
    """Give an item as Taskforce writes it; a change of ... leaves the key out."""
    item = {
        "position": position,
        "description": f"step {position}",
        "acceptance_criteria": "done",
        "dependencies": [],
        "status": status,
        "chosen_tool": None,
        "tool_input": None,
        "execution_result": None,
        "attempts": 0,
        "max_attempts": 3,
        "replan_count": 0,
    }
    return {k: v for k, v in (item | changes).items() if v is not ...}


def todo(todolist_id: str = "t-1", **changes: Any) -> dict[str, Any]:
    """Give a todo list's document; a change of ... leaves the key out."""
    document = {
        "todolist_id": todolist_id,
        "mission": "Analyze",
        "items": [step(1)],
        "open_questions": [],
        "notes": "",
        "created_at": LOCAL,
        "updated_at": LOCAL,
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def reasons(report: Any, outcome: str) -> dict[str, str]:
    return {e["path"]: e["reason"] for e in report.to_json()["items"] if e["outcome"] == outcome}


def test_a_state_is_a_session_with_one_version_and_nothing_is_lost(
    tree: Any, target: Store
) -> None:
    data = {
        "mission": "Grüße",
        "status": "in_progress",
        "user_id": "kim",
        "_version": 3,
        "_updated_at": LOCAL,
    }
    document = state(state_data=data, schema=2)
    tree.write(".taskforce/states/s-1.json", json.dumps(document, ensure_ascii=False, indent=2))
    report = import_from(tree.root, target, options=ZONE)
    assert (report.exit_code, report.records.created, report.files.created) == (0, 1, 1)
    assert target.sessions.get("s-1").values() == {
        "session_id": "s-1",
        "user_id": "kim",
        "mission": "Grüße",
        "status": "in_progress",
        "created_at": AS_UTC,
        "updated_at": AS_UTC,
        "metadata": {"schema": 2},
    }
    found = target.sessions.load_state("s-1")
    assert found is not None
    assert (found.version, found.state, found.saved_at) == (3, data, AS_UTC)


def test_nothing_in_a_state_is_guaranteed(tree: Any, target: Store) -> None:
    tree.write(".taskforce/states/bare.json", {"state_data": {}})
    tree.write(".taskforce/states/none.json", state("none", state_data=None))
    tree.write(".taskforce/states/other.json", {"x": 1})
    tree.write(".taskforce/states/list.json", [1])
    tree.write(".taskforce/states/odd.json", state("odd", state_data=[1], timestamp="soon"))
    tree.write(".taskforce/states/7.json", state(7))
    tree.write(".taskforce/agent_state.json", {"_version": 2, "_updated_at": LOCAL, "a": 1})
    report = import_from(tree.root, target, options=ZONE)
    assert set(reasons(report, "invalid")) == {
        f".taskforce/states/{name}.json" for name in ("none", "other", "list")
    }
    seven = derived_id("sessions", "taskforce", "7\x1f2026-01-15T12:28:29.182386+00:00")
    found = {session.session_id: session for session in target.sessions.stream()}
    assert set(found) == {"bare", "odd", seven, ".taskforce/agent_state"}
    assert found[seven].metadata == {"old_id": 7, "file": "7"}
    assert found["odd"].metadata == {"timestamp": "soon"}
    assert {session.status for session in found.values()} == {"unknown"}
    assert [target.sessions.versions(key) for key in ("bare", "odd")] == [[1], [1]]


def test_times_without_a_zone_are_those_of_the_given_one_and_it_is_said_once(
    tree: Any, target: Store
) -> None:
    for number in range(3):
        tree.write(f".taskforce/states/s-{number}.json", state(f"s-{number}"))
    report = import_from(tree.root, target, options=ZONE)
    assert [w.message for w in report.warnings if "Europe/Berlin" in w.message] == [
        w.message for w in report.warnings
    ]
    assert len(report.warnings) == 1
    # In another zone it is another record: nothing is left as it was read before.
    again = import_from(tree.root, target, options=ReadOptions(timezone=dt.UTC))
    assert again.records.updated == 3
    assert target.sessions.get("s-0").updated_at == dt.datetime.fromisoformat(f"{LOCAL}+00:00")


def test_a_list_belongs_to_the_session_whose_state_names_it(tree: Any, target: Store) -> None:
    tree.write("b/todolists/todolist_t-1.json", todo())
    tree.write("z/states/s-1.json", state(state_data={"todolist_id": "t-1", "_version": 1}))
    tree.write("b/todolists/todolist_t-2.json", todo("t-2", created_at=..., updated_at=...))
    assert import_from(tree.root, target, options=ZONE).exit_code == 0
    assert target.todos.load("t-1").session_id == "s-1"
    assert target.todos.load("t-1").created_at == AS_UTC
    assert target.todos.load("t-2").session_id is None


WORDS = {
    "open": "PENDING",
    "TODO": "PENDING",
    "in-progress": "IN_PROGRESS",
    "In Progress": "IN_PROGRESS",
    "inprogress": "IN_PROGRESS",
    "done": "COMPLETED",
    "Complete": "COMPLETED",
    "fail": "FAILED",
    "ERROR": "FAILED",
    "skip": "SKIPPED",
    "what?": "PENDING",
}


def test_every_word_for_a_steps_state_is_known_and_kept_as_it_was(tree: Any, target: Store) -> None:
    items = [step(place, word) for place, word in enumerate(WORDS, 1)]
    tree.write("todolists/todolist_t-1.json", todo(items=items, owner="kim"))
    report = import_from(tree.root, target, options=ZONE)
    found = target.todos.load("t-1")
    assert [item["status"] for item in found.plan["items"]] == [*WORDS.values()]
    kept = {str(place): {"status": word} for place, word in enumerate(WORDS, 1)}
    assert found.metadata == {"owner": "kim", "as_read": {"steps": kept}}
    assert found.status == "in_progress"
    assert [w.message for w in report.warnings if "what?" in w.message] != []


def test_steps_of_any_shape_are_taken_and_what_did_not_fit_is_kept(
    tree: Any, target: Store
) -> None:
    odd = step(1, dependencies="2", attempts=2.0, execution_result="ok", extra=[1])
    items = [step(1, "DONE"), odd, "just text", {"description": None}]
    tree.write("todolists/todolist_t-1.json", todo(items=items, notes=["a", "b"]))
    assert import_from(tree.root, target, options=ZONE).exit_code == 0
    found = target.todos.load("t-1")
    steps = found.plan["items"]
    assert [s["position"] for s in steps] == [1, 2, 3, 4]
    assert [s["description"] for s in steps] == ["step 1", "step 1", "just text", ""]
    assert (steps[1]["dependencies"], steps[1]["attempts"], steps[1]["extra"]) == ([2], 2, [1])
    assert steps[1]["execution_result"] == {"value": "ok"}
    assert found.metadata["as_read"]["steps"]["2"] == {
        "dependencies": "2",
        "attempts": 2.0,
        "execution_result": "ok",
        "position": 1,
    }
    assert (found.plan["notes"], found.metadata["as_read"]["notes"]) == ("a\nb", ["a", "b"])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], "pending"),
        (["PENDING", "PENDING"], "pending"),
        (["COMPLETED", "PENDING"], "in_progress"),
        (["FAILED", "IN_PROGRESS"], "in_progress"),
        (["COMPLETED", "SKIPPED"], "completed"),
        (["COMPLETED", "FAILED"], "failed"),
    ],
)
def test_a_lists_state_is_that_of_its_steps(
    tree: Any, target: Store, words: list[str], status: str
) -> None:
    items = [step(place, word) for place, word in enumerate(words, 1)]
    tree.write("todolists/todolist_t-1.json", todo(items=items))
    import_from(tree.root, target, options=ZONE)
    assert target.todos.load("t-1").status == status


CHECKLIST = """# Todo List
## Meta
- created: 2026-01-15T13:28:29.182386
- last-updated: 2026-01-15T13:28:29.182386
- owner: kim
## Tasks
- [ ] Check the name (kebab-case) (status: PENDING, notes: None)
- [x] Ask, notes: first 🚀 (status: COMPLETED, tool: git, params: {'a': ", notes: {'x'", \
'n': (1, None, True)}, notes: {"ok": [1, "), notes: 5"]})
- [x] Run it (status: DONE, tool: shell, params: {'f': open('/etc/passwd')}, notes: why (not))
- [ ] Just this
  a line that belongs to nothing
## Open Questions (awaiting user)
- Public or private?
## Notes
first

- second
"""


def test_a_check_list_is_read_without_evaluating_anything(tree: Any, target: Store) -> None:
    tree.write("checklists/todolist_e61e4c5bee559af1c041fea8fa90b6b9.md", CHECKLIST)
    assert import_from(tree.root, target, options=ZONE).exit_code == 0
    found = target.todos.load("e61e4c5bee559af1c041fea8fa90b6b9")
    assert (found.created_at, found.updated_at) == (AS_UTC, AS_UTC)
    assert found.plan["open_questions"] == ["Public or private?"]
    assert found.plan["notes"] == "first\n\n- second"
    first, second, third, fourth = found.plan["items"]
    assert first["description"] == "Check the name (kebab-case)"
    assert (first["status"], first["chosen_tool"]) == ("PENDING", None)
    assert second["description"] == "Ask, notes: first 🚀"
    assert second["tool_input"] == {"a": ", notes: {'x'", "n": [1, None, True]}
    assert second["notes"] == {"ok": [1, "), notes: 5"]}
    assert (third["status"], third["chosen_tool"]) == ("COMPLETED", "shell")
    assert third["tool_input"] == {"value": "{'f': open('/etc/passwd')}"}
    assert third["notes"] == "why (not)"
    assert (fourth["description"], fourth["status"]) == ("Just this", "PENDING")
    metadata = found.metadata
    assert metadata["meta"] == {"owner": "kim"}
    assert metadata["lines"] == ["  a line that belongs to nothing"]


def test_a_pickle_is_refused_by_its_name_and_never_opened(tree: Any, target: Store) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tree.root / "exploded"),)

    tree.write("agent_states/s-1.pkl", pickle.dumps(Bomb()))
    os.chmod(tree.root / "agent_states/s-1.pkl", 0)
    report = import_from(tree.root, target)
    assert (report.exit_code, report.records.invalid, report.files.invalid) == (3, 1, 1)
    assert "pickle" in reasons(report, "invalid")["agent_states/s-1.pkl"]
    assert not (tree.root / "exploded").exists()


def test_a_temporary_file_is_taken_where_it_is_newer_or_the_only_copy(
    tree: Any, target: Store
) -> None:
    old, new = "2026-01-01T00:00:00", "2026-02-01T00:00:00"
    data = {"_version": 1, "of": "temporary"}

    def temporary(session_id: str, timestamp: str) -> dict[str, Any]:
        return state(session_id, timestamp=timestamp, state_data=data)

    for name in ("newer", "older", "broken", "half", "damaged"):
        if name != "damaged":
            tree.write(f"states/{name}.json", state(name))
    tree.write("states/damaged.json", '{"session_id": "dam')
    tree.write("states/newer.json.tmp", temporary("newer", new))
    tree.write("states/older.json.ab12cd.tmp", temporary("older", old))
    tree.write("states/only.json.tmp", temporary("only", old))
    tree.write("states/broken.json.tmp", "")
    tree.write("states/half.json.tmp", '{"session_id": "ha')
    tree.write("states/damaged.json.tmp", temporary("damaged", old))
    tree.write("states/lost.json.tmp", '{"session_id": "lo')
    tree.write("states/nothing.json.tmp", "")
    tree.write("todolists/todolist_t-1.tmp", todo())
    report = import_from(tree.root, target, options=ZONE)
    taken = {
        session.session_id
        for session in target.sessions.stream()
        if (found := target.sessions.load_state(session.session_id)) and "of" in found.state
    }
    assert taken == {"newer", "only", "damaged"}
    assert target.todos.load("t-1").mission == "Analyze"
    assert set(reasons(report, "invalid")) == {"states/damaged.json", "states/lost.json.tmp"}
    assert set(reasons(report, "skipped")) == {
        "states/older.json.ab12cd.tmp",
        "states/broken.json.tmp",
        "states/half.json.tmp",
        "states/nothing.json.tmp",
    }
    warned = {w.path for w in report.warnings if "was taken" in w.message}
    assert warned >= {
        "states/newer.json.tmp",
        "states/only.json.tmp",
        "todolists/todolist_t-1.tmp",
    }
    assert report.files.found == tree.file_count()


def test_conversations_keep_all_their_messages_in_order(tree: Any, target: Store) -> None:
    entry = {
        "conversation_id": "c" * 32,
        "channel": "cli",
        "status": "active",
        "started_at": "2026-01-15T12:00:00+00:00",
        "last_activity": "2026-01-15T12:05:00+00:00",
        "message_count": 4,
        "topic": "Fuel",
    }
    alone = {"conversation_id": "d" * 32, "started_at": "2026-01-15T12:00:00+00:00"}
    messages: list[Any] = [
        {"role": "user", "content": "one", "timestamp": "2026-01-15T12:01:00+00:00"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
        {"role": "oracle", "content": ["parts"], "timestamp": "2026-01-15T11:00:00+00:00"},
        "just text",
    ] * 60
    tree.write(".taskforce/conversations/index.json", [entry, alone])
    tree.write(f".taskforce/conversations/{'c' * 32}/messages.json", messages)
    tree.write(f".taskforce/conversations/{'e' * 32}/messages.json", [])
    report = import_from(tree.root, target, options=ZONE)
    assert report.exit_code == 0
    assert report.records.created == 3
    assert report.files.found == tree.file_count()
    found = target.conversations.get_conversation("c" * 32)
    assert (found.title, found.message_count) == ("Fuel", 240)
    assert found.metadata == {"channel": "cli", "status": "active", "message_count": 4}
    rows = target.conversations.get_all_messages("c" * 32)
    assert [row.content for row in rows] == ["one", "", '["parts"]', "just text"] * 60
    assert [row.role for row in rows[:4]] == ["user", "assistant", "system", "system"]
    assert rows[1].metadata == {"content": None, "tool_calls": [{"id": 1}]}
    assert rows[2].metadata["timestamp"] == "2026-01-15T11:00:00+00:00"
    assert target.conversations.get_conversation("d" * 32).message_count == 0


def test_an_archived_conversation_takes_its_index_along(
    tree: Any, target: Store, tmp_path: Path
) -> None:
    entries = [{"conversation_id": key, "started_at": LOCAL, "topic": key} for key in "abc"]
    tree.write("conversations/index.json", entries)
    for key in "ab":
        tree.write(f"conversations/{key}/messages.json", [{"role": "user", "content": key}])
    tree.write("conversations/c/messages.json", '[{"role"')
    report = import_from(tree.root, target, options=ZONE, archive=tmp_path / "archive")
    assert (report.records.created, report.records.invalid, report.files.found) == (2, 1, 4)
    left = [path.relative_to(tree.root).as_posix() for path in tree.root.rglob("*.json")]
    assert left == ["conversations/c/messages.json"]
    again = import_from(tmp_path / "archive", target, options=ZONE)
    assert {e["outcome"] for e in again.to_json()["items"] if e["table"]} <= {"same", "created"}
    assert again.records.same == 2


def test_skills_are_memories_whose_confidence_is_how_often_they_helped(
    tree: Any, target: Store
) -> None:
    skill = {
        "id": "m-1",
        "context": "csv",
        "lesson": "ask first",
        "tool_name": None,
        "success_count": 4,
        "created_at": LOCAL,
        "last_used": LOCAL,
        "embedding": [0.5],
    }
    skills = {"m-1": skill, "m-2": {"lesson": "x", "created_at": LOCAL}, "m-3": {}, "m-4": 5}
    tree.write(".taskforce/memory/skills.json", skills)
    report = import_from(tree.root, target, options=ZONE)
    assert (report.records.created, report.records.invalid) == (2, 2)
    assert report.files.found == 1
    found = target.memories.get("m-1")
    assert (found.confidence, found.lesson, found.created_at) == (4, "ask first", AS_UTC)
    assert found.metadata == {"success_count": 4, "last_used": LOCAL, "embedding": [0.5]}
    assert target.memories.get("m-2").confidence == 0


def test_two_records_with_one_id_do_not_meet_and_copies_are_one(tree: Any, target: Store) -> None:
    other = state(timestamp="2026-03-01T00:00:00", state_data={"_version": 1, "other": True})
    tree.write(".taskforce_a/states/s-1.json", state())
    tree.write(".taskforce_b/states/s-1.json", other)
    tree.write(".taskforce_c/states/s-1.json", state())
    report = import_from(tree.root, target, options=ZONE)
    assert (report.records.created, report.records.skipped, report.exit_code) == (2, 1, 0)
    key = derived_id("sessions", "taskforce", "s-1\x1f2026-02-28T23:00:00.000000+00:00")
    found = target.sessions.load_state(key)
    assert found is not None
    assert found.state["other"] is True
    assert target.sessions.get(key).metadata["old_id"] == "s-1"
    again = import_from(tree.root, target, options=ZONE)
    assert (again.records.same, again.records.skipped) == (2, 1)


def test_one_file_is_a_source_too(tree: Any, target: Store) -> None:
    path = tree.write("elsewhere/s-1.json", state())
    tree.write("elsewhere/s-2.json", state("s-2"))
    report = import_from(path, target, options=ZONE)
    assert (report.records.created, report.files.found) == (1, 1)
    assert [s.session_id for s in target.sessions.stream()] == ["s-1"]


def test_a_later_version_is_added_to_the_ones_before(tree: Any, target: Store) -> None:
    path = "states/s-1.json"
    tree.write(path, state())
    import_from(tree.root, target, options=ZONE)
    tree.write(path, state(timestamp="2026-02-01T00:00:00", state_data={"_version": 4}))
    assert import_from(tree.root, target, options=ZONE).records.updated == 1
    assert target.sessions.versions("s-1") == [3, 4]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_every_file_of_the_real_samples_is_accounted_for(target: Store) -> None:
    report = import_from(REAL, target)
    files = [path for path in REAL.rglob("*") if not path.is_dir()]
    assert report.files.found == len(files) == 7
    assert (report.records.created, report.files.skipped, report.exit_code) == (6, 1, 0)
    for path in REAL.rglob("states/*.json"):
        document = json.loads(path.read_text())
        found = target.sessions.load_state(document["session_id"])
        assert found is not None
        assert found.state == document["state_data"]
        local = dt.datetime.fromisoformat(document["timestamp"]).astimezone(dt.UTC)
        assert found.saved_at == local
    assert target.todos.load("1f0c8b0e-6a39-4a0e-9f2b-0d5f7a1f2c33").session_id == "session_1"
    again = import_from(REAL, target)
    assert (again.records.same, again.records.created) == (6, 0)
