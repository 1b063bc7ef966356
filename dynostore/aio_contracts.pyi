"""The contracts of :mod:`dynostore.repositories` with await, for type checkers.

Written by tests/unit/test_aio_contracts.py; what the verbs mean is said there.
"""

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol, Unpack

from dynostore.models.base import Record
from dynostore.models.conversations import Conversation, Message
from dynostore.models.history import HistoryEntry
from dynostore.models.ideation import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
)
from dynostore.models.imports import Import
from dynostore.models.memories import Memory
from dynostore.models.runs import Run, RunFile
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.models.tasks import ExecutionLog, Task
from dynostore.models.todos import TodoList
from dynostore.repositories import conversations as _conversations
from dynostore.repositories import history as _history
from dynostore.repositories import imports as _imports
from dynostore.repositories import memories as _memories
from dynostore.repositories import runs as _runs
from dynostore.repositories import sessions as _sessions
from dynostore.repositories import tasks as _tasks
from dynostore.repositories import todos as _todos
from dynostore.repositories.base import Page, Refused
from dynostore.repositories.ideation import drafts as _ideation_drafts
from dynostore.repositories.ideation import requirements as _ideation_requirements
from dynostore.repositories.ideation import sessions as _ideation_sessions
from dynostore.repositories.ideation import stories as _ideation_stories
from dynostore.repositories.sessions import states as _sessions_states
from dynostore.repositories.tasks import steps as _tasks_steps

class AsyncConversations(Protocol):
    """The verbs of ``Conversations``, awaited."""

    async def create_conversation(
        self,
        title: str | None = ...,
        *,
        conversation_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        metadata: Any = ...,
    ) -> Conversation: ...
    async def get_conversation(
        self,
        conversation_id: str,
    ) -> Conversation: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update_conversation(
        self,
        conversation_id: str,
        **changes: Unpack[_conversations.ConversationChanges],
    ) -> Conversation: ...
    async def delete_conversation(
        self,
        conversation_id: str,
    ) -> None: ...
    async def list_conversations(
        self,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Conversation]: ...
    async def add_message(
        self,
        conversation_id: str,
        role: str,
        content: str,
        *,
        created_at: dt.datetime | None = ...,
        metadata: Any = ...,
    ) -> Message: ...
    async def add_messages(
        self,
        conversation_id: str,
        messages: Iterable[_conversations.NewMessage],
    ) -> list[Message]: ...
    async def get_all_messages(
        self,
        conversation_id: str,
    ) -> list[Message]: ...
    def stream_messages(
        self,
        conversation_id: str,
    ) -> AsyncIterator[Message]: ...
    async def list_messages(
        self,
        conversation_id: str,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Message]: ...
    async def get_context_messages(
        self,
        conversation_id: str,
        limit: int = ...,
    ) -> list[Message]: ...
    async def get_message_count(
        self,
        conversation_id: str,
    ) -> int: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> list[Refused]: ...

