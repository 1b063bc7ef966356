"""``dynostore sessions todos``: the verbs of todo lists."""

from __future__ import annotations

import datetime as dt
from typing import Any

import click

from dynostore.cli._options import (
    assured,
    clearable,
    examples,
    given,
    in_utc,
    json_value,
    moment,
    paged,
    require_consent,
    settable,
    wanted_changes,
)
from dynostore.cli._output import print_item, print_items, print_page
from dynostore.cli._session import Group, Session
from dynostore.cli._tables import Column, print_fields, print_table
from dynostore.models.todos import STATUSES, STEP_STATUSES, TodoList

_COLUMNS = (
    Column("todolist_id", "id", whole=True),
    Column("status"),
    Column("session_id", "session"),
    Column("created_at", "created"),
    Column("mission"),
)
_STEP_COLUMNS = (
    Column("position", "step", whole=True),
    Column("status"),
    Column("description"),
    Column("chosen_tool", "tool"),
    Column("attempts"),
    Column("dependencies", "after"),
)
_FIELDS: dict[str, Any] = {
    "status": click.Choice(STATUSES),
    "mission": str,
    "plan": json_value,
    "metadata": json_value,
}
_CLEARABLE = [name for name in _FIELDS if TodoList._meta.fields[name].null]
_STEP_FIELDS: dict[str, Any] = {
    "status": click.Choice(STEP_STATUSES),
    "description": str,
    "acceptance_criteria": str,
    "chosen_tool": str,
    "tool_input": json_value,
    "execution_result": json_value,
    "attempts": click.IntRange(min=0),
    "replan_count": click.IntRange(min=0),
}


@click.group(cls=Group)
def todos() -> None:
    """List, show, create, change and remove todo lists."""


@todos.command(
    "list",
    epilog=examples(
        "dynostore sessions todos list --session 0197",
        "dynostore sessions todos list --status in_progress",
    ),
)
@click.option("--session", "session_id", metavar="ID", help="Only those of this session.")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@paged
@in_utc
@click.pass_obj
def list_(
    session: Session,
    session_id: str | None,
    status: str | None,
    limit: int,
    after: str | None,
    utc: bool,
) -> None:
    """List todo lists, newest first."""
    with session.store() as store:
        full_id = None if session_id is None else store.sessions.resolve(session_id)
        filters: dict[str, Any] = {"session_id": full_id, "status": status}
        fetch = store.todos.list
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@todos.command(
    epilog=examples(
        "dynostore sessions todos show 0197",
        "dynostore --json sessions todos show 0197 | jq '.item.plan.items[].status'",
    )
)
@click.argument("todolist_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, todolist_id: str, utc: bool) -> None:
    """Show a todo list and its steps."""
    with session.store() as store:
        found = store.todos.load(store.todos.resolve(todolist_id))
    if session.json:
        print_item(session, found.values())
        return
    plan = {"open_questions": found.plan["open_questions"], "notes": found.plan["notes"]}
    print_fields({k: v for k, v in found.values().items() if k != "plan"} | plan, utc=utc)
    if found.plan["items"]:
        print()
        print_table(found.plan["items"], _STEP_COLUMNS, utc=utc)


@todos.command(
    epilog=examples(
        "dynostore sessions todos create --session 0197 --plan @plan.json",
        'dynostore sessions todos create --plan \'{"items": [{"description": "Read"}]}\'',
    )
)
@click.option(
    "--id", "todolist_id", metavar="ID", help="The id, up to 255 characters; made by default."
)
@click.option("--session", "session_id", metavar="ID", help="The session that it belongs to.")
@click.option("--created-at", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_FIELDS)
@click.pass_obj
def create(
    session: Session,
    /,
    todolist_id: str | None,
    session_id: str | None,
    created_at: dt.datetime | None,
    **values: Any,
) -> None:
    """Record a new todo list, and print its id.

    A step of the plan needs a description; what else is left out gets its default.
    """
    facts: Any = given(values)
    with session.store(create=True) as store:
        if session_id is not None:
            facts["session_id"] = store.sessions.resolve(session_id)
        made = store.todos.create(todolist_id=todolist_id, created_at=created_at, **facts)
    print_item(session, made.values(), text=made.todolist_id)


@todos.command(epilog=examples("dynostore sessions todos update 0197 --status completed"))
@click.argument("todolist_id", metavar="ID")
@settable(_FIELDS)
@clearable(_CLEARABLE)
@click.pass_obj
def update(session: Session, /, todolist_id: str, clear: tuple[str, ...], **values: Any) -> None:
    """Change what is given of a todo list, and nothing else; a plan is replaced as a whole."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        changed = store.todos.update(store.todos.resolve(todolist_id), **changes)
    print_item(session, changed.values(), text=changed.todolist_id)


@todos.command(
    epilog=examples(
        "dynostore sessions todos step 0197 2",
        "dynostore sessions todos step 0197 2 --status COMPLETED --attempts 1",
    )
)
@click.argument("todolist_id", metavar="ID")
@click.argument("position", type=click.IntRange(min=1))
@settable(_STEP_FIELDS)
@click.pass_obj
def step(session: Session, /, todolist_id: str, position: int, **values: Any) -> None:
    """Show one step of a todo list, after changing what is given."""
    changes = given(values)
    with session.store() as store:
        full_id = store.todos.resolve(todolist_id)
        if changes:
            found = store.todos.update_step(full_id, position, **changes)
        else:
            found = store.todos.get_step(full_id, position)
    print_item(session, dict(sorted(found.items())))  # jsonb keeps an order of its own


@todos.command(epilog=examples("dynostore sessions todos rm --yes 0197"))
@click.argument("todolist_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, todolist_ids: tuple[str, ...], yes: bool) -> None:
    """Remove todo lists."""
    with session.store() as store:
        verbs = store.todos
        found = [verbs.load(i) for i in dict.fromkeys(map(verbs.resolve, todolist_ids))]
        lines = [
            f"would remove {t.todolist_id} ({t.status}, {len(t.plan['items'])} steps)"
            for t in found
        ]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for one in found:
                verbs.delete(one.todolist_id)
    removed = ({"todolist_id": one.todolist_id} for one in found)
    print_items(session, removed, _COLUMNS[:1])
