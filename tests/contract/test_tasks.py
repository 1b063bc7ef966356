"""The contract of ``Tasks``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.models import ExecutionLog, Run, Task
from dynostore.models.tasks import AGENT_TYPES, STATUSES
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PROJECT = "00000000-0000-4000-8000-0000000000aa"
DETAILS: dict[str, Any] = {
    "project_id": PROJECT,
    "created_by": "zoë@example.com",
    "estimated_resources": {"duration_seconds": 600, "gpu_vram_mb": 2048, "cpu_cores": 2},
    "metadata": {"ticket": "走 🏍", "tags": [1, None, {"a": 1.5}]},
}
OUTCOME: dict[str, Any] = {
    "actual_resources": {"duration_seconds": 305, "gpu_vram_mb_used": 1800, "cpu_time_ms": 18500},
    "external_ai_used": {"model": "claude-opus", "token_count": 5000, "cost_usd": 0.15},
    "metadata": {"host": "unraid"},
}
EMPTY_TASK = dict.fromkeys(
    (
        "project_id",
        "created_by",
        "approved_at",
        "completed_at",
        "estimated_resources",
        "actual_resources",
        "external_ai_used",
        "error_message",
        "metadata",
    )
)
VERBS = {
    "approved": "approve",
    "executing": "start",
    "completed": "complete",
    "failed": "fail",
    "rejected": "reject",
}
# Written down a second time, so that a slip in the table of the verbs is seen.
ALLOWED = {
    ("pending", "approved"),
    ("pending", "rejected"),
    ("pending", "failed"),
    ("approved", "executing"),
    ("approved", "rejected"),
    ("approved", "failed"),
    ("executing", "completed"),
    ("executing", "failed"),
}


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


def ids(tasks: Any) -> list[str]:
    return [task.task_id for task in tasks]


def whole_task(number: int = 1, **values: Any) -> Task:
    row = {"request_text": "do it", "status": "pending", "created_at": T0}
    return Task(task_id=key(number), **row | values)


def whole_step(number: int, task: int = 1, **values: Any) -> ExecutionLog:
    row = {
        "step_number": number,
        "agent_type": "infra",
        "action": "act",
        "status": "completed",
        "timestamp": T0,
    }
    return ExecutionLog(log_id=key(task * 1000 + number), task=key(task), **row | values)


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


# create


def test_a_new_task_is_pending_and_just_now_and_nothing_else_is_said_of_it(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    task = store.tasks.create("Deploy Kuma")
    after = dt.datetime.now(dt.UTC)
    assert before <= task.created_at <= after
    assert len(task.task_id) == 36
    assert task.values() == EMPTY_TASK | {
        "task_id": task.task_id,
        "request_text": "Deploy Kuma",
        "status": "pending",
        "created_at": task.created_at,
    }
    assert store.tasks.get(task.task_id) == task


def test_what_create_gives_is_what_get_gives(store: Store) -> None:
    task = store.tasks.create("Deploy", task_id=key(7).upper(), created_at=T0, **DETAILS)
    assert store.tasks.get(key(7)).values() == task.values()
    assert task.values() == EMPTY_TASK | DETAILS | {
        "task_id": key(7),
        "request_text": "Deploy",
        "status": "pending",
        "created_at": T0,
    }


def test_a_taken_id_is_refused_and_its_task_unchanged(store: Store) -> None:
    store.tasks.create("first", task_id=key(1))
    with pytest.raises(errors.AlreadyExists, match=key(1)):
        store.tasks.create("second", task_id=key(1))
    assert store.tasks.get(key(1)).request_text == "first"


def test_create_refuses_a_bad_value_by_its_field_and_writes_nothing(store: Store) -> None:
    bad: list[tuple[str, Any]] = [
        ("request_text", None),
        ("request_text", "nul\0"),
        ("request_text", 5),
        ("task_id", "no uuid"),
        ("task_id", ""),
        ("task_id", 5),
        ("project_id", "no uuid"),
        ("created_by", "c" * 256),
        ("created_at", dt.datetime(2026, 1, 1)),
        ("created_at", "2026-01-01"),
        ("estimated_resources", {"x": float("nan")}),
        ("metadata", {"x": "\0"}),
        ("status", "approved"),
        ("approved_at", T0),
        ("error_message", "x"),
        ("nonsense", 1),
    ]
    for field, value in bad:
        with refused(field, value):
            store.tasks.create(**{"request_text": "do it", field: value})
    assert store.tasks.count() == 0


# transitions


def test_a_task_goes_from_asking_to_its_end(store: Store) -> None:
    task = store.tasks.create("Deploy", created_at=T0, **DETAILS)
    before = dt.datetime.now(dt.UTC)
    approved = store.tasks.approve(task.task_id)
    assert approved.approved_at is not None
    assert before <= approved.approved_at <= dt.datetime.now(dt.UTC)
    expected = task.values() | {"status": "approved", "approved_at": approved.approved_at}
    assert store.tasks.get(task.task_id).values() == approved.values() == expected
    executing = store.tasks.start(task.task_id)
    expected = expected | {"status": "executing"}
    assert store.tasks.get(task.task_id).values() == executing.values() == expected
    completed = store.tasks.complete(task.task_id, **OUTCOME)
    assert completed.completed_at is not None
    assert approved.approved_at <= completed.completed_at <= dt.datetime.now(dt.UTC)
    expected = expected | OUTCOME
    expected = expected | {"status": "completed", "completed_at": completed.completed_at}
    assert store.tasks.get(task.task_id).values() == completed.values() == expected


def test_a_failed_task_says_why_and_when(store: Store) -> None:
    task = store.tasks.create("Deploy", created_at=T0)
    failed = store.tasks.fail(task.task_id, "port 8080 already in use", actual_resources={"a": 1})
    assert store.tasks.get(task.task_id) == failed
    assert failed.completed_at is not None
    assert failed.values() == task.values() | {
        "status": "failed",
        "error_message": "port 8080 already in use",
        "actual_resources": {"a": 1},
        "completed_at": failed.completed_at,
    }


def test_a_rejected_task_says_why_and_was_never_completed(store: Store) -> None:
    task = store.tasks.create("Deploy", created_at=T0)
    rejected = store.tasks.reject(task.task_id, "not on a Friday")
    assert store.tasks.get(task.task_id) == rejected
    assert rejected.values() == task.values() | {
        "status": "rejected",
        "error_message": "not on a Friday",
    }


def test_every_wrong_step_is_refused_with_both_states_and_changes_nothing(store: Store) -> None:
    for number, (current, wanted) in enumerate(itertools.product(STATUSES, VERBS)):
        task = whole_task(number, status=current, approved_at=T0, completed_at=T0)
        store.tasks.put_many([task])
        verb: Callable[[str], Task] = getattr(store.tasks, VERBS[wanted])
        if (current, wanted) in ALLOWED:
            assert verb(task.task_id).status == wanted
            continue
        with pytest.raises(errors.WrongTransition, match=f"{current}.* become {wanted}") as caught:
            verb(task.task_id)
        assert caught.value.data == {"current": current, "wanted": wanted}
        assert store.tasks.get(task.task_id) == task


def test_ending_refuses_a_bad_value_by_its_field_and_changes_nothing(store: Store) -> None:
    task = store.tasks.create("Deploy")
    store.tasks.approve(task.task_id)
    before = store.tasks.start(task.task_id)
    bad: list[tuple[str, Any]] = [
        ("actual_resources", {"x": float("inf")}),
        ("external_ai_used", {"x": "\ud800"}),
        ("metadata", {1, 2}),
        ("status", "failed"),
        ("completed_at", T0),
        ("request_text", "x"),
        ("nonsense", 1),
    ]
    for field, value in bad:
        with refused(field, value):
            store.tasks.complete(task.task_id, **{field: value})
        with refused(field, value):
            store.tasks.fail(task.task_id, **{field: value})
    with refused("error_message", "\0"):
        store.tasks.fail(task.task_id, "\0")
    with refused("error_message", 5):
        store.tasks.reject(task.task_id, 5)  # type: ignore[arg-type]
    assert store.tasks.get(task.task_id) == before


def test_of_two_that_move_a_task_at_once_one_is_refused(store: Store) -> None:
    moved: list[str] = []
    for number in range(10):
        store.tasks.create("Deploy", task_id=key(number))
        barrier = threading.Barrier(2)

        def move(
            verb: Callable[[str], Task], task_id: str, barrier: threading.Barrier = barrier
        ) -> None:
            barrier.wait()
            with contextlib.suppress(errors.WrongTransition):
                moved.append(verb(task_id).status)

        threads = [
            threading.Thread(target=move, args=(verb, key(number)))
            for verb in (store.tasks.approve, store.tasks.approve)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert moved == ["approved"] * 10


def test_none_in_a_json_column_is_sql_null(store: Store) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("estimated_resources", "metadata"))
    task = store.tasks.create("Deploy", **nothing)
    store.tasks.put_many([whole_task(1, status="executing", **OUTCOME)])
    cleared: dict[str, Any] = dict.fromkeys(OUTCOME)
    store.tasks.complete(key(1), **cleared)
    step = store.tasks.log_step(task.task_id, "infra", "act", output_full=None, metadata=None)
    store.tasks.finish_step(step.log_id, output_full=None)
    with store.bound():
        for field in (Task.estimated_resources, Task.actual_resources, Task.external_ai_used):
            assert Task.select().where(field.is_null()).count() == 2
        assert Task.select().where(Task.metadata.is_null()).count() == 2
        assert ExecutionLog.select().where(ExecutionLog.output_full.is_null()).count() == 1


def test_an_update_changes_what_is_passed_and_no_state(store: Store) -> None:
    whole = whole_task(metadata={"a": 1})
    store.tasks.put_many([whole])
    changed = store.tasks.update(whole.task_id, created_by="lee", metadata=None)
    assert changed == store.tasks.get(whole.task_id)
    assert changed.values() == {**whole.values(), "created_by": "lee", "metadata": None}
    assert store.tasks.update(whole.task_id) == changed
    bad: list[tuple[str, Any]] = [
        ("status", "completed"),
        ("approved_at", whole.created_at),
        ("project_id", "no uuid"),
        ("created_by", "x" * 256),
        ("metadata", float("nan")),
    ]
    for name, value in bad:
        with refused(name, value):
            store.tasks.update(whole.task_id, **{name: value})
    assert store.tasks.get(whole.task_id) == changed


# unknown ids


def test_every_verb_says_that_a_task_is_unknown(store: Store) -> None:
    verbs: list[Callable[[Any], object]] = [
        lambda task_id: store.tasks.get(task_id),
        lambda task_id: store.tasks.update(task_id, created_by="x"),
        lambda task_id: store.tasks.approve(task_id),
        lambda task_id: store.tasks.start(task_id),
        lambda task_id: store.tasks.complete(task_id),
        lambda task_id: store.tasks.fail(task_id, "x"),
        lambda task_id: store.tasks.reject(task_id),
        lambda task_id: store.tasks.delete(task_id),
        lambda task_id: store.tasks.log_step(task_id, "infra", "act"),
        lambda task_id: store.tasks.steps(task_id),
    ]
    for verb in verbs:
        for task_id in (key(1), "none", "", "nul\0", "\ud800", "i" * 500, 5, None):
            with pytest.raises(errors.TaskNotFound):
                verb(task_id)


def test_every_verb_says_that_a_step_is_unknown(store: Store) -> None:
    store.tasks.put_many([whole_task()])
    verbs: list[Callable[[Any], object]] = [
        lambda log_id: store.tasks.step(log_id),
        lambda log_id: store.tasks.finish_step(log_id),
    ]
    for verb in verbs:
        for log_id in (key(1), "none", "", "nul\0", 5, None):
            with pytest.raises(errors.TaskStepNotFound):
                verb(log_id)


def test_an_id_in_any_form_finds_its_task(store: Store) -> None:
    task = store.tasks.create("Deploy", task_id="0197ABCD-0000-7000-8000-00000000000A")
    for form in (task.task_id, task.task_id.upper(), task.task_id.replace("-", "")):
        assert store.tasks.get(form) == task
        assert store.tasks.resolve(form) == task.task_id
    store.tasks.delete(task.task_id.upper())
    assert store.tasks.count() == 0


def test_a_unique_beginning_finds_tasks_and_steps(store: Store) -> None:
    first, second = "0197abcd-1000-7000-8000-000000000001", "0197abcd-2000-7000-8000-000000000002"
    for task_id in (first, second):
        store.tasks.create("Deploy", task_id=task_id)
    for prefix in ("0197abcd-1", "0197ABCD-1000", "0197abcd1", first):
        assert store.tasks.resolve(prefix) == first
    for prefix in ("0", "0197", "0197abcd-"):
        with pytest.raises(errors.AmbiguousId, match=f"{first}, {second}"):
            store.tasks.resolve(prefix)
    for prefix in ("1", "x", "0%", "_197", "-", first + "0", "走"):
        with pytest.raises(errors.TaskNotFound):
            store.tasks.resolve(prefix)
    for prefix in ("", "nul\0"):
        with refused("task_id", prefix):
            store.tasks.resolve(prefix)
    step = store.tasks.log_step(first, "infra", "act")
    assert store.tasks.resolve_step(step.log_id[:10]) == step.log_id
    with pytest.raises(errors.TaskStepNotFound):
        store.tasks.resolve_step("ffffffff")
    with refused("log_id", ""):
        store.tasks.resolve_step("")


# list, stream, count


@pytest.fixture
def forty_tasks(store: Store) -> list[Task]:
    """Tasks at ten moments, four at each, in the list's order."""
    tasks = [
        whole_task(
            n,
            created_at=at(n % 10),
            status=STATUSES[n % 3],
            created_by=f"user{n % 2}",
            project_id=PROJECT if n % 4 else None,
        )
        for n in range(40)
    ]
    assert store.tasks.put_many(tasks) == []
    return sorted(tasks, key=lambda task: (task.created_at, task.task_id), reverse=True)


