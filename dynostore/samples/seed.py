"""Sample records for an empty store, so that every list and report has something to show."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from dynostore.errors import ConstraintFailed, InvalidValue
from dynostore.fields import UtcTimeField, utc_now
from dynostore.models import REPLICATED, Record
from dynostore.samples import conversations, ideation, runs, sessions, tasks
from dynostore.store import Store

_SOURCES: tuple[Callable[[dt.datetime], Iterator[Record]], ...] = (
    runs.records,
    tasks.records,
    sessions.records,
    conversations.records,
    ideation.records,
)


def families_in(store: Store) -> list[str]:
    """Give the families that the store holds records of; an empty list means an empty store."""
    first_pages: dict[str, Callable[..., Any]] = {
        "runs": store.runs.list,
        "tasks": store.tasks.list,
        "sessions": store.sessions.list_sessions,
        "todo lists": store.todos.list,
        "memories": store.memories.list,
        "conversations": store.conversations.list_conversations,
        "ideation": store.ideation.sessions.list,
    }
    return [name for name, fetch in first_pages.items() if len(fetch(limit=1))]


def seed(store: Store, *, now: dt.datetime | None = None) -> dict[str, int]:
    """Write samples of every family into a store: all of them, or after an error none.

    The records are the same every time and on every machine; only their times follow ``now``. So
    a second call makes no second copy: it moves the samples to the new time, and undoes what was
    changed in them since. No other record is touched.

    :param now: aware; what the samples tell lies in the two weeks before it. The current time by
        default.
    :return: how many records each table was given, by the table's name, parents first.
    :raises InvalidValue: ``now`` is naive; nothing was written.
    """
    try:
        moment = UtcTimeField().check(utc_now() if now is None else now)
    except ValueError as exc:
        raise InvalidValue("now", str(exc)) from None
    repositories = _repositories(store)
    counts = {model._meta.table_name: 0 for model in REPLICATED}
    with store.transaction():
        everything = itertools.chain.from_iterable(source(moment) for source in _SOURCES)
        for repository, part in itertools.groupby(everything, lambda r: repositories[type(r)]):
            for record in (records := [*part]):
                counts[type(record)._meta.table_name] += 1
            for refused in repository.put_many(records):
                raise ConstraintFailed(f"the sample {refused.record!r}: {refused.reason}")
    return counts


def _repositories(store: Store) -> dict[type[Record], Any]:
    repositories = (
        store.runs,
        store.tasks,
        store.sessions,
        store.todos,
        store.history,
        store.memories,
        store.conversations,
        store.ideation,
    )
    return {model: repository for repository in repositories for model in repository.MODELS}
