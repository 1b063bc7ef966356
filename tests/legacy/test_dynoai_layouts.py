"""What each of the four layouts becomes: which key is which column, and that nothing is dropped."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from typing import Any

import pytest

from dynostore import Store
from dynostore.importer import import_from
from dynostore.importing.report import ImportReport


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def imported(tree: Any, target: Store) -> ImportReport:
    report = import_from(tree.root, target)
    assert report.files.found == tree.file_count()
    assert report.differences == []
    return report


def test_layout_a_fills_the_columns_of_a_run(tree: Any, target: Store) -> None:
    tree.add_a(status="error", error={"stage": "x", "code": "VE-CSV-42", "message": "bad"})
    report = imported(tree, target)
    run = target.runs.get("run_a")
    assert (run.status, run.source, run.jetstream_id) == ("error", "jetstream", "JS-TEST-001")
    assert (run.current_stage, run.progress_percent) == ("export", 100)
    assert run.created_at == utc("2025-12-05T11:52:20.515+00:00")
    assert run.updated_at == utc("2025-12-08T06:18:43.620+00:00")
    assert run.results_summary == {"avg_correction": -1.8, "cells_corrected": 132}
    assert run.error_info == {"stage": "x", "code": "VE-CSV-42", "message": "bad"}
    assert run.metadata == {"files": ["VE.csv"]}
    assert report.records.created == 1
    assert report.warnings == []


def test_a_file_of_a_run_is_named_by_its_path_below_the_run(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/input/VE.csv", "other\n")
    tree.write("runs/run_a/jetstream_raw/deep/x.bin", b"\x00\x01")
    imported(tree, target)
    files = {file.filename: file for file in target.runs.files("run_a")}
    assert sorted(files) == ["input/VE.csv", "jetstream_raw/deep/x.bin", "output/VE.csv"]
    file = files["output/VE.csv"]
    data = (tree.root / "runs/run_a/output/VE.csv").read_bytes()
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.size_bytes == len(data)
    assert file.file_type == "csv"
    assert file.storage_path == str(tree.root / "runs/run_a/output/VE.csv")


def test_keys_without_a_column_and_side_documents_go_to_metadata(tree: Any, target: Store) -> None:
    tree.add_a(operator="kim", manifest="mine", flags=[1, None])
    log: dict[str, Any] = {"schema_version": "1.0.0", "events": [], "active_snapshot_id": None}
    tree.write("runs/run_a/session_log.json", log)
    tree.write("runs/run_a/jetstream_metadata.json", {"vehicle": "Tourer", "peak_hp": 96.3})
    manifest = tree.manifest("run_a", session_id=...)
    tree.write("runs/run_a/output/manifest.json", manifest)
    imported(tree, target)
    run = target.runs.get("run_a")
    config = manifest.pop("config")
    assert run.config_snapshot == config
    assert run.input_filename == "log file.csv"
    assert run.metadata == {
        "files": ["VE.csv"],
        "operator": "kim",
        "manifest": "mine",
        "flags": [1, None],
        "session_log": log,
        "jetstream_metadata": {"vehicle": "Tourer", "peak_hp": 96.3},
        "manifest_file": manifest,
    }


def test_the_manifest_in_output_is_no_second_run(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/output/manifest.json", tree.manifest("run_a"))
    report = imported(tree, target)
    assert report.records.found == 1
    assert target.runs.count() == 1


def test_the_manifest_in_output_speaks_of_files_in_output(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/VE.csv", "at the top\n")
    entry = {"name": "VE.csv", "path": "C:\\Dev\\runs\\run_a\\output\\VE.csv", "schema": "stub"}
    tree.write("runs/run_a/output/manifest.json", tree.manifest("run_a", outputs=[entry]))
    imported(tree, target)
    assert target.runs.file("run_a", "output/VE.csv").metadata == entry
    assert target.runs.file("run_a", "VE.csv").metadata is None


def test_snapshots_are_files_with_what_the_log_says_of_them(tree: Any, target: Store) -> None:
    tree.add_a()
    sha256 = hashlib.sha256(b"rpm\r\n1\r\n").hexdigest()
    snapshot = {
        "id": "snap_7c20e4b1",
        "timestamp": "2025-11-03T09:16:06.120345+00:00",
        "sha256": sha256,
    }
    log = {"events": [{"snapshot_before": None, "snapshot_after": snapshot}, None, {}]}
    tree.write("runs/run_a/session_log.json", log)
    tree.write("runs/run_a/snapshots/snap_7c20e4b1.csv", "rpm\n1\n")
    report = imported(tree, target)
    file = target.runs.file("run_a", "snapshots/snap_7c20e4b1.csv")
    assert file.metadata == snapshot
    assert file.created_at == utc("2025-11-03T09:16:06.120345+00:00")
    assert report.warnings == []


def test_only_five_keys_are_enough_for_layout_a(tree: Any, target: Store) -> None:
    absent = dict.fromkeys(
        ("jetstream_id", "current_stage", "progress_percent", "files", "results_summary"), ...
    )
    tree.add_a(created_at="2025-12-06T00:03:47.081238+00:00", **absent)
    imported(tree, target)
    run = target.runs.get("run_a")
    assert run.created_at == utc("2025-12-06T00:03:47.081238+00:00")
    assert (run.jetstream_id, run.progress_percent, run.metadata) == (None, None, None)


def test_in_layout_b_the_directory_is_the_id_and_the_manifests_is_kept(
    tree: Any, target: Store
) -> None:
    run_id = tree.add_b()
    imported(tree, target)
    run = target.runs.get(run_id)
    assert (run.status, run.source, run.current_stage) == ("complete", "upload", "export")
    assert run.created_at == utc("2025-12-05T15:32:59.682+00:00")
    assert run.updated_at == utc("2025-12-05T15:33:01.685+00:00")
    assert run.input_filename == "log file.csv"
    assert run.results_summary == {"rows_read": 5}
    assert run.config_snapshot == {"args": {"clamp": 15.0}, "base_tables": {"front": None}}
    assert run.error_info is None
    assert run.metadata["run_id"] == "2025-12-05T15-32-59Z-000000"
    manifest = tree.manifest("2025-12-05T15-32-59Z-000000")
    for used in ("stats", "config", "outputs"):
        del manifest[used]
    assert run.metadata == manifest


def test_the_stamped_copy_is_no_file_of_its_own_unless_it_differs(tree: Any, target: Store) -> None:
    same, other = tree.add_b(0), tree.add_b(1)
    tree.write(f"outputs/{other}/2025-12-05T15-32-59Z-000001.manifest.json", "{}")
    imported(tree, target)
    assert [f.filename for f in target.runs.files(same)] == ["VE.csv"]
    names = [f.filename for f in target.runs.files(other)]
    assert names == ["2025-12-05T15-32-59Z-000001.manifest.json", "VE.csv"]


def test_a_stamped_copy_alone_is_read_as_the_manifest(tree: Any, target: Store) -> None:
    run_id = tree.add_b()
    (tree.root / f"outputs/{run_id}/manifest.json").unlink()
    imported(tree, target)
    assert target.runs.get(run_id).status == "complete"


def test_a_failed_manifest_says_what_went_wrong(tree: Any, target: Store) -> None:
    said = {"code": "error", "message": "Missing:\nMAP/kPa", "last_stage": "load"}
    run_id = tree.add_b(status=said, stats={}, outputs=[])
    imported(tree, target)
    run = target.runs.get(run_id)
    assert (run.status, run.current_stage) == ("error", "load")
    assert run.error_info == {"stage": "load", "code": "error", "message": "Missing:\nMAP/kPa"}
    assert run.metadata["status"] == said
    assert (run.results_summary, run.metadata["outputs"]) == ({}, [])


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", "pending"),
        ("running", "processing"),
        ("success", "complete"),
        ("completed", "complete"),
        ("failed", "error"),
        ("partial", "partial"),
        ("error", "error"),
        ("downloading", "downloading"),
    ],
)
def test_the_words_of_three_vocabularies_are_one(
    tree: Any, target: Store, word: str, status: str
) -> None:
    tree.add_a(status=word)
    run_id = tree.add_b(status={"code": word, "message": "", "last_stage": "load"})
    imported(tree, target)
    assert target.runs.get("run_a").status == status
    assert target.runs.get(run_id).status == status


def test_a_manifest_without_schema_and_analysis_is_read_as_b(tree: Any, target: Store) -> None:
    document = {
        "version": "1",
        "timing": {"start": "2025-12-05T15:32:59Z"},
        "input": {"path": "/home/x/log.csv"},
        "stats": {"rows": 1},
        "outputs": [{"name": "VE.csv", "path": "VE.csv"}],
        "config": {},
    }
    tree.add_manifest("somewhere/test-run", document)
    tree.write("somewhere/test-run/VE.csv", "x")
    report = imported(tree, target)
    run = target.runs.get("test-run")
    assert (run.source, run.status, run.input_filename) == ("upload", "complete", "log.csv")
    assert run.updated_at == run.created_at == utc("2025-12-05T15:32:59+00:00")
    assert target.runs.file("test-run", "VE.csv").metadata == {"name": "VE.csv", "path": "VE.csv"}
    assert "status: is missing" in report.warnings[0].message


def test_layout_c_is_a_finished_run_with_its_analysis(tree: Any, target: Store) -> None:
    tree.add_c()
    imported(tree, target)
    run = target.runs.get("jet_1")
    assert (run.status, run.source, run.input_filename) == ("complete", "real", "evening.wp8")
    assert run.created_at == run.updated_at == utc("2025-11-07T14:30:12.4+00:00")
    assert run.results_summary == {"peak_hp": 88.7, "overall_status": "LEAN"}
    assert run.metadata == {
        "grid": {"rpm_bins": [2500], "map_bins": [40]},
        "source_file": "C:\\Logs\\evening.wp8",
    }
    entry = {"name": "ve", "path": "runs/jet_1/VE.csv"}
    assert target.runs.file("jet_1", "VE.csv").metadata == entry


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"inputs": {"mode": "simulator_pull"}}, "simulator_pull"),
        ({"inputs": {"mode": "simulate"}}, "simulator_pull"),
        ({"source_file": "simulated"}, "simulator_pull"),
        ({"source_file": "C:\\x\\morning_pull.csv"}, "simulator_pull"),
        ({"source_file": "/x/morning.csv"}, "real"),
        ({"source_file": "MORNING.WP8"}, "real"),
        ({"inputs": {"mode": "live"}, "source_file": ...}, "unknown"),
        ({"source_file": None, "inputs": []}, "unknown"),
    ],
)
def test_layout_c_infers_its_source(
    tree: Any, target: Store, changes: dict[str, Any], source: str
) -> None:
    tree.add_c(**changes)
    imported(tree, target)
    assert target.runs.get("jet_1").source == source


@pytest.mark.parametrize(
    ("changes", "peaks"),
    [
        ({"peak_performance": {"peak_hp": 90.5}}, {"peak_hp": 90.5}),
        ({"peak_hp": 91, "peak_tq": 100}, {"peak_hp": 91, "peak_tq": 100}),
        ({"peak_torque": 99.5}, {"peak_torque": 99.5}),
    ],
)
def test_layout_c_reads_the_peaks_of_older_manifests(
    tree: Any, target: Store, changes: dict[str, Any], peaks: dict[str, Any]
) -> None:
    tree.add_c(analysis=..., **changes)
    imported(tree, target)
    run = target.runs.get("jet_1")
    assert run.results_summary == peaks
    assert changes.items() <= run.metadata.items()


def test_in_layout_d_the_manifests_id_is_the_id_and_the_directory_is_kept(
    tree: Any, target: Store
) -> None:
    first = tree.add_d("experiments/k1_dense", run_id="2025-11-10T22-22-21Z-f51871")
    second = tree.add_d("temp_selftest/run_2025/out", run_id="2025-11-20T03-12-00Z-41ac4b")
    tree.write("experiments/k1_dense/experiment_summary.json", {"idea_id": "k1"})
    third = tree.add_d("experiments/same", run_id="same")
    report = imported(tree, target)
    assert target.runs.get(third).metadata["directory"] == "same"
    run = target.runs.get(first)
    assert (run.source, run.metadata["directory"]) == ("experiment", "k1_dense")
    assert run.metadata["experiment_summary"] == {"idea_id": "k1"}
    assert target.runs.get(second).metadata["directory"] == "run_2025/out"
    assert report.records.created == 3


def test_outputs_that_are_not_on_disk_stay_in_metadata(tree: Any, target: Store) -> None:
    missing = {"name": "Gone.csv", "path": "Gone.csv", "sha256": "ab"}
    here = tree.output(f"outputs/{tree.uuids[0]}/VE.csv")
    tree.add_b(outputs=[here, missing, "Gone.txt", 7])
    report = imported(tree, target)
    run = target.runs.get(tree.uuids[0])
    assert run.metadata["outputs"] == [missing, "Gone.txt", 7]
    assert target.runs.file(run.id, "VE.csv").metadata == here
    assert [r.message for r in report.warnings] == [
        "outputs: 3 of 4 could not be matched with a file"
    ]


def test_of_two_outputs_that_name_one_file_the_second_stays_in_metadata(
    tree: Any, target: Store
) -> None:
    first = tree.output(f"outputs/{tree.uuids[0]}/VE.csv")
    second = {"name": "VE.csv", "schema": "other"}
    tree.add_b(outputs=[first, second])
    imported(tree, target)
    assert target.runs.file(tree.uuids[0], "VE.csv").metadata == first
    assert target.runs.get(tree.uuids[0]).metadata["outputs"] == [second]


@pytest.mark.parametrize("diagnostics", [{}, [], None, {"a": 1}, ...])
def test_diagnostics_may_be_of_any_shape(tree: Any, target: Store, diagnostics: Any) -> None:
    run_id = tree.add_b(diagnostics=diagnostics)
    imported(tree, target)
    metadata = target.runs.get(run_id).metadata
    assert metadata.get("diagnostics", ...) == diagnostics


@pytest.mark.parametrize("key", ["input", "timing", "config", "stats", "outputs", "env", "apply"])
@pytest.mark.parametrize("value", [None, [], {}, "text", 5, ...])
def test_a_manifest_bears_any_shape_of_what_it_does_not_need(
    tree: Any, target: Store, key: str, value: Any
) -> None:
    run_id = tree.add_b(**{key: value})
    imported(tree, target)
    assert target.runs.get(run_id).status == "complete"


def test_runs_below_a_run_are_runs_of_their_own(tree: Any, target: Store) -> None:
    tree.add_manifest("experiments", tree.manifest("top"))
    tree.add_d("experiments/inner", run_id="inner")
    tree.add_a("nested")
    tree.write("experiments/inner/deep/run_state.json", tree.state("deep"))
    imported(tree, target)
    assert {run.id for run in target.runs.stream()} == {"top", "inner", "nested", "deep"}
    assert target.runs.files("top") == []


def test_the_stale_index_is_never_asked(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/index.json", {"total": 1, "runs": [tree.state("run_gone")]})
    report = imported(tree, target)
    assert [run.id for run in target.runs.stream()] == ["run_a"]
    assert (report.files.skipped, report.exit_code) == (1, 0)


def test_the_report_says_all_of_it_as_json(tree: Any, target: Store) -> None:
    tree.add_all()
    report = import_from(tree.root, target)
    document = json.loads(json.dumps(report.to_json()))
    assert document["records"] == {
        "found": 6,
        "created": 5,
        "updated": 0,
        "same": 0,
        "skipped": 0,
        "invalid": 1,
    }
    assert document["files"]["found"] == tree.file_count()
    assert (document["ok"], document["exit_code"]) == (False, 3)
    by_path = {item["path"]: item for item in document["items"]}
    assert by_path["runs/run_a"]["key"] == "run_a"
    assert by_path[f"outputs/{tree.uuids[7]}"]["reason"].startswith("manifest.json: truncated")
    assert sum(item["files"] for item in document["items"]) == tree.file_count()


def test_an_equal_copy_of_a_run_is_skipped(tree: Any, target: Store) -> None:
    tree.add_a()
    shutil.copytree(tree.root / "runs/run_a", tree.root / "runs/backup/run_a")
    report = imported(tree, target)
    assert (report.exit_code, report.records.created, report.records.skipped) == (0, 1, 1)
    [skipped] = [
        entry for entry in report.entries if entry.outcome == "skipped" and entry.is_record
    ]
    assert skipped.path == "runs/run_a"
    assert skipped.reason == "runs/run_a is the same as runs/backup/run_a, which was taken"


def test_of_two_copies_of_a_run_that_differ_both_are_named_and_how_to_have_the_other(
    tree: Any, target: Store
) -> None:
    tree.add_a(status="complete")
    copy = shutil.copytree(tree.root / "runs/run_a", tree.root / "runs/backup/run_a")
    state = json.loads((copy / "run_state.json").read_text("utf-8"))
    tree.write("runs/backup/run_a/run_state.json", state | {"status": "error"})
    report = imported(tree, target)
    assert (report.exit_code, report.records.created) == (3, 1)
    [reason] = [entry.reason for entry in report.entries if entry.outcome == "invalid"]
    assert "runs/backup/run_a, which came first" in str(reason)
    assert "runs/run_a differs from it and was not: to have it instead, import it" in str(reason)
    assert target.runs.get("run_a").status == "error"
    assert import_from(tree.root / "runs/run_a", target).records.updated == 1
    assert target.runs.get("run_a").status == "complete"
