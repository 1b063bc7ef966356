"""The real samples, where they are, and the invented ones that are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.importing.verify import verify_sources
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


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_the_samples_of_all_systems_are_taken_over_in_one_go_and_nothing_is_unaccounted_for(
    store: Store,
) -> None:
    samples = REAL.parent
    files = {path.relative_to(samples).as_posix() for path in samples.rglob("*") if path.is_file()}
    report = import_from(samples, store)
    assert report.kind == "dynoai, taskforce, ideation, chiffon, haia"
    assert report.files.found == len(files)
    for counts in (report.files, report.records, *report.kinds.values()):
        numbers = counts.to_json()
        assert numbers.pop("found") == sum(numbers.values())
    assert sum(counts.found for counts in report.kinds.values()) == report.records.found
    assert (len(report.differences), report.exit_code) == (0, 0)
    skipped = {entry.path: entry.reason for entry in report.entries if entry.outcome == "skipped"}
    assert all(skipped.values())
    assert sum(path in files for path in skipped) == report.files.skipped == 7
    again = import_from(samples, store)
    assert (again.records.same, again.records.found) == (report.records.found,) * 2
    assert (again.files.same, again.files.skipped) == (report.files.created, 7)
    assert verify_sources(store).exit_code == 0
    for system in samples.iterdir():
        alone = import_from(system, store)
        assert alone.kind == system.name
        assert alone.files.found == sum(path.is_file() for path in system.rglob("*"))
        assert alone.records.same == alone.records.found


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
