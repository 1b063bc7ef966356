"""Trees of Taskforce that nobody wrote by hand: no crash, no loss unsaid, the same result twice."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.importer import import_from
from dynostore.legacy import ReadOptions

texts = st.text(max_size=40) | st.sampled_from(
    [
        *("s-1", "t-1", "2026-01-15T13:28:29.182386", "2026-01-15T13:28:29+02:00", "DONE", "todo"),
        *("0001-01-01T00:00:00", "9999-12-31T23:59:59", "\ud800", "\x00", "x" * 300, "", "a/b"),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
NAMES = [
    *("session_id", "timestamp", "state_data", "_version", "_updated_at", "mission", "status"),
    *("user_id", "todolist_id", "items", "open_questions", "notes", "created_at", "updated_at"),
    *("position", "description", "dependencies", "attempts", "tool_input", "conversation_id"),
    *("started_at", "topic", "role", "content", "message_id", "lesson", "context", "tool_name"),
    *("success_count", "id", "skills", "messages", "conversations"),
]
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=6)
    ),
    max_leaves=15,
)
states = st.fixed_dictionaries(
    {"session_id": texts | scalars, "state_data": st.just({"todolist_id": "t-1"}) | values},
    optional={"timestamp": texts, "more": values},
)
steps = st.dictionaries(st.sampled_from(NAMES), scalars, max_size=6) | values
todos = st.fixed_dictionaries(
    {"items": st.lists(steps, max_size=4) | values},
    optional={"notes": values, "todolist_id": texts, "created_at": texts},
)
messages = st.lists(
    st.dictionaries(st.sampled_from(NAMES), scalars, max_size=5) | values, max_size=4
)
index = st.lists(st.fixed_dictionaries({"conversation_id": texts}, optional={"topic": values}))
skills = st.dictionaries(texts, st.dictionaries(st.sampled_from(NAMES), values, max_size=6))
lines = st.lists(
    st.sampled_from(
        [
            *("# Todo List", "## Meta", "- created: 2026-01-15T13:28:29", "## Tasks", "## Notes"),
            *("- [x] a (status: DONE, tool: t, params: {'a': (1,)}, notes: {})", "- [ ] b"),
            *("- [x] (status: ), params: {", "## Open Questions", "- why?", "- [", "(status:"),
        ]
    )
    | texts,
    max_size=12,
)


def as_bytes(document: Any) -> bytes:
    return json.dumps(document, indent=2).encode("utf-8", "surrogatepass")


contents = (
    (states | todos | messages | index | skills | values).map(as_bytes)
    | lines.map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass"))
    | st.just(b"[" * 5000)
    | st.just(b'{"state_data": ' + b"9" * 5000 + b"}")
    | st.binary(max_size=60)
)
PLACES = [
    *("states/s-1.json", "states/s-2.json", "states/s-1.json.tmp", "states/s-1.json.x81abc.tmp"),
    *("todolists/todolist_t-1.json", "todolists/todolist_t-1.tmp", "checklists/todolist_a.md"),
    *("conversations/index.json", "conversations/c/messages.json", "skills.json", "odd.json"),
    *("conversations/d/messages.json.tmp", "agent_state.json", "agent_states/x.pkl", "é 🏍.json"),
]
roots = st.sampled_from([".taskforce", ".taskforce_b", "."])
likely = {"states": states, "todo": todos, "conv": messages, "skil": skills}


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Give files by path: mostly what belongs there, some of it cut off or in another encoding."""
    tree = {}
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=6, unique=True)):
        fitting = likely.get(place[:4] if place[:6] != "states" else "states")
        data = draw(contents if fitting is None else fitting.map(as_bytes) | contents)
        spoiled = draw(st.integers(0, 9))
        if spoiled == 0:
            data = data[: draw(st.integers(0, len(data)))]
        elif spoiled == 1:
            encoding = draw(st.sampled_from(["utf-16", "latin-1"]))
            data = data.decode("utf-8", "replace").encode(encoding, "replace")
        elif spoiled == 2:
            data = b"\xef\xbb\xbf" + data
        tree[f"{draw(roots)}/{place}"] = data
    return tree


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees())
def test_any_tree_is_accounted_for_and_gives_the_same_twice(
    migrated_file: Path, tree: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "old")
        for name, data in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        options = ReadOptions(timezone=dt.timezone(dt.timedelta(hours=5)))
        with Store.open(shutil.copy(migrated_file, directory)) as store:
            first = import_from(root, store, kind="taskforce", options=options)
            again = import_from(root, store, kind="taskforce", options=options)
            problems = store.check()
        dry = import_from(root, None, kind="taskforce", options=options, dry_run=True)
    files = {Path(root / name) for name in tree}
    for report in (first, again, dry):
        assert report.files.found == len(files)
        assert report.differences == []
        json.dumps(report.to_json())
    assert first.records.found == again.records.found == dry.records.found
    assert (again.records.created, again.records.updated) == (0, 0)
    assert again.records.same == first.records.created == dry.records.created
    assert first.records.invalid == again.records.invalid == dry.records.invalid
    assert problems == []
