"""Each family as it is used: by programs that end or die, and by people at the command in between.

Every step is a process of its own and opens the store anew.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import models
from dynostore.store import Store

pytestmark = pytest.mark.slow  # a dozen processes each

StartPython = Callable[..., "subprocess.Popen[str]"]

HEAD = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
"""
DIES = """
    print("dying", flush=True)
    sys.stdin.readline()
"""


@dataclasses.dataclass(frozen=True)
class Place:
    """A store that is open in no process for longer than one step takes."""

    url: str
    start_python: StartPython
    program: Callable[..., Any]

    def python(self, body: str) -> str:
        """Run lines that have ``store``, in a program that ends well; give what it prints."""
        process = self.start_python(HEAD + textwrap.indent(textwrap.dedent(body), "    "), self.url)
        output, troubles = process.communicate()
        assert (process.returncode, troubles) == (0, "")
        return output.strip()

    def python_dies(self, body: str) -> None:
        """Run lines that have ``store``, in a program that is killed after them."""
        lines = textwrap.indent(textwrap.dedent(body), "    ")
        process = self.start_python(HEAD + lines + DIES, self.url)
        assert process.stdout is not None
        assert process.stdout.readline() == "dying\n"
        process.kill()
        process.wait()

    def command(self, *words: str) -> Any:
        """Run a command that succeeds; give its JSON item, or list of items."""
        done = self.program("--db", self.url, "--json", *words)
        assert (done.code, done.err) == (0, "")
        found = json.loads(done.out)
        return found["items"] if "items" in found else found["item"]

    def refusal(self, *words: str) -> tuple[int, str]:
        """Run a command that fails; give its exit code and the error's code."""
        done = self.program("--db", self.url, "--json", *words)
        assert done.out == ""
        return done.code, done.error["code"]


@pytest.fixture
def place(store_url: str, start_python: StartPython, program: Any) -> Iterator[Place]:
    """Give an empty store; at the end nothing may be left in it, and it is sound."""
    yield Place(store_url, start_python, program)
    with Store.open(store_url, warm=False) as store:
        assert store.check() == []
        with store.bound():
            left = {model._meta.table_name: model.select().count() for model in models.ALL}
    assert left == dict.fromkeys(left, 0)


def test_a_run(place: Place) -> None:
    place.python_dies(
        """
        store.runs.create(run_id="r1", source="dyno", config_snapshot={"cells": 9})
        store.runs.add_file("r1", "input/log.csv", size_bytes=2**33)
        store.runs.update("r1", status="processing", progress_percent=40)
        """
    )
    [run] = place.command("runs", "list", "--status", "processing")
    assert (run["id"], run["progress_percent"]) == ("r1", 40)
    place.command("runs", "update", "r", "--error-info", '{"stage": "died"}')
    place.python(
        """
        run = store.runs.get("r1")
        assert (run.status, run.error_info) == ("processing", {"stage": "died"})
        store.runs.add_files("r1", [{"filename": f"output/{n}.csv"} for n in range(3)])
        store.runs.update("r1", status="complete", progress_percent=100, error_info=None)
        """
    )
    shown = place.command("runs", "show", "r1")
    assert (shown["status"], shown["error_info"], len(shown["files"])) == ("complete", None, 4)
    assert [run["id"] for run in place.command("runs", "rm", "r1", "--yes")] == ["r1"]
    assert place.refusal("runs", "show", "r1") == (4, "run_not_found")


def test_a_task(place: Place) -> None:
    task = place.command("tasks", "create", "Deploy Kuma", "--created-by", "kim")["task_id"]
    place.command("tasks", "approve", task)
    place.python_dies(
        """
        [task] = store.tasks.list(status="approved")
        store.tasks.start(task.task_id)
        store.tasks.log_step(task.task_id, "infra", "Deploy the container")
        """
    )
    [step] = place.command("tasks", "steps", task)
    assert (step["step_number"], step["status"]) == (1, "running")
    place.command("tasks", "finish-step", step["log_id"], "--status", "failed")
    assert place.refusal("tasks", "approve", task) == (1, "wrong_transition")
    place.python(
        """
        [task] = store.tasks.list(status="executing", created_by="kim")
        step = store.tasks.log_step(task.task_id, "infra", "Deploy it again")
        store.tasks.finish_step(step.log_id, output_summary="responds", duration_ms=1200)
        store.tasks.complete(task.task_id, external_ai_used={"model": "m", "cost_usd": 0.25})
        """
    )
    shown = place.command("tasks", "show", task)
    assert (shown["status"], shown["external_ai_used"]["cost_usd"]) == ("completed", 0.25)
    assert [s["status"] for s in shown["steps"]] == ["failed", "completed"]
    place.command("tasks", "rm", task, "--yes")
    assert place.refusal("tasks", "steps", task) == (4, "task_not_found")
    assert place.refusal("tasks", "finish-step", step["log_id"])[0] == 4


