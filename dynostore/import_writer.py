"""Writing an import's plans: a batch is one transaction, in which all of it is read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        expected: dict[type[Record], dict[Any, tuple[Plan, WholeRow]]] = {}
        for plan in written:
            for row in plan.rows:
                expected.setdefault(row.model, {})[row.key] = (plan, row)
        for model, rows in expected.items():
            key = key_field(model)
            place = list(model._meta.columns).index(key.column_name)
            stored = self._store.imports.stored(model, key, list(rows))
            found = {values[place]: values for values in stored}
            for row_key, (plan, row) in rows.items():
                values = found.get(row_key)
                if values != tuple(row.values.values()):
                    yield Remark(plan.item.source.path, _difference(row, values))
        yield from self._surplus(written)

    def _surplus(self, written: Sequence[Plan]) -> Iterator[Remark]:
        """Give the children of new records that nobody wrote."""
        created = {plan.item.row.key: plan for plan in written if plan.outcome == "created"}
        models = {(plan.item.row.model, c.model) for plan in written for c in plan.item.children}
        for model, child_model in sorted(models, key=str):
            field = parent_field(child_model, model)
            if field is None:
                continue
            parents = [key for key, plan in created.items() if plan.item.row.model is model]
            ours = {
                c.key
                for plan in created.values()
                for c in plan.item.children
                if c.model is child_model
            }
            for key, parent in self._store.imports.stored_keys(child_model, field, parents):
                if key not in ours:
                    table = child_model._meta.table_name
                    message = f"{table} {key}: is in the store and not in the source"
                    yield Remark(created[parent].item.source.path, message)


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
