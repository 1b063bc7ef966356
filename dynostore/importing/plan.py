"""Deciding what an import does with each record, alike for a dry run and a real one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from dynostore.errors import InvalidValue
from dynostore.fields import utc_now
from dynostore.importing.image import base_of, image_text
from dynostore.importing.item import ImportItem, import_id_of
from dynostore.importing.keys import tell_apart
from dynostore.importing.merge import Existing, WholeRow, merge_row, whole_row
from dynostore.importing.report import Entry
from dynostore.importing.stored import Stored, keys_in_store, natural_key
from dynostore.models import Import, Record
from dynostore.models.base import key_field
from dynostore.repositories import ImportRepository

_IMAGE_AT = [*Import._meta.columns].index("image")

Taken = tuple[str | None, str, str]
"""Of what was imported before: its content hash, its place and what became of it."""


@dataclasses.dataclass(slots=True)
class Plan:
    """What is to be done with one record.

    :ivar rows: what the store must write; empty where nothing changes.
    :ivar records_import: whether the row in ``imports`` is written.
    :ivar is_new: whether none of ``rows`` is in the store.
    :ivar is_first: whether there is no row of it in ``imports``.
    :ivar base: what the next import compares with, the record first, then its children.
    """

    item: ImportItem
    outcome: str
    rows: list[WholeRow] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    reason: str | None = None
    records_import: bool = False
    is_new: bool = False
    is_first: bool = False
    base: list[WholeRow] = dataclasses.field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Make it a record of which nothing is written."""
        self.outcome, self.reason = "invalid", reason
        self.rows, self.kept, self.records_import = [], [], False

    def check(self) -> None:
        """Refuse it where the store's door would refuse one of its rows."""
        for row in self.rows:
            try:
                row.check()
            except InvalidValue as exc:
                self.refuse(exc.message)
                return

    def entry(self) -> Entry:
        """Give its line in the report."""
        source = self.item.source
        return Entry(
            path=source.path,
            outcome=self.outcome,
            reason=self.reason,
            files=source.files,
            table=self.item.row.table,
            key=str(self.item.row.key),
            kept=self.kept or (),  # a report has millions
            kind=self.item.kind,
        )

    def import_record(self) -> Record:
        """Give the record for ``imports``.

        :raises InvalidValue: names the first column whose value breaks a rule.
        """
        row = self.import_row()
        row.values["image"] = json.loads(image_text(self.base, self.item.read))
        return row.as_record()

    def import_cells(self, row: WholeRow) -> tuple[Any, ...]:
        """Give the same as the drivers take it.

        :param row: what :meth:`import_row` gave.
        :raises InvalidValue: names the first column whose value breaks a rule.
        """
        cells = row.check()
        image = image_text(self.base, self.item.read)
        return (*cells[:_IMAGE_AT], image, *cells[_IMAGE_AT + 1 :])

    def import_row(self) -> WholeRow:
        """Give the row for ``imports``, but for the image."""
        source = self.item.source
        values = {
            "id": self.item.import_id,
            "kind": self.item.kind,
            "source_path": source.place,
            "record_table": self.item.row.table,
            "record_key": str(self.item.row.key),
            "content_hash": source.content_hash,
            "image": None,
            "status": "kept" if self.kept else self.outcome,
            "reason": self.reason,
            "imported_at": utc_now(),
        }
        row = whole_row(Import, values)
        row.is_normal = True
        return row


class Planner:
    """Compares source records with a store; reads only.

    :param imports: the store's repository of what was imported; None is an empty store.
    """

    def __init__(self, imports: ImportRepository | None, existing: Existing) -> None:
        self._imports = imports
        self._existing = existing

    def knows(self, batch: Sequence[ImportItem]) -> bool:
        """Tell whether all records of a batch were imported before, so that little may be to do."""
        return self._imports is None or len(
            self._imports.seen([item.import_id for item in batch])
        ) == len(batch)

    def plan(self, batch: Sequence[ImportItem]) -> list[Plan]:
        """Give a plan for each record of a batch, in its order."""
        if self._imports is None:
            return [_creation(item, None) for item in batch]
        seen = self._imports.seen([item.import_id for item in batch])
        there = keys_in_store(self._imports, batch, tell_apart(self._imports, batch))
        has_any = any(there.values())
        plans: dict[str, Plan] = {}
        to_merge: list[ImportItem] = []
        for item in batch:
            taken = seen.get(item.import_id)
            is_new = item.row.key not in there[item.row.model]
            if not has_any or (is_new and _is_none_there(item, there)):
                plans[item.import_id] = _creation(item, taken)
            elif not is_new and (plan := self._untouched(item, taken, there)) is not None:
                plans[item.import_id] = plan
            else:
                to_merge.append(item)
        if to_merge:
            stored = Stored(self._imports, to_merge)
            for item in to_merge:
                taken = seen.get(item.import_id)
                plans[item.import_id] = _merge(item, taken, stored, self._existing)
        return [plans[item.import_id] for item in batch]

    def _untouched(
        self, item: ImportItem, taken: Taken | None, there: dict[type[Record], set[Any]]
    ) -> Plan | None:
        """Give the plan of a record that need not be compared; None where it must be."""
        same = taken is not None and taken[0] == item.source.content_hash
        if self._existing == "skip":
            reason = None if same else "is in the store already; left alone"
            return Plan(item, "same" if same else "skipped", reason=reason)
        if self._existing == "update" or not same or taken is None:
            return None
        moved = taken[1] != item.source.place
        rows = item.keys_by_table().items()
        complete = all(there[model].issuperset(keys) for model, keys in rows)
        return Plan(item, "same") if complete and not moved and taken[2] != "kept" else None


