"""``dynostore conversations``: the verbs of conversations and their messages."""

from __future__ import annotations

import datetime as dt
import sys
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
from dynostore.models.conversations import ROLES, Conversation

_COLUMNS = (
    Column("id", whole=True),
    Column("message_count", "messages", right=True),
    Column("updated_at", "updated"),
    Column("created_at", "created"),
    Column("title"),
)
_MESSAGE_COLUMNS = (
    Column("created_at", "created"),
    Column("role"),
    Column("content"),
)
_FIELDS: dict[str, Any] = {"title": str, "metadata": json_value}


@click.group(cls=Group)
def conversations() -> None:
    """Keep conversations, message by message.

    Wherever an ID is wanted, its beginning is enough when no other id begins so.
    """


def _described(conversation: Conversation) -> dict[str, Any]:
    return {**conversation.values(), "message_count": conversation.message_count}


@conversations.command(
    "list",
    epilog=examples(
        "dynostore conversations list --limit 10",
        "dynostore --json conversations list --limit 0 | jq -r '.items[].title'",
    ),
)
@paged
@in_utc
@click.pass_obj
def list_(session: Session, limit: int, after: str | None, utc: bool) -> None:
    """List conversations, the one that was updated last first."""
    with session.store() as store:
        print_page(
            session,
            store.conversations.list_conversations,
            _COLUMNS,
            limit=limit,
            after=after,
            utc=utc,
            shown=_described,
        )


@conversations.command(epilog=examples("dynostore conversations show 0197"))
@click.argument("conversation_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, conversation_id: str, utc: bool) -> None:
    """Show a conversation, and how many messages it has."""
    with session.store() as store:
        verbs = store.conversations
        found = verbs.get_conversation(verbs.resolve(conversation_id))
    print_item(session, _described(found), utc=utc)


@conversations.command(
    epilog=examples(
        "dynostore conversations create --title 'Fuel map'",
        'id=$(dynostore -q conversations create --metadata \'{"channel": "C1"}\')',
    )
)
@click.option("--id", "conversation_id", metavar="ID", help="Up to 255 characters; or made.")
@click.option("--created-at", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_FIELDS)
@click.pass_obj
def create(
    session: Session,
    /,
    conversation_id: str | None,
    created_at: dt.datetime | None,
    **values: Any,
) -> None:
    """Begin a conversation, and print its id.

    JSON may be given as @FILE.
    """
    with session.store(create=True) as store:
        made = store.conversations.create_conversation(
            conversation_id=conversation_id, created_at=created_at, **given(values)
        )
    print_item(session, _described(made), text=made.id)


@conversations.command(
    epilog=examples(
        "dynostore conversations update 0197 --title 'Fuel map, second try'",
        "dynostore conversations update 0197 --clear metadata",
    )
)
@click.argument("conversation_id", metavar="ID")
@settable(_FIELDS)
@clearable(list(_FIELDS))
@click.pass_obj
def update(
    session: Session, /, conversation_id: str, clear: tuple[str, ...], **values: Any
) -> None:
    """Change what is given of a conversation, and nothing else."""
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        verbs = store.conversations
        changed = verbs.update_conversation(verbs.resolve(conversation_id), **changes)
    print_item(session, _described(changed), text=changed.id)


@conversations.command(
    epilog=examples(
        "dynostore conversations rm 0197",
        "dynostore conversations rm --yes 0197 0198",
    )
)
@click.argument("conversation_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, conversation_ids: tuple[str, ...], yes: bool) -> None:
    """Remove conversations and their messages."""
    with session.store() as store:
        verbs = store.conversations
        full_ids = dict.fromkeys(map(verbs.resolve, conversation_ids))
        found = [verbs.get_conversation(full_id) for full_id in full_ids]
        lines = [f"would remove {c.id} ({c.message_count} messages)" for c in found]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for conversation in found:
                verbs.delete_conversation(conversation.id)
    removed = ({"id": conversation.id} for conversation in found)
    print_items(session, removed, _COLUMNS[:1])


@conversations.command(
    epilog=examples(
        "dynostore conversations add 0197 'Is the map lean at 4000 rpm?'",
        "dynostore conversations add 0197 --role assistant - < answer.txt",
    )
)
@click.argument("conversation_id", metavar="ID")
@click.argument("content")
@click.option(
    "--role", type=click.Choice(ROLES), default="user", show_default=True, help="Who says it."
)
@click.option("--created-at", type=moment, metavar="WHEN", help="When it was said; or now.")
@settable({"metadata": json_value})
@click.pass_obj
def add(session: Session, /, conversation_id: str, content: str, role: str, **values: Any) -> None:
    """Add a message, and print its id; CONTENT may be - for what comes on stdin."""
    text = sys.stdin.read() if content == "-" else content
    with session.store() as store:
        full_id = store.conversations.resolve(conversation_id)
        added = store.conversations.add_message(full_id, role, text, **given(values))
    print_item(session, added.values(), text=added.id)


@conversations.command(
    epilog=examples(
        "dynostore conversations messages 0197",
        "dynostore --json conversations messages 0197 --limit 0 | jq -r '.items[].content'",
    )
)
@click.argument("conversation_id", metavar="ID")
@paged
@in_utc
@click.pass_obj
def messages(
    session: Session, conversation_id: str, limit: int, after: str | None, utc: bool
) -> None:
    """List a conversation's messages, oldest first."""
    with session.store() as store:
        print_page(
            session,
            store.conversations.list_messages,
            _MESSAGE_COLUMNS,
            limit=limit,
            after=after,
            utc=utc,
            conversation_id=store.conversations.resolve(conversation_id),
        )


@conversations.command(
    epilog=examples(
        "dynostore conversations context 0197",
        "dynostore --json conversations context 0197 --limit 5 | jq '.items'",
    )
)
@click.argument("conversation_id", metavar="ID")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Most messages to list.",
)
@in_utc
@click.pass_obj
def context(session: Session, conversation_id: str, limit: int, utc: bool) -> None:
    """List a conversation's newest messages, the oldest of them first."""
    with session.store() as store:
        full_id = store.conversations.resolve(conversation_id)
        found = store.conversations.get_context_messages(full_id, limit)
    print_items(session, (message.values() for message in found), _MESSAGE_COLUMNS, utc=utc)
