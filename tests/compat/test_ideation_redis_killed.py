"""A writer to ideation's Redis that dies at any command: all that a verb changes is there, or none.

The commands of one transaction go to the server one by one here, not in one piece as they do, so
that the writer can die between any two of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from dynostore import Store

KillChild = Callable[..., bool]
STORY: Any = {"key": "US-001", "title": "t", "as_a": "a", "i_want": "b", "so_that": "c"}


def die_at_command(number: int, die: Callable[[], object]) -> None:
    """Let this process die before it sends its command of this number to any server."""
    connection: Any = pytest.importorskip("redis.connection").Connection
    steps, send = itertools.count(1), connection.send_packed_command

    def send_each(self: Any, packed: Any, check_health: bool = True) -> None:
        for one in [packed] if isinstance(packed, str | bytes) else packed:
            if next(steps) == number:
                die()
            send(self, [one], check_health)

    def pack_each(self: Any, commands: Any) -> list[bytes]:
        return [b"".join(self.pack_command(*command)) for command in commands]

    connection.pack_commands, connection.send_packed_command = pack_each, send_each


def hand_over(store: Store) -> None:
    """Change all sorts of keys of a session."""
    with store.transaction():
        store.ideation.sessions.update("s1", user_id="lee", status="approved")
        store.ideation.messages.create("s1", "user", "new")
        store.ideation.stories.save("s1", [STORY | {"key": "US-002"}, STORY | {"key": "US-003"}])
        store.ideation.requirements.create("s1", "x", key="REQ-001")


def remove(store: Store) -> None:
    """Remove a session with all that hangs on it."""
    store.ideation.sessions.delete("s1")


def seen(client: Any) -> tuple[Any, ...]:
    """Give what an older program sees of the session."""
    session = json.loads(client.get("ideation:session:s1") or "{}")
    stories = [json.loads(text)["id"] for text in client.lrange("ideation:stories:s1", 0, -1)]
    return (
        *(session.get(name) for name in ("user_id", "status")),
        client.llen("ideation:messages:s1"),
        stories,
        client.hlen("ideation:requirements:s1"),
        *(client.smembers(f"ideation:user_sessions:{user}") for user in ("kim", "lee")),
    )


@pytest.mark.slow
@pytest.mark.parametrize("act", [hand_over, remove])
def test_a_writer_killed_at_any_command_leaves_nothing_half_written(
    redis_server: Any, redis_url: str, kill_child: KillChild, act: Callable[[Store], None]
) -> None:
    def write() -> None:
        with Store.open(redis_url) as store:
            act(store)

    found: list[tuple[Any, ...]] = []
    with contextlib.closing(redis_server.client()) as client:
        for number in itertools.count(1):
            client.flushdb()
            with Store.open(redis_url) as store:
                store.ideation.sessions.create(session_id="s1", user_id="kim")
                store.ideation.messages.create("s1", "user", "old")
                store.ideation.stories.save("s1", [STORY])
                before = seen(client)
            was_killed = kill_child(number, die_at_command, write)
            found.append(seen(client))
            with Store.open(redis_url) as store:
                assert store.check() == []
            if not was_killed:
                break
    after = found[-1]
    assert after != before
    assert found == [before] * (len(found) - 1) + [after]