def test_lists_are_newest_first_then_by_descending_id(
    store: Store, forty_tasks: list[Task]
) -> None:
    assert list(store.tasks.list()) == forty_tasks
    assert list(store.tasks.stream()) == forty_tasks
    assert store.tasks.list().next is None


def test_pages_give_each_task_once_in_order(store: Store, forty_tasks: list[Task]) -> None:
    for limit in (1, 3, 7, 39, 40, 41):
        page = store.tasks.list(limit=limit)
        found = page.items
        while page.next is not None:
            page = store.tasks.list(limit=limit, after=page.next)
            assert 0 < len(page) <= limit
            found = found + page.items
        assert found == forty_tasks
    assert list(store.tasks.list(limit=5, offset=10)) == forty_tasks[10:15]
    after = store.tasks.list(limit=10).next
    assert list(store.tasks.list(limit=5, after=after, offset=2)) == forty_tasks[12:17]


def test_filters_combine_and_count_agrees(store: Store, forty_tasks: list[Task]) -> None:
    filters: list[dict[str, Any]] = [
        {"status": status, "created_by": user, "project_id": project, "since": since}
        for status in (None, "pending", "rejected")
        for user in (None, "user1", "none")
        for project in (None, PROJECT, key(99))
        for since in (None, at(2))
    ]
    for wanted in [*filters, {"until": at(7)}, {"since": at(2), "until": at(7)}]:
        expected = [
            task
            for task in forty_tasks
            if all(
                wanted.get(name) in (None, getattr(task, name))
                for name in ("status", "created_by", "project_id")
            )
            and (wanted.get("since") is None or wanted["since"] <= task.created_at)
            and (wanted.get("until") is None or task.created_at < wanted["until"])
        ]
        assert list(store.tasks.list(**wanted)) == expected
        assert list(store.tasks.stream(**wanted)) == expected
        assert store.tasks.count(**wanted) == len(expected)


