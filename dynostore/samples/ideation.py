"""A sample ideation session: an idea with messages, requirements, maturity, drafts and stories."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from dynostore.ids import derived_id
from dynostore.models import (
    IdeationDraft,
    IdeationMaturity,
    IdeationMessage,
    IdeationRequirement,
    IdeationSession,
    IdeationStory,
    Record,
)
from dynostore.samples.base import before

_SESSION = "demo-idea-tuner"

# Who said it, what, and what it did to the maturity's score.
_MESSAGES = (
    ("system", "Ask for the problem first, then for those who have it.", 0.0),
    ("user", "Riders tune their own bikes and cannot read the logs.", 13.5),
    ("assistant", "Who are they, and what do they try today?", 0.0),
    ("user", "Hobby riders with one bike; they ask in forums and wait for days.", 8.0),
    ("assistant", "What must the program do for them in the first week?", 0.0),
    ("user", "Read a log, show which cells are wrong, write a corrected map.", 17.5),
    ("user", "On a laptop without a network, in under a minute.", 5.25),
    ("assistant", "What does not belong to it?", 0.0),
    ("user", "Flashing the bike. A good map is one that the rider keeps for a month.", 14.0),
    ("assistant", "What could go wrong?", 0.0),
    ("user", "A wrong map can break an engine; we limit each correction.", 2.0),
)

# Id, name, score of 100, weight in percent; the weights are those of the original tool.
_CATEGORIES = (
    ("problem", "Problem", 90, 15),
    ("users", "Users", 80, 10),
    ("functional", "Functions", 70, 25),
    ("nfr", "Qualities", 35, 15),
    ("scope", "Scope", 60, 15),
    ("success", "Success", 50, 10),
    ("risks", "Risks", 20, 10),
)

# Description, type, priority, category.
_REQUIREMENTS = (
    ("Reads logs of the three common recorders", "functional", "must_have", "functional"),
    ("Shows each cell's error and number of samples", "functional", "must_have", "functional"),
    ("Limits a correction to 15 percent", "functional", "must_have", "risks"),
    ("Works without a network", "non_functional", "should_have", "nfr"),
    ("Corrects a map within a minute on a laptop", "non_functional", "could_have", "nfr"),
)

# Title, what is wanted, why, when it is done, which requirements it serves.
_STORIES = (
    ("Read a log", "to open my log", "I need no forum", ["opens all three formats"], (1,)),
    ("See errors", "to see wrong cells", "I know where to ride", ["colours by error"], (2,)),
    ("Correct", "a corrected map", "the bike runs well", ["nothing beyond 15 %"], (2, 3)),
    (
        "Stay offline",
        "to work in the garage",
        "there is no network",
        ["no request is sent"],
        (4, 5),
    ),
)

_SECTIONS = (
    ("Problem", "Riders cannot read the logs of their own bikes."),
    ("Users", "Hobby riders with one bike, today in forums."),
    ("Scope", "From a log to a corrected map; the bike is flashed by other programs."),
    ("Risks", "A wrong map breaks an engine: no correction goes beyond 15 percent."),
)


def records(now: dt.datetime) -> Iterator[Record]:
    """Give the session, then all that hangs on it."""
    begun, ended = before(now, days=6), before(now, hours=5)
    yield IdeationSession(
        id=_SESSION,
        project_name="Garage tuner",
        user_id="kim",
        status="approved",
        data_source="mock",
        version=4,
        created_at=begun,
        updated_at=ended,
    )
    for number, (role, content, maturity_delta) in enumerate(_MESSAGES):
        yield IdeationMessage(
            id=f"demo-idea-message-{number:02}",
            session=_SESSION,
            role=role,
            content=content,
            timestamp=begun + dt.timedelta(minutes=4 * number),
            maturity_delta=maturity_delta,
        )
    yield from _requirements(begun)
    yield _maturity(before(now, days=5))
    yield from _drafts(before(now, days=4))
    yield from _stories(ended)


def _keyed(table: str, key: str) -> dict[str, Any]:
    return {"id": derived_id(table, _SESSION, key), "session": _SESSION, "key": key}


def _requirements(begun: dt.datetime) -> Iterator[Record]:
    for number, (description, kind, priority, category_id) in enumerate(_REQUIREMENTS, 1):
        yield IdeationRequirement(
            **_keyed("ideation_requirements", f"REQ-{number:03}"),
            description=description,
            type=kind,
            priority=priority,
            category_id=category_id,
            created_at=begun + dt.timedelta(hours=1, minutes=number),
        )


def _maturity(updated_at: dt.datetime) -> Record:
    return IdeationMaturity(
        session=_SESSION,
        score=sum(score * weight for _, _, score, weight in _CATEGORIES) / 100,
        level="refined",
        categories=[
            {"id": key, "name": name, "score": score, "required_for_submit": weight >= 15}
            for key, name, score, weight in _CATEGORIES
        ],
        can_submit=False,
        gaps=[key for key, _, score, _ in _CATEGORIES if score < 40],
        updated_at=updated_at,
    )


def _drafts(first: dt.datetime) -> Iterator[Record]:
    for number, status in enumerate(("draft", "final"), 1):
        yield IdeationDraft(
            **_keyed("ideation_prd_drafts", f"prd-{number}"),
            title="Garage tuner",
            version=f"{number}.0",
            sections=[
                {"id": f"s{place}", "heading": heading, "content": text, "order": place}
                for place, (heading, text) in enumerate(_SECTIONS[: 2 * number], 1)
            ],
            status=status,
            created_at=first + dt.timedelta(days=number),
        )


def _stories(created_at: dt.datetime) -> Iterator[Record]:
    for number, (title, i_want, so_that, criteria, served) in enumerate(_STORIES, 1):
        yield IdeationStory(
            **_keyed("ideation_user_stories", f"US-{number:03}"),
            title=title,
            as_a="hobby rider",
            i_want=i_want,
            so_that=so_that,
            acceptance_criteria=criteria,
            linked_requirements=[f"REQ-{place:03}" for place in served],
            priority="must_have" if number < 4 else "should_have",
            created_at=created_at + dt.timedelta(microseconds=number),
        )
