"""A store that lives on in a forked child: both sides work, and neither disturbs the other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dynostore.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

# In a process of its own: a fork of the test run that went wrong would run the other tests twice.
BEFORE = """
import os, sys, threading

from dynostore.errors import WrongProcess
from dynostore.store import Store

store = Store.open(sys.argv[1])
store.runs.create(run_id="parent before")


def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def use():
    assert store.runs.get("parent before")
    store.runs.create(source="child")
    threads = [threading.Thread(target=store.runs.create) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.runs.count() >= 5


def use_and_close():
    use()
    store.close()
"""

AFTER = """
store.runs.create(run_id="parent after")
print(store.runs.count(), store.check())
"""

PARTS = {
    "a child uses the store": ("in_child(use)", 6),
    "a child closes the store": ("in_child(use_and_close)", 6),
    "a child has a child": ("in_child(lambda: in_child(use))", 6),
    "a child ends as a program does": (
        """
if os.fork() == 0:
    use()
    sys.exit()  # the interpreter frees everything that was inherited
os.wait()
""",
        6,
    ),
    "a child is made inside a transaction": (
        """
with store.transaction():
    store.runs.create(run_id="parent inside")
    in_child(store.runs.count)
""",
        3,
    ),
    "a child ends as a program does, inside a transaction": (
        """
transaction = store.transaction()
transaction.__enter__()
store.runs.create(run_id="parent inside", metadata="x" * 100_000)
if os.fork() == 0:
    sys.exit()
os.wait()
store.runs.create(run_id="parent inside too")
transaction.__exit__(None, None, None)
""",
        4,
    ),
    "a child leaves its parent's transaction": (
        """
pid = None
try:
    with store.transaction():
        store.runs.create(run_id="parent inside")
        with store.transaction():
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
except WrongProcess as error:
    assert pid == 0 and "belongs to the process that began it" in str(error), error
    assert store.runs.count() == 1  # still of use
    os._exit(0)
if pid == 0:
    os._exit(1)
""",
        3,
    ),
    "a child ends by an error of its own inside its parent's transaction": (
        """
try:
    with store.transaction():
        store.runs.create(run_id="parent inside")
        if os.fork() == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
except SystemExit as left:
    os._exit(left.code)
""",
        3,
    ),
    "another thread is in the middle of a verb": (
        """
inside, go_on = threading.Event(), threading.Event()


def hold():
    with store.transaction():
        store.runs.create(run_id="parent inside")
        inside.set()
        go_on.wait()


thread = threading.Thread(target=hold)
thread.start()
inside.wait()
in_child(store.runs.count)
go_on.set()
thread.join()
""",
        3,
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_parent_and_child_both_work_when(
    part: str, store_url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    script, count = PARTS[part]
    parent = start_python(BEFORE + script + AFTER, store_url)
    output, problems = parent.communicate(timeout=60)
    assert output.strip() == f"{count} []", problems
    assert parent.returncode == 0
    with Store.open(store_url, warm=False) as store:
        assert store.runs.count() == count
        assert store.check() == []


OUTLIVED = """
import os, sqlite3, sys

from dynostore.store import Store

path = sys.argv[1]


def write(key):
    writer = sqlite3.connect(path)
    with writer:
        writer.execute(
            "INSERT INTO runs (id, status, source, created_at, updated_at)"
            " SELECT ?, status, source, created_at, updated_at FROM runs LIMIT 1", (key,)
        )
    writer.close()


for number in range(20):
    store = Store.open(path)
    store.runs.create(run_id=f"parent {number}")
    begun, has_begun = os.pipe()
    closed, has_closed = os.pipe()
    pid = os.fork()
    if not pid and sys.argv[2] == "grandchild":
        if pid := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if not pid:
        store.runs.create(run_id=f"child {number}")
        os.write(has_begun, b"!")
        os.read(closed, 1)
        store.runs.create(run_id=f"child {number}, later")
        store.close()
        os._exit(0)
    os.read(begun, 1)
    store.close()
    write(f"another program {number}")  # that takes itself for the first and the last
    os.write(has_closed, b"!")
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize("who", ["child", "grandchild"])
def test_what_a_child_writes_after_its_parent_has_closed_the_store_is_not_lost(
    who: str, tmp_path: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "s.db"
    parent = start_python(OUTLIVED, path, who)
    _, problems = parent.communicate(timeout=60)
    assert parent.returncode == 0, problems
    with Store.open(path) as store:
        assert store.check() == []
        assert store.runs.count() == 80


def test_a_child_has_a_copy_of_what_is_in_memory(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    script = BEFORE + "\nin_child(use)\n" + AFTER
    output, problems = start_python(script, ":memory:").communicate(timeout=60)
    assert output.strip() == "2 []", problems
