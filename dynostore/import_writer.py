"""Writing an import's plans: a batch is one transaction, in which all of it is read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dynostore.fields import utc_now
from dynostore.ids import derived_id
from dynostore.import_merge import WholeRow
from dynostore.import_plan import ImportItem, Plan, Planner, parent_field
from dynostore.import_report import ImportReport, Remark
from dynostore.legacy.source_tree import shown
from dynostore.models import Import, Record
from dynostore.models.base import key_field
from dynostore.repositories.base import Repository
from dynostore.store import Store


class _RefusedBatch(Exception):
    """Rolls a batch back to its savepoint."""


class BatchWriter:
    """Writes batches of source records into a store, each with its rows of ``imports``."""

    def __init__(self, store: Store, planner: Planner, kind: str) -> None:
        self._store = store
        self._planner = planner
        self._kind = kind

    def write(self, batch: Sequence[ImportItem]) -> tuple[list[Plan], list[Remark]]:
        """Write what the batch asks for, all or nothing, and compare the store with it.

        :return: what was done with each record, in order, and where reading back gave something
            else than was written.
        :raises DynostoreError: the store failed; nothing of the batch is in it.
        """
        if self._planner.knows(batch):
            plans = self._planner.plan(batch)
            if not any(plan.records_import for plan in plans):
                return plans, []
        with self._store.transaction():
            # Only now that nobody else can write: what was decided before may be outdated.
            plans = self._planner.plan(batch)
            self._write(plans)
            # Before the others see it, so that no writer of theirs can look like a difference.
            differences = [*self._read_back(plans)]
        return plans, differences

    def _write(self, plans: list[Plan]) -> None:
        """Write, leaving out whole records of which the database refuses a part."""
        while True:
            records = _Records(self._kind, plans)
            refused = None
            try:
                with self._store.transaction():
                    for repository, rows in self._by_repository(records):
                        refused = repository.put_many(rows)
                        if refused:
                            raise _RefusedBatch
                return
            except _RefusedBatch:
                for refusal in refused or ():
                    records.plan_of(refusal.record).refuse(refusal.reason)

    def _by_repository(self, records: _Records) -> Iterator[tuple[Repository, list[Record]]]:
        for repository in vars(self._store).values():
            if isinstance(repository, Repository):
                rows = [r for r in records.all if type(r) in repository.MODELS]
                if rows:
                    yield repository, rows

    def _read_back(self, plans: Sequence[Plan]) -> Iterator[Remark]:
        """Give every difference between what the store should hold and what it holds."""
        written = [plan for plan in plans if plan.rows]
        for model in _unique(plan.item.row.model for plan in written):
            own = [plan for plan in written if plan.item.row.model is model]
            parents = {plan.item.row.key: plan for plan in own}
            yield from self._compare(own, model, key_field(model), parents)
            for child in _unique(row.model for plan in own for row in plan.item.children):
                yield from self._compare(own, child, parent_field(child, model), parents)

    def _compare(
        self, plans: Sequence[Plan], model: type[Record], field: Any, parents: dict[Any, Plan]
    ) -> Iterator[Remark]:
        """Compare one table's rows with what is stored under the given parents.

        What nobody wrote is a difference too, where the parent is new.
        """
        columns = list(model._meta.columns)
        key_at = columns.index(key_field(model).column_name)
        parent_at = columns.index(field.column_name)
        stored = {
            row[key_at]: row for row in self._store.imports.stored(model, field, list(parents))
        }
        for plan in plans:
            for row in plan.rows:
                if row.model is model:
                    found = stored.pop(row.key, None)
                    if found != tuple(row.values.values()):
                        yield Remark(plan.item.source.path, _difference(row, found))
        for key, found in stored.items():
            plan = parents[found[parent_at]]
            if plan.outcome == "created":
                message = f"{model._meta.table_name} {key}: is in the store and not in the source"
                yield Remark(plan.item.source.path, message)


def _unique(models: Iterable[type[Record]]) -> list[type[Record]]:
    return list(dict.fromkeys(models))


def note_invalid(store: Store, report: ImportReport) -> None:
    """Keep in ``imports`` what of this source could not be taken over, and why, as of now.

    What was noted before and is gone or good by now is forgotten. Writes nothing where nothing
    changed.
    """
    wanted: dict[str, tuple[str, str]] = {}
    for entry in report.entries:
        if entry.outcome == "invalid":
            place = _place(report.source, entry.path)
            key = derived_id("imports", report.kind, f"\x1f{place}")
            wanted[key] = (place, entry.reason or "")
    below = _place(report.source, "")
    noted = {
        row.id: (row.source_path, row.reason)
        for row in store.imports.stream(kind=report.kind, status="invalid")
        if row.source_path == shown(report.source) or row.source_path.startswith(below)
    }
    changed = [key for key, said in wanted.items() if noted.get(key) != said]
    outdated = [key for key in noted if key not in wanted]
    if not changed and not outdated:
        return
    now = utc_now()
    with store.transaction():
        store.imports.forget(outdated)
        store.imports.put_many(
            Import(
                id=key,
                kind=report.kind,
                source_path=wanted[key][0],
                status="invalid",
                reason=wanted[key][1],
                imported_at=now,
            )
            for key in changed
        )


def _place(root: str, path: str) -> str:
    return shown(root) if path == "." else f"{shown(root).rstrip('/')}/{path}"


class _Records:
    """The records that a batch of plans writes, each with its plan."""

    def __init__(self, kind: str, plans: Sequence[Plan]) -> None:
        self.all: list[Record] = []
        self._plans: dict[int, Plan] = {}
        for plan in plans:
            if plan.records_import:
                rows = [row.as_record() for row in plan.rows]
                rows.append(plan.import_record(kind))
                self.all += rows
                self._plans.update((id(row), plan) for row in rows)

    def plan_of(self, record: Record) -> Plan:
        """Give the plan that a record is a part of."""
        return self._plans[id(record)]


def _difference(row: WholeRow, stored: tuple[Any, ...] | None) -> str:
    if stored is None:
        return f"{row.table} {row.key}: was written and is not in the store"
    pairs = zip(row.values.items(), stored, strict=True)
    columns = [column for (column, value), found in pairs if found != value]
    return f"{row.table} {row.key}: reads back differently: {', '.join(columns)}"