def test_list_refuses_a_bad_argument_by_its_name(store: Store, forty_tasks: list[Task]) -> None:
    arguments: list[tuple[str, Any]] = [
        ("limit", 0),
        ("limit", "5"),
        ("offset", -1),
        ("after", "nonsense"),
        ("after", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwicnVuIl0"),  # a cursor of runs
        ("status", "complete"),
        ("created_by", "nul\0"),
        ("project_id", "no uuid"),
        ("since", dt.datetime(2026, 1, 1)),
        ("until", "2026-01-01"),
    ]
    for argument, value in arguments:
        with refused(argument, value):
            store.tasks.list(**{argument: value})


# delete


def test_delete_takes_the_steps_along_and_no_other(store: Store) -> None:
    records = [whole_task(1), whole_task(2), whole_step(1, 1), whole_step(2, 1), whole_step(1, 2)]
    assert store.tasks.put_many(records) == []
    store.tasks.delete(key(1))
    with pytest.raises(errors.TaskNotFound):
        store.tasks.steps(key(1))
    for number in (1001, 1002):
        with pytest.raises(errors.TaskStepNotFound):
            store.tasks.step(key(number))
    assert len(store.tasks.steps(key(2))) == 1
    store.tasks.create("again", task_id=key(1))
    assert store.tasks.steps(key(1)) == []


# steps


def test_a_step_is_logged_when_it_begins_and_finished_when_it_ends(store: Store) -> None:
    task = store.tasks.create("Deploy")
    before = dt.datetime.now(dt.UTC)
    step = store.tasks.log_step(task.task_id, "infra", "Deploy container")
    assert before <= step.timestamp <= dt.datetime.now(dt.UTC)
    assert step.values() == {
        "log_id": step.log_id,
        "task_id": task.task_id,
        "step_number": 1,
        "agent_type": "infra",
        "action": "Deploy container",
        "status": "running",
        "output_summary": None,
        "output_full": None,
        "timestamp": step.timestamp,
        "duration_ms": None,
        "metadata": None,
    }
    assert store.tasks.step(step.log_id) == step
    outcome: dict[str, Any] = {
        "output_summary": "Error: port in use",
        "output_full": {"error": "bind"},
        "duration_ms": 85000,
        "metadata": {"try": 1},
    }
    finished = store.tasks.finish_step(step.log_id, "failed", **outcome)
    assert finished.values() == step.values() | outcome | {"status": "failed"}
    assert store.tasks.steps(task.task_id) == [finished]


def test_a_step_that_nobody_timed_took_what_the_clock_says(store: Store) -> None:
    task = store.tasks.create("Deploy")
    began = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=90)
    step = store.tasks.log_step(task.task_id, "code", "build", timestamp=began)
    duration = store.tasks.finish_step(step.log_id).duration_ms
    assert duration is not None
    assert 90_000 <= duration <= 150_000
    future = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    step = store.tasks.log_step(task.task_id, "code", "build", timestamp=future)
    assert store.tasks.finish_step(step.log_id).duration_ms == 0
    step = store.tasks.log_step(task.task_id, "code", "build")
    assert store.tasks.finish_step(step.log_id, duration_ms=None).duration_ms is None


