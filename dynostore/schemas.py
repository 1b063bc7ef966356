"""Pydantic models of the records, so that a web API can accept and return them.

Nothing of a record is written down again. Its columns come from the model, through
``playhouse.pydantic_utils``, and each value is checked by its own field; what can be said, and what
must be, comes from the signature of the verb that takes it: :mod:`dynostore.schema_fields` does
both. To add a record: a class for what is given back, and one for each verb that takes a
description of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

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
from dynostore.schema_fields import Response as Response
from dynostore.schema_fields import Schema as Schema
from dynostore.schema_fields import for_verb, of_record, pydantic, type_of

ItemT = TypeVar("ItemT")

_Version = Annotated[int, pydantic.Field(strict=True, ge=0, le=INT64_MAX)] | None
_Content: Any = type_of(models.Message.content, limits=pydantic.Field(min_length=1))


# runs


@of_record(models.Run)
class RunResponse(Response):
    """A run."""


@for_verb(RunRepository.create, models.Run)
class RunCreate(Schema):
    """What can be said of a new run."""


@for_verb(RunRepository.update, models.Run, where="run_id")
class RunUpdate(Schema):
    """What can be changed of a run."""


@of_record(models.RunFile)
class RunFileResponse(Response):
    """A file of a run."""


@for_verb(RunRepository.add_file, models.RunFile, where="run_id")
class RunFileCreate(Schema):
    """What can be said of a new file of a run."""


# tasks


@of_record(models.Task)
class TaskResponse(Response):
    """A task."""


@for_verb(TaskRepository.create, models.Task)
class TaskCreate(Schema):
    """What can be said of a new task."""


@for_verb(TaskRepository.update, models.Task, where="task_id")
class TaskUpdate(Schema):
    """What can be changed of a task beside its state."""


@for_verb(TaskRepository.complete, models.Task, where="task_id")
class TaskComplete(Schema):
    """What can be said of a task that ends well."""


@for_verb(TaskRepository.fail, models.Task, where="task_id")
class TaskFail(Schema):
    """What can be said of a task that ends badly."""


@of_record(models.ExecutionLog)
class ExecutionLogResponse(Response):
    """A step of a task."""


@for_verb(TaskRepository.log_step, models.ExecutionLog, where="task_id")
class ExecutionLogCreate(Schema):
    """What can be said of a new step of a task."""


@for_verb(
    TaskRepository.finish_step,
    models.ExecutionLog,
    where="log_id",
    status=Literal["completed", "failed"],
)
class ExecutionLogFinish(Schema):
    """What can be said of a step that ends."""


# agent sessions, their states, todo lists and history; memories


@of_record(models.AgentSession)
class AgentSessionResponse(Response):
    """A session of an agent."""


@for_verb(SessionRepository.create, models.AgentSession)
class AgentSessionCreate(Schema):
    """What can be said of a new session."""


@for_verb(SessionRepository.update, models.AgentSession, where="session_id")
class AgentSessionUpdate(Schema):
    """What can be changed of a session."""


@of_record(models.SessionState)
class SessionStateResponse(Response):
    """A state that a session was saved in."""


@for_verb(
    SessionRepository.save_state,
    models.SessionState,
    models.AgentSession,
    where="session_id",
    expected_version=_Version,
)
class SessionStateCreate(Schema):
    """A state to be saved, and what is to be said of its session with it."""


@of_record(models.TodoList)
class TodoListResponse(Response):
    """A todo list."""


@for_verb(TodoRepository.create, models.TodoList)
class TodoListCreate(Schema):
    """What can be said of a new todo list."""


@for_verb(TodoRepository.update, models.TodoList, where="todolist_id")
class TodoListUpdate(Schema):
    """What can be changed of a todo list."""


@of_record(models.HistoryEntry)
class HistoryEntryResponse(Response):
    """A turn of a session."""


@for_verb(HistoryRepository.append, models.HistoryEntry, where="session_id")
class HistoryEntryCreate(Schema):
    """What can be said of a turn of a session."""


@of_record(models.Memory)
class MemoryResponse(Response):
    """A lesson."""


@for_verb(MemoryRepository.add, models.Memory)
class MemoryCreate(Schema):
    """What can be said of a new lesson."""


@for_verb(MemoryRepository.update, models.Memory, where="memory_id")
class MemoryUpdate(Schema):
    """What can be changed of a lesson."""


# conversations


@of_record(models.Conversation, message_count=int)
class ConversationResponse(Response):
    """A conversation, and how many messages it had when it was read."""


@for_verb(ConversationRepository.create_conversation, models.Conversation)
class ConversationCreate(Schema):
    """What can be said of a new conversation."""


@for_verb(ConversationRepository.update_conversation, models.Conversation, where="conversation_id")
class ConversationUpdate(Schema):
    """What can be changed of a conversation."""


@of_record(models.Message)
class MessageResponse(Response):
    """A message of a conversation."""


@for_verb(
    ConversationRepository.add_message,
    models.Message,
    where="conversation_id",
    content=_Content,
)
class MessageCreate(Schema):
    """A message to be added: it must say something."""


# ideation


@of_record(models.IdeationSession)
class IdeationSessionResponse(Response):
    """A product idea."""


@for_verb(IdeationSessionRepository.create, models.IdeationSession)
class IdeationSessionCreate(Schema):
    """What can be said of a new product idea."""


@for_verb(
    IdeationSessionRepository.update,
    models.IdeationSession,
    where="session_id",
    expected_version=_Version,
)
class IdeationSessionUpdate(Schema):
    """What can be changed of a product idea."""


@of_record(models.IdeationMessage)
class IdeationMessageResponse(Response):
    """A message about a product idea."""


@for_verb(IdeationMessageRepository.create, models.IdeationMessage, where="session_id")
class IdeationMessageCreate(Schema):
    """What can be said of a new message about a product idea."""


@of_record(models.IdeationRequirement)
class IdeationRequirementResponse(Response):
    """A requirement."""


@for_verb(IdeationRequirementRepository.create, models.IdeationRequirement, where="session_id")
class IdeationRequirementCreate(Schema):
    """What can be said of a new requirement."""


@for_verb(IdeationRequirementRepository.update, models.IdeationRequirement, where="session_id key")
class IdeationRequirementUpdate(Schema):
    """What can be changed of a requirement."""


@of_record(models.IdeationMaturity)
class IdeationMaturityResponse(Response):
    """How far a product idea has come."""


@for_verb(MaturityRepository.save, models.IdeationMaturity, where="session_id")
class IdeationMaturitySave(Schema):
    """How far a product idea has come, in place of what was said before."""


@of_record(models.IdeationDraft)
class IdeationDraftResponse(Response):
    """A draft of a document."""


@for_verb(DraftRepository.save, models.IdeationDraft, where="session_id")
class IdeationDraftSave(Schema):
    """A draft of a document, in place of the one with its key."""


@of_record(models.IdeationStory)
class IdeationStoryResponse(Response):
    """A user story."""


@for_verb(NewStory, models.IdeationStory)
class IdeationStorySave(Schema):
    """One of the user stories that replace all."""


# what was taken over


@of_record(models.Import)
class ImportResponse(Response):
    """A source record, and what became of it."""


class PageResponse(pydantic.BaseModel, Generic[ItemT]):
    """A page of a list; ``next`` is the ``after`` of the following one, null on the last."""

    model_config = pydantic.ConfigDict(from_attributes=True)

    items: list[ItemT]
    next: str | None
