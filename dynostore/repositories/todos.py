"""The verbs of todo lists: plans of agents, step by step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Protocol, TypedDict, Unpack

from dynostore import errors
from dynostore.errors import quoted
from dynostore.fields import utc_now
from dynostore.ids import new_id
from dynostore.models.base import Record, checked
from dynostore.models.sessions import AgentSession
from dynostore.models.todos import TodoList, check_step_value
from dynostore.repositories.base import Page, Refused, Repository, filtered, refuse_others

# Inside the classes below ``list`` is a verb.
RefusedList = list[Refused]


class TodoChanges(TypedDict, total=False):
    """What can be said of a todo list; None clears the column."""

    session_id: str | None
    mission: str | None
    plan: Any
    status: str
    metadata: Any


class Todos(Protocol):
    """The contract of every store of todo lists.

    A list's plan is an object with ``items``, ``open_questions`` and ``notes``; an item is a step
    with the keys that :class:`dynostore.models.todos.PlanField` knows, and any others. What is left
    out gets its default; what breaks the shape is an :class:`~dynostore.errors.InvalidValue` that
    names the place, such as ``plan: items[2].status: unknown value``. The list's own status is one
    of :data:`dynostore.models.todos.STATUSES` and set by the caller: it does not follow from the
    steps. Every verb that changes something does so in one transaction. Unknown ids raise
    :class:`~dynostore.errors.TodoListNotFound`, an unknown session
    :class:`~dynostore.errors.SessionNotFound`.
    """

    def create(
        self,
        *,
        todolist_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[TodoChanges],
    ) -> TodoList:
        """Record a new list and give it back: ``pending``, with an empty plan, of no session.

        :param todolist_id: the caller's own id, up to 255 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def load(self, todolist_id: str) -> TodoList:
        """Give the list of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(self, todolist_id: str, **changes: Unpack[TodoChanges]) -> TodoList:
        """Change what is passed and nothing else; None clears a column. Moves ``updated_at``.

        A plan is replaced as a whole; to change one step among several writers use
        :meth:`update_step`.
        """
        ...

    def delete(self, todolist_id: str) -> None:
        """Remove the list."""
        ...

    def get_step(self, todolist_id: str, position: int) -> dict[str, Any]:
        """Give the plan's step at this position, with all its keys.

        :raises StepNotFound: the list has none there.
        """
        ...

    def update_step(self, todolist_id: str, position: int, **changes: Any) -> dict[str, Any]:
        """Change what is passed of one step and nothing else, and give the step.

        Two writers of different steps, or keys, lose nothing. Moves the list's ``updated_at``.

        :param changes: keys of the step, its position apart; those that the shape does not know
            are kept.
        :raises StepNotFound: the list has none there.
        """
        ...

    def list(
        self,
        *,
        session_id: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[TodoList]:
        """Give a page of lists, newest ``created_at`` first, then by descending id.

        :param session_id: only those of this session.
        :param after: the ``next`` of the page before.
        """
        ...

    def put_many(self, records: Iterable[Record]) -> RefusedList:
        """Write whole :class:`TodoList` records; give back the refused ones."""
        ...


class TodoRepository(Repository):
    """Todo lists in a database; the contract is :class:`Todos`."""

    MODELS = (TodoList,)
    NOT_FOUND = errors.TodoListNotFound

    def create(
        self,
        *,
        todolist_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[TodoChanges],
    ) -> TodoList:
        refuse_others(values, TodoChanges)
        created = utc_now() if created_at is None else created_at
        row = checked(
            TodoList,
            {
                "todolist_id": new_id() if todolist_id is None else todolist_id,
                "plan": {},
                "status": "pending",
                "created_at": created,
                "updated_at": created,
                **values,
            },
        )
        try:
            with self._db.writing():
                self._require_session(row)
                TodoList.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(
                f"there is a todo list {row['todolist_id']!r} already"
            ) from exc
        return TodoList(**row)

    def load(self, todolist_id: str) -> TodoList:
        return self._existing(TodoList, todolist_id, errors.TodoListNotFound)

    def resolve(self, prefix: str) -> str:
        return self._full_id(TodoList, prefix)

    def update(self, todolist_id: str, **changes: Unpack[TodoChanges]) -> TodoList:
        refuse_others(changes, TodoChanges)
        row = checked(TodoList, changes)
        with self._db.writing():
            found = self._existing(TodoList, todolist_id, errors.TodoListNotFound, lock=True)
            self._require_session(row)
            return self._change(found, row)

    def delete(self, todolist_id: str) -> None:
        with self._db.writing():
            found = self.load(todolist_id)
            mine = TodoList.todolist_id == found.todolist_id
            TodoList.delete().where(mine).execute(self._db)

    def get_step(self, todolist_id: str, position: int) -> dict[str, Any]:
        return _step_at(self.load(todolist_id), position)

    def update_step(self, todolist_id: str, position: int, **changes: Any) -> dict[str, Any]:
        given = {name: _checked_change(name, value) for name, value in changes.items()}
        with self._db.writing():
            found = self._existing(TodoList, todolist_id, errors.TodoListNotFound, lock=True)
            step = _step_at(found, position)
            step.update(given)
            self._change(found, checked(TodoList, {"plan": found.plan}))
        return step

    def list(
        self,
        *,
        session_id: str | None = None,
        status: str | None = None,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
    ) -> Page[TodoList]:
        if session_id is not None:
            self._existing(AgentSession, session_id, errors.SessionNotFound)
        time = TodoList.created_at
        query = filtered(TodoList.select(), time, session=session_id, status=status)
        return self._page(query, time, limit=limit, after=after, offset=offset)

    def _require_session(self, row: dict[str, Any]) -> None:
        if row.get("session") is not None:
            self._existing(AgentSession, row["session"], errors.SessionNotFound)

    def _change(self, found: TodoList, row: dict[str, Any]) -> TodoList:
        # A clock that was set back must not move updated_at back.
        row["updated_at"] = max(utc_now(), found.updated_at)
        mine = TodoList.todolist_id == found.todolist_id
        TodoList.update(row).where(mine).execute(self._db)
        for name, value in row.items():
            setattr(found, name, value)
        return found


def _step_at(found: TodoList, position: int) -> dict[str, Any]:
    # bool is an int: True would find step 1.
    if not isinstance(position, bool):
        for step in found.plan["items"]:
            if step["position"] == position:
                return step  # type: ignore[no-any-return]
    raise errors.StepNotFound(
        f"todo list {found.todolist_id!r} has no step {quoted(position)}",
        hint=f"dynostore sessions todos show {found.todolist_id}",
        todolist_id=found.todolist_id,
        position=position,
    )


def _checked_change(name: str, value: Any) -> Any:
    try:
        return check_step_value(name, value)
    except ValueError as exc:
        raise errors.InvalidValue(name, str(exc)) from None