def test_an_agent_s_session(place: Place) -> None:
    place.python_dies(
        """
        version = store.sessions.save_state("work", {"answers": {}}, user_id="kim")
        plan = {"items": [{"description": "Read"}, {"description": "Report", "dependencies": [1]}]}
        store.todos.create(todolist_id="plan", session_id="work", plan=plan)
        store.todos.update_step("plan", 1, status="COMPLETED", attempts=1)
        store.history.append("work", step_id=1, thought="read it first")
        store.sessions.save_state("work", {"answers": {"file": "data.csv"}}, version)
        """
    )
    assert place.command("sessions", "show", "work")["versions"] == [1, 2]
    state = '{"answers": {"file": "data.csv", "port": 8000}}'
    assert place.refusal("sessions", "save-state", "work", state, "--expected-version", "1") == (
        1,
        "stale_write",
    )
    saved = place.command("sessions", "save-state", "work", state, "--expected-version", "2")
    assert saved["version"] == 3
    place.command("sessions", "history", "append", "work", "--step-id", "2", "--action", "write")
    place.python(
        """
        saved = store.sessions.load_state("work")
        assert (saved.version, saved.state["answers"]["port"]) == (3, 8000)
        store.todos.update_step("plan", 2, status="COMPLETED")
        store.todos.update("plan", status="completed")
        store.sessions.save_state("work", saved.state, 3, status="completed")
        assert store.sessions.prune_states(2) == 2
        """
    )
    steps = place.command("sessions", "todos", "show", "plan")["plan"]["items"]
    assert [step["status"] for step in steps] == ["COMPLETED"] * 2
    turns = place.command("sessions", "history", "list", "work")
    assert [turn["step_id"] for turn in turns] == ["1", "2"]
    place.command("sessions", "rm", "work", "--yes")
    assert place.refusal("sessions", "todos", "show", "plan")[0] == 4
    assert place.refusal("sessions", "history", "list", "work")[0] == 4


def test_a_memory(place: Place) -> None:
    added = place.command(
        "memories", "add", "large CSV files", "read in chunks", "--tool-name", "file_read"
    )
    place.python(
        """
        [memory] = store.memories.search("csv", tool_name="file_read")
        store.memories.update(memory.memory_id, confidence=memory.confidence + 1)
        store.memories.add("small files", "read at once", tool_name="file_read")
        """
    )
    found = place.command("memories", "search", "read")
    assert [memory["confidence"] for memory in found] == [0, 1]
    place.command("memories", "rm", *(memory["memory_id"] for memory in found), "--yes")
    assert place.refusal("memories", "show", added["memory_id"]) == (4, "memory_not_found")


def test_a_conversation(place: Place) -> None:
    place.python_dies(
        """
        store.conversations.create_conversation("Fuel map", conversation_id="talk")
        store.conversations.add_message("talk", "system", "You tune engines.")
        asked = [{"role": "user", "content": f"question {n}"} for n in range(30)]
        store.conversations.add_messages("talk", asked)
        """
    )
    context = place.command("conversations", "context", "talk")
    assert [m["content"] for m in context] == [f"question {n}" for n in range(10, 30)]
    place.command("conversations", "add", "talk", "answer", "--role", "assistant")
    place.command("conversations", "update", "talk", "--title", "Fuel map, second try")
    place.python(
        """
        [talk] = store.conversations.list_conversations()
        assert (talk.title, talk.message_count) == ("Fuel map, second try", 32)
        assert store.conversations.get_all_messages("talk")[-1].content == "answer"
        store.conversations.add_message("talk", "user", "thanks")
        """
    )
    messages = place.command("conversations", "messages", "talk", "--limit", "0")
    assert [m["content"] for m in messages[-2:]] == ["answer", "thanks"]
    assert place.command("conversations", "show", "talk")["message_count"] == 33
    place.command("conversations", "rm", "talk", "--yes")
    assert place.refusal("conversations", "messages", "talk") == (4, "conversation_not_found")
    place.python("store.conversations.create_conversation(conversation_id='talk')")
    assert place.command("conversations", "messages", "talk") == []
    place.command("conversations", "rm", "talk", "--yes")


def test_an_idea(place: Place) -> None:
    place.command("ideation", "create", "--id", "idea", "--user-id", "kim")
    place.command("ideation", "messages", "add", "idea", "Riders tune their own bikes")
    place.command("ideation", "requirements", "add", "idea", "Maps are smooth", "--key", "REQ-001")
    place.python_dies(
        """
        ideation = store.ideation
        ideation.messages.create("idea", "assistant", "How?", maturity_delta=12.5)
        ideation.maturity.save("idea", 12.5, "concept", gaps=["users"])
        ideation.drafts.save("idea", "Tuner", sections=[{"heading": "Scope"}])
        words = {"title": "Map", "as_a": "rider", "i_want": "a map", "so_that": "it runs"}
        ideation.stories.save("idea", [{"key": "US-001", **words}, {"key": "US-002", **words}])
        ideation.sessions.update("idea", expected_version=1, status="approved")
        """
    )
    shown = place.command("ideation", "show", "idea")
    assert (shown["version"], shown["status"]) == (2, "approved")
    assert (shown["requirements"], shown["drafts"], shown["stories"]) == (1, 1, 2)
    late = ("ideation", "update", "idea", "--status", "closed", "--expected-version", "1")
    assert place.refusal(*late) == (1, "stale_write")
    story = '[{"key": "US-002", "title": "t", "as_a": "a", "i_want": "b", "so_that": "c"}]'
    place.command("ideation", "stories", "save", "idea", story, "--yes")
    place.command("ideation", "maturity", "save", "idea", "85", "complete", "--can-submit")
    place.python(
        """
        assert [story.key for story in store.ideation.stories.list("idea")] == ["US-002"]
        assert store.ideation.maturity.get("idea").can_submit is True
        store.ideation.requirements.update("idea", "REQ-001", priority="must_have")
        store.ideation.sessions.update("idea", expected_version=2, status="in_build")
        """
    )
    [requirement] = place.command("ideation", "requirements", "list", "idea")
    assert (requirement["key"], requirement["priority"]) == ("REQ-001", "must_have")
    said = place.command("ideation", "messages", "list", "idea")
    assert [message["maturity_delta"] for message in said] == [0, 12.5]
    place.command("ideation", "rm", "idea", "--yes")
    assert place.refusal("ideation", "stories", "list", "idea")[0] == 4