def _is_none_there(item: ImportItem, there: dict[type[Record], set[Any]]) -> bool:
    return all(there[model].isdisjoint(keys) for model, keys in item.keys_by_table().items())


def refuse_orphans(
    plans: Sequence[Plan], imports: ImportRepository | None, is_met: Callable[[str], bool]
) -> None:
    """Refuse what a database would refuse for a missing parent, as a dry run must foretell.

    :param is_met: tells whether a record of an import id was met before and not refused.
    """
    accepted: set[tuple[type[Record], Any]] = set()
    for plan in plans:
        own = {(row.model, row.key) for row in plan.rows}
        for row in plan.rows:
            for field, parent in row.model._meta.refs.items():
                key = row.values[field.column_name]
                if key is None or (parent, key) in own or (parent, key) in accepted:
                    continue
                item = plan.item
                identity = import_id_of(
                    item.kind, item.source.origin, str(parent._meta.table_name), key
                )
                if is_met(identity) or _is_stored(imports, parent, key):
                    continue
                plan.refuse(
                    f"{field.column_name}: there is no {key!r} in {parent._meta.table_name}"
                )
        accepted.update((row.model, row.key) for row in plan.rows)


def _is_stored(imports: ImportRepository | None, model: type[Record], key: Any) -> bool:
    return imports is not None and any(imports.stored_keys(model, key_field(model), [key]))


def _creation(item: ImportItem, taken: Taken | None) -> Plan:
    reason = None if taken is None else "was imported before and is no longer in the store"
    rows = item.rows
    plan = Plan(item, "created", rows, reason=reason, records_import=True, base=rows)
    plan.is_new, plan.is_first = True, taken is None
    return plan


def _merge(item: ImportItem, taken: Taken | None, stored: Stored, existing: Existing) -> Plan:
    """Plan a record that is in the store and may differ from it."""
    plan = Plan(item, "same")
    image = stored.images.get(item.import_id) or {}
    children_before = image.get("children", {})
    for row in item.rows:
        mine = stored.rows[row.model].get(row.key)
        if mine is None:
            plan.rows.append(row)
            plan.base.append(row)
            continue
        is_child = row is not item.row
        before = (
            children_before.get(row.table, {}).get(row.key) if is_child else image.get("values")
        )
        theirs = row.values if is_child else _said(item, mine)
        merged = merge_row(row.model, base_of(row.model, before or {}), mine, theirs, existing)
        plan.base.append(WholeRow(row.model, row.key, merged.base, is_normal=True))
        plan.kept += [f"{_name_of(row, is_child)}{column}" for column in merged.kept]
        if merged.changed:
            plan.rows.append(WholeRow(row.model, row.key, merged.values))
    if item.row.key not in stored.rows[item.row.model]:
        plan.outcome = "created"
    elif plan.rows:
        plan.outcome = "updated"
    elif plan.kept:
        plan.outcome = "skipped"
    if plan.kept:
        plan.reason = "changed in the source and in the store, whose value stays: " + ", ".join(
            plan.kept
        )
    known = taken is not None and taken[:2] == (item.source.content_hash, item.source.place)
    settled = known and taken is not None and (taken[2] == "kept") == bool(plan.kept)
    plan.records_import = bool(plan.rows) or not settled
    return plan


def _said(item: ImportItem, mine: dict[str, Any]) -> dict[str, Any]:
    """Give what the source says of the record, and of what it does not say what the store has."""
    values, assumed = item.row.values, item.source.assumed
    if not assumed:
        return values
    return {
        column: mine[column] if column in assumed and mine[column] is not None else value
        for column, value in values.items()
    }


def _name_of(row: WholeRow, is_child: bool) -> str:
    if not is_child:
        return ""
    natural = natural_key(row.model)
    column = row.model._meta.fields[natural[1]].column_name if natural else None
    return f"{row.table} {row.values[column] if column else row.key} "
