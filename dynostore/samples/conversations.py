"""Sample conversations: a short one, one with a tool, and one of more than a thousand messages."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator

from dynostore.models import Conversation, Message, Record
from dynostore.samples.base import before, sample_id

_PULLS = 300
_Talk = list[tuple[str, str]]

_FUEL: _Talk = [
    ("user", "Which fuel was in the tank last Tuesday?"),
    ("assistant", "E10, by the note of pull 7."),
    ("user", "And today?"),
    ("assistant", "Nobody has written it down yet. Shall I remind Kim?"),
    ("user", "Please do."),
]

_WEEK: _Talk = [
    ("system", "You help at an engine test bench. Look things up instead of guessing."),
    ("user", "How many pulls did we make this week, and how many were good?"),
    ("assistant", 'call: list_runs {"since": "7d"}'),
    ("tool", '{"complete": 1, "partial": 1, "error": 1, "processing": 1}'),
    ("assistant", "Four, of which one is complete and one still runs."),
    ("user", "What was wrong with the bad one?"),
    ("assistant", 'call: show_run {"id": "demo-run-upload-3"}'),
    ("tool", '{"stage": "load", "message": "missing required columns: MAP (kPa)"}'),
    ("assistant", "The upload has no column for the manifold pressure. Export it once more."),
]


def records(now: dt.datetime) -> Iterator[Record]:
    """Give the conversations and their messages, each conversation before its messages."""
    first, last = before(now, days=9), before(now, hours=2)
    yield from _conversation("demo-chat-bench-log", "The bench's log", _bench_log(), first, last)
    first, last = before(now, hours=26), before(now, hours=25.8)
    yield from _conversation("demo-chat-fuel", "Fuel", _FUEL, first, last)
    first, last = before(now, minutes=60), before(now, minutes=40)
    yield from _conversation("demo-chat-week", "The week at the bench", _WEEK, first, last)


def _conversation(
    name: str, title: str, talk: _Talk, first: dt.datetime, last: dt.datetime
) -> Iterator[Record]:
    yield Conversation(id=name, title=title, created_at=first, updated_at=last)
    pause = (last - first) / (len(talk) - 1)
    for number, (role, content) in enumerate(talk):
        yield Message(
            id=sample_id("messages", f"{name}/{number}"),
            conversation=name,
            role=role,
            content=content,
            created_at=last if number == len(talk) - 1 else first + number * pause,
        )


def _bench_log() -> _Talk:
    talk: _Talk = []
    for pull in range(1, _PULLS + 1):
        rpm, kpa = 1500 + pull * 7 % 12 * 500, 30 + pull * 5 % 8 * 10
        target = 13.2
        measured = round(target + (pull * 37 % 41 - 20) / 20, 2)
        percent = round((measured / target - 1) * 100, 1)
        way = "leaner" if percent > 0 else "richer"
        reading = {"rpm": rpm, "kpa": kpa, "afr": measured, "samples": 40 + pull * 13 % 90}
        talk += [
            ("user", f"Pull {pull} is in: {rpm} rpm at {kpa} kPa. What does it say?"),
            ("assistant", f'call: read_pull {{"number": {pull}}}'),
            ("tool", json.dumps(reading)),
            (
                "assistant",
                f"{measured} instead of {target}: {abs(percent)} % {way} than wanted. "
                f"Change the cell by {percent:+} %.",
            ),
        ]
    return talk
