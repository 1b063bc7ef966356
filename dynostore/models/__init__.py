"""The tables: columns, keys, indexes, merges; declared once and bound to no database.

To add a family: write ``models/NAME.py``, add its classes to :data:`REPLICATED` after the tables
that they refer to, draft a migration (``python -m dynostore.migrator draft NAME``), then follow
the same name through ``repositories``, ``cli`` and ``tests/contract``.
"""

from dynostore.models.base import Record
from dynostore.models.conversations import Conversation, Message
from dynostore.models.history import HistoryEntry
from dynostore.models.ideation import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
)
from dynostore.models.imports import Import
from dynostore.models.memories import Memory
from dynostore.models.runs import Run, RunFile
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.models.tasks import ExecutionLog, Task
from dynostore.models.todos import TodoList

REPLICATED: tuple[type[Record], ...] = (
    Run,
    RunFile,
    Task,
    ExecutionLog,
    AgentSession,
    SessionState,
    TodoList,
    HistoryEntry,
    Memory,
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
    "AgentSession",
    "Conversation",
    "ExecutionLog",
    "HistoryEntry",
    "IdeationDraft",
    "IdeationMaturity",
    "IdeationMessage",
    "IdeationRequirement",
    "IdeationSession",
    "IdeationStory",
    "Import",
    "Memory",
    "Message",
    "Record",
    "Run",
    "RunFile",
    "SessionState",
    "Task",
    "TodoList",
]
