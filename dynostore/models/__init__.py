"""The tables: columns, keys, indexes, merges; declared once and bound to no database.

To add a family: write ``models/NAME.py``, add its classes to :data:`REPLICATED` after the tables
that they refer to, draft a migration (``python -m dynostore.migrator draft NAME``), then follow
the same name through ``repositories``, ``cli`` and ``tests/contract``.
"""

from dynostore.models.base import Record
from dynostore.models.conversations import Conversation, Message
from dynostore.models.ideation import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.models.imports import Import
from dynostore.models.runs import Run, RunFile
from dynostore.models.tasks import ExecutionLog, Task

REPLICATED: tuple[type[Record], ...] = (
    Run,
    RunFile,
    Task,
    ExecutionLog,
    Conversation,
    Message,
    IdeationSession,
    IdeationMessage,
    IdeationRequirement,
    IdeationMaturity,
    IdeationDraft,
    IdeationStory,
)
"""The tables that sync, parents before children."""

LOCAL: tuple[type[Record], ...] = (Import,)
"""The tables that speak of this machine and stay on it."""

ALL = REPLICATED + LOCAL

__all__ = [
    "ALL",
    "LOCAL",
    "REPLICATED",
    "Conversation",
    "ExecutionLog",
    "IdeationDraft",
    "IdeationMaturity",
    "IdeationMessage",
    "IdeationRequirement",
    "IdeationSession",
    "IdeationStory",
    "Import",
    "Message",
    "Record",
    "Run",
    "RunFile",
    "Task",
]
