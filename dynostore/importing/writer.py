"""Writing an import's plans: a batch is one transaction, in which all of it is read back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dynostore import errors, models
from dynostore.importing.item import ImportItem
from dynostore.importing.merge import WholeRow, check_together
from dynostore.importing.plan import Plan, Planner
from dynostore.importing.report import Remark
from dynostore.importing.stored import parent_field
from dynostore.models import Record
from dynostore.models.base import key_field
from dynostore.repositories.base import Cells, Repository
from dynostore.store import Store

_Question = tuple[type[Record], Any]
"""A table, and the field by which rows are asked for: their parent's, or None for the key."""

_Part = tuple[Plan, list[WholeRow]]
"""A plan, and those of its rows that are of the table."""

_OF_THE_STORE = (
    errors.AccessDenied,
    errors.RemoteUnavailable,
    errors.SchemaError,
    errors.StoreClosed,
    errors.StoreCorrupt,
    errors.StoreLocked,
    errors.StoreUnwritable,
)
"""What no record is to blame for: it ends the import."""


class _RefusedBatch(Exception):
    """Rolls a batch back."""


class BatchWriter:
    """Writes batches of source records into a store, each with its rows of ``imports``."""

    def __init__(self, store: Store, planner: Planner) -> None:
        self._store = store
        self._planner = planner
        self._repositories = [
            (repository, model)
            for repository in vars(store).values()
            if isinstance(repository, Repository)
            for model in repository.MODELS
        ]
        self._repositories.sort(key=lambda pair: models.ALL.index(pair[1]))

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
        try:
            return self._write_planned(batch, self._write_at_once)
        except _RefusedBatch:
            return self._write_planned(batch, self._write)

    def _write_planned(
        self, batch: Sequence[ImportItem], write: Callable[[list[Plan]], None]
    ) -> tuple[list[Plan], list[Remark]]:
        with self._store.transaction():
            # Only now that nobody else can write: what was decided before may be outdated.
            plans = self._planner.plan(batch)
            write(plans)
            # Before the others see it, so that no writer of theirs can look like a difference.
            return plans, [*self._read_back(plans)]

    def _write_at_once(self, plans: list[Plan]) -> None:
        """Write all that the door lets in, as nearly always nothing else refuses it.

        :raises _RefusedBatch: the database does: who is to blame is found out from the beginning.
        """
        # No savepoint: SQLite copies every page that changes inside of one.
        rows = _Rows(plans)
        try:
            for _, model in self._repositories:
                for replace in (False, True):
                    if part := rows.of(model, replace=replace):
                        self._store.imports.write(model, part, replace=replace)
        except _OF_THE_STORE:
            raise
        except errors.DynostoreError as exc:
            raise _RefusedBatch from exc

    def _write(self, plans: list[Plan]) -> None:
        """Write, leaving out whole records of which the database refuses a part."""
        try:
            self._write_together(plans)
        except _OF_THE_STORE:
            raise
        except errors.DynostoreError:
            # Something that the database cannot hold and that is no broken constraint, such as a
            # value beyond its limits: which one, is found out one by one.
            for plan in plans:
                self._write_alone(plan)

    def _write_alone(self, plan: Plan) -> None:
        try:
            with self._store.transaction():
                self._write_together([plan])
        except _OF_THE_STORE:
            raise
        except errors.DynostoreError as exc:
            plan.refuse(exc.message)

    def _write_together(self, plans: list[Plan]) -> None:
        while True:
            records = _Records(plans)
            refused = None
            try:
                with self._store.transaction():
                    for repository, rows in self._in_order(records):
                        refused = repository.put_many(rows)
                        if refused:
                            raise _RefusedBatch
                return
            except _RefusedBatch:
                for refusal in refused or ():
                    records.plan_of(refusal.record).refuse(refusal.reason)

    def _in_order(self, records: _Records) -> Iterator[tuple[Repository, list[Record]]]:
        """Give the rows table by table, parents before children."""
        for repository, model in self._repositories:
            rows = records.by_model.get(model)
            if rows:
                yield repository, rows

    def _read_back(self, plans: Sequence[Plan]) -> Iterator[Remark]:
        """Give every difference between what the store should hold and what it holds.

        What nobody wrote is a difference too, where the parent is new.
        """
        questions: dict[_Question, list[_Part]] = {}
        for plan in plans:
            owner = plan.item.row.model if plan.outcome == "created" else None
            by_model: dict[type[Record], list[WholeRow]] = {}
            for row in plan.rows:
                by_model.setdefault(row.model, []).append(row)
            for model, rows in by_model.items():
                field = None if owner is None else parent_field(model, owner)
                questions.setdefault((model, field), []).append((plan, rows))
        for (model, field), parts in questions.items():
            every = [
                part for (table, _), some in questions.items() if table is model for part in some
            ]
            yield from self._compare(model, field, parts, every)

    def _compare(
        self, model: type[Record], field: Any, parts: Sequence[_Part], every: Sequence[_Part]
    ) -> Iterator[Remark]:
        """Compare the rows of some plans in one table with what is stored.

        :param field: refers to the plans' records, which are new; None: the rows are asked for by
            their keys.
        :param every: all that was written into the table.
        """
        if field is None:
            field = key_field(model)
            asked = {row.key: plan for plan, rows in parts for row in rows}
        else:
            asked = {plan.item.row.key: plan for plan, _ in parts}
        columns = list(model._meta.columns)
        key_at = columns.index(key_field(model).column_name)
        field_at = columns.index(field.column_name)
        imports = self._store.imports
        # str: a server's UUID is an object of its own.
        stored = {str(row[key_at]): row for row in imports.stored_cells(model, field, [*asked])}
        for plan, rows in parts:
            for row in rows:
                cells = stored.pop(row.key, None)
                if cells is not None and row.cells == tuple(cells):
                    continue
                # A server gives times and JSON in other forms than it takes them.
                found = None if cells is None else imports.values_of(model, cells)
                if found != tuple(row.values.values()):
                    yield Remark(plan.item.source.path, _difference(row, found))
        written = {row.key for _, rows in every for row in rows} if stored else set()
        for key, cells in stored.items():
            if key not in written:
                message = f"{model._meta.table_name} {key}: is in the store and not in the source"
                parent = imports.values_of(model, cells)[field_at]
                yield Remark(asked[parent].item.source.path, message)