class AsyncHistory(Protocol):
    """The verbs of ``History``, awaited."""

    async def append(
        self,
        session_id: str,
        **facts: Unpack[_history.EntryFacts],
    ) -> HistoryEntry: ...
    async def append_many(
        self,
        session_id: str,
        entries: Iterable[Mapping[str, Any]],
    ) -> _history.Entries: ...
    async def list(
        self,
        session_id: str,
        *,
        step_id: str | int | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[HistoryEntry]: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _history.RefusedList: ...

class AsyncIdeation(Protocol):
    """The verbs of ``Ideation``, awaited."""

    @property
    def sessions(self) -> AsyncIdeationSessions: ...
    @property
    def messages(self) -> AsyncIdeationMessages: ...
    @property
    def requirements(self) -> AsyncIdeationRequirements: ...
    @property
    def maturity(self) -> AsyncMaturity: ...
    @property
    def drafts(self) -> AsyncDrafts: ...
    @property
    def stories(self) -> AsyncStories: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> list[Refused]: ...

class AsyncDrafts(Protocol):
    """The verbs of ``Drafts``, awaited."""

    async def save(
        self,
        session_id: str,
        title: str,
        *,
        key: str | None = ...,
        version: str = ...,
        sections: Any = ...,
        status: str = ...,
        created_at: dt.datetime | None = ...,
        metadata: Any = ...,
    ) -> IdeationDraft: ...
    async def latest(
        self,
        session_id: str,
    ) -> IdeationDraft | None: ...
    async def list(
        self,
        session_id: str,
    ) -> _ideation_drafts.DraftList: ...

class AsyncMaturity(Protocol):
    """The verbs of ``Maturity``, awaited."""

    async def save(
        self,
        session_id: str,
        score: float,
        level: str,
        *,
        categories: Any = ...,
        can_submit: bool = ...,
        gaps: Any = ...,
        metadata: Any = ...,
    ) -> IdeationMaturity: ...
    async def get(
        self,
        session_id: str,
    ) -> IdeationMaturity | None: ...

class AsyncIdeationMessages(Protocol):
    """The verbs of ``IdeationMessages``, awaited."""

    async def create(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        message_id: str | None = ...,
        timestamp: dt.datetime | None = ...,
        maturity_delta: float = ...,
        metadata: Any = ...,
    ) -> IdeationMessage: ...
    async def list(
        self,
        session_id: str,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[IdeationMessage]: ...
    async def delete_by_session(
        self,
        session_id: str,
    ) -> int: ...

class AsyncIdeationRequirements(Protocol):
    """The verbs of ``IdeationRequirements``, awaited."""

    async def create(
        self,
        session_id: str,
        description: str,
        *,
        key: str | None = ...,
        created_at: dt.datetime | None = ...,
        **details: Unpack[_ideation_requirements.RequirementDetails],
    ) -> IdeationRequirement: ...
    async def list(
        self,
        session_id: str,
    ) -> _ideation_requirements.Requirements: ...
    async def update(
        self,
        session_id: str,
        key: str,
        **changes: Unpack[_ideation_requirements.RequirementChanges],
    ) -> IdeationRequirement: ...
    async def delete(
        self,
        session_id: str,
        key: str,
    ) -> None: ...

class AsyncIdeationSessions(Protocol):
    """The verbs of ``IdeationSessions``, awaited."""

    async def create(
        self,
        *,
        session_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **values: Unpack[_ideation_sessions.SessionChanges],
    ) -> IdeationSession: ...
    async def get(
        self,
        session_id: str,
    ) -> IdeationSession: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update(
        self,
        session_id: str,
        *,
        expected_version: int | None = ...,
        **changes: Unpack[_ideation_sessions.SessionChanges],
    ) -> IdeationSession: ...
    async def delete(
        self,
        session_id: str,
    ) -> None: ...
    async def list(
        self,
        *,
        user_id: str | None = ...,
        status: str | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[IdeationSession]: ...
    async def list_by_user(
        self,
        user_id: str,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[IdeationSession]: ...
    async def count(
        self,
        *,
        user_id: str | None = ...,
        status: str | None = ...,
    ) -> int: ...

class AsyncStories(Protocol):
    """The verbs of ``Stories``, awaited."""

    async def save(
        self,
        session_id: str,
        stories: Iterable[_ideation_stories.NewStory],
    ) -> _ideation_stories.StoryList: ...
    async def list(
        self,
        session_id: str,
    ) -> _ideation_stories.StoryList: ...

class AsyncImports(Protocol):
    """The verbs of ``Imports``, awaited."""

    async def get(
        self,
        import_id: str,
    ) -> Import: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def list(
        self,
        *,
        kind: str | None = ...,
        status: str | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Import]: ...
    def stream(
        self,
        *,
        kind: str | None = ...,
        status: str | None = ...,
    ) -> AsyncIterator[Import]: ...
    async def count(
        self,
        *,
        kind: str | None = ...,
        status: str | None = ...,
    ) -> int: ...
    async def seen(
        self,
        ids: Sequence[str],
    ) -> dict[str, tuple[str | None, str, str]]: ...
    async def images(
        self,
        ids: Sequence[str],
    ) -> dict[str, Any]: ...
    async def reasons(
        self,
        ids: Sequence[str],
    ) -> dict[str, str | None]: ...
    def sources(
        self,
    ) -> AsyncIterator[tuple[str, str, str]]: ...
    async def forget(
        self,
        ids: Sequence[str],
    ) -> None: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _imports.RefusedList: ...

class AsyncMemories(Protocol):
    """The verbs of ``Memories``, awaited."""

    async def add(
        self,
        context: str,
        lesson: str,
        *,
        memory_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **details: Unpack[_memories.MemoryDetails],
    ) -> Memory: ...
    async def get(
        self,
        memory_id: str,
    ) -> Memory: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def list(
        self,
        *,
        tool_name: str | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Memory]: ...
    async def search(
        self,
        text: str,
        *,
        tool_name: str | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Memory]: ...
    async def update(
        self,
        memory_id: str,
        **changes: Unpack[_memories.MemoryChanges],
    ) -> Memory: ...
    async def delete(
        self,
        memory_id: str,
    ) -> None: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _memories.RefusedList: ...

class AsyncRuns(Protocol):
    """The verbs of ``Runs``, awaited."""

    async def create(
        self,
        *,
        run_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **values: Unpack[_runs.RunChanges],
    ) -> Run: ...
    async def get(
        self,
        run_id: str,
    ) -> Run: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update(
        self,
        run_id: str,
        **changes: Unpack[_runs.RunChanges],
    ) -> Run: ...
    async def set_status(
        self,
        run_id: str,
        status: str,
        **changes: Unpack[_runs.RunDetails],
    ) -> Run: ...
    async def list(
        self,
        *,
        status: str | None = ...,
        source: str | None = ...,
        since: dt.datetime | None = ...,
        until: dt.datetime | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[Run]: ...
    def stream(
        self,
        *,
        status: str | None = ...,
        source: str | None = ...,
        since: dt.datetime | None = ...,
        until: dt.datetime | None = ...,
    ) -> AsyncIterator[Run]: ...
    async def count(
        self,
        *,
        status: str | None = ...,
        source: str | None = ...,
        since: dt.datetime | None = ...,
        until: dt.datetime | None = ...,
    ) -> int: ...
    async def delete(
        self,
        run_id: str,
    ) -> None: ...
    async def add_file(
        self,
        run_id: str,
        filename: str,
        **facts: Unpack[_runs.FileFacts],
    ) -> RunFile: ...
    async def add_files(
        self,
        run_id: str,
        files: Iterable[Mapping[str, Any]],
    ) -> _runs.RunFiles: ...
    async def files(
        self,
        run_id: str,
    ) -> _runs.RunFiles: ...
    async def file(
        self,
        run_id: str,
        filename: str,
    ) -> RunFile: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _runs.RefusedList: ...

class AsyncSessions(AsyncSessionStates, Protocol):
    """The verbs of ``Sessions``, awaited."""

    async def create(
        self,
        *,
        session_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **values: Unpack[_sessions.SessionChanges],
    ) -> AgentSession: ...
    async def get(
        self,
        session_id: str,
    ) -> AgentSession: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update(
        self,
        session_id: str,
        **changes: Unpack[_sessions.SessionChanges],
    ) -> AgentSession: ...
    async def list_sessions(
        self,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
        **filters: Unpack[_sessions.SessionFilters],
    ) -> Page[AgentSession]: ...
    def stream(
        self,
        **filters: Unpack[_sessions.SessionFilters],
    ) -> AsyncIterator[AgentSession]: ...
    async def count(
        self,
        **filters: Unpack[_sessions.SessionFilters],
    ) -> int: ...
    async def delete_state(
        self,
        session_id: str,
    ) -> None: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> list[Refused]: ...

class AsyncSessionStates(Protocol):
    """The verbs of ``SessionStates``, awaited."""

    async def save_state(
        self,
        session_id: str,
        state: Any,
        expected_version: int | None = ...,
        *,
        metadata: Any = ...,
        **facts: Unpack[_sessions_states.SessionFacts],
    ) -> int: ...
    async def load_state(
        self,
        session_id: str,
        version: int | None = ...,
    ) -> SessionState | None: ...
    async def versions(
        self,
        session_id: str,
    ) -> list[int]: ...
    async def states(
        self,
        session_id: str,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[SessionState]: ...
    async def prune_states(
        self,
        keep_last: int,
        *,
        session_id: str | None = ...,
    ) -> int: ...

class AsyncTasks(AsyncTaskSteps, Protocol):
    """The verbs of ``Tasks``, awaited."""

    async def create(
        self,
        request_text: str,
        *,
        task_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **details: Unpack[_tasks.TaskDetails],
    ) -> Task: ...
    async def get(
        self,
        task_id: str,
    ) -> Task: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update(
        self,
        task_id: str,
        **details: Unpack[_tasks.TaskDetails],
    ) -> Task: ...
    async def approve(
        self,
        task_id: str,
    ) -> Task: ...
    async def start(
        self,
        task_id: str,
    ) -> Task: ...
    async def complete(
        self,
        task_id: str,
        **outcome: Unpack[_tasks.TaskOutcome],
    ) -> Task: ...
    async def fail(
        self,
        task_id: str,
        error_message: str | None = ...,
        **outcome: Unpack[_tasks.TaskOutcome],
    ) -> Task: ...
    async def reject(
        self,
        task_id: str,
        reason: str | None = ...,
    ) -> Task: ...
    async def list(
        self,
        *,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
        **filters: Unpack[_tasks.TaskFilters],
    ) -> Page[Task]: ...
    def stream(
        self,
        **filters: Unpack[_tasks.TaskFilters],
    ) -> AsyncIterator[Task]: ...
    async def count(
        self,
        **filters: Unpack[_tasks.TaskFilters],
    ) -> int: ...
    async def delete(
        self,
        task_id: str,
    ) -> None: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _tasks.RefusedList: ...

class AsyncTaskSteps(Protocol):
    """The verbs of ``TaskSteps``, awaited."""

    async def log_step(
        self,
        task_id: str,
        agent_type: str,
        action: str,
        *,
        step_number: int | None = ...,
        status: str = ...,
        timestamp: dt.datetime | None = ...,
        **outcome: Unpack[_tasks_steps.StepOutcome],
    ) -> ExecutionLog: ...
    async def finish_step(
        self,
        log_id: str,
        status: str = ...,
        **outcome: Unpack[_tasks_steps.StepOutcome],
    ) -> ExecutionLog: ...
    async def steps(
        self,
        task_id: str,
    ) -> list[ExecutionLog]: ...
    async def step(
        self,
        log_id: str,
    ) -> ExecutionLog: ...
    async def resolve_step(
        self,
        prefix: str,
    ) -> str: ...

class AsyncTodos(Protocol):
    """The verbs of ``Todos``, awaited."""

    async def create(
        self,
        *,
        todolist_id: str | None = ...,
        created_at: dt.datetime | None = ...,
        **values: Unpack[_todos.TodoChanges],
    ) -> TodoList: ...
    async def load(
        self,
        todolist_id: str,
    ) -> TodoList: ...
    async def resolve(
        self,
        prefix: str,
    ) -> str: ...
    async def update(
        self,
        todolist_id: str,
        **changes: Unpack[_todos.TodoChanges],
    ) -> TodoList: ...
    async def delete(
        self,
        todolist_id: str,
    ) -> None: ...
    async def get_step(
        self,
        todolist_id: str,
        position: int,
    ) -> dict[str, Any]: ...
    async def update_step(
        self,
        todolist_id: str,
        position: int,
        **changes: Any,
    ) -> dict[str, Any]: ...
    async def list(
        self,
        *,
        session_id: str | None = ...,
        status: str | None = ...,
        limit: int = ...,
        after: str | None = ...,
        offset: int = ...,
    ) -> Page[TodoList]: ...
    async def put_many(
        self,
        records: Iterable[Record],
    ) -> _todos.RefusedList: ...
