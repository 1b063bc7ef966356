"""The real samples, where they are, and the invented ones that are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.samples import legacy_runs

REAL = (Path(__file__).resolve().parents[3] / "shared/legacy-samples/dynoai").resolve()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_every_file_of_the_real_samples_is_accounted_for(target: Store) -> None:
    files = [path for path in REAL.rglob("*") if not path.is_dir()]
    assert len(files) == 394
    report = import_from(REAL, target)
    assert report.records.to_json() == {
        "found": 57,
        "created": 57,
        "updated": 0,
        "same": 0,
        "skipped": 0,
        "invalid": 0,
    }
    assert (report.files.found, report.files.created, report.files.skipped) == (394, 388, 6)
    assert (len(report.differences), report.exit_code) == (0, 0)
    assert not [r for r in report.warnings if "checksum" in r.message]
    states = {path.parent.name for path in REAL.glob("runs/*/run_state.json")}
    uploads = {path.name for path in REAL.glob("outputs/*")}
    experiments = {
        json.loads(path.read_text())["run_id"]
        for pattern in ("experiments/*/manifest.json", "temp_selftest/*/out/manifest.json")
        for path in REAL.glob(pattern)
    }
    assert {run.id for run in target.runs.stream()} == states | uploads | experiments
    again = import_from(REAL, target)
    assert (again.records.same, again.files.same, again.files.skipped) == (57, 388, 6)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_every_byte_of_the_real_samples_is_in_a_run_or_its_files(target: Store) -> None:
    import_from(REAL, target)
    stored = {
        file.storage_path for run in target.runs.stream() for file in target.runs.files(run.id)
    }
    documents = {
        "manifest.json",
        "run_state.json",
        "jetstream_metadata.json",
        "session_log.json",
        "experiment_summary.json",
        "index.json",
        "LATEST_NEXTGEN_ANALYSIS.json",
        "dynoai.db",
    }
    for path in REAL.rglob("*"):
        if path.is_file() and str(path) not in stored:
            assert path.name in documents or path.name.endswith(".manifest.json"), path


def test_the_shipped_samples_show_every_layout_and_what_lies_between(target: Store) -> None:
    report = import_from(legacy_runs(), target)
    assert (report.records.created, report.records.invalid) == (10, 1)
    assert (report.files.found, report.files.skipped, report.files.invalid) == (39, 2, 1)
    assert (len(report.warnings), len(report.differences), report.exit_code) == (0, 0, 3)
    runs = [*target.runs.stream()]
    sources = {run.source for run in runs}
    assert sources == {"jetstream", "timeline_demo", "simulator_pull", "upload", "experiment"}
    assert {run.status for run in runs} == {"complete", "error", "processing", "partial"}
    assert import_from(legacy_runs(), target).records.same == 10
