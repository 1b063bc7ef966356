"""Reading exports: what is whole is taken over, what is not is told line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.exporter import export_to
from dynostore.exporting.rows import Selection
from dynostore.importer import import_from
from dynostore.legacy.jsonl import VERSION, JsonlReader
from dynostore.samples.seed import seed


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Give an export of four runs with their eight files."""
    path = tmp_path / "runs.jsonl"
    with Store.open(tmp_path / "origin.db") as store:
        seed(store)
        export_to(store, path, selection=Selection(tables=["runs", "run_files"]))
    return path


def change(path: Path, number: int, text: str | None = None, **values: Any) -> None:
    """Replace a line, or values of the row in it; lines count from 0, and -1 is the last."""
    lines = path.read_text(encoding="utf-8").splitlines()
    document = json.loads(lines[number])
    document.get("row", document).update(values)
    lines[number] = json.dumps(document) if text is None else text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def reasons(report: Any) -> list[tuple[str, str | None]]:
    return [(entry.path, entry.reason) for entry in report.entries if entry.outcome == "invalid"]


def test_an_export_is_known_by_its_first_line(exported: Path, target: Store) -> None:
    reader = JsonlReader()
    assert reader.detect(str(exported))
    assert reader.count(str(exported)) == 12
    report = import_from(exported.rename(exported.with_name("no ending")), target)
    assert (report.kind, report.exit_code) == ("jsonl", 0)
    assert (report.records.created, report.files.created) == (12, 1)
    assert report.entries[0].path == "no ending#runs/demo-run-pull-07"
    for other in (b"", b"{", b'{"format": "parquet"}\n', b"\x00" * 99, b"[]\n"):
        exported.write_bytes(other)
        assert not reader.detect(str(exported))
    assert not reader.detect(str(exported.parent))


def test_an_export_of_a_newer_version_is_refused_by_its_name(exported: Path, target: Store) -> None:
    change(exported, 0, version=VERSION + 1)
    with pytest.raises(
        errors.SchemaTooNew, match=r"version 2 of dynostore\.jsonl; this program reads 1"
    ):
        import_from(exported, target)
    assert target.runs.count() == 0


def test_an_export_that_was_edited_and_converted_is_read(exported: Path, target: Store) -> None:
    change(exported, 1, progress_percent=7, metadata={"by": "hand"})
    text = exported.read_text(encoding="utf-8").replace("\n", "\r\n\r\n")
    exported.write_bytes(b"\xef\xbb\xbf" + text.rstrip().encode())
    report = import_from(exported, target)
    assert (report.exit_code, report.records.created) == (0, 12)
    assert target.runs.get("demo-run-pull-07").metadata == {"by": "hand"}
    exported.write_bytes(
        exported.read_bytes().replace(b'"progress_percent": 7', b'"progress_percent": 8')
    )
    assert import_from(exported, target).records.updated == 1


