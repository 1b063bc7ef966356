"""Chiffon's database as tasks with their steps: every row in one record or one finding.

``tasks`` and ``execution_logs`` are records. Rows of later tables that name a task go to its
metadata, below the table's name; those that name none stay in the source, which a finding says.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

from dynostore.legacy.base import Finding, Row, SourceRecord, Unreadable
from dynostore.legacy.cells import CellReader, as_json, as_uuid, printable_key, shown_value
from dynostore.legacy.chiffon_rows import step_values, task_values
from dynostore.legacy.source_tables import OURS, Cells, SourceTables, Table, has_columns
from dynostore.models import ExecutionLog, Task

_READER_VERSION = "chiffon 1\n"  # a reader that reads more must see the same rows as changed
_TASKS_PER_PAGE = 100
_OTHER_TABLES = {
    "alembic_version": "the version of the schema, which is no record",
    **dict.fromkeys(
        ("agent_registry", "agent_performance", "playbook_mappings", "playbook_cache"),
        "belongs to no task",
    ),
}


def is_chiffon(tables: dict[str, Table]) -> bool:
    """Tell Chiffon's tables from those of a store of ours, which have the same names."""
    return OURS not in tables and has_columns(
        tables, "tasks", "task_id", "request_text", "status", "created_at"
    )


