"""The local file and the shared Postgres: the steps of the protocol that docs/sync.md explains.

Below ``run`` (a whole sync) and ``watch`` (again and again) stand the file (``local``), the server
(``remote``), the two ways (``push``, ``pull``) and what these share: the ``exchange`` (both sides
and the figures), ``tables`` and ``wire`` (columns and values), ``read_ahead``. Before them comes
the ``fence`` (are we still who we were), with ``reconcile``; behind them stays open for a while
what is ``kept``; beside them ``verify`` (compares both sides), ``review`` (conflicts and rejects,
for people), ``status``, ``fork`` and ``purge``. A new verb is a module here, which the command
imports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynostore.sync.exchange import Limits as Limits
    from dynostore.sync.review.conflicts import Conflict as Conflict
    from dynostore.sync.review.conflicts import get_conflict as get_conflict
    from dynostore.sync.review.conflicts import list_conflicts as list_conflicts
    from dynostore.sync.review.rejects import RejectedRow as RejectedRow
    from dynostore.sync.review.rejects import drop_rejects as drop_rejects
    from dynostore.sync.review.rejects import get_reject as get_reject
    from dynostore.sync.review.rejects import list_rejects as list_rejects
    from dynostore.sync.review.rejects import retry_rejects as retry_rejects
    from dynostore.sync.review.rejects import rows_in_danger as rows_in_danger
    from dynostore.sync.review.resolve import Resolutions as Resolutions
    from dynostore.sync.review.resolve import resolve_all as resolve_all
    from dynostore.sync.review.resolve import resolve_conflict as resolve_conflict
    from dynostore.sync.run import SyncReport as SyncReport
    from dynostore.sync.run import sync as sync
    from dynostore.sync.status import SyncStatus as SyncStatus
    from dynostore.sync.status import sync_status as sync_status

__all__ = [
    "Conflict",
    "Limits",
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
    "Conflict": "review.conflicts",
    "Limits": "exchange",
    "RejectedRow": "review.rejects",
    "Resolutions": "review.resolve",
    "SyncReport": "run",
    "SyncStatus": "status",
    "drop_rejects": "review.rejects",
    "get_conflict": "review.conflicts",
    "get_reject": "review.rejects",
    "list_conflicts": "review.conflicts",
    "list_rejects": "review.rejects",
    "resolve_all": "review.resolve",
    "resolve_conflict": "review.resolve",
    "retry_rejects": "review.rejects",
    "rows_in_danger": "review.rejects",
    "sync": "run",
    "sync_status": "status",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynostore.sync' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dynostore.sync.{_HOMES[name]}"), name)
