"""The verbs: the only readers and writers of the families' tables.

To add a family: write its contract as a ``typing.Protocol`` above the repository that fulfils it on
a database, hang the repository on :class:`dynostore.store.Store`, and run the contract suite over
it. Repositories do not call each other. A family whose module would be long is a package: its
second noun has contract and repository in a module of its own, and the family's inherit from them.
"""

from dynostore.repositories.base import Page, Refused
from dynostore.repositories.conversations import ConversationRepository, Conversations
from dynostore.repositories.history import History, HistoryRepository
from dynostore.repositories.ideation import Ideation, IdeationRepository
from dynostore.repositories.imports import ImportRepository, Imports
from dynostore.repositories.memories import Memories, MemoryRepository
from dynostore.repositories.runs import RunRepository, Runs
from dynostore.repositories.sessions import SessionRepository, Sessions
from dynostore.repositories.tasks import TaskRepository, Tasks
from dynostore.repositories.todos import TodoRepository, Todos

__all__ = [
    "ConversationRepository",
    "Conversations",
    "History",
    "HistoryRepository",
    "Ideation",
    "IdeationRepository",
    "ImportRepository",
    "Imports",
    "Memories",
    "MemoryRepository",
    "Page",
    "Refused",
    "RunRepository",
    "Runs",
    "SessionRepository",
    "Sessions",
    "TaskRepository",
    "Tasks",
    "TodoRepository",
    "Todos",
]