def test_a_step_ends_once(store: Store) -> None:
    store.tasks.put_many([whole_task(), whole_step(1, status="failed")])
    running = store.tasks.log_step(key(1), "infra", "act")
    with refused("status", "running"):
        store.tasks.finish_step(running.log_id, "running")
    with refused("status", "rejected"):
        store.tasks.finish_step(running.log_id, "rejected")
    store.tasks.finish_step(running.log_id)
    for log_id, current in ((key(1001), "failed"), (running.log_id, "completed")):
        before = store.tasks.step(log_id)
        with pytest.raises(errors.WrongTransition) as caught:
            store.tasks.finish_step(log_id, "failed")
        assert caught.value.data == {"current": current, "wanted": "failed"}
        assert store.tasks.step(log_id) == before


def test_steps_come_by_number_then_time_then_id(store: Store) -> None:
    steps = [
        whole_step(1, timestamp=at(50)),
        whole_step(4, step_number=2, timestamp=at(10)),
        whole_step(2, timestamp=at(20)),
        whole_step(3, step_number=2, timestamp=at(20)),
        whole_step(10, timestamp=at(0)),
    ]
    store.tasks.put_many([whole_task(1), whole_task(2), *reversed(steps), whole_step(1, 2)])
    assert store.tasks.steps(key(1)) == steps
    assert len(store.tasks.steps(key(2))) == 1


