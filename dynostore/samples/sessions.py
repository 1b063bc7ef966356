"""Sample agent sessions: states, todo lists, history, and the memories that they left."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

from dynostore.ids import derived_id
from dynostore.models import AgentSession, HistoryEntry, Memory, Record, SessionState, TodoList
from dynostore.samples.base import before, sample_id

_Turn = tuple[str, str, str, str]


@dataclasses.dataclass(frozen=True)
class _Story:
    """What an agent did in one session.

    :ivar age_hours: how long ago it began.
    :ivar turn_min: how many minutes a turn took; a state was saved after each.
    :ivar steps: description, tool and status of each step of the plan.
    :ivar turns: the plan's step, what was thought, done and seen, in order.
    """

    name: str
    mission: str
    status: str
    age_hours: float
    turn_min: float
    steps: tuple[tuple[str, str, str], ...]
    turns: tuple[_Turn, ...]
    open_questions: tuple[str, ...] = ()


_STORIES = (
    _Story(
        "demo-session-churn",
        "Find out why customers of the second quarter left",
        "completed",
        4 * 24,
        3.5,
        (
            ("Read the export", "file_read", "COMPLETED"),
            ("Count who left, by month and plan", "python", "COMPLETED"),
            ("Read the support tickets of those", "ticket_search", "COMPLETED"),
            ("Compare with the first quarter", "python", "SKIPPED"),
            ("Write one page", "file_write", "COMPLETED"),
        ),
        (
            ("1", "The export comes first.", "file_read churn_q2.csv", "1,204 rows, 9 columns"),
            ("2", "Group by month and plan.", "python", "May, plan S: 61 of 88 who left"),
            ("3", "What do they write in May?", "ticket_search 'cancel'", "43 tickets"),
            ("3", "Most name the new limit.", "ticket_search 'limit'", "37 of the 43"),
            ("4", "The first quarter had no limit.", "skip", "nothing to compare with"),
            ("5", "That is the answer.", "file_write report.md", "1 page"),
        ),
    ),
    _Story(
        "demo-session-forecast",
        "Forecast the test bench's load for the next four weeks",
        "in_progress",
        2.5,
        12.0,
        (
            ("Get the bookings of the last year", "http_get", "COMPLETED"),
            ("Fit a model with weekdays and holidays", "python", "IN_PROGRESS"),
            ("Draw the next four weeks", "python", "PENDING"),
        ),
        (
            ("1", "The calendar has an export.", "http_get /bookings.ics", "timeout after 30 s"),
            ("1", "Month by month, then.", "http_get /bookings.ics?month=1", "12 files"),
            ("2", "Weekdays first.", "python", "mean error 0.9 hours a day"),
        ),
        ("Is the bench closed between the years?",),
    ),
)

_MEMORIES = (
    (
        "reading exports",
        "Look at the separator first: the shop's is a semicolon",
        "file_read",
        4,
    ),
    ("searching tickets", "Search for the verb's stem; customers write as they speak", None, 2),
    ("large calendars", "Fetch /bookings.ics by month; a year at once times out", "http_get", 7),
    ("forecasts", "Take holidays out before fitting weekdays", "python", 3),
)


def records(now: dt.datetime) -> Iterator[Record]:
    """Give the sessions with all that hangs on them, and the memories, which hang on none."""
    for story in _STORIES:
        begun = before(now, hours=story.age_hours)
        times = [begun + dt.timedelta(minutes=story.turn_min * n) for n in range(len(story.turns))]
        yield AgentSession(
            session_id=story.name,
            user_id="kim",
            mission=story.mission,
            status=story.status,
            created_at=begun,
            updated_at=times[-1],
        )
        yield from _states(story, times)
        yield _todo_list(story, times)
        yield from _history(story, times)
    for number, (context, lesson, tool_name, confidence) in enumerate(_MEMORIES, 1):
        yield Memory(
            memory_id=f"demo-memory-{number}",
            context=context,
            lesson=lesson,
            tool_name=tool_name,
            confidence=confidence,
            created_at=before(now, days=4 - number / 2),
        )


def _states(story: _Story, times: list[dt.datetime]) -> Iterator[SessionState]:
    said: list[dict[str, Any]] = [{"role": "user", "content": story.mission}]
    for version, (time, (step, thought, action, observation)) in enumerate(
        zip(times, story.turns, strict=True), 1
    ):
        said = [
            *said,
            {"role": "assistant", "content": f"{thought} [{action}]"},
            {"role": "tool", "content": observation},
        ]
        yield SessionState(
            id=derived_id("states", story.name, str(version)),
            session=story.name,
            version=version,
            state={
                "mission": story.mission,
                "todolist_id": _list_id(story),
                "current_step": int(step),
                "message_history": said,
                "answers": {},
            },
            saved_at=time,
        )


def _todo_list(story: _Story, times: list[dt.datetime]) -> TodoList:
    items = [
        {
            "position": position,
            "description": description,
            "acceptance_criteria": f"{description}: done and checked",
            "dependencies": [position - 1] if position > 1 else [],
            "status": status,
            "chosen_tool": tool,
            "attempts": sum(turn[0] == str(position) for turn in story.turns),
        }
        for position, (description, tool, status) in enumerate(story.steps, 1)
    ]
    return TodoList(
        todolist_id=_list_id(story),
        session=story.name,
        mission=story.mission,
        plan={"items": items, "open_questions": [*story.open_questions], "notes": ""},
        status=story.status,
        created_at=times[0],
        updated_at=times[-1],
    )


def _history(story: _Story, times: list[dt.datetime]) -> Iterator[HistoryEntry]:
    for number, (time, (step, thought, action, observation)) in enumerate(
        zip(times, story.turns, strict=True), 1
    ):
        yield HistoryEntry(
            id=sample_id("execution_history", f"{story.name}/{number}"),
            session=story.name,
            step_id=step,
            thought=thought,
            action=action,
            observation=observation,
            timestamp=time,
        )


def _list_id(story: _Story) -> str:
    return story.name.replace("session", "todos")
