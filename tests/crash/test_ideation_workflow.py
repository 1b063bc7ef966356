"""An idea outlives its processes, and several people may change it at once; on both databases."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from dynostore import errors
from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

WRITERS = 8
UPDATES_EACH = 5

THINKER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    idea = store.ideation.sessions.create(project_name="Tuner", user_id="kim")
    store.ideation.messages.create(idea.id, "user", "Riders tune their own bikes")
    store.ideation.messages.create(idea.id, "assistant", "How?", maturity_delta=12.5)
    store.ideation.requirements.create(idea.id, "Maps are smooth", key="REQ-001")
    store.ideation.maturity.save(idea.id, 12.5, "concept", gaps=["users"])
    store.ideation.drafts.save(idea.id, "Tuner", sections=[{"heading": "Scope"}])
    words = {"title": "Map", "as_a": "rider", "i_want": "a map", "so_that": "it runs"}
    store.ideation.stories.save(idea.id, [{"key": "US-001", **words}, {"key": "US-002", **words}])
print(idea.id, flush=True)
"""

BUILDER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    (idea,) = store.ideation.sessions.list_by_user("kim")
    store.ideation.sessions.update(idea.id, expected_version=1, status="approved")
    store.ideation.maturity.save(idea.id, 85, "complete", can_submit=True)
    with store.transaction():
        store.ideation.stories.save(idea.id, [])
        print("ready", flush=True)
        sys.stdin.readline()  # killed here
"""

WRITER = """
import sys
from dynostore.errors import StaleWrite
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    done = 0
    while done < int(sys.argv[3]):
        idea = store.ideation.sessions.get(sys.argv[2])
        votes = {"votes": (idea.metadata or {"votes": 0})["votes"] + 1}
        try:
            store.ideation.sessions.update(idea.id, expected_version=idea.version, metadata=votes)
            done += 1
        except StaleWrite:
            pass
print("ok", flush=True)
"""


def test_an_idea_goes_on_after_its_program_was_killed(
    store_url: str, start_python: StartPython
) -> None:
    output, problems = start_python(THINKER, store_url).communicate()
    assert problems == ""
    idea = output.strip()
    builder = start_python(BUILDER, store_url)
    assert builder.stdout is not None
    assert builder.stdout.readline() == "ready\n"
    builder.kill()
    builder.wait()
    with Store.open(store_url, warm=False) as store:
        ideation = store.ideation
        with pytest.raises(errors.StaleWrite):
            ideation.sessions.update(idea, expected_version=1, status="closed")
        assert ideation.sessions.update(idea, expected_version=2, status="in_build").version == 3
        assert [s.key for s in ideation.stories.list(idea)] == ["US-001", "US-002"]
        assert [m.maturity_delta for m in ideation.messages.list(idea)] == [0, 12.5]
        maturity, draft = ideation.maturity.get(idea), ideation.drafts.latest(idea)
        assert maturity is not None
        assert draft is not None
        assert (maturity.score, maturity.can_submit, draft.title) == (85.0, True, "Tuner")
        ideation.requirements.update(idea, "REQ-001", priority="must_have")
        ideation.sessions.delete(idea)
        with pytest.raises(errors.IdeationSessionNotFound):
            ideation.requirements.list(idea)
        assert store.check() == []


def test_eight_processes_change_one_session_and_no_update_is_lost(
    store_url: str, start_python: StartPython
) -> None:
    with Store.open(store_url, warm=False) as store:
        idea = store.ideation.sessions.create().id
        writers = [start_python(WRITER, store_url, idea, UPDATES_EACH) for _ in range(WRITERS)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        assert [w.communicate() for w in writers] == [("ok\n", "")] * WRITERS
        found = store.ideation.sessions.get(idea)
        assert found.version == WRITERS * UPDATES_EACH + 1
        assert found.metadata == {"votes": WRITERS * UPDATES_EACH}
        assert store.check() == []
