"""Pydantic models of the records, so that a web API can accept and return them.

Nothing of a record is written down again. Its columns come from the model, through
``playhouse.pydantic_utils``, and each value is checked by its own field; what can be said, and what
must be, comes from the signature of the verb that takes it. To add a record: a class for what is
given back, and one for each verb that takes a description of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from dynostore import models
from dynostore.fields import INT64_MAX
from dynostore.repositories import (
    ConversationRepository,
    HistoryRepository,
    MemoryRepository,
    RunRepository,
    SessionRepository,
    TaskRepository,
    TodoRepository,
)
from dynostore.repositories.ideation.drafts import DraftRepository
from dynostore.repositories.ideation.maturity import MaturityRepository
from dynostore.repositories.ideation.messages import IdeationMessageRepository
from dynostore.repositories.ideation.requirements import IdeationRequirementRepository
from dynostore.repositories.ideation.sessions import IdeationSessionRepository
from dynostore.repositories.ideation.stories import NewStory
from dynostore.schema_fields import arguments_of, columns_of, pydantic, type_of

SchemaT = TypeVar("SchemaT", bound="Schema")
ItemT = TypeVar("ItemT")

_Version = Annotated[int, pydantic.Field(strict=True, ge=0, le=INT64_MAX)] | None
_Content: Any = type_of(models.Message.content, limits=pydantic.Field(min_length=1))


class Schema(pydantic.BaseModel):
    """The base of all: keys that the record does not have are refused."""

    model_config = pydantic.ConfigDict(extra="forbid")

    if TYPE_CHECKING:
        # The fields are there when the program runs; a type checker sees any.
        def __getattr__(self, name: str) -> Any: ...

    def given(self) -> dict[str, Any]:
        """Give what was said and nothing else: the keyword arguments of the verb."""
        return self.model_dump(exclude_unset=True)


class Response(Schema):
    """The base of what is given back: made of a record, with ``model_validate``.

    A key that is not known here is left out, since a newer server may send some.
    """

    model_config = pydantic.ConfigDict(extra="ignore", from_attributes=True)


def _of(record: type[models.Record], **more: Any) -> Callable[[type[SchemaT]], type[SchemaT]]:
    """Fill a class with the columns of a record."""
    return lambda schema: columns_of(schema, record, more)


def _for(
    verb: Callable[..., Any], *records: type[models.Record], where: str = "", **rules: Any
) -> Callable[[type[SchemaT]], type[SchemaT]]:
    """Fill a class with the arguments of a verb.

    :param where: arguments that say which record is meant; in a web API they are in the path.
    :param rules: what the verb demands beyond the column, by argument.
    """
    return lambda schema: arguments_of(schema, verb, records, where.split(), rules)


# runs


@_of(models.Run)
class RunResponse(Response):
    """A run."""


@_for(RunRepository.create, models.Run)
class RunCreate(Schema):
    """What can be said of a new run."""


@_for(RunRepository.update, models.Run, where="run_id")
class RunUpdate(Schema):
    """What can be changed of a run."""


@_of(models.RunFile)
class RunFileResponse(Response):
    """A file of a run."""


@_for(RunRepository.add_file, models.RunFile, where="run_id")
class RunFileCreate(Schema):
    """What can be said of a new file of a run."""


# tasks


@_of(models.Task)
class TaskResponse(Response):
    """A task."""


@_for(TaskRepository.create, models.Task)
class TaskCreate(Schema):
    """What can be said of a new task."""


@_for(TaskRepository.update, models.Task, where="task_id")
class TaskUpdate(Schema):
    """What can be changed of a task beside its state."""


@_for(TaskRepository.complete, models.Task, where="task_id")
class TaskComplete(Schema):
    """What can be said of a task that ends well."""


@_for(TaskRepository.fail, models.Task, where="task_id")
class TaskFail(Schema):
    """What can be said of a task that ends badly."""


@_of(models.ExecutionLog)
class ExecutionLogResponse(Response):
    """A step of a task."""


@_for(TaskRepository.log_step, models.ExecutionLog, where="task_id")
class ExecutionLogCreate(Schema):
    """What can be said of a new step of a task."""


@_for(
    TaskRepository.finish_step,
    models.ExecutionLog,
    where="log_id",
    status=Literal["completed", "failed"],
)
class ExecutionLogFinish(Schema):
    """What can be said of a step that ends."""


# agent sessions, their states, todo lists and history; memories


@_of(models.AgentSession)
class AgentSessionResponse(Response):
    """A session of an agent."""


@_for(SessionRepository.create, models.AgentSession)
class AgentSessionCreate(Schema):
    """What can be said of a new session."""


@_for(SessionRepository.update, models.AgentSession, where="session_id")
class AgentSessionUpdate(Schema):
    """What can be changed of a session."""


@_of(models.SessionState)
class SessionStateResponse(Response):
    """A state that a session was saved in."""


@_for(
    SessionRepository.save_state,
    models.SessionState,
    models.AgentSession,
    where="session_id",
    expected_version=_Version,
)
class SessionStateCreate(Schema):
    """A state to be saved, and what is to be said of its session with it."""


@_of(models.TodoList)
class TodoListResponse(Response):
    """A todo list."""


@_for(TodoRepository.create, models.TodoList)
class TodoListCreate(Schema):
    """What can be said of a new todo list."""


@_for(TodoRepository.update, models.TodoList, where="todolist_id")
class TodoListUpdate(Schema):
    """What can be changed of a todo list."""


@_of(models.HistoryEntry)
class HistoryEntryResponse(Response):
    """A turn of a session."""


@_for(HistoryRepository.append, models.HistoryEntry, where="session_id")
class HistoryEntryCreate(Schema):
    """What can be said of a turn of a session."""


@_of(models.Memory)
class MemoryResponse(Response):
    """A lesson."""


@_for(MemoryRepository.add, models.Memory)
class MemoryCreate(Schema):
    """What can be said of a new lesson."""


@_for(MemoryRepository.update, models.Memory, where="memory_id")
class MemoryUpdate(Schema):
    """What can be changed of a lesson."""


# conversations


@_of(models.Conversation, message_count=int)
class ConversationResponse(Response):
    """A conversation, and how many messages it had when it was read."""


@_for(ConversationRepository.create_conversation, models.Conversation)
class ConversationCreate(Schema):
    """What can be said of a new conversation."""


@_for(ConversationRepository.update_conversation, models.Conversation, where="conversation_id")
class ConversationUpdate(Schema):
    """What can be changed of a conversation."""


@_of(models.Message)
class MessageResponse(Response):
    """A message of a conversation."""


@_for(
    ConversationRepository.add_message,
    models.Message,
    where="conversation_id",
    content=_Content,
)
class MessageCreate(Schema):
    """A message to be added: it must say something."""


# ideation


@_of(models.IdeationSession)
class IdeationSessionResponse(Response):
    """A product idea."""


@_for(IdeationSessionRepository.create, models.IdeationSession)
class IdeationSessionCreate(Schema):
    """What can be said of a new product idea."""


@_for(
    IdeationSessionRepository.update,
    models.IdeationSession,
    where="session_id",
    expected_version=_Version,
)
class IdeationSessionUpdate(Schema):
    """What can be changed of a product idea."""


@_of(models.IdeationMessage)
class IdeationMessageResponse(Response):
    """A message about a product idea."""


@_for(IdeationMessageRepository.create, models.IdeationMessage, where="session_id")
class IdeationMessageCreate(Schema):
    """What can be said of a new message about a product idea."""


@_of(models.IdeationRequirement)
class IdeationRequirementResponse(Response):
    """A requirement."""


@_for(IdeationRequirementRepository.create, models.IdeationRequirement, where="session_id")
class IdeationRequirementCreate(Schema):
    """What can be said of a new requirement."""


@_for(IdeationRequirementRepository.update, models.IdeationRequirement, where="session_id key")
class IdeationRequirementUpdate(Schema):
    """What can be changed of a requirement."""


@_of(models.IdeationMaturity)
class IdeationMaturityResponse(Response):
    """How far a product idea has come."""


@_for(MaturityRepository.save, models.IdeationMaturity, where="session_id")
class IdeationMaturitySave(Schema):
    """How far a product idea has come, in place of what was said before."""


@_of(models.IdeationDraft)
class IdeationDraftResponse(Response):
    """A draft of a document."""


@_for(DraftRepository.save, models.IdeationDraft, where="session_id")
class IdeationDraftSave(Schema):
    """A draft of a document, in place of the one with its key."""


@_of(models.IdeationStory)
class IdeationStoryResponse(Response):
    """A user story."""


@_for(NewStory, models.IdeationStory)
class IdeationStorySave(Schema):
    """One of the user stories that replace all."""


# what was taken over


@_of(models.Import)
class ImportResponse(Response):
    """A source record, and what became of it."""


class PageResponse(pydantic.BaseModel, Generic[ItemT]):
    """A page of a list; ``next`` is the ``after`` of the following one, null on the last."""

    model_config = pydantic.ConfigDict(from_attributes=True)

    items: list[ItemT]
    next: str | None
