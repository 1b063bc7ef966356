"""Deletes what is old, family by family, in batches between which others may write."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any

import peewee

from dynostore import errors
from dynostore.compat import require_database
from dynostore.errors import quoted
from dynostore.fields import utc_now
from dynostore.models import (
    AgentSession,
    Conversation,
    IdeationSession,
    Memory,
    Run,
    Task,
    TodoList,
)
from dynostore.models.base import key_field
from dynostore.store import Store

FAMILIES: dict[str, type[peewee.Model]] = {
    "runs": Run,
    "tasks": Task,
    "sessions": AgentSession,
    "todos": TodoList,
    "conversations": Conversation,
    "ideation": IdeationSession,
    "memories": Memory,
}
"""What can be pruned, by the names of the store's attributes."""

BY_DEFAULT = ("runs", "tasks", "sessions", "conversations", "ideation")
"""Not memories, which are meant to outlive all else; todo lists go with their sessions."""

_FIRST_RECORDS, _MOST_RECORDS = 20, 1000
_ROWS_OF_A_BATCH = 2000

Progress = Callable[[str, int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What a prune deleted, or would.

    :ivar done: False: nothing was deleted.
    :ivar rows: by table, what hangs on the records behind them; tables without any are left out.
    """

    done: bool
    rows: dict[str, int]


def prune(
    store: Store,
    *,
    families: Sequence[str] = (),
    before: dt.datetime | None = None,
    keep_last: int | None = None,
    status: str | None = None,
    dry_run: bool = True,
    progress: Progress | None = None,
) -> Pruned:
    """Delete records with all that hangs on them, as their families' own verbs do.

    A record is as old as its last change (``updated_at``; of tasks and memories, ``created_at``).
    With both ``before`` and ``keep_last`` it goes only if both say so. One that a row of a user's
    own table refers to, without ON DELETE, stays. Each batch is one transaction, and between two
    the lock is free for as long as it was held; killed anywhere, what is deleted is whole, and the
    next prune goes on. The deletions sync as any other.

    :param families: names of :data:`FAMILIES`; :data:`BY_DEFAULT` where none is given, or those of
        them that know the status.
    :param before: an aware time: only what was last changed before it.
    :param keep_last: so many of the newest of each family stay, counted among those with the
        status; at least 1.
    :param status: only records with this status.
    :param dry_run: count only.
    :raises InvalidValue: neither ``before`` nor ``keep_last``, or a value that no record has.
    :raises NotHeld: the store is in an older tool's form.
    """
    require_database(store.place, "rules for pruning")
    if before is None and keep_last is None:
        raise errors.InvalidValue("before", "say how old, or how many to keep")
    if before is not None and before.tzinfo is None:
        raise errors.InvalidValue("before", f"{before} has no time zone")
    if keep_last is not None and keep_last < 1:
        raise errors.InvalidValue("keep_last", "at least 1 record of each family is kept")
    rows: dict[str, int] = {}
    for name in _wanted(families, status):
        with store.database.reading():
            doomed = _Doomed(store, FAMILIES[name], before, keep_last, status)
            found = doomed.count(doomed.condition)
        if dry_run:
            _add(rows, found)
        elif found:
            _delete(store, name, doomed, rows, sum(found.values()), progress)
    return Pruned(not dry_run, rows)


def _wanted(families: Sequence[str], status: str | None) -> list[str]:
    for name in families:
        if name not in FAMILIES:
            raise errors.InvalidValue("family", f"{quoted(name)} is none of {', '.join(FAMILIES)}")
        known = _statuses(FAMILIES[name])
        if status is not None and status not in (known or ()) and known != ():
            told = "have no status" if known is None else f"have the statuses {', '.join(known)}"
            raise errors.InvalidValue("status", f"{name} {told}")
    if families:
        return [name for name in FAMILIES if name in families]
    wanted = [
        name for name in BY_DEFAULT if status is None or status in (_statuses(FAMILIES[name]) or ())
    ]
    if not wanted:
        raise errors.InvalidValue(
            "status", f"no family knows {quoted(status)}; name one for any text"
        )
    return wanted


def _statuses(model: type[peewee.Model]) -> Sequence[str] | None:
    """Give the statuses that a family knows; none where any text is one, None without a status."""
    field = model._meta.fields.get("status")
    return None if field is None else tuple(field.allowed)


def _add(rows: dict[str, int], found: dict[str, int]) -> None:
    for table, count in found.items():
        rows[table] = rows.get(table, 0) + count


class _Doomed:
    """The records of one family that are to go, and what goes with them.

    :ivar condition: of the family's table; what was found out for it does not change any more.
    """

    def __init__(
        self,
        store: Store,
        model: type[peewee.Model],
        before: dt.datetime | None,
        keep_last: int | None,
        status: str | None,
    ) -> None:
        self._db: Any = store.database
        self.model = model
        self.key = key_field(model)
        self._time: Any = model._meta.fields.get("updated_at") or model._meta.fields["created_at"]
        self._references = [
            field
            for child in store.replicated
            for field in child._meta.sorted_fields
            if isinstance(field, peewee.ForeignKeyField)
        ]
        conditions: list[Any] = [self._time < (before or utc_now())]
        if status is not None:
            conditions.append(model._meta.fields["status"] == status)
        if keep_last is not None:
            conditions.append(self._older_than_the_last(keep_last, conditions[1:]))
        conditions += [
            self.key.not_in(field.model.select(field).where(field.is_null(False)))
            for field in self._references
            if field.rel_model is model and _action(field) in ("", "RESTRICT", "NO ACTION")
        ]
        self.condition = functools.reduce(operator.and_, conditions)

    def _older_than_the_last(self, count: int, conditions: list[Any]) -> Any:
        query: Any = self.model.select(self._time, self.key)
        if conditions:
            query = query.where(*conditions)
        query = query.order_by(self._time.desc(), self.key.desc()).offset(count - 1).limit(1)
        for moment, key in query.tuples().execute(self._db):
            return (self._time < moment) | ((self._time == moment) & (self.key < key))
        return peewee.SQL("1 = 0")  # there are not so many

    def oldest(self, count: int) -> list[Any]:
        """Give the keys of the first ones to go."""
        query: Any = self.model.select(self.key).where(self.condition)
        query = query.order_by(self._time, self.key).limit(count)
        return [key for (key,) in query.tuples().execute(self._db)]

    def count(self, condition: Any) -> dict[str, int]:
        """Count the rows by table that go with the records of a condition, these first."""
        rows: dict[str, int] = {}
        self._count(self.model, condition, rows)
        return rows

    def _count(self, model: type[peewee.Model], condition: Any, rows: dict[str, int]) -> None:
        query: Any = model.select().where(condition)
        count = int(query.count(self._db))
        if not count:
            return
        _add(rows, {str(model._meta.table_name): count})
        keys: Any = model.select(key_field(model)).where(condition)
        for field in self._references:
            if field.rel_model is model and _action(field) == "CASCADE":
                self._count(field.model, field.in_(keys), rows)


def _action(field: Any) -> str:
    return str(field.on_delete or "").upper()


def _delete(
    store: Store,
    name: str,
    doomed: _Doomed,
    rows: dict[str, int],
    total: int,
    progress: Progress | None,
) -> None:
    records, done = _FIRST_RECORDS, 0
    while True:
        began = time.monotonic()
        with store.transaction():
            keys = doomed.oldest(records)
            if not keys:
                return
            these = doomed.key.in_(keys) & doomed.condition
            found = doomed.count(these)
            query: Any = doomed.model.delete().where(these)
            query.execute(store.database)
        _add(rows, found)
        deleted = sum(found.values())
        done += deleted
        if progress is not None:
            progress(f"pruning {name}", done, max(done, total))
        records = max(1, min(_MOST_RECORDS, records * _ROWS_OF_A_BATCH // max(1, deleted)))
        # Who waits for SQLite's lock only looks now and then: it would never find it free.
        time.sleep(time.monotonic() - began)