def test_steps_count_on_from_the_greatest_number(store: Store) -> None:
    for number in (1, 2):
        store.tasks.create("Deploy", task_id=key(number))
    given = [None, 7, None, 3, 3, None, 0]
    numbers = [store.tasks.log_step(key(1), "code", "x", step_number=n).step_number for n in given]
    assert numbers == [1, 7, 8, 3, 3, 9, 0]
    assert store.tasks.log_step(key(2), "code", "x").step_number == 1


def test_two_that_log_at_once_count_to_different_numbers(store: Store) -> None:
    task = store.tasks.create("Deploy")

    def log() -> None:
        for _ in range(20):
            store.tasks.log_step(task.task_id, "code", "x")

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [step.step_number for step in store.tasks.steps(task.task_id)]
    assert numbers == list(range(1, 61))


def test_a_step_may_be_logged_whatever_its_tasks_status_and_of_every_agent(store: Store) -> None:
    for number, status in enumerate(STATUSES):
        store.tasks.put_many([whole_task(number, status=status)])
        for agent_type in AGENT_TYPES:
            store.tasks.log_step(key(number), agent_type, "x", status="completed", duration_ms=0)
        assert {s.agent_type for s in store.tasks.steps(key(number))} == set(AGENT_TYPES)
        assert store.tasks.get(key(number)).status == status


