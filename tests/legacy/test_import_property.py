"""Trees that nobody wrote by hand: no crash, numbers that add up, a second import all the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.importer import import_from

pytestmark = pytest.mark.once

NAMES = ["run_a", "run_b", "out", "output", "00000001-1111-4222-8333-000000000001", "é x"]
PLACES = ["runs", "outputs", "experiments", "x/y", "runs/run_a/output", "."]
KEYS = [
    *("run_id", "status", "source", "created_at", "updated_at", "jetstream_id", "error", "files"),
    *("progress_percent", "current_stage", "results_summary", "schema_id", "timing", "input"),
    *("stats", "outputs", "analysis", "timestamp", "source_file", "inputs", "config", "metadata"),
]
HEADS = ["run_state.json", "manifest.json", "x.manifest.json", "output/manifest.json"]
SIDE = ["session_log.json", "jetstream_metadata.json", "experiment_summary.json", "index.json"]
OTHERS = ["VE.csv", "output/VE.csv", "snapshots/snap_1.csv", "._manifest_1.tmp", "a.pkl", "b"]

texts = st.text(max_size=70) | st.sampled_from(
    [
        *("complete", "success", "queued", "error", "dynoai.manifest@1", "VE.csv", "snap_1"),
        *("2025-12-05T11:52:20.515Z", "2025-12-05 11:52", "C:\\x\\VE.csv", "0" * 64, "x" * 65),
        *("2025-12-05T15-32-59Z-501326", "\ud800", "\x00", "0001-01-01T00:00:00+14:00", ""),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("code", "last_stage", "message", "start", "end", "path", "name", "sha256"),
                    *("type", "created", "events", "snapshot_after", "id", "timestamp", "mode"),
                ]
            )
            | texts,
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=12)
likely = st.fixed_dictionaries(
    {"status": st.sampled_from(["complete", {"code": "success"}, {"code": "error"}])},
    optional={
        "schema_id": st.just("dynoai.manifest@1"),
        "created_at": st.just("2025-12-05T11:52:20.515Z"),
        "timing": st.just({"start": "2025-12-05T11:52:20.515Z"}),
        "outputs": st.just([{"name": "VE.csv", "sha256": "0" * 64}]) | values,
        "analysis": values,
        "other": values,
    },
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Give a document, whole or cut anywhere, in one encoding or another, or no document."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=50))
    value = draw(likely | likely | documents)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1"]))
    data = text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 4)) == 0 else data


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Give a tree: content by path."""
    tree: dict[str, bytes] = {}
    for _ in range(draw(st.integers(1, 5))):
        place = f"{draw(st.sampled_from(PLACES))}/{draw(st.sampled_from(NAMES))}"
        for name in draw(st.lists(st.sampled_from(HEADS), max_size=2)):
            tree[f"{place}/{name}"] = draw(contents())
        for name in draw(st.lists(st.sampled_from(SIDE), max_size=2)):
            tree[f"{place}/{name}"] = draw(contents())
        for name in draw(st.lists(st.sampled_from(OTHERS), max_size=3)):
            tree[f"{place}/{name}"] = draw(st.binary(max_size=20))
    return tree


def write(root: Path, tree: dict[str, bytes]) -> int:
    """Write a tree, leaving out what would need a file to be a directory; count the files."""
    for path, data in tree.items():
        file = root / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    return sum(1 for path in root.rglob("*") if path.is_file())


def sources_of(report: Any) -> dict[str, Any]:
    document: dict[str, Any] = report.to_json()
    for volatile in ("seconds", "dry_run"):
        del document[volatile]
    return document


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(first=trees(), second=trees())
def test_any_tree_is_taken_over_or_explained(
    migrated_file: Path, first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(shutil.copy(migrated_file, name)) as store,
    ):
        root = Path(name) / "old"
        root.mkdir()
        for tree in (first, second):
            files = write(root, tree)
            foretold = import_from(root, store, kind="dynoai", dry_run=True)
            report = import_from(root, store, kind="dynoai")
            assert sources_of(foretold) == sources_of(report)
            assert report.files.found == files
            assert sum(entry.files for entry in report.entries) == files
            assert report.differences == []
            assert json.loads(json.dumps(report.to_json()))["files"]["found"] == files
            again = import_from(root, store, kind="dynoai")
            kept = sum(bool(entry.kept) for entry in again.entries)
            assert again.records.same == again.records.found - again.records.invalid - kept
            assert kept == 0
        taken = {e.key for e in report.entries if e.is_record and e.outcome != "invalid"}
        assert taken <= {run.id for run in store.runs.stream()}
        assert store.check() == []
        shutil.rmtree(root)