class TaskTables:
    """Reads the tasks of one database."""

    def __init__(self, source: SourceTables, path: str, place: str) -> None:
        """Prepare to read.

        :param path: the database's, for people; what stands before ``#`` in the paths of records.
        :param place: its absolute path or URL, without a password.
        """
        self._source = source
        self._path = path
        self._place = place
        self._tasks = source.tables["tasks"]
        steps = source.tables.get("execution_logs")
        self._steps = steps if steps and {"log_id", "task_id"} <= set(steps.columns) else None
        self._others = [
            table
            for name, table in source.tables.items()
            if "task_id" in table.columns and table not in (self._tasks, self._steps)
        ]
        self._attached = dict.fromkeys((table.name for table in self._others), 0)
        self._repeated_tasks: set[str] = set()
        self._repeated_steps: set[str] = set()
        self._step_keys: set[str] = set()
        self._flaws: dict[str, str] = {}
        self._named: set[Any] = set()

    def read(self) -> Iterator[SourceRecord | Finding]:
        """Give each task with its steps, then what belongs to none."""
        self._repeated_tasks = self._source.repeated(self._tasks, "task_id")
        if self._steps is not None:
            self._repeated_steps = self._source.repeated(self._steps, "log_id")
        try:
            rows = self._source.scan(self._tasks)
            while page := list(itertools.islice(rows, _TASKS_PER_PAGE)):
                yield from self._page(page)
            yield from self._orphans()
        except Unreadable as exc:
            self._flaws.setdefault("tasks", str(exc))
        for reason in self._flaws.values():
            reason = f"not all rows could be read: {reason}"
            yield Finding(self._path, "invalid", reason, files=0)
        yield from self._other_tables()

    def _page(self, tasks: list[Cells]) -> Iterator[SourceRecord | Finding]:
        forms = self._forms(tasks)
        steps = self._by_task(self._steps, forms, len(tasks))
        others = [(table, self._by_task(table, forms, len(tasks))) for table in self._others]
        for number, cells in enumerate(tasks):
            beside = {table.name: rows[number] for table, rows in others if rows[number]}
            for name, rows in beside.items():
                self._attached[name] += len(rows)
            yield from self._task(cells, steps[number], beside)

    def _forms(self, tasks: list[Cells]) -> dict[Any, int]:
        """Give each form in which other tables may name one of the tasks, with its number."""
        forms: dict[Any, int] = {}
        for number, cells in enumerate(tasks):
            raw = cells["task_id"]
            if raw is not None and not self._is_named_before(raw):
                forms.setdefault(raw, number)
        for number, cells in enumerate(tasks):
            # Where a UUID stands in two forms, each form means its own row.
            own = as_uuid(cells["task_id"])
            if own is not None and own.replace("-", "") not in self._repeated_tasks:
                forms.setdefault(own, number)
                forms.setdefault(own.replace("-", ""), number)
        return forms

    def _is_named_before(self, raw: Any) -> bool:
        """Tell whether an earlier row has the very same id, and so the steps of both."""
        if str(raw).replace("-", "").lower() not in self._repeated_tasks:
            return False
        is_known = raw in self._named
        self._named.add(raw)
        return is_known

    def _by_task(self, table: Table | None, forms: dict[Any, int], tasks: int) -> list[list[Cells]]:
        found: list[list[Cells]] = [[] for _ in range(tasks)]
        for row in self._matching(table, [*forms]) if table is not None else ():
            number = forms.get(row["task_id"])
            if number is not None:
                found[number].append(row)
        return found

    def _matching(self, table: Table, values: list[Any]) -> Iterator[Cells]:
        """Give the rows of some tasks; where the table is broken those that can be read."""
        try:
            yield from self._source.matching(table, "task_id", values) if values else ()
        except Unreadable as exc:
            if len(values) == 1:
                self._flaws.setdefault(table.name, str(exc))
                return
            for value in values:
                yield from self._matching(table, [value])

    def _task(
        self, row: Cells, steps: list[Cells], beside: dict[str, list[Cells]]
    ) -> Iterator[SourceRecord | Finding]:
        path = self._path_of("tasks", row["task_id"])
        cells = CellReader(row)
        own = as_uuid(row["task_id"])
        is_unique = own is not None and own.replace("-", "") not in self._repeated_tasks
        try:
            values = task_values(cells, steps, is_unique=is_unique)
        except Unreadable as exc:
            yield self._invalid(path, str(exc))
            for step in steps:
                shown = self._path_of("execution_logs", step["log_id"])
                yield self._invalid(shown, "its task could not be taken over")
            return
        children: list[Row] = []
        warnings = cells.warnings
        for step in steps:
            child = self._step(step, values, warnings)
            if isinstance(child, Finding):
                yield child
            else:
                children.append((ExecutionLog, child))
        if beside:
            attached = {name: [_as_object(r) for r in rows] for name, rows in beside.items()}
            values["metadata"] = {**(values["metadata"] or {}), **attached}
        text = json.dumps([row, steps, beside], default=as_json, sort_keys=True)
        yield SourceRecord(
            model=Task,
            key=values["task_id"],
            values=values,
            children=children,
            path=path,
            place=self._place,
            content_hash=hashlib.sha256((_READER_VERSION + text).encode()).hexdigest(),
            files=0,
            warnings=warnings,
            weight_bytes=2 * len(text),
        )

    def _step(
        self, row: Cells, task: dict[str, Any], warnings: list[str]
    ) -> dict[str, Any] | Finding:
        raw = row["log_id"]
        cells = CellReader(row, f"execution_logs/{shown_value(raw)} ")
        own = as_uuid(raw)
        is_unique = own is not None and own.replace("-", "") not in self._repeated_steps
        try:
            values = step_values(cells, task, is_unique=is_unique)
        except Unreadable as exc:
            return self._invalid(self._path_of("execution_logs", raw), str(exc))
        if not is_unique:
            if values["log_id"] in self._step_keys:
                reason = "another row has the same log_id and time"
                return self._invalid(self._path_of("execution_logs", raw), reason)
            self._step_keys.add(values["log_id"])
        warnings += cells.warnings
        return values

    def _orphans(self) -> Iterator[Finding]:
        """Give the steps whose task is not there."""
        if self._steps is None:
            return
        for row in self._source.without_parent(self._steps, "task_id", self._tasks, "task_id"):
            if not self._is_taken(row["task_id"]):
                shown = shown_value(row["task_id"])
                reason = f"its task {shown} is not in the database"
                yield self._invalid(self._path_of("execution_logs", row["log_id"]), reason)

    def _is_taken(self, raw: Any) -> bool:
        """Tell whether a task has this id in another form."""
        own = as_uuid(raw)
        if own is None or own.replace("-", "") in self._repeated_tasks:
            return False
        forms = [own, own.replace("-", "")]
        return bool(self._source.matching(self._tasks, "task_id", forms))

    def _other_tables(self) -> Iterator[Finding]:
        """Say of every other table how many rows stay in the source, and why."""
        for name, table in self._source.tables.items():
            if table in (self._tasks, self._steps):
                continue
            rows = self._source.count(table)
            left = rows - self._attached.get(name, 0)
            if not left:
                continue
            path = f"{self._path}#{printable_key(name)}"
            known = _OTHER_TABLES.get(name)
            if known is not None:
                yield Finding(path, "skipped", f"{rows} rows: {known}", files=0)
            elif name in self._attached:
                reason = f"{left} of {rows} rows name no task that is there"
                yield Finding(path, "skipped", reason, files=0)
            else:
                reason = f"{rows} rows of a table that is not known"
                yield Finding(path, "invalid", reason, files=0)

    def _path_of(self, table: str, raw: Any) -> str:
        return f"{self._path}#{table}/{shown_value(raw)}"

    def _invalid(self, path: str, reason: str) -> Finding:
        return Finding(path, "invalid", reason, is_record=True, files=0)


def _as_object(row: Cells) -> dict[str, Any]:
    return {
        printable_key(name): as_json(value)
        for name, value in row.items()
        if name != "task_id" and value is not None
    }