def test_a_summary_has_up_to_500_characters(store: Store) -> None:
    task = store.tasks.create("Deploy")
    summary = "走🏍" * 250
    step = store.tasks.log_step(task.task_id, "infra", "act", output_summary=summary)
    assert store.tasks.step(step.log_id).output_summary == summary
    with refused("output_summary", 501):
        store.tasks.log_step(task.task_id, "infra", "act", output_summary=summary + "x")
    with refused("output_summary", 501):
        store.tasks.finish_step(step.log_id, output_summary=summary + "x")
    assert store.tasks.steps(task.task_id) == [step]


def test_log_step_refuses_a_bad_value_by_its_field_and_writes_nothing(store: Store) -> None:
    task = store.tasks.create("Deploy")
    bad: list[tuple[str, Any]] = [
        ("agent_type", "robot"),
        ("agent_type", None),
        ("action", None),
        ("action", "nul\0"),
        ("step_number", -1),
        ("step_number", "1"),
        ("step_number", True),
        ("status", "pending"),
        ("timestamp", dt.datetime(2026, 1, 1)),
        ("duration_ms", -1),
        ("duration_ms", 1.5),
        ("output_full", {"x": float("nan")}),
        ("metadata", {"x": object()}),
        ("log_id", key(1)),
        ("task", key(1)),
        ("nonsense", 1),
    ]
    for field, value in bad:
        arguments: dict[str, Any] = {"agent_type": "infra", "action": "act", field: value}
        with refused(field, value):
            store.tasks.log_step(task.task_id, **arguments)
    assert store.tasks.steps(task.task_id) == []


