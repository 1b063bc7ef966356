"""The verbs of tasks; those of the log of their steps are a part of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.tasks import ExecutionLog, Task
from dynostore.repositories.base import Page, Refused, filtered, refuse_others
from dynostore.repositories.tasks.steps import (
    StepOutcome,
    TaskStepRepository,
    TaskSteps,
    changed,
)

__all__ = [
    "TRANSITIONS",
    "StepOutcome",
    "TaskDetails",
    "TaskFilters",
    "TaskOutcome",
    "TaskRepository",
    "TaskStepRepository",
    "TaskSteps",
    "Tasks",
]

# Inside the classes below ``list`` is a verb.
RefusedList = list[Refused]

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "pending": ("approved", "rejected", "failed"),
    "approved": ("executing", "rejected", "failed"),
    "executing": ("completed", "failed"),
    "completed": (),
    "failed": (),
    "rejected": (),
}
"""What may follow each status of a task."""


class TaskDetails(TypedDict, total=False):
    """What can be said of a task that is asked for; None clears the column."""

    project_id: str | None
    created_by: str | None
    estimated_resources: Any
    metadata: Any


class TaskOutcome(TypedDict, total=False):
    """What can be said of a task when it ends; None clears the column."""

    actual_resources: Any
    external_ai_used: Any
    metadata: Any


class TaskFilters(TypedDict, total=False):
    """Which tasks are wanted; all where nothing is said.

    ``since`` is created at or after, ``until`` created before; both aware.
    """

    status: str | None
    created_by: str | None
    project_id: str | None
    since: dt.datetime | None
    until: dt.datetime | None


class Tasks(TaskSteps, Protocol):
    """The contract of every store of tasks.

    A task goes from ``pending`` to ``approved`` to ``executing`` to ``completed``. Until it
    executes it can be ``rejected``, and until it has ended it can be ``failed``: an agent may die,
    or never be found, before it starts. The end is final; to try again is another task.
    :data:`TRANSITIONS` says so in data, and any other step raises
    :class:`~dynostore.errors.WrongTransition` with both states and changes nothing; of two
    programs that move one task at once, one is refused.

    Every verb that changes something does so in one transaction, and refuses a value that breaks a
    rule with :class:`~dynostore.errors.InvalidValue`, naming the column. In a JSON column None is
    SQL NULL. Unknown ids raise :class:`~dynostore.errors.TaskNotFound` and
    :class:`~dynostore.errors.TaskStepNotFound`. The times are those of this machine's clock, in no
    order that is checked.
    """

    def create(
        self,
        request_text: str,
        *,
        task_id: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[TaskDetails],
    ) -> Task:
        """Record a new, ``pending`` task and give it back.

        :param task_id: the caller's own UUID; a UUIDv7 by default.
        :param created_at: aware; now by default.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, task_id: str) -> Task:
        """Give the task of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id of the task that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(self, task_id: str, **details: Unpack[TaskDetails]) -> Task:
        """Change what is passed and nothing else, in whatever status; None clears a column."""
        ...

    def approve(self, task_id: str) -> Task:
        """Let a pending task be executed; sets ``approved_at``."""
        ...

    def start(self, task_id: str) -> Task:
        """Say that an approved task is being executed."""
        ...

    def complete(self, task_id: str, **outcome: Unpack[TaskOutcome]) -> Task:
        """End an executing task well; sets ``completed_at``."""
        ...

    def fail(
        self, task_id: str, error_message: str | None = None, **outcome: Unpack[TaskOutcome]
    ) -> Task:
        """End a task that has not ended yet badly; sets ``completed_at`` and ``error_message``."""
        ...

    def reject(self, task_id: str, reason: str | None = None) -> Task:
        """Refuse a task that is not executed yet.

        ``completed_at`` stays empty, since nothing was done.

        :param reason: kept as ``error_message``.
        """
        ...

    def list(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[TaskFilters],
    ) -> Page[Task]:
        """Give a page of tasks, newest ``created_at`` first, then by descending id.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def stream(self, **filters: Unpack[TaskFilters]) -> Iterator[Task]:
        """Give all tasks in the order of :meth:`list`, in flat memory."""
        ...

    def count(self, **filters: Unpack[TaskFilters]) -> int:
        """Count the tasks that :meth:`list` would give."""
        ...

    def delete(self, task_id: str) -> None:
        """Remove the task and the log of its steps."""
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`Task` and :class:`ExecutionLog` records; give back the refused ones.

        Any status may be written over any other, and the times may be in any order.
        """
        ...


class TaskRepository(TaskStepRepository):
    """Tasks in a database; the contract is :class:`Tasks`."""

    MODELS = (Task, ExecutionLog)
    NOT_FOUND = errors.TaskNotFound

    def create(
        self,
        request_text: str,
        *,
        task_id: str | None = None,
        created_at: dt.datetime | None = None,
        **details: Unpack[TaskDetails],
    ) -> Task:
        refuse_others(details, TaskDetails)
        row = checked(
            Task,
            {
                "task_id": new_id() if task_id is None else task_id,
                "request_text": request_text,
                "status": "pending",
                "created_at": utc_now() if created_at is None else created_at,
                **details,
            },
        )
        try:
            with self._db.writing():
                Task.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a task {row['task_id']!r} already") from exc
        return Task(**row)

    def get(self, task_id: str) -> Task:
        return self._existing(Task, task_id, errors.TaskNotFound)

    def resolve(self, prefix: str) -> str:
        return self._full_id(Task, prefix)

    def update(self, task_id: str, **details: Unpack[TaskDetails]) -> Task:
        refuse_others(details, TaskDetails)
        row = checked(Task, details)
        with self._db.writing():
            task = self._existing(Task, task_id, errors.TaskNotFound, lock=True)
            if row:
                Task.update(row).where(Task.task_id == task.task_id).execute(self._db)
        return changed(task, row)

    def approve(self, task_id: str) -> Task:
        return self._move(task_id, "approved", approved_at=utc_now())

    def start(self, task_id: str) -> Task:
        return self._move(task_id, "executing")

    def complete(self, task_id: str, **outcome: Unpack[TaskOutcome]) -> Task:
        refuse_others(outcome, TaskOutcome)
        return self._move(task_id, "completed", completed_at=utc_now(), **outcome)

    def fail(
        self, task_id: str, error_message: str | None = None, **outcome: Unpack[TaskOutcome]
    ) -> Task:
        refuse_others(outcome, TaskOutcome)
        return self._move(
            task_id, "failed", completed_at=utc_now(), error_message=error_message, **outcome
        )

    def reject(self, task_id: str, reason: str | None = None) -> Task:
        return self._move(task_id, "rejected", error_message=reason)

    def _move(self, task_id: str, status: str, **changes: Any) -> Task:
        row = checked(Task, {"status": status, **changes})
        with self._db.writing():
            task = self._existing(Task, task_id, errors.TaskNotFound, lock=True)
            if status not in TRANSITIONS[task.status]:
                raise errors.WrongTransition(
                    f"task {task.task_id} is {task.status} and cannot become {status}",
                    hint=f"dynostore tasks show {task.task_id}",
                    current=task.status,
                    wanted=status,
                )
            Task.update(row).where(Task.task_id == task.task_id).execute(self._db)
        return changed(task, row)

    def list(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[TaskFilters],
    ) -> Page[Task]:
        query = _filtered(filters)
        return self._page(query, Task.created_at, limit=limit, after=after, offset=offset)

    def stream(self, **filters: Unpack[TaskFilters]) -> Iterator[Task]:
        # Page by page: an open cursor would keep SQLite's WAL from being recycled for as long as
        # the reader takes.
        after: str | None = None
        while True:
            page = self.list(limit=1000, after=after, **filters)
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(self, **filters: Unpack[TaskFilters]) -> int:
        with self._db.reading():
            return int(_filtered(filters).count(self._db))

    def delete(self, task_id: str) -> None:
        with self._db.writing():
            task = self.get(task_id)
            Task.delete().where(Task.task_id == task.task_id).execute(self._db)


def _filtered(filters: TaskFilters) -> Any:
    refuse_others(filters, TaskFilters)
    return filtered(Task.select(), Task.created_at, **filters)
