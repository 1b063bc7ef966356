"""Directories that nobody wrote by hand: each file is a record, or is named as damaged."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store, errors

texts = st.text(max_size=30) | st.sampled_from(
    ["complete", "error", "2026-01-15T13:28:29.182Z", "2026-01-15T13:28:29", "s", "../x", "", "\0"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
times = st.sampled_from(["2026-01-15T13:28:29.182Z", "2026-01-15T13:28:29.182386"]) | values
runs = st.fixed_dictionaries(
    {"status": st.sampled_from(["complete", "error", "pending"]) | values, "created_at": times},
    optional={
        "run_id": texts | values,
        "source": texts,
        "updated_at": times,
        "progress_percent": st.integers(-1, 101) | values,
        "files": st.lists(texts | values, max_size=3) | values,
        "error": values,
        "results_summary": values,
        "more": values,
    },
)
states = st.fixed_dictionaries(
    {"state_data": st.just({"todolist_id": "t"}) | values},
    optional={"session_id": texts | values, "timestamp": times, "more": values},
)
steps = st.dictionaries(st.sampled_from(["position", "description", "status"]), values)
todos = st.fixed_dictionaries(
    {"items": st.lists(steps, max_size=3) | values},
    optional={"todolist_id": texts | values, "created_at": times, "notes": values},
)
notes = st.dictionaries(st.sampled_from(["columns", "files", "metadata", "status"]), values)


def put(path: Path, data: bytes) -> None:
    """Write a file long ago: for one that is just being written a look waits."""
    path.write_bytes(data)
    os.utime(path, (1, 1))


def spoiled(documents: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Give a document's bytes, now and then cut off or with something else in them."""
    whole = documents.map(lambda d: json.dumps(d, indent=2).encode("utf-8", "surrogatepass"))
    return st.one_of(whole, whole, whole, whole.map(lambda data: data[: len(data) // 2]))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(first=spoiled(runs), second=spoiled(runs), note=st.none() | spoiled(notes))
def test_any_state_file_is_a_run_or_is_named(
    first: bytes, second: bytes, note: bytes | None
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name, data in (("a", first), ("b", second)):
            (root / name).mkdir()
            put(root / name / "run_state.json", data)
        if note is not None:
            (root / ".dynostore/runs").mkdir(parents=True)
            (root / ".dynostore/runs/a.json").write_bytes(note)
        with Store.open(f"dir:{directory}") as store:
            damaged = len(store.check())
            if damaged:
                try:
                    store.runs.list()
                except errors.IntegrityFailure:
                    pass
                else:
                    raise AssertionError("a damaged file was passed over")
            else:
                assert len([*store.runs.stream()]) == 2
                for run in store.runs.list():
                    store.runs.update(run.id, current_stage="seen")
            created = store.runs.create(run_id="new").id
            assert store.runs.get(created).id == "new"
        with Store.open(f"dir:{directory}") as store:
            assert len(store.check()) == damaged
            if not damaged:
                stages = {run.current_stage for run in store.runs.list() if run.id != "new"}
                assert stages == {"seen"}


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(state=spoiled(states), todo=spoiled(todos), note=st.none() | spoiled(notes))
def test_any_taskforce_file_is_a_record_or_is_named(
    state: bytes, todo: bytes, note: bytes | None
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, ".taskforce")
        for place, data in (("states/s", state), ("todolists/todolist_t", todo)):
            (root / place).parent.mkdir(parents=True)
            put(root / f"{place}.json", data)
        if note is not None:
            (root / ".dynostore/sessions").mkdir(parents=True)
            (root / ".dynostore/sessions/s.json").write_bytes(note)
        with Store.open(f"dir:{root}") as store:
            damaged = len(store.check())
            if not damaged:
                assert store.sessions.count() == 1
                (session,) = store.sessions.list_sessions()
                assert store.sessions.save_state(session.session_id, {"n": 1}) >= 1
                (found,) = store.todos.list()
                store.todos.update(found.todolist_id, mission="seen")
        with Store.open(f"dir:{root}") as store:
            assert len(store.check()) == damaged
            if not damaged:
                assert [found.mission for found in store.todos.list()] == ["seen"]
