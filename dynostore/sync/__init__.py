"""The local file and the shared Postgres; one module a step of the protocol.

``capture`` (tables and triggers in the file), ``changes`` (the log), ``journal`` (identity and
batches on their way), ``fence`` (are we still who we were), ``batches`` and ``push``
(sending), ``statements`` (judging and applying, on the server), ``acknowledge``, ``verdicts`` and
``conflicts`` (what the server made of it), ``pull`` and ``arrivals`` (bringing), ``incoming`` (a
row, with its parents), ``reconcile`` (after a restored server), ``server`` (its schema),
``status``, ``wire`` and ``tables`` (values and columns), ``run`` (a whole sync). docs/sync.md
explains the protocol.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynostore.sync.run import SyncReport as SyncReport
    from dynostore.sync.run import sync as sync
    from dynostore.sync.status import SyncStatus as SyncStatus
    from dynostore.sync.status import sync_status as sync_status

__all__ = ["SyncReport", "SyncStatus", "sync", "sync_status"]

_HOMES = {"SyncReport": "run", "sync": "run", "SyncStatus": "status", "sync_status": "status"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dynostore.sync' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dynostore.sync.{_HOMES[name]}"), name)
