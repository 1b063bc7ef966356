"""A task outlives its processes, and many processes may take tasks at once; on both databases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from dynostore import errors
from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

WORKERS = 8
TASKS = 24

PLANNER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    task = store.tasks.create("Deploy Kuma", created_by="kim", metadata={"ticket": 7})
    step = store.tasks.log_step(task.task_id, "orchestrator", "Parse the request")
    store.tasks.finish_step(step.log_id, duration_ms=1200)
    store.tasks.approve(task.task_id)
print("ok", flush=True)
"""

EXECUTOR = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    (task,) = store.tasks.list(status="approved")
    store.tasks.start(task.task_id)
    step = store.tasks.log_step(task.task_id, "infra", "Deploy the container")
    assert step.step_number == 2
print(step.log_id, flush=True)
sys.stdin.readline()  # killed here
"""

WORKER = """
import sys
from dynostore.errors import WrongTransition
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while waiting := store.tasks.list(status="approved").items:
        for task in waiting:
            try:
                store.tasks.start(task.task_id)
            except WrongTransition:
                continue
            step = store.tasks.log_step(task.task_id, "code", sys.argv[2])
            store.tasks.finish_step(step.log_id)
            store.tasks.complete(task.task_id, metadata={"worker": sys.argv[2]})
print("ok", flush=True)
"""


def test_a_task_goes_on_after_its_executor_was_killed(
    store_url: str, start_python: StartPython
) -> None:
    output, problems = start_python(PLANNER, store_url).communicate()
    assert (output.strip(), problems) == ("ok", "")
    executor = start_python(EXECUTOR, store_url)
    assert executor.stdout is not None
    log_id = executor.stdout.readline().strip()
    executor.kill()
    executor.wait()
    with Store.open(store_url, warm=False) as store:
        (task,) = store.tasks.list(status="executing", created_by="kim")
        assert store.tasks.step(log_id).status == "running"
        store.tasks.finish_step(log_id, "failed", output_summary="the executor died")
        failed = store.tasks.fail(task.task_id, "the executor died")
        assert failed.metadata == {"ticket": 7}
        steps = store.tasks.steps(task.task_id)
        assert [(s.step_number, s.status) for s in steps] == [(1, "completed"), (2, "failed")]
        store.tasks.delete(task.task_id)
        with pytest.raises(errors.TaskStepNotFound):
            store.tasks.step(log_id)
        assert store.check() == []


def test_of_eight_processes_one_executes_each_task(
    store_url: str, start_python: StartPython
) -> None:
    with Store.open(store_url, warm=False) as store:
        for number in range(TASKS):
            store.tasks.approve(store.tasks.create(f"task {number}").task_id)
        workers = [start_python(WORKER, store_url, n) for n in range(WORKERS)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        assert [w.communicate() for w in workers] == [("ok\n", "")] * WORKERS
        tasks = list(store.tasks.stream())
        assert [task.status for task in tasks] == ["completed"] * TASKS
        for task in tasks:
            (step,) = store.tasks.steps(task.task_id)
            assert task.metadata == {"worker": step.action}
        assert store.check() == []
