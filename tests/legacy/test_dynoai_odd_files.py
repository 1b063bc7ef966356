"""What else lies in old directories: each flaw is one reason, and stops nothing else."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import ConfigError, SourceNotFound
from dynostore.importer import import_from
from dynostore.importing.report import Entry, ImportReport
from dynostore.legacy import checksums, source_json


def imported(tree: Any, target: Store) -> ImportReport:
    report = import_from(tree.root, target)
    assert report.files.found == tree.file_count()
    assert report.differences == []
    json.dumps(report.to_json()).encode()
    return report


def entry_of(report: ImportReport, path: str) -> Entry:
    found = [entry for entry in report.entries if entry.path == path]
    assert len(found) == 1, [entry.path for entry in report.entries]
    return found[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b'{"run_id": "run_bad", "status": "comp', "truncated JSON"),
        (b'{"run_id": "run_bad", ', "truncated JSON"),
        (b"{'run_id': 'run_bad'}", "not JSON"),
        (b"\x80\x81 no text", "not UTF-8 at byte 0"),
        (b'["run_bad"]', "an object is expected at the top, not list"),
        (b'{"status": "complete", "a": {"b": [1, NaN]}}', "a.b[1]: NaN"),
        (b'{"status": "complete", "a": -Infinity}', "a: NaN or infinity"),
        (b'{"status": "complete", "a": 1e999}', "a: NaN or infinity"),
        (b'{"status": "complete", "a": "x\\u0000y"}', "a: NUL"),
        (b'{"status": "complete", "a\\u0000": 1}', "a key in the top: NUL"),
        (b'{"status": "complete", "a": "\\ud83d"}', "a: NUL or half a surrogate pair"),
        (b'{"status": "complete", "a": "\x00"}', "not JSON"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested more than 100 levels"),
        (b'{"a": ' + b'{"a":[' * 50 + b"1" + b"]}" * 50 + b"}", "nested more than 100 levels"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"run_id": "run_bad"}', "status: is missing"),
        (b'{"status": null}', "status: is missing"),
        (b'{"status": "exploded"}', "status: unknown value 'exploded'"),
        (b'{"status": ["complete"]}', "status: unknown value"),
        (b'{"status": "complete", "run_id": 7}', "run_id: text expected, not int"),
        (b'{"status": "complete", "run_id": "' + b"x" * 65 + b'"}', "id: 65 characters; at most"),
        (b'{"status": "complete", "source": "' + b"x" * 65 + b'"}', "source: 65 characters"),
        (b'{"status": "complete", "source": 5}', "source: text expected, not int"),
        (b'{"status": "complete", "created_at": "soon"}', "created_at: 'soon' is not a time"),
        (b'{"status": "complete", "updated_at": 5}', "updated_at: a time is expected, not int"),
        (b'{"status": "complete", "progress_percent": 250}', "progress_percent: 250 is not"),
        (b'{"status": "complete", "progress_percent": 62.5}', "progress_percent: integer"),
        (b'{"status": "complete", "current_stage": {}}', "current_stage: text expected"),
    ],
)
def test_a_bad_state_file_costs_its_own_run_and_is_named(
    tree: Any, target: Store, content: bytes, reason: str
) -> None:
    tree.add_a("run_good")
    tree.write("runs/run_bad/run_state.json", content)
    tree.write("runs/run_bad/output/VE.csv", "x")
    tree.write("runs/run_bad/output/manifest.json", tree.manifest("run_bad"))
    report = imported(tree, target)
    entry = entry_of(report, "runs/run_bad")
    assert (entry.outcome, entry.is_record, entry.files) == ("invalid", True, 3)
    assert reason in str(entry.reason)
    assert [run.id for run in target.runs.stream()] == ["run_good"]
    assert (report.records.created, report.records.invalid, report.exit_code) == (1, 1, 3)
    noted = target.imports.list(status="invalid").items
    assert [row.source_path for row in noted] == [str(tree.root / "runs/run_bad")]
    assert noted[0].reason == entry.reason


def test_a_pair_of_surrogates_and_an_escaped_backslash_are_good(tree: Any, target: Store) -> None:
    text = json.dumps(tree.state()).replace("export", "\\ud83d\\ude00 \\\\u0000 NaN")
    tree.write("runs/run_a/run_state.json", text)
    report = imported(tree, target)
    assert report.exit_code == 0
    assert target.runs.get("run_a").current_stage == "\U0001f600 \\u0000 NaN"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_read_over_and_reported(
    tree: Any, target: Store, encoding: str
) -> None:
    text = json.dumps(tree.state(current_stage="Größe"), ensure_ascii=False)
    tree.write("runs/run_a/run_state.json", text.encode(encoding))
    report = imported(tree, target)
    assert target.runs.get("run_a").current_stage == "Größe"
    assert [r.path for r in report.warnings] == ["runs/run_a"]
    assert "byte order mark" in report.warnings[0].message


def test_a_side_document_that_is_broken_costs_itself_alone(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/session_log.json", '{"events": [')
    tree.write("runs/run_a/jetstream_metadata.json", '{"peak_hp": NaN}')
    tree.write("runs/run_a/output/manifest.json", "[]")
    report = imported(tree, target)
    assert target.runs.get("run_a").metadata == {"files": ["VE.csv"]}
    assert (report.records.created, report.records.invalid) == (1, 0)
    assert (report.files.created, report.files.invalid, report.exit_code) == (2, 3, 3)
    reason = str(entry_of(report, "runs/run_a/session_log.json").reason)
    assert reason.startswith("truncated JSON")


def test_a_broken_output_is_a_file_like_any_other(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/output/Anomaly_Hypotheses.json", '{"cut')
    tree.write("runs/run_a/output/empty.csv", "")
    report = imported(tree, target)
    assert (report.files.created, report.exit_code) == (4, 0)
    assert target.runs.file("run_a", "output/empty.csv").size_bytes == 0


@pytest.mark.parametrize("schema", ["dynoai.manifest@2", "dynoai.nextgen@1"])
def test_a_manifest_of_another_version_is_invalid(tree: Any, target: Store, schema: str) -> None:
    tree.add_b(schema_id=schema)
    report = imported(tree, target)
    assert report.records.invalid == 1
    assert schema in str(report.entries[0].reason)


def test_a_manifest_of_something_else_is_no_run(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("web/manifest.json", {"name": "App", "icons": []})
    tree.write("other/manifest.json", {"schema_id": "acme@1", "outputs": []})
    report = imported(tree, target)
    assert entry_of(report, "web/manifest.json").reason == "not a manifest of DynoAI"
    assert (report.files.skipped, report.exit_code) == (2, 0)


def test_leftovers_and_strangers_are_skipped_with_their_reasons(tree: Any, target: Store) -> None:
    tree.add_a()
    expected = {
        "runs/index.json": "stale",
        "runs/run_a/._manifest_x1.tmp": "temporary",
        "runs/run_a/run_state.json.tmp": "temporary",
        "models/old.pkl": "pickle",
        "runs/run_a/output/model.pickle": "pickle",
        "experiments/experiment_summary.json": "summary",
        "dynoai.db": "database",
        "uploads/x/log.csv": "not in a run",
        "runs/run_a/.DS_Store": "not of the tool",
    }
    for path in expected:
        tree.write(path, "")
    report = imported(tree, target)
    for path, reason in expected.items():
        entry = entry_of(report, path)
        assert (entry.outcome, entry.is_record) == ("skipped", False)
        assert reason in str(entry.reason)
    assert (report.files.skipped, report.exit_code) == (len(expected), 0)
    assert [f.filename for f in target.runs.files("run_a")] == ["output/VE.csv"]


def test_of_two_directories_with_one_id_the_first_is_taken(tree: Any, target: Store) -> None:
    for number in range(250):  # more than one batch lies between the two
        tree.write(f"runs/m{number:03}/run_state.json", tree.state(f"m{number:03}"))
    tree.write("runs/a_first/run_state.json", tree.state("twin", current_stage="first"))
    tree.write("runs/z_copy/run_state.json", tree.state("twin", current_stage="second"))
    report = imported(tree, target)
    entry = entry_of(report, "runs/z_copy")
    assert entry.outcome == "invalid"
    assert "runs/a_first" in str(entry.reason)
    assert "runs/z_copy" in str(entry.reason)
    assert target.runs.get("twin").current_stage == "first"
    again = import_from(tree.root, target)
    assert (again.records.same, again.records.invalid) == (251, 1)


def test_links_out_of_the_tree_are_not_followed(tree: Any, target: Store, tmp_path: Path) -> None:
    tree.add_a()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("x")
    (outside / "run_state.json").write_text(json.dumps(tree.state("run_outside")))
    os.symlink(outside, tree.root / "runs/run_link")
    os.symlink(outside / "secret.txt", tree.root / "runs/run_a/output/secret.txt")
    report = imported(tree, target)
    for path in ("runs/run_link", "runs/run_a/output/secret.txt"):
        entry = entry_of(report, path)
        assert entry.outcome == "invalid"
        assert str(outside) in str(entry.reason)
    assert [run.id for run in target.runs.stream()] == ["run_a"]
    assert report.exit_code == 3


def test_links_inside_the_tree_are_skipped(tree: Any, target: Store) -> None:
    tree.add_a()
    os.symlink("run_a", tree.root / "runs/latest")
    os.symlink("VE.csv", tree.root / "runs/run_a/output/newest.csv")
    os.symlink("nowhere", tree.root / "runs/dangling")
    os.symlink("loop", tree.root / "runs/loop")
    report = imported(tree, target)
    assert "runs/run_a is read" in str(entry_of(report, "runs/latest").reason)
    assert entry_of(report, "runs/dangling").reason == "a link to nothing"
    assert (report.files.skipped, report.exit_code) == (4, 0)
    assert [f.filename for f in target.runs.files("run_a")] == ["output/VE.csv"]


def test_a_source_that_is_itself_a_link_is_followed(tree: Any, target: Store) -> None:
    tree.add_a()
    link = tree.root.with_name("link")
    link.symlink_to(tree.root)
    report = import_from(link, target)
    assert report.records.created == 1
    assert target.runs.files("run_a")[0].storage_path == str(tree.root / "runs/run_a/output/VE.csv")


def test_pipes_and_sockets_are_never_opened(tree: Any, target: Store) -> None:
    tree.add_a()
    os.mkfifo(tree.root / "runs/run_a/pipe.csv")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tree.root)  # a socket's address holds about a hundred characters
        try:
            server.bind("x.sock")
        finally:
            os.chdir(here)
        report = imported(tree, target)
    assert entry_of(report, "runs/run_a/pipe.csv").reason == "neither a file nor a directory"
    assert (report.files.skipped, report.exit_code) == (2, 0)


def test_names_that_are_not_utf8_are_reported_and_odd_ones_taken(tree: Any, target: Store) -> None:
    tree.add_a()
    directory = os.fsencode(tree.root / "runs/run_a/output")
    for name in (b"\xff\xfe.csv", b"new\nline \xe2\x82\xac.csv"):
        Path(os.fsdecode(directory + b"/" + name)).write_text("x")
    bad_run = os.fsencode(tree.root / "outputs") + b"/\xe4\xf6"
    os.makedirs(bad_run)
    Path(os.fsdecode(bad_run + b"/manifest.json")).write_text(json.dumps(tree.manifest()))
    report = imported(tree, target)
    names = [f.filename for f in target.runs.files("run_a")]
    assert names == ["output/VE.csv", "output/new\nline €.csv"]
    reasons = {e.path: e.reason for e in report.entries if e.outcome == "invalid"}
    assert reasons == {
        "outputs/\\udce4\\udcf6": "the path is not UTF-8, so the store cannot name its files",
        "runs/run_a/output/\\udcff\\udcfe.csv": "its name is not UTF-8",
    }
    assert target.imports.count(status="invalid") == 2


def test_a_directory_that_cannot_be_read_is_reported(tree: Any, target: Store) -> None:
    tree.add_a()
    # A path of more than PATH_MAX bytes: no user can list it by its absolute name, not even root.
    here = os.getcwd()
    os.chdir(tree.root)
    try:
        for _ in range(25):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    report = import_from(tree.root, target)
    bad = [e for e in report.entries if e.outcome == "invalid"]
    assert [e.reason for e in bad] == ["the directory cannot be read: File name too long"]
    assert (report.records.created, report.exit_code) == (1, 3)


_AS_NOBODY = """
import os, sys, json
from dynostore.importer import import_from  # nobody may be kept from the interpreter's files
os.setgroups([]); os.setegid(65534); os.seteuid(65534)
report = import_from(sys.argv[1], None, dry_run=True).to_json()
os.seteuid(0)  # a measured process writes its coverage when it ends
print(json.dumps(report))
"""


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become nobody")
def test_what_permissions_hide_is_reported(tree: Any, start_python: Callable[..., Any]) -> None:
    tree.add_a("run_good")
    tree.add_a("run_shut")
    tree.add_a("run_state_shut")
    os.chmod(tree.root / "runs/run_good/output/VE.csv", 0)
    os.chmod(tree.root / "runs/run_shut", 0)
    os.chmod(tree.root / "runs/run_state_shut/run_state.json", 0)
    opened = [p for p in tree.root.parents if p != Path("/") and not p.stat().st_mode & 0o001]
    modes = {p: p.stat().st_mode for p in opened}
    try:
        for path in opened:
            path.chmod(0o755)
        out, err = start_python(_AS_NOBODY, tree.root).communicate(timeout=60)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
        os.chmod(tree.root / "runs/run_shut", 0o755)
    assert err == ""
    report = json.loads(out)
    reasons = {i["path"]: i["reason"] for i in report["items"] if i["outcome"] == "invalid"}
    assert reasons == {
        "runs/run_good/output/VE.csv": "cannot be read: Permission denied",
        "runs/run_shut": "the directory cannot be read: Permission denied",
        "runs/run_state_shut": "run_state.json: cannot be read: Permission denied",
    }
    assert report["records"]["created"] == 1


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("secret")
    os.symlink(tmp_path / "target", tmp_path / "link")
    with pytest.raises(OSError, match="symbolic links"):
        checksums.read_file(str(tmp_path / "link"))


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 5])
def test_files_of_any_size_are_hashed_in_full(tmp_path: Path, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
    path = tmp_path / "x.bin"
    path.write_bytes(data[:size])
    facts = checksums.read_file(str(path))
    assert (facts.size_bytes, facts.sha256) == (size, hashlib.sha256(data[:size]).hexdigest())
    assert facts.data == (data[:size] if size <= 2**20 else None)


@pytest.mark.parametrize("lines", [1, 70_000, 200_000])
@pytest.mark.parametrize("written", ["\r\n", "\n"])
def test_checksums_match_exactly_or_with_crlf(tmp_path: Path, lines: int, written: str) -> None:
    text = "".join(f"{i},0.5,1.25,x{written}" for i in range(lines)) + "last"
    expected = hashlib.sha256(text.replace(written, "\r\n").encode()).hexdigest().upper()
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    facts = checksums.read_file(str(path))
    assert checksums.agrees(facts, expected)
    assert checksums.agrees(facts, facts.sha256)
    path.write_bytes(text.encode() + b"!")
    assert not checksums.agrees(checksums.read_file(str(path)), expected)


def test_a_line_end_across_two_chunks_is_one_line_end(tmp_path: Path) -> None:
    data = b"x" * (2**20 - 1) + b"\r\n" + b"y" * 2**20 + b"\n\r"
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    wanted = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert checksums.agrees(checksums.read_file(str(path)), hashlib.sha256(wanted).hexdigest())


def test_a_checksum_that_does_not_match_is_a_warning_with_both(tree: Any, target: Store) -> None:
    directory = f"outputs/{tree.uuids[0]}"
    crlf = hashlib.sha256(b"a\r\nb\r\n").hexdigest()
    good = tree.output(f"{directory}/Good.csv", "a\nb\n", sha256=crlf, size_bytes=6)
    bad = tree.output(f"{directory}/Bad.csv", "a\nb\n", sha256="0" * 64)
    none = tree.output(f"{directory}/None.csv", "a\nb\n", sha256="")
    tree.add_b(outputs=[good, bad, none])
    report = imported(tree, target)
    assert [r.path for r in report.warnings] == [directory]
    message = report.warnings[0].message
    assert message.startswith("Bad.csv: checksum mismatch")
    assert "0" * 64 in message
    assert (report.records.created, report.exit_code) == (1, 0)
    stored = target.runs.file(tree.uuids[0], "Good.csv")
    assert (stored.size_bytes, stored.metadata["sha256"]) == (4, crlf)


@pytest.mark.parametrize(
    ("said", "meant", "warned"),
    [
        ("2025-12-05T11:52:20.515Z", "2025-12-05T11:52:20.515000+00:00", False),
        ("2025-12-06T00:03:47.081238+00:00", "2025-12-06T00:03:47.081238+00:00", False),
        ("2025-12-06T02:03:47+02:00", "2025-12-06T00:03:47+00:00", False),
        ("2025-12-06T00:03:47.081238", "2025-12-06T00:03:47.081238+00:00", True),
        ("2025-12-06 00:03:47", "2025-12-06T00:03:47+00:00", True),
    ],
)
def test_times_are_utc_in_every_form(
    tree: Any, target: Store, said: str, meant: str, warned: bool
) -> None:
    tree.add_a(created_at=said, updated_at="2026-01-01T00:00:00Z")
    run_id = tree.add_b(timing={"start": said})
    tree.add_c(timestamp=said)
    report = imported(tree, target)
    for key in ("run_a", run_id, "jet_1"):
        assert target.runs.get(key).created_at == dt.datetime.fromisoformat(meant)
    assert len(report.warnings) == (3 if warned else 0)
    assert all("taken as UTC" in remark.message for remark in report.warnings)


def test_a_missing_time_comes_from_the_id_else_from_the_file(tree: Any, target: Store) -> None:
    gone = {"created_at": ..., "updated_at": None}
    tree.add_a("run_2025-11-03T09-14-22Z-4be71c", **gone)
    tree.add_a("run_x", **gone)
    os.utime(tree.root / "runs/run_x/run_state.json", (1_700_000_000, 1_700_000_000))
    tree.add_a("run_y", created_at=..., updated_at="2025-12-05T11:52:20Z")
    run_id = tree.add_b(timing={})
    report = imported(tree, target)
    times = {run.id: run.created_at.isoformat() for run in target.runs.stream()}
    assert times == {
        "run_2025-11-03T09-14-22Z-4be71c": "2025-11-03T09:14:22+00:00",
        "run_x": "2023-11-14T22:13:20+00:00",
        "run_y": "2025-12-05T11:52:20+00:00",
        run_id: "2025-12-05T15:32:59+00:00",
    }
    assert len(report.warnings) == 4
    assert all("created_at: is missing" in remark.message for remark in report.warnings)


def test_an_id_that_is_missing_is_the_directorys_name(tree: Any, target: Store) -> None:
    tree.write("runs/run_a/run_state.json", tree.state(run_id=...))
    tree.write("runs/jet/manifest.json", tree.jetdrive(run_id=None))
    tree.write("experiments/k1/manifest.json", tree.manifest(run_id=""))
    tree.write("x/run_7/out/manifest.json", tree.manifest(run_id=...))
    tree.write("x/run_7/out/2025-12-05T15-32-59Z-501326.manifest.json", tree.manifest(run_id=...))
    report = imported(tree, target)
    ids = {run.id for run in target.runs.stream()}
    assert ids == {"run_a", "jet", "k1", "2025-12-05T15-32-59Z-501326"}
    assert sum("run_id: is missing" in r.message for r in report.warnings) == 4


def test_a_directory_under_another_name_than_its_run_is_kept(tree: Any, target: Store) -> None:
    tree.write("runs/renamed/run_state.json", tree.state("run_a"))
    imported(tree, target)
    assert target.runs.get("run_a").metadata["directory"] == "renamed"


@pytest.mark.parametrize(
    "path", ["C:\\Dev\\x\\log file.csv", "/home/x/log file.csv", "log file.csv", "C:log file.csv\\"]
)
def test_windows_and_posix_paths_give_base_names(tree: Any, target: Store, path: str) -> None:
    run_id = tree.add_b(input={"path": path})
    imported(tree, target)
    assert target.runs.get(run_id).input_filename == "log file.csv"
    assert target.runs.get(run_id).metadata["input"] == {"path": path}


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "C:\\Dev\\out\\VE.csv"},
        {"name": "gone", "path": "C:\\Dev\\out\\VE.csv"},
        {"path": "outputs\\x\\VE.csv"},
        "C:\\Dev\\out\\VE.csv",
    ],
)
def test_an_output_is_found_by_the_end_of_its_windows_path(
    tree: Any, target: Store, entry: Any
) -> None:
    tree.output(f"outputs/{tree.uuids[0]}/VE.csv")
    run_id = tree.add_b(outputs=[entry])
    report = imported(tree, target)
    said = {"path": entry} if isinstance(entry, str) else entry
    assert target.runs.file(run_id, "VE.csv").metadata == said
    assert report.warnings == []


def test_what_a_manifest_says_of_a_document_stays_with_it(tree: Any, target: Store) -> None:
    entry = {"name": "session_log.json", "sha256": "x"}
    run_id = tree.add_b(outputs=[entry])
    tree.write(f"outputs/{run_id}/session_log.json", {"events": []})
    imported(tree, target)
    assert target.runs.get(run_id).metadata["outputs"] == [entry]


def test_a_document_too_large_to_describe_a_run_is_refused(
    tree: Any, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.legacy.dynoai.MAX_BYTES", 3000)
    monkeypatch.setattr(source_json, "MAX_BYTES", 3000)
    tree.add_a("run_good")
    tree.add_a("run_large", note="x" * 4000)
    report = imported(tree, target)
    assert "run_state.json: JSON of more than" in str(entry_of(report, "runs/run_large").reason)
    assert report.records.created == 1


def test_a_source_that_is_not_there_or_holds_nothing_known_is_an_error(
    tree: Any, target: Store
) -> None:
    with pytest.raises(SourceNotFound, match="nothing to import"):
        import_from(tree.root / "absent", target)
    with pytest.raises(SourceNotFound, match="holds nothing that one of the readers knows"):
        import_from(tree.root, target)
    file = tree.write("x/run_state.json", tree.state())
    with pytest.raises(SourceNotFound, match="is a file") as caught:
        import_from(file, target)
    assert caught.value.hint == f"dynostore import {file.parent}"
    with pytest.raises(ConfigError, match="none of auto, dynoai"):
        import_from(tree.root, target, kind="other")
    with pytest.raises(ConfigError, match="none of merge, skip, update"):
        import_from(tree.root, target, existing="replace")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a store"):
        import_from(tree.root, None)


def test_a_kind_that_is_named_needs_no_run_to_be_there(tree: Any, target: Store) -> None:
    tree.write("left.tmp", "x")
    report = import_from(tree.root, target, kind="dynoai")
    assert (report.files.skipped, report.records.found, report.exit_code) == (1, 0, 0)


def test_what_was_invalid_and_is_mended_is_forgotten(tree: Any, target: Store) -> None:
    tree.add_a("run_bad", status="exploded")
    tree.add_a("run_worse", status="imploded")
    imported(tree, target)
    assert target.imports.count(status="invalid") == 2
    before = target.imports.list().items
    imported(tree, target)
    assert target.imports.list().items == before
    tree.add_a("run_bad")
    imported(tree, target)
    noted = target.imports.list(status="invalid").items
    assert [row.source_path for row in noted] == [str(tree.root / "runs/run_worse")]
