"""The verbs of the log of a task's steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, Unpack

import peewee

from dynostore import errors
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models.base import checked
from dynostore.models.tasks import ExecutionLog, Task
from dynostore.repositories.base import RecordT, Repository, refuse_others


class StepOutcome(TypedDict, total=False):
    """What can be said of a step when it ends; None clears the column."""

    output_summary: str | None
    output_full: Any
    duration_ms: int | None
    metadata: Any


class TaskSteps(Protocol):
    """The part of the contract :class:`dynostore.repositories.Tasks` that is about steps.

    A step is logged when it begins, or later, and ends once.
    """

    def log_step(
        self,
        task_id: str,
        agent_type: str,
        action: str,
        *,
        step_number: int | None = None,
        status: str = "running",
        timestamp: dt.datetime | None = None,
        **outcome: Unpack[StepOutcome],
    ) -> ExecutionLog:
        """Record a step of a task, whatever the task's status, and give it back.

        :param agent_type: one of :data:`dynostore.models.tasks.AGENT_TYPES`.
        :param step_number: one above the task's greatest by default, 1 for the first. A number may
            repeat: a step that was tried again.
        :param status: ``completed`` or ``failed`` for a step that has ended already.
        :param timestamp: when the step began, aware; now by default.
        """
        ...

    def finish_step(
        self, log_id: str, status: str = "completed", **outcome: Unpack[StepOutcome]
    ) -> ExecutionLog:
        """End a running step.

        ``duration_ms`` is what the clock says since ``timestamp``, at least 0, where nothing else
        is passed.

        :param status: ``completed`` or ``failed``.
        :raises WrongTransition: the step has ended already.
        """
        ...

    def steps(self, task_id: str) -> list[ExecutionLog]:
        """Give the task's steps by number, then ``timestamp``, then id."""
        ...

    def step(self, log_id: str) -> ExecutionLog:
        """Give the step of exactly this id."""
        ...

    def resolve_step(self, prefix: str) -> str:
        """Give the full id of the step that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...


class TaskStepRepository(Repository):
    """Steps in a database; the contract is :class:`TaskSteps`."""

    def log_step(
        self,
        task_id: str,
        agent_type: str,
        action: str,
        *,
        step_number: int | None = None,
        status: str = "running",
        timestamp: dt.datetime | None = None,
        **outcome: Unpack[StepOutcome],
    ) -> ExecutionLog:
        refuse_others(outcome, StepOutcome)
        row = checked(
            ExecutionLog,
            {
                "log_id": new_id(),
                "step_number": 1 if step_number is None else step_number,
                "agent_type": agent_type,
                "action": action,
                "status": status,
                "timestamp": utc_now() if timestamp is None else timestamp,
                **outcome,
            },
        )
        with self._db.writing():
            # Locked, so that two that log at once do not count to the same number.
            task = self._existing(Task, task_id, errors.TaskNotFound, lock=True)
            row["task"] = task.task_id
            if step_number is None:
                row["step_number"] = self._greatest_step(task.task_id) + 1
            ExecutionLog.insert(row).execute(self._db)
        return ExecutionLog(**row)

    def _greatest_step(self, task_id: str) -> int:
        query = ExecutionLog.select(peewee.fn.MAX(ExecutionLog.step_number))
        found = query.where(ExecutionLog.task == task_id).scalar(self._db)
        return 0 if found is None else int(found)

    def finish_step(
        self, log_id: str, status: str = "completed", **outcome: Unpack[StepOutcome]
    ) -> ExecutionLog:
        refuse_others(outcome, StepOutcome)
        if status == "running":
            raise errors.InvalidValue("status", "a step ends as completed or failed")
        row = checked(ExecutionLog, {"status": status, **outcome})
        with self._db.writing():
            step = self._existing(ExecutionLog, log_id, errors.TaskStepNotFound, lock=True)
            if step.status != "running":
                raise errors.WrongTransition(
                    f"step {step.log_id} is {step.status} and cannot become {status}",
                    hint=f"dynostore tasks steps {step.values()['task_id']}",
                    current=step.status,
                    wanted=status,
                )
            if "duration_ms" not in row:
                since = utc_now() - step.timestamp
                row["duration_ms"] = max(0, since // dt.timedelta(milliseconds=1))
            mine = ExecutionLog.log_id == step.log_id
            ExecutionLog.update(row).where(mine).execute(self._db)
        return changed(step, row)

    def steps(self, task_id: str) -> list[ExecutionLog]:
        task = self._existing(Task, task_id, errors.TaskNotFound)
        query = ExecutionLog.select().where(ExecutionLog.task == task.task_id)
        order = (ExecutionLog.step_number, ExecutionLog.timestamp, ExecutionLog.log_id)
        with self._db.reading():
            return [*query.order_by(*order).execute(self._db)]

    def step(self, log_id: str) -> ExecutionLog:
        return self._existing(ExecutionLog, log_id, errors.TaskStepNotFound)

    def resolve_step(self, prefix: str) -> str:
        return self._full_id(ExecutionLog, prefix, errors.TaskStepNotFound)


def changed(record: RecordT, row: Mapping[str, Any]) -> RecordT:
    """Give the record with the row's values in it, as it is stored now."""
    for name, value in row.items():
        setattr(record, name, value)
    return record
