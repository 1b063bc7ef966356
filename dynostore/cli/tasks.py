"""``dynostore tasks``: the verbs of tasks and the log of their steps."""

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
from dynostore.models.tasks import AGENT_TYPES, STATUSES, STEP_STATUSES

_COLUMNS = (
    Column("task_id", "id", whole=True),
    Column("status"),
    Column("created_by", "by"),
    Column("created_at", "created"),
    Column("completed_at", "completed"),
    Column("request_text", "request"),
)
_STEP_COLUMNS = (
    Column("log_id", "id", whole=True),
    Column("step_number", "step", right=True),
    Column("agent_type", "agent"),
    Column("status"),
    Column("duration_ms", "ms", right=True),
    Column("timestamp", "began"),
    Column("action"),
    Column("output_summary", "summary"),
)
_DETAILS: dict[str, Any] = {
    "created_by": str,
    "project_id": str,
    "estimated_resources": json_value,
    "metadata": json_value,
}
_OUTCOME: dict[str, Any] = {
    "actual_resources": json_value,
    "external_ai_used": json_value,
    "metadata": json_value,
}
_STEP_OUTCOME: dict[str, Any] = {
    "output_summary": str,
    "output_full": json_value,
    "duration_ms": click.IntRange(min=0),
    "metadata": json_value,
}


@click.group(cls=Group)
def tasks() -> None:
    """Record tasks, move them through their states, log their steps.

    A task is pending, approved, executing, completed; until it executes it can be rejected, until
    it has ended it can fail. Wherever an ID is wanted, its beginning is enough when no other id
    begins so.
    """


@tasks.command(
    "list",
    epilog=examples(
        "dynostore tasks list --status failed --since 7d",
        "dynostore --json tasks list --limit 0 | jq -r '.items[].task_id'",
    ),
)
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this state.")
@click.option("--created-by", help="Only those that this user asked for.")
@click.option("--project-id", help="Only those of this project.")
@click.option(
    "--since", type=moment, metavar="WHEN", help="Created at or after: a date, a time or an age."
)
@click.option(
    "--until", type=moment, metavar="WHEN", help="Created before: a date, a time or an age."
)
@paged
@in_utc
@click.pass_obj
def list_(session: Session, /, limit: int, after: str | None, utc: bool, **filters: Any) -> None:
    """List tasks, newest first."""
    with session.store() as store:
        fetch = store.tasks.list
        print_page(session, fetch, _COLUMNS, limit=limit, after=after, utc=utc, **filters)


@tasks.command(
    epilog=examples(
        "dynostore tasks show 0197",
        "dynostore --json tasks show 0197 | jq .item.actual_resources",
    )
)
@click.argument("task_id", metavar="ID")
@in_utc
@click.pass_obj
def show(session: Session, task_id: str, utc: bool) -> None:
    """Show a task and its steps."""
    with session.store() as store:
        task = store.tasks.get(store.tasks.resolve(task_id))
        log = [step.values() for step in store.tasks.steps(task.task_id)]
    if session.json:
        print_item(session, {**task.values(), "steps": log})
        return
    print_fields(task.values(), utc=utc)
    if log:
        print()
        print_table(log, _STEP_COLUMNS, utc=utc)


@tasks.command(
    epilog=examples(
        "dynostore tasks create 'Deploy Kuma Uptime to homelab' --created-by kim@example.com",
        "id=$(dynostore -q tasks create 'Update DNS' --metadata @ticket.json)",
    )
)
@click.argument("request_text", metavar="REQUEST")
@click.option("--id", "task_id", metavar="ID", help="The id, a UUID; made by default.")
@click.option("--created-at", type=moment, metavar="WHEN", help="When it was asked for; or now.")
@settable(_DETAILS)
@click.pass_obj
def create(
    session: Session,
    /,
    request_text: str,
    task_id: str | None,
    created_at: dt.datetime | None,
    **values: Any,
) -> None:
    """Record a new, pending task, and print its id.

    JSON may be given as @FILE.
    """
    details: Any = given(values)
    with session.store(create=True) as store:
        task = store.tasks.create(request_text, task_id=task_id, created_at=created_at, **details)
    print_item(session, task.values(), text=task.task_id)


@tasks.command(
    epilog=examples(
        "dynostore tasks update 0197 --metadata @ticket.json",
        "dynostore tasks update 0197 --created-by kim@example.com --clear project_id",
    )
)
@click.argument("task_id", metavar="ID")
@settable(_DETAILS)
@clearable(list(_DETAILS))
@click.pass_obj
def update(session: Session, /, task_id: str, clear: tuple[str, ...], **values: Any) -> None:
    """Change what is given of a task, and nothing else.

    Its state is changed by approve, start, complete, fail and reject.
    """
    changes: Any = wanted_changes(values, clear)
    with session.store() as store:
        changed = store.tasks.update(store.tasks.resolve(task_id), **changes)
    print_item(session, changed.values(), text=changed.task_id)


def _move(session: Session, verb: str, task_id: str, *words: Any, **values: Any) -> None:
    with session.store() as store:
        task = getattr(store.tasks, verb)(store.tasks.resolve(task_id), *words, **given(values))
    print_item(session, task.values(), text=f"{task.task_id} {task.status}")


