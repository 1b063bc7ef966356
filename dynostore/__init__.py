"""dynostore: remember what a tool did, in one SQLite file; replicate it to a shared Postgres.

>>> from dynostore import Store
>>> with Store.open("runs.db") as store:
...     run = store.runs.create(source="manual")

Names are loaded at first use, so that ``import dynostore`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Conversation": "dynostore.models",
    "DynostoreError": "dynostore.errors",
    "ExecutionLog": "dynostore.models",
    "Message": "dynostore.models",
    "Page": "dynostore.repositories",
    "Run": "dynostore.models",
    "RunFile": "dynostore.models",
    "Store": "dynostore.store",
    "Task": "dynostore.models",
}

if TYPE_CHECKING:
    from dynostore.errors import DynostoreError as DynostoreError
    from dynostore.models import Conversation as Conversation
    from dynostore.models import ExecutionLog as ExecutionLog
    from dynostore.models import Message as Message
    from dynostore.models import Run as Run
    from dynostore.models import RunFile as RunFile
    from dynostore.models import Task as Task
    from dynostore.repositories import Page as Page
    from dynostore.store import Store as Store

__all__ = [
    "Conversation",
    "DynostoreError",
    "ExecutionLog",
    "Message",
    "Page",
    "Run",
    "RunFile",
    "Store",
    "Task",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dynostore' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