def test_a_bad_row_costs_itself_and_what_belongs_to_it(exported: Path, target: Store) -> None:
    change(exported, 1, status="exploded")
    change(exported, 2, text='{"table": "engines", "row": {}}')
    change(exported, 3, text='{"table": "runs", "row": {"id": ')
    change(exported, 4, text='["neither"]')
    report = import_from(exported, target)
    told = [reason for _, reason in reasons(report)]
    assert told[:4] == [
        "status: unknown value 'exploded'; one of pending, downloading, converting, validating, "
        "processing, complete, partial, error",
        "table 'engines': there is no such one",
        "not JSON: Expecting value, at character 31",
        "an object is expected",
    ]
    assert [path for path, _ in reasons(report)][:2] == ["runs.jsonl#line 2", "runs.jsonl#line 3"]
    assert "runs: 4 rows were exported, 1 could be read" in told
    assert sum("there is no 'demo-run" in str(reason) for reason in told) == 8
    assert (report.exit_code, report.records.created, report.files.found) == (3, 0, 1)
    dry = import_from(exported, target, dry_run=True)
    assert (dry.exit_code, dry.records) == (3, report.records)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"created_at": "2026-01-01T00:00:00"}, "created_at: datetime expected, not str"),
        ({"source": "\ud800"}, "source: contains NUL or a lone surrogate"),
        ({"progress_percent": 1.5}, "progress_percent: integer expected, not float"),
        ({"metadata": {"x": float("nan")}}, "metadata: not JSON"),
        ({"colour": "red"}, "colour: runs has no such column"),
        ({"id": None}, "id: must not be empty"),
        ({"id": 5}, "id: text expected, not int"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_the_store_cannot_hold_is_named(
    values: dict[str, Any], reason: str, exported: Path, target: Store
) -> None:
    change(exported, 1, **values)
    report = import_from(exported, target, dry_run=True)
    assert str(reasons(report)[0][1]).startswith(reason)
    assert report.exit_code == 3


def test_rows_without_a_beginning_are_taken_over_and_that_is_told(
    exported: Path, target: Store
) -> None:
    lines = exported.read_text(encoding="utf-8").splitlines(keepends=True)
    exported.write_text("".join(line for line in lines if '"table":"runs"' in line))
    with pytest.raises(errors.SourceNotFound):
        import_from(exported, target)
    report = import_from(exported, target, kind="jsonl")
    assert (report.exit_code, report.records.created) == (3, 4)
    assert [reason for _, reason in reasons(report)] == [
        "no line of dynostore.jsonl comes before this row; taken for version 1",
        "the line that ends an export is missing: it was cut off, or is still being written",
    ]


def test_several_exports_in_one_file_are_taken_one_after_the_other(
    exported: Path, target: Store, tmp_path: Path
) -> None:
    runs, tasks, both = exported, tmp_path / "tasks.jsonl", tmp_path / "both.jsonl"
    with Store.open(tmp_path / "origin.db") as store:
        export_to(store, tasks, selection=Selection(tables=["tasks"]))
    both.write_bytes(runs.read_bytes() + tasks.read_bytes())
    report = import_from(both, target)
    assert (report.exit_code, report.records.created) == (0, 20)
    cut = b"\n".join(runs.read_bytes().splitlines()[:-1]) + b"\n"
    both.write_bytes(cut + tasks.read_bytes())
    assert [path for path, _ in reasons(import_from(both, target))] == ["both.jsonl#line 14"]


def test_of_a_row_in_two_exports_of_one_file_the_first_is_taken(
    exported: Path, target: Store, tmp_path: Path
) -> None:
    later, both = tmp_path / "later.jsonl", tmp_path / "both.jsonl"
    later.write_bytes(exported.read_bytes())
    both.write_bytes(exported.read_bytes() + later.read_bytes())
    report = import_from(both, target, dry_run=True)
    assert (report.exit_code, report.records.created, report.records.skipped) == (0, 12, 12)
    change(later, 1, progress_percent=7)
    both.write_bytes(exported.read_bytes() + later.read_bytes())
    report = import_from(both, target)
    assert (report.exit_code, report.records.created, report.records.skipped) == (3, 12, 11)
    [(path, reason)] = reasons(report)
    assert path == "both.jsonl#runs/demo-run-pull-07"
    assert f"{path} (line 2), which came first" in str(reason)
    assert f"{path} (line 16) differs" in str(reason)
    assert import_from(later, target).records.updated == 1
    assert target.runs.get("demo-run-pull-07").progress_percent == 7


def test_rows_that_were_taken_out_are_missed(exported: Path, target: Store) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join(lines[:-2] + lines[-1:]))
    report = import_from(exported, target)
    assert (report.exit_code, report.records.created) == (3, 11)
    assert reasons(report) == [
        ("runs.jsonl#line 13", "run_files: 8 rows were exported, 7 could be read")
    ]


def test_an_export_of_nothing_is_a_file_that_is_skipped(tmp_path: Path, target: Store) -> None:
    export_to(target, tmp_path / "empty.jsonl")
    report = import_from(tmp_path / "empty.jsonl", target)
    assert (report.exit_code, report.files.skipped, report.records.found) == (0, 1, 0)