class _Rows:
    """The rows that a batch of plans writes, checked, by table and whether they may be there.

    A plan of which the door refuses a row is refused.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self._rows: dict[tuple[type[Record], bool], list[Cells]] = {}
        notes = [(plan, plan.import_row()) for plan in plans if plan.records_import]
        check_together(itertools.chain.from_iterable((note, *plan.rows) for plan, note in notes))
        for plan, note in notes:
            try:
                rows = [(row.model, row.check()) for row in plan.rows]
                cells = plan.import_cells(note)
            except errors.InvalidValue as exc:
                plan.refuse(exc.message)
                continue
            for model, row in rows:
                self._rows.setdefault((model, not plan.is_new), []).append(row)
            self._rows.setdefault((models.Import, not plan.is_first), []).append(cells)

    def of(self, model: type[Record], *, replace: bool) -> list[Cells]:
        """Give a table's rows."""
        return self._rows.get((model, replace), [])


class _Records:
    """The records that a batch of plans writes, by table, each with its plan."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.by_model: dict[type[Record], list[Record]] = {}
        self._plans: dict[int, Plan] = {}
        for plan in plans:
            if plan.records_import:
                try:
                    rows = [*(row.as_record() for row in plan.rows), plan.import_record()]
                except errors.InvalidValue as exc:
                    plan.refuse(exc.message)
                    continue
                for row in rows:
                    self.by_model.setdefault(type(row), []).append(row)
                    self._plans[id(row)] = plan

    def plan_of(self, record: Record) -> Plan:
        """Give the plan that a record is a part of."""
        return self._plans[id(record)]


def _difference(row: WholeRow, stored: tuple[Any, ...] | None) -> str:
    if stored is None:
        return f"{row.table} {row.key}: was written and is not in the store"
    pairs = zip(row.values.items(), stored, strict=True)
    columns = [column for (column, value), found in pairs if found != value]
    return f"{row.table} {row.key}: reads back differently: {', '.join(columns)}"
