"""Another store to import: conversations, tasks with their steps, agent sessions with states."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

from bench.import_script import rows_of, write_and_read_back
from dynostore import Store
from dynostore.fields import JsonField
from dynostore.ids import derived_id
from dynostore.models import (
    REPLICATED,
    AgentSession,
    Conversation,
    ExecutionLog,
    Message,
    Record,
    SessionState,
    Task,
)

RECORDS = 3_000
FLOOR = 0.2
_CHILDREN = 20
_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_AT = {"created_at": _NOW, "updated_at": _NOW}


def generate(place: Path, records: int) -> Path:
    """Write a store with so many records, a third of each kind, each with 20 rows of its own."""
    path = place / "source.db"
    chance = random.Random(7)
    with Store.open(path) as store:
        third = records // 3
        store.conversations.put_many(_conversations(chance, third))
        store.tasks.put_many(_tasks(chance, third))
        store.sessions.put_many(_sessions(chance, records - 2 * third))
    return path


def _text(chance: random.Random) -> str:
    return " ".join(f"{chance.getrandbits(32):08x}" for _ in range(22))


def _conversations(chance: random.Random, count: int) -> Iterator[Record]:
    for number in range(count):
        key = f"conversation-{number}"
        yield Conversation(id=key, title=_text(chance)[:40], metadata={"n": number}, **_AT)
        for place in range(_CHILDREN):
            yield Message(
                id=derived_id("bench", key, str(place)),
                conversation=key,
                role="user",
                content=_text(chance),
                created_at=_NOW + dt.timedelta(seconds=place),
            )


def _tasks(chance: random.Random, count: int) -> Iterator[Record]:
    for number in range(count):
        key = derived_id("bench", "tasks", str(number))
        yield Task(
            task_id=key,
            request_text=_text(chance),
            status="completed",
            created_at=_NOW,
            actual_resources={"duration_seconds": number, "cpu_time_ms": 7},
        )
        for place in range(_CHILDREN):
            yield ExecutionLog(
                log_id=derived_id("bench", key, str(place)),
                task=key,
                step_number=place,
                agent_type="code",
                action=_text(chance)[:60],
                status="completed",
                output_full={"stdout": _text(chance), "exit_code": 0},
                timestamp=_NOW + dt.timedelta(seconds=place),
                duration_ms=place,
            )


def _sessions(chance: random.Random, count: int) -> Iterator[Record]:
    for number in range(count):
        key = f"session-{number}"
        yield AgentSession(session_id=key, mission=_text(chance), status="active", **_AT)
        for version in range(1, _CHILDREN + 1):
            yield SessionState(
                id=derived_id("states", key, str(version)),
                session=key,
                version=version,
                state={"step": version, "plan": [_text(chance)], "answers": {"a": 1, "b": None}},
                saved_at=_NOW + dt.timedelta(seconds=version),
            )


def script(source: Path, database: Path) -> int:
    """Copy the tables without any care; give the number of rows."""
    names = [str(model._meta.table_name) for model in REPLICATED]
    fields = (field for model in REPLICATED for field in model._meta.sorted_fields)
    as_json = [field.column_name for field in fields if isinstance(field, JsonField)]
    return write_and_read_back(database, rows_of(source, names, as_json))
