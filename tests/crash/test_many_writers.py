"""Many processes with many threads each, all kinds of changes, one file: nothing is lost."""

from __future__ import annotations

import collections
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dynostore import models
from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

PROCESSES = 8
THREADS = 8
DEEDS = {
    *("say", "say_much", "talk_and_forget", "save", "count", "vote", "rename", "retell"),
    *("try_step", "log_step", "remember", "run"),
}

# Counts what it did, and after each deletion what it alone could have left.
WRITER = """
import collections, json, random, sys, threading, time, traceback
from dynostore.errors import StaleWrite, StoreLocked
from dynostore.store import Store

url, process, seconds, *steps = sys.argv[1], sys.argv[2], float(sys.argv[3]), *sys.argv[4:]
total, problems, lock = collections.Counter(), [], threading.Lock()


def say(dice, name):
    store.conversations.add_message("shared", "user", name, metadata={"by": name})


def say_much(dice, name):
    store.conversations.add_messages("shared", [{"role": "tool", "content": name}] * 10)
    return 10


def talk_and_forget(dice, name):
    talk = store.conversations.create_conversation(name)
    store.conversations.add_messages(talk.id, [{"role": "user", "content": name}] * 3)
    store.conversations.update_conversation(talk.id, title=name * 2)
    assert store.conversations.get_message_count(talk.id) == 3
    store.conversations.delete_conversation(talk.id)


def save(dice, name):
    store.sessions.save_state("log", {"by": name})


def count(dice, name):
    while True:
        saved = store.sessions.load_state("counter")
        try:
            version = store.sessions.save_state("counter", saved.state + 1, saved.version)
        except StaleWrite:
            with lock:
                total["stale"] += 1
            continue
        assert version == saved.version + 1
        return


def vote(dice, name):
    while True:
        idea = store.ideation.sessions.get("idea")
        votes = {"votes": idea.metadata["votes"] + 1}
        try:
            store.ideation.sessions.update("idea", expected_version=idea.version, metadata=votes)
            return
        except StaleWrite:
            pass


def rename(dice, name):
    store.ideation.sessions.update("idea", project_name=name)


def retell(dice, name):
    words = {"title": name, "as_a": "a", "i_want": "b", "so_that": "c"}
    store.ideation.stories.save("idea", [{"key": f"US-{n}", **words} for n in range(3)])


def try_step(dice, name):
    # Of the same list as all others, but each writer a step of its own.
    step = store.todos.get_step("todo", 1 + steps.index(name))
    store.todos.update_step("todo", step["position"], attempts=step["attempts"] + 1)


def log_step(dice, name):
    store.tasks.log_step(task, "code", name, status="completed")


def remember(dice, name):
    store.history.append("log", thought=name)
    memory = store.memories.add(name, "forget it")
    store.memories.update(memory.memory_id, confidence=1)
    store.memories.delete(memory.memory_id)


def run(dice, name):
    run = store.runs.create(source="writers")
    store.runs.add_file(run.id, "a")
    store.runs.update(run.id, status="complete")
    if dice.random() < 0.5:
        store.runs.delete(run.id)
        return 0


DEEDS = (
    *(say, say_much, talk_and_forget, save, count, vote, rename, retell),
    *(try_step, log_step, remember, run),
)


def work(name):
    dice, done = random.Random(name), collections.Counter()
    try:
        while time.monotonic() < deadline:
            deed = dice.choice(DEEDS)
            result = deed(dice, name)
            done[deed.__name__] += 1 if result is None else result
    except StoreLocked as exc:
        problems.append(f"locked: {exc}")
    except Exception:
        problems.append(traceback.format_exc())
    with lock:
        total.update(done)


with Store.open(url, warm=False) as store:
    (task,) = (task.task_id for task in store.tasks.list())
    print("ready", flush=True)
    sys.stdin.readline()
    deadline = time.monotonic() + seconds
    mine = [step for step in steps if step.startswith(f"{process}-")]
    workers = [threading.Thread(target=work, args=(name,)) for name in mine]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
print(json.dumps([total, problems]), flush=True)
"""


def write_at_once(url: str, start_python: StartPython, seconds: float) -> collections.Counter[str]:
    """Let all writers work for so long; give how often each thing was done."""
    names = [f"{process}-{thread}" for process in range(PROCESSES) for thread in range(THREADS)]
    with Store.open(url, warm=False) as store:
        store.conversations.create_conversation(conversation_id="shared")
        store.sessions.save_state("counter", 0)
        store.sessions.create(session_id="log")
        store.ideation.sessions.create(session_id="idea", metadata={"votes": 0})
        plan = {"items": [{"description": name} for name in names]}
        store.todos.create(todolist_id="todo", plan=plan)
        store.tasks.create("work")
    writers = [start_python(WRITER, url, n, seconds, *names) for n in range(PROCESSES)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    done: collections.Counter[str] = collections.Counter()
    for writer in writers:
        output, troubles = writer.communicate()
        assert troubles == ""
        counts, problems = json.loads(output)
        assert problems == []
        done.update(counts)
    return done


def compare(url: str, done: collections.Counter[str]) -> None:
    """Everything that was done is there, once."""
    with Store.open(url, warm=False) as store:
        assert store.check() == []
        talk = store.conversations.get_conversation("shared")
        assert talk.message_count == done["say"] + done["say_much"]
        messages = store.conversations.get_all_messages("shared")
        assert len({message.created_at for message in messages}) == talk.message_count
        assert store.sessions.versions("log") == list(range(1, done["save"] + 1))
        newest = store.sessions.load_state("counter")
        assert newest is not None
        assert (newest.state, newest.version) == (done["count"], done["count"] + 1)
        idea = store.ideation.sessions.get("idea")
        assert idea.metadata == {"votes": done["vote"]}
        assert idea.version == done["vote"] + done["rename"] + 1
        assert len(store.ideation.stories.list("idea")) == (3 if done["retell"] else 0)
        steps = store.todos.load("todo").plan["items"]
        assert sum(step["attempts"] for step in steps) == done["try_step"]
        [task] = store.tasks.list()
        numbers = [step.step_number for step in store.tasks.steps(task.task_id)]
        assert numbers == list(range(1, done["log_step"] + 1))
        with store.bound():
            assert models.HistoryEntry.select().count() == done["remember"]
            assert models.Message.select().count() == talk.message_count
            assert models.RunFile.select().count() == done["run"]
            assert models.Memory.select().count() == 0
        assert {run.status for run in store.runs.stream()} <= {"complete"}
        assert store.runs.count() == done["run"]


def test_sixty_four_writers_of_one_file_lose_nothing(
    start_python: StartPython, tmp_path: Path
) -> None:
    url = str(tmp_path / "s.db")
    compare(url, write_at_once(url, start_python, 2))


def test_sixty_four_writers_lose_nothing_in_twenty_seconds(
    start_python: StartPython, store_url: str
) -> None:
    done = write_at_once(store_url, start_python, 20)
    compare(store_url, done)
    assert done.keys() >= DEEDS  # chosen at random, but always so: also where each writer does one