# put_many


def test_put_many_writes_whole_records_whatever_the_order_of_their_times(store: Store) -> None:
    task = whole_task(
        status="completed",
        approved_at=at(-3600),
        completed_at=at(-7200),
        error_message="",
        **DETAILS | OUTCOME,
    )
    unfinished = whole_task(2, status="failed", approved_at=at(-1), completed_at=None)
    steps = [whole_step(1, timestamp=at(-9000), output_full=[1]), whole_step(2, duration_ms=5)]
    assert store.tasks.put_many([task, unfinished, *steps]) == []
    assert store.tasks.get(key(1)) == task
    assert store.tasks.get(key(2)) == unfinished
    assert store.tasks.steps(key(1)) == steps


def test_put_many_replaces_by_key_and_leaves_the_steps(store: Store) -> None:
    steps = [whole_step(1), whole_step(2)]
    store.tasks.put_many([whole_task(status="completed", **OUTCOME), *steps])
    replacement = whole_task(status="pending", created_at=at(9))
    assert store.tasks.put_many([replacement]) == []
    assert store.tasks.get(key(1)) == replacement
    assert store.tasks.steps(key(1)) == steps


def test_put_many_gives_back_bad_records_with_their_reasons_and_stores_all_others(
    store: Store,
) -> None:
    bad = {
        "status": whole_task(1, status="complete"),
        "created_at": whole_task(2, created_at=dt.datetime(2026, 1, 1)),
        "task_id": Task(task_id="no uuid", request_text="x", status="pending", created_at=T0),
        "agent_type": whole_step(1, 5, agent_type="robot"),
        "output_summary": whole_step(2, 5, output_summary="x" * 501),
        "step_number": whole_step(3, 5, step_number=None),
    }
    orphan = whole_step(1, 6)
    good = [whole_step(4, 5), whole_task(5)]
    bounced = store.tasks.put_many([good[0], *bad.values(), orphan, good[1]])
    reasons = {id(r.record): r.reason for r in bounced}
    assert len(reasons) == len(bad) + 1
    for field, record in bad.items():
        assert reasons[id(record)].startswith(f"{field}: ")
    assert reasons[id(orphan)] == f"task_id: there is no {key(6)!r} in tasks"
    assert ids(store.tasks.list()) == [key(5)]
    assert [step.log_id for step in store.tasks.steps(key(5))] == [key(5004)]


def test_put_many_refuses_records_of_another_family(store: Store) -> None:
    with pytest.raises(errors.InvalidValue, match="another family"):
        store.tasks.put_many([Run()])


# transactions


def test_an_exception_undoes_a_task_its_moves_and_its_steps(store: Store) -> None:
    task = store.tasks.create("Deploy")
    with contextlib.suppress(RuntimeError), store.transaction():
        store.tasks.approve(task.task_id)
        store.tasks.log_step(task.task_id, "infra", "act")
        store.tasks.create("another")
        raise RuntimeError
    assert list(store.tasks.list()) == [task]
    assert store.tasks.steps(task.task_id) == []


def test_a_refused_move_does_not_end_the_callers_transaction(store: Store) -> None:
    with store.transaction():
        task = store.tasks.create("Deploy", task_id=key(1))
        with pytest.raises(errors.WrongTransition):
            store.tasks.complete(task.task_id)
        with pytest.raises(errors.AlreadyExists):
            store.tasks.create("again", task_id=key(1))
        store.tasks.approve(task.task_id)
    assert store.tasks.get(key(1)).status == "approved"
