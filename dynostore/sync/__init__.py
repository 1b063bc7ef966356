"""The local file and the shared Postgres; one module a step of the protocol.

``capture`` (tables and triggers in the file), ``changes`` (the log), ``journal`` (identity and
batches on their way), ``fence`` (are we still who we were), ``batches`` and ``push``
(sending), ``statements`` (judging and applying, on the server), ``acknowledge``, ``verdicts`` and
``conflicts`` (what the server made of it), ``pull`` and ``arrivals`` (bringing), ``incoming`` (a
row, with its parents), ``reconcile`` (after a restored server), ``server`` (its schema),
``status``, ``wire`` and ``tables`` (values and columns), ``run`` (a whole sync), ``watch`` (again
and again), ``fork`` and ``purge``. What people do about conflicts and rejects: ``conflicts``,
``images`` and ``resolve``; ``rejects``, ``stored_keys`` and ``wishes``. ``verify`` compares both
sides. docs/sync.md explains the protocol.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynostore.sync.conflicts import Conflict as Conflict
    from dynostore.sync.conflicts import get_conflict as get_conflict
    from dynostore.sync.conflicts import list_conflicts as list_conflicts
    from dynostore.sync.rejects import RejectedRow as RejectedRow
    from dynostore.sync.rejects import drop_rejects as drop_rejects
    from dynostore.sync.rejects import get_reject as get_reject
    from dynostore.sync.rejects import list_rejects as list_rejects
    from dynostore.sync.rejects import retry_rejects as retry_rejects
    from dynostore.sync.rejects import rows_in_danger as rows_in_danger
    from dynostore.sync.resolve import Resolutions as Resolutions
    from dynostore.sync.resolve import resolve_all as resolve_all
    from dynostore.sync.resolve import resolve_conflict as resolve_conflict
    from dynostore.sync.run import SyncReport as SyncReport
    from dynostore.sync.run import sync as sync
    from dynostore.sync.status import SyncStatus as SyncStatus
    from dynostore.sync.status import sync_status as sync_status

__all__ = [
    "Conflict",
    "RejectedRow",
    "Resolutions",
    "SyncReport",
    "SyncStatus",
    "drop_rejects",
    "get_conflict",
    "get_reject",
    "list_conflicts",
    "list_rejects",
    "resolve_all",
    "resolve_conflict",
    "retry_rejects",
    "rows_in_danger",
    "sync",
    "sync_status",
]

_HOMES = {
    "Conflict": "conflicts",
    "RejectedRow": "rejects",
    "Resolutions": "resolve",
    "SyncReport": "run",
    "SyncStatus": "status",
    "drop_rejects": "rejects",
    "get_conflict": "conflicts",
    "get_reject": "rejects",
    "list_conflicts": "conflicts",
    "list_rejects": "rejects",
    "resolve_all": "resolve",
    "resolve_conflict": "resolve",
    "retry_rejects": "rejects",
    "rows_in_danger": "rejects",
    "sync": "run",
    "sync_status": "status",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynostore.sync' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dynostore.sync.{_HOMES[name]}"), name)