@tasks.command(epilog=examples("dynostore tasks approve 0197"))
@click.argument("task_id", metavar="ID")
@click.pass_obj
def approve(session: Session, task_id: str) -> None:
    """Let a pending task be executed."""
    _move(session, "approve", task_id)


@tasks.command(epilog=examples("dynostore tasks start 0197"))
@click.argument("task_id", metavar="ID")
@click.pass_obj
def start(session: Session, task_id: str) -> None:
    """Say that an approved task is being executed."""
    _move(session, "start", task_id)


@tasks.command(
    epilog=examples(
        "dynostore tasks complete 0197 --actual-resources '{\"duration_seconds\": 305}'",
        "dynostore tasks complete 0197 --external-ai-used @usage.json",
    )
)
@click.argument("task_id", metavar="ID")
@settable(_OUTCOME)
@click.pass_obj
def complete(session: Session, /, task_id: str, **outcome: Any) -> None:
    """End an executing task well."""
    _move(session, "complete", task_id, **outcome)


@tasks.command(epilog=examples("dynostore tasks fail 0197 --message 'port 8080 already in use'"))
@click.argument("task_id", metavar="ID")
@click.option("--message", metavar="TEXT", help="Why.")
@settable(_OUTCOME)
@click.pass_obj
def fail(session: Session, /, task_id: str, message: str | None, **outcome: Any) -> None:
    """End a task badly; any that has not ended yet."""
    _move(session, "fail", task_id, message, **outcome)


@tasks.command(epilog=examples("dynostore tasks reject 0197 --reason 'not on a Friday'"))
@click.argument("task_id", metavar="ID")
@click.option("--reason", metavar="TEXT", help="Why; shown as the error message.")
@click.pass_obj
def reject(session: Session, task_id: str, reason: str | None) -> None:
    """Refuse a task that is not executed yet."""
    _move(session, "reject", task_id, reason)


@tasks.command(
    epilog=examples(
        "dynostore tasks rm 0197",
        "dynostore tasks rm --yes 0197 0198",
    )
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@assured
@click.pass_obj
def rm(session: Session, task_ids: tuple[str, ...], yes: bool) -> None:
    """Remove tasks and the log of their steps."""
    with session.store() as store:
        verbs = store.tasks
        found = [verbs.get(i) for i in dict.fromkeys(map(verbs.resolve, task_ids))]
        lines = [
            f"would remove {t.task_id} ({t.status}, {len(verbs.steps(t.task_id))} steps)"
            for t in found
        ]
        require_consent(session, "\n".join(lines), yes)
        with store.transaction():
            for task in found:
                verbs.delete(task.task_id)
    removed = ({"task_id": task.task_id} for task in found)
    print_items(session, removed, _COLUMNS[:1])


@tasks.command(
    epilog=examples(
        "dynostore tasks steps 0197",
        "dynostore --json tasks steps 0197 | jq '.items[] | select(.status == \"failed\")'",
    )
)
@click.argument("task_id", metavar="ID")
@in_utc
@click.pass_obj
def steps(session: Session, task_id: str, utc: bool) -> None:
    """List a task's steps, in order."""
    with session.store() as store:
        log = store.tasks.steps(store.tasks.resolve(task_id))
    print_items(session, (step.values() for step in log), _STEP_COLUMNS, utc=utc)


@tasks.command(
    epilog=examples(
        "step=$(dynostore -q tasks log-step 0197 infra 'Deploy container')",
        "dynostore tasks log-step 0197 code build --status completed --duration-ms 5200",
    )
)
@click.argument("task_id", metavar="ID")
@click.argument("agent_type", metavar="AGENT", type=click.Choice(AGENT_TYPES))
@click.argument("action")
@click.option("--step-number", type=click.IntRange(min=0), help="The next one by default.")
@click.option(
    "--status", type=click.Choice(STEP_STATUSES), default=STEP_STATUSES[0], show_default=True
)
@click.option("--timestamp", type=moment, metavar="WHEN", help="When it began; now by default.")
@settable(_STEP_OUTCOME)
@click.pass_obj
def log_step(
    session: Session, /, task_id: str, agent_type: str, action: str, **values: Any
) -> None:
    """Record a step of a task, and print its id.

    AGENT is orchestrator, infra, desktop, code or research.
    """
    with session.store() as store:
        full_id = store.tasks.resolve(task_id)
        step = store.tasks.log_step(full_id, agent_type, action, **given(values))
    print_item(session, step.values(), text=step.log_id)


@tasks.command(
    epilog=examples(
        "dynostore tasks finish-step 0197 --output-summary 'service responds on 3001'",
        "dynostore tasks finish-step 0197 --status failed --output-full @error.json",
    )
)
@click.argument("log_id", metavar="STEP_ID")
@click.option(
    "--status",
    type=click.Choice(STEP_STATUSES[1:]),
    default=STEP_STATUSES[1],
    show_default=True,
    help="How it ended.",
)
@settable(_STEP_OUTCOME)
@click.pass_obj
def finish_step(session: Session, /, log_id: str, status: str, **outcome: Any) -> None:
    """End a running step; it took until now where no duration is given."""
    with session.store() as store:
        full_id = store.tasks.resolve_step(log_id)
        step = store.tasks.finish_step(full_id, status, **given(outcome))
    print_item(session, step.values(), text=f"{step.log_id} {step.status}")
