"""``dynostore memories``: the verbs of memories."""

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
from dynostore.cli._tables import Column
from dynostore.models.memories import Memory

_COLUMNS = (
    Column("memory_id", "id", whole=True),
    Column("tool_name", "tool"),
    Column("confidence"),
    Column("created_at", "created"),
    Column("context"),
    Column("lesson"),
)
_DETAILS: dict[str, Any] = {"tool_name": str, "confidence": int, "metadata": json_value}
_FIELDS: dict[str, Any] = {"context": str, "lesson": str, **_DETAILS}
_CLEARABLE = [name for name in _FIELDS if Memory._meta.fields[name].null]


@click.group(cls=Group)
def memories() -> None:
    """Keep and search what agents learned.

    Wherever an ID is wanted, its beginning is enough when no other id begins so.
    """


@memories.command(
    "list",
    epilog=examples(
        "dynostore memories list --tool-name file_read",
        "dynostore --json memories list --limit 0 | jq -r '.items[].lesson'",
    ),
)
@click.option("--tool-name", help="Only those about this tool.")
@paged
@in_utc
@click.pass_obj
def list_(
    session: Session, tool_name: str | None, limit: int, after: str | None, utc: bool
) -> None:
    """List memories, newest first."""
    with session.store() as store:
        filters: dict[str, Any] = {"tool_name": tool_name}
        fetch = store.memories.list
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@memories.command(
    epilog=examples(
        "dynostore memories search 'csv header'",
        "dynostore memories search timeout --tool-name http_get",
    )
)
@click.argument("text")
@click.option("--tool-name", help="Only those about this tool.")
@paged
@in_utc
@click.pass_obj
def search(
    session: Session, text: str, tool_name: str | None, limit: int, after: str | None, utc: bool
) -> None:
    """List the memories that hold every word of TEXT, newest first."""
    with session.store() as store:
        filters: dict[str, Any] = {"text": text, "tool_name": tool_name}
        fetch = store.memories.search
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@memories.command(epilog=examples("dynostore memories show 0197"))
@click.argument("memory_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, memory_id: str, utc: bool) -> None:
    """Show a memory."""
    with session.store() as store:
        found = store.memories.get(store.memories.resolve(memory_id))
    print_item(session, found.values(), utc=utc)


@memories.command(
    epilog=examples(
        "dynostore memories add 'large CSV files' 'read in chunks' --tool-name file_read",
        "dynostore memories create 'slow servers' 'retry'     # create is another name of add",
    )
)
@click.argument("context")
@click.argument("lesson")
@click.option(
    "--id", "memory_id", metavar="ID", help="The id, up to 255 characters; made by default."
)
@click.option("--created-at", type=moment, metavar="WHEN", help="When it was; now by default.")
@settable(_DETAILS)
@click.pass_obj
def add(
    session: Session,
    /,
    context: str,
    lesson: str,
    memory_id: str | None,
    created_at: dt.datetime | None,
    **values: Any,
) -> None:
    """Record which LESSON was learned in which CONTEXT, and print the memory's id."""
    details: Any = given(values)
    with session.store(create=True) as store:
        made = store.memories.add(
            context, lesson, memory_id=memory_id, created_at=created_at, **details
        )
    print_item(session, made.values(), text=made.memory_id)


memories.add_command(add, "create")  # as the other families have it


@memories.command(epilog=examples("dynostore memories update 0197 --confidence 3"))
@click.argument("memory_id", metavar="ID")
@settable(_FIELDS)
@clearable(_CLEARABLE)
@click.pass_obj
def update(session: Session, /, memory_id: str, clear: tuple[str, ...], **values: Any) -> None:
    """Change what is given of a memory, and nothing else."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        changed = store.memories.update(store.memories.resolve(memory_id), **changes)
    print_item(session, changed.values(), text=changed.memory_id)


@memories.command(epilog=examples("dynostore memories rm --yes 0197"))
@click.argument("memory_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, memory_ids: tuple[str, ...], yes: bool) -> None:
    """Remove memories."""
    with session.store() as store:
        verbs = store.memories
        found = [verbs.get(i) for i in dict.fromkeys(map(verbs.resolve, memory_ids))]
        lines = [f"would remove {m.memory_id} ({m.tool_name or 'any tool'})" for m in found]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for one in found:
                verbs.delete(one.memory_id)
    removed = ({"memory_id": one.memory_id} for one in found)
    print_items(session, removed, _COLUMNS[:1])
