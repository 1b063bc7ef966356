"""Haia's data as nobody would write it: no crash, each row and file counted, the same twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.importer import import_from
from dynostore.legacy import ReadOptions, SourceRecord
from dynostore.legacy.haia import HaiaReader
from dynostore.models import Conversation

TIMES = [
    *("2026-01-20 10:00:00.000001", "2026-01-20 10:00:00", "2026-01-20T10:00:00.515Z", "soon", ""),
    *("2026-01-20T11:00:00.000000+01:00", "20260120_100000", 5, 1.5, b"2026-01-20", None),
    *("2025-01-01 00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31 23:59:59.999999"),
]
TEXTS = ["", "x", "é ✅", "a\x00b", "x" * 700, b"\xff\x00", b"caf\xc3\xa9", 42, 1.5, float("inf")]
ROLES = ["user", "assistant", "system", "USER", "human", "tool", "alien", None, 5, b"user"]
numbers = st.sampled_from([1, 1, 2, 3, "1", "x", 2.5, None, -1, b"1"])
times = st.sampled_from(TIMES)
texts = st.sampled_from([*TEXTS, None]) | st.text(max_size=5)
talks = st.fixed_dictionaries({"id": numbers, "created_at": times, "updated_at": times})
messages = st.fixed_dictionaries(
    {"id": numbers, "conversation_id": numbers, "content": texts, "created_at": times},
    optional={"role": st.sampled_from(ROLES), "tokens": texts},
)
spoken = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(ROLES[:-1]),
        "speaker": st.sampled_from(ROLES[:-1]),
        "content": st.sampled_from(["", "x", "é", None, 5, ["a"], {"b": 1}, "x" * 3000]),
        "timestamp": st.sampled_from(["2026-01-20T10:00:00Z", "2026-01-20T10:00:00", 5, "x", None]),
        "mood": st.integers(),
    },
)
documents = st.fixed_dictionaries(
    {"messages": st.lists(spoken | st.just(5), max_size=4) | st.sampled_from([None, "x"])},
    optional={
        "conversation_id": st.sampled_from(["a", "b", 5, None, "", "x" * 300, "a/../b", "é\u202e"]),
        "start_time": st.sampled_from(["2026-01-20T10:00:00Z", "x", None, 5, "20260120_100000"]),
        "end_time": st.sampled_from(["2026-01-20T10:00:00+05:00", "x", None]),
        "message_count": st.integers(0, 4) | st.none(),
        "trigger_reason": st.text(max_size=5),
        "metadata": st.none() | st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
    },
)


MESSAGE_COLUMNS = ["id", "conversation_id", "role", "content", "created_at", "tokens"]


@st.composite
def files(draw: st.DrawFn) -> dict[str, bytes]:
    """Give transcripts by path: whole, cut anywhere, or in another encoding."""
    found: dict[str, bytes] = {}
    for number in range(draw(st.integers(0, 4))):
        value = draw(documents | st.lists(documents | st.just(7), max_size=3))
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-8-sig", "cp1252"]))
        data = text.encode(encoding, "replace")
        name = draw(st.sampled_from(["data/transcripts/aaaaaaaa_20260120_10000", "other/é x"]))
        cut = draw(st.integers(0, len(data))) if draw(st.booleans()) else len(data)
        found[f"{name}{number}.json"] = data[:cut]
    return found


def build(path: Path, rows: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    """Write a database whose columns have no types, so that any cell may hold anything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, found, names in (
            ("conversations", rows, ["id", "created_at", "updated_at"]),
            (
                "messages",
                said,
                ["id", "conversation_id", "role", "content", "created_at", "tokens"],
            ),
        ):
            connection.execute(f"CREATE TABLE {table} ({', '.join(names)})")
            marks = ", ".join("?" * len(names))
            connection.executemany(
                f"INSERT INTO {table} VALUES ({marks})", ([r.get(n) for n in names] for r in found)
            )


def check_rows(rows: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x"
        build(path, rows, said)
        found = [*HaiaReader().read(str(path), ReadOptions())]
        assert found == [*HaiaReader().read(str(path), ReadOptions())]
        talks = messages = lost = 0
        for item in found:
            if isinstance(item, SourceRecord):
                is_own = "recovered" not in (item.values["metadata"] or {})
                talks += item.model is Conversation and is_own
                messages += len(item.children) + (item.model is not Conversation)
            else:
                lost += item.is_record
        assert talks + messages + lost == len(rows) + len(said)


@settings(max_examples=30, suppress_health_check=[*HealthCheck])
@given(st.lists(talks, max_size=5), st.lists(messages, max_size=8))
def test_every_row_is_in_a_record_or_explained(
    rows: list[dict[str, Any]], said: list[dict[str, Any]]
) -> None:
    check_rows(rows, said)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=[*HealthCheck])
@given(st.lists(talks, max_size=6), st.lists(messages, max_size=12))
def test_every_row_is_in_a_record_or_explained_at_length(
    rows: list[dict[str, Any]], said: list[dict[str, Any]]
) -> None:
    check_rows(rows, said)


def check_import(
    migrated_file: Path,
    tree: dict[str, bytes],
    rows: list[dict[str, Any]],
    said: list[dict[str, Any]],
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(shutil.copy(migrated_file, name)) as store,
    ):
        root = Path(name) / "old"
        for path, data in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        build(root / "haia.db", rows, said)
        count = sum(1 for file in root.rglob("*") if file.is_file())
        foretold = import_from(root, store, kind="haia", dry_run=True)
        report = import_from(root, store, kind="haia")
        assert (foretold.records, foretold.files) == (report.records, report.files)
        assert report.files.found == count
        assert [*report.differences] == []
        again = import_from(root, store, kind="haia")
        assert again.records.same == report.records.created + report.records.updated
        assert again.records.invalid == report.records.invalid
        assert store.check() == []


@settings(max_examples=12, suppress_health_check=[*HealthCheck])
@given(files(), st.lists(talks, max_size=3), st.lists(messages, max_size=5))
def test_any_tree_is_taken_over_or_explained(
    migrated_file: Path,
    tree: dict[str, bytes],
    rows: list[dict[str, Any]],
    said: list[dict[str, Any]],
) -> None:
    check_import(migrated_file, tree, rows, said)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[*HealthCheck])
@given(files(), st.lists(talks, max_size=4), st.lists(messages, max_size=8))
def test_any_tree_is_taken_over_or_explained_at_length(
    migrated_file: Path,
    tree: dict[str, bytes],
    rows: list[dict[str, Any]],
    said: list[dict[str, Any]],
) -> None:
    check_import(migrated_file, tree, rows, said)
