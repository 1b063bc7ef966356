"""Whatever stands in ideation's keys: no crash, nothing lost without a word, the same twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.legacy.ideation import IdeationReader
from dynostore.models import IdeationMessage
from dynostore.models.base import checked

TIMES = st.sampled_from(
    [
        *("2026-11-22T03:40:21.009242+00:00", "2026-11-22T03:40:21.009Z", "2026-11-22 03:40:21"),
        *("2026-11-22T03:40:21", "9999-12-31T23:59:59-12:00", "soon", "", 1795318821, 1e40, -1),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["\x00", "\ud800", "x" * 300, "draft", "user", "must_have", "REQ-001", 10**400]
    ),
    TIMES,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
# Not shrunk: the keys of a failure are few enough to be read, and shrinking them takes minutes.
repeatable = settings(
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

FIELDS = {
    "session": "id project_name user_id status data_source version created_at updated_at metadata",
    "messages": "id session_id role content timestamp maturity_delta metadata",
    "requirements": "id session_id description type priority category_id created_at metadata",
    "maturity": "session_id score level categories can_submit gaps updated_at metadata",
    "prd": "id session_id title version sections status created_at earlier_drafts",
    "stories": "id session_id title as_a i_want so_that priority acceptance_criteria created_at",
}
GOOD: dict[str, Any] = {
    "project_name": "p",
    "user_id": "u",
    "status": "draft",
    "data_source": "mock",
    "version": 1,
    "role": "user",
    "content": "c",
    "score": 37.5,
    "description": "d",
    **dict.fromkeys(("created_at", "updated_at", "timestamp"), "2026-11-22T03:40:21.009242+00:00"),
}


@st.composite
def documents(draw: st.DrawFn, noun: str) -> str:
    """Give a document: good but for a few values, with keys missing, odd ones and a cut."""
    names = FIELDS[noun].split()
    wanted = {name: GOOD[name] for name in names if name in GOOD}
    wanted |= draw(st.dictionaries(st.sampled_from([*names, "extra"]), VALUES, max_size=3))
    for name in draw(st.lists(st.sampled_from(names), max_size=1)):
        wanted.pop(name, None)
    text = json.dumps(wanted)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return draw(st.sampled_from([text] * 12 + ["[" * 2000, "\ufeff" + text, "null", "NaN"]))


@st.composite
def key_spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Give some keys of some sessions, not all of them of the right type."""
    keys: dict[str, Any] = {}
    for owner in draw(
        st.lists(
            st.sampled_from(["s", "17", "é" * 70, "a:b", "ideation-1769890000000-x"]), unique=True
        )
    ):
        for noun in FIELDS:
            if draw(st.integers(0, 5)) == 0:
                continue
            if noun in ("messages", "stories"):
                value: Any = draw(st.lists(documents(noun), max_size=4))
            elif noun == "requirements":
                value = draw(st.dictionaries(st.sampled_from(["REQ-1", "2"]), documents(noun)))
            else:
                value = draw(documents(noun))
            keys[f"ideation:{noun}:{owner}"] = draw(st.sampled_from([value] * 9 + [[], 7]))
        keys["ideation:user_sessions:u"] = draw(st.sampled_from([["s"], "s", None]))
    return keys


@settings(repeatable, max_examples=15)
@given(keys=key_spaces(), cut=st.one_of(st.none(), st.floats(0, 1)))
def test_nothing_is_lost_without_a_word(
    keys: dict[str, Any], cut: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "ideation-property.json"
    text = json.dumps(keys)
    path.write_text(text if cut is None else text[: math.floor(cut * len(text))])
    found = _read(path)
    assert found == _read(path)
    records = [item for item in found if isinstance(item, SourceRecord)]
    findings = [item for item in found if isinstance(item, Finding)]
    assert sum(item.files for item in found) == 1
    assert len({record.key for record in records}) == len(records)
    for record in records:
        checked(record.model, record.values)
        for model, values in record.children:
            checked(model, values)
    if cut is not None:
        return
    paths = {finding.path for finding in findings} | {record.path for record in records}
    hidden = {f.path.partition("session:")[2] for f in findings if "hang on it" in f.reason}
    of_sessions = {record.path.partition("session:")[2] for record in records} | hidden
    for name, value in keys.items():
        noun, _, owner = name.removeprefix("ideation:").partition(":")
        is_empty = not value or noun == "user_sessions"
        assert name in paths or owner in of_sessions or is_empty, name
        if noun == "messages" and isinstance(value, list):
            for record in (r for r in records if r.path == f"ideation:session:{owner}"):
                read = sum(model is IdeationMessage for model, _ in record.children)
                refused = sum(f.path.startswith(f"{name}[") for f in findings)
                assert read + refused == len(value)


def _read(path: Path) -> list[SourceRecord | Finding]:
    return [*IdeationReader().read(str(path), ReadOptions())]


@settings(repeatable, max_examples=60)
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"{", b"[", b'{"ideation:session:s": ']),
)
def test_whatever_a_file_holds_it_is_read_or_refused(
    data: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "ideation-bytes.json"
    path.write_bytes(start + data)
    assert _read(path) == _read(path)


@settings(repeatable, max_examples=8)
@given(keys=key_spaces())
def test_whatever_is_read_is_stored_and_the_same_the_second_time(
    keys: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, migrated_file: Path
) -> None:
    directory = tmp_path_factory.mktemp("ideation")
    path = directory / "import.json"
    path.write_text(json.dumps(keys))
    with Store.open(shutil.copy(migrated_file, directory)) as store:
        first = import_from(path, store, kind="ideation")
        assert len(first.differences) == 0
        assert first.records.created == first.records.found - first.records.invalid
        assert first.files.found == 1
        assert (first.exit_code == 3) == bool(first.records.invalid or first.files.invalid)
        again = import_from(path, store, kind="ideation")
        assert (again.records.created, again.records.updated) == (0, 0)
        assert again.records.same == first.records.created
        read = [item for item in _read(path) if isinstance(item, SourceRecord)]
        rows = sum(1 + len(record.children) for record in read)
        assert sum(_count(store, table) for table in _TABLES) == rows
        assert store.check() == []


_TABLES = (
    *("ideation_sessions", "ideation_messages", "ideation_requirements", "ideation_maturity"),
    *("ideation_prd_drafts", "ideation_user_stories"),
)


def _count(store: Store, table: str) -> int:
    return int(store.database.execute_sql(f"SELECT count(*) FROM {table}").fetchone()[0])
