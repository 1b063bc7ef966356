"""The verbs: the only readers and writers of the families' tables.

To add a family: write its contract as a ``typing.Protocol`` above the repository that fulfils it on
a database, hang the repository on :class:`dynostore.store.Store`, and run the contract suite over
it. Repositories do not call each other.
"""

from dynostore.repositories.base import Page, Refused
from dynostore.repositories.imports import ImportRepository, Imports
from dynostore.repositories.runs import RunRepository, Runs
from dynostore.repositories.tasks import TaskRepository, Tasks

__all__ = [
    "ImportRepository",
    "Imports",
    "Page",
    "Refused",
    "RunRepository",
    "Runs",
    "TaskRepository",
    "Tasks",
]
