"""Importing again: what changed where, and whose value stays."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.canonical_json import json_text
from dynostore.fields import time_text
from dynostore.ids import derived_id
from dynostore.importer import import_from
from dynostore.importing.image import image_text
from dynostore.importing.merge import Existing, whole_row
from dynostore.importing.report import ImportReport
from dynostore.legacy import Finding, ReadOptions, SourceRecord
from dynostore.models import IdeationMaturity, Run, RunFile


def rows_of(store: Store) -> list[Any]:
    """Give everything that is stored."""
    runs = [*store.runs.stream()]
    files = [file.values() for run in runs for file in store.runs.files(run.id)]
    return [run.values() for run in runs] + files + [i.values() for i in store.imports.stream()]


def outcomes(report: ImportReport) -> dict[str, int]:
    return {k: v for k, v in report.records.to_json().items() if v and k != "found"}


def test_a_second_import_is_all_same_and_writes_nothing(tree: Any, store: Store) -> None:
    tree.add_all()
    first = import_from(tree.root, store)
    before = rows_of(store)
    second = import_from(tree.root, store)
    assert outcomes(first) == {"created": 5, "invalid": 1}
    assert outcomes(second) == {"same": 5, "invalid": 1}
    assert second.files.found == first.files.found == tree.file_count()
    assert rows_of(store) == before


def test_a_second_import_does_not_touch_the_file(tree: Any, tmp_path: Path) -> None:
    tree.add_a()
    path = tmp_path / "x.db"
    with Store.open(path) as store:
        import_from(tree.root, store)
    before = path.read_bytes()
    with Store.open(path) as store:
        (version,) = store.database.execute_sql("PRAGMA data_version").fetchone()
        changes = store.database.connection().total_changes
        assert outcomes(import_from(tree.root, store)) == {"same": 1}
        assert store.database.connection().total_changes == changes
        assert store.database.execute_sql("PRAGMA data_version").fetchone() == (version,)
    assert path.read_bytes() == before


def test_times_of_files_do_not_count_as_changes(tree: Any, target: Store) -> None:
    tree.add_a()
    import_from(tree.root, target)
    for path in tree.root.rglob("*"):
        os.utime(path, (1, 1))
    assert outcomes(import_from(tree.root, target)) == {"same": 1}


def test_what_changed_in_the_source_is_updated_field_by_field(tree: Any, store: Store) -> None:
    tree.add_a(status="processing", progress_percent=40, updated_at="2025-12-05T12:00:00Z")
    import_from(tree.root, store)
    store.runs.update("run_a", source="garage", input_filename="mine.csv")
    tree.add_a(status="complete", progress_percent=100, updated_at="2025-12-05T13:00:00Z")
    tree.write("runs/run_a/output/VE.csv", "changed\n")
    tree.write("runs/run_a/output/New.csv", "new\n")
    report = import_from(tree.root, store)
    assert (outcomes(report), report.kept, report.exit_code) == ({"updated": 1}, 0, 0)
    assert report.differences == []
    run = store.runs.get("run_a")
    assert (run.status, run.progress_percent) == ("complete", 100)
    assert (run.source, run.input_filename) == ("garage", "mine.csv")
    assert run.updated_at > dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    names = [file.filename for file in store.runs.files("run_a")]
    assert names == ["output/New.csv", "output/VE.csv"]
    assert store.runs.file("run_a", "output/VE.csv").size_bytes == 8
    assert outcomes(import_from(tree.root, store)) == {"same": 1}


def test_where_both_changed_the_stores_value_stays_until_somebody_decides(
    tree: Any, store: Store
) -> None:
    tree.add_a(status="processing", current_stage="load")
    import_from(tree.root, store)
    store.runs.update("run_a", status="partial")
    tree.add_a(status="complete", current_stage="export")
    for expected in ("updated", "skipped", "skipped"):
        report = import_from(tree.root, store)
        assert (outcomes(report), report.kept, report.exit_code) == ({expected: 1}, 1, 3)
        entry = report.entries[0]
        assert (entry.outcome, list(entry.kept)) == (expected, ["status"])
        assert "whose value stays: status" in str(entry.reason)
        run = store.runs.get("run_a")
        assert (run.status, run.current_stage) == ("partial", "export")
    row = store.imports.list().items[0]
    assert (row.status, row.reason) == ("kept", entry.reason)
    report = import_from(tree.root, store, existing="update")
    assert (outcomes(report), report.exit_code) == ({"updated": 1}, 0)
    assert store.runs.get("run_a").status == "complete"
    assert outcomes(import_from(tree.root, store)) == {"same": 1}


def test_a_conflict_ends_when_the_store_takes_the_sources_value(tree: Any, target: Store) -> None:
    tree.add_a(status="processing")
    import_from(tree.root, target)
    target.runs.update("run_a", status="partial")
    tree.add_a(status="complete")
    assert import_from(tree.root, target).exit_code == 3
    target.runs.update("run_a", status="complete")
    report = import_from(tree.root, target)
    assert (outcomes(report), report.exit_code) == ({"same": 1}, 0)
    assert target.imports.list().items[0].status == "same"


def test_a_file_that_both_changed_is_named(tree: Any, target: Store) -> None:
    tree.add_a()
    import_from(tree.root, target)
    file = target.runs.file("run_a", "output/VE.csv")
    file.size_bytes, file.file_type = 99, "table"
    assert target.runs.put_many([file]) == []
    tree.write("runs/run_a/output/VE.csv", "longer than before\n")
    report = import_from(tree.root, target)
    assert list(report.entries[0].kept) == ["run_files output/VE.csv size_bytes"]
    stored = target.runs.file("run_a", "output/VE.csv")
    assert (stored.size_bytes, stored.file_type) == (99, "table")
    assert stored.sha256 != file.sha256


def test_times_and_progress_merge_to_the_later_and_greater(tree: Any, target: Store) -> None:
    tree.add_a(progress_percent=10, updated_at="2025-12-05T12:00:00Z")
    import_from(tree.root, target)
    target.runs.update("run_a", progress_percent=80)
    edited_at = target.runs.get("run_a").updated_at
    tree.add_a(progress_percent=60, updated_at="2025-12-05T13:00:00Z")
    report = import_from(tree.root, target)
    run = target.runs.get("run_a")
    assert (report.exit_code, run.progress_percent, run.updated_at) == (0, 80, edited_at)
    tree.add_a(progress_percent=90, updated_at="2999-01-01T00:00:00Z")
    import_from(tree.root, target)
    run = target.runs.get("run_a")
    assert (run.progress_percent, run.updated_at.year) == (90, 2999)


def test_skip_touches_no_record_that_is_there(tree: Any, target: Store) -> None:
    tree.add_a("run_a", status="processing")
    tree.add_a("run_b")
    import_from(tree.root, target)
    tree.add_a("run_a", status="complete")
    tree.add_a("run_c")
    report = import_from(tree.root, target, existing="skip")
    assert outcomes(report) == {"created": 1, "same": 1, "skipped": 1}
    assert (report.exit_code, report.kept) == (0, 0)
    assert target.runs.get("run_a").status == "processing"
    assert outcomes(import_from(tree.root, target)) == {"same": 2, "updated": 1}


def test_update_takes_the_sources_value_and_clears_nothing_it_never_said(
    tree: Any, target: Store
) -> None:
    tree.add_a()
    import_from(tree.root, target)
    target.runs.update("run_a", status="partial", jetstream_id=None, input_filename="mine.csv")
    assert outcomes(import_from(tree.root, target)) == {"same": 1}
    report = import_from(tree.root, target, existing="update")
    assert (outcomes(report), report.exit_code) == ({"updated": 1}, 0)
    run = target.runs.get("run_a")
    assert (run.status, run.jetstream_id) == ("complete", "JS-TEST-001")
    assert run.input_filename == "mine.csv"
    assert outcomes(import_from(tree.root, target, existing="update")) == {"same": 1}


@pytest.mark.parametrize("existing", ["merge", "skip", "update"])
def test_what_was_deleted_from_the_store_comes_back(
    tree: Any, target: Store, existing: Any
) -> None:
    tree.add_a()
    import_from(tree.root, target)
    target.runs.delete("run_a")
    report = import_from(tree.root, target, existing=existing)
    assert outcomes(report) == {"created": 1}
    assert "no longer in the store" in str(report.entries[0].reason)
    assert [f.filename for f in target.runs.files("run_a")] == ["output/VE.csv"]


def test_a_file_that_was_deleted_from_the_store_comes_back(tree: Any, target: Store) -> None:
    tree.add_a()
    import_from(tree.root, target)
    target.database.execute_sql("DELETE FROM run_files")
    assert outcomes(import_from(tree.root, target)) == {"updated": 1}
    assert len(target.runs.files("run_a")) == 1


def test_a_file_that_is_gone_from_the_disk_stays_in_the_store(tree: Any, target: Store) -> None:
    tree.add_a()
    tree.write("runs/run_a/output/Old.csv", "x")
    import_from(tree.root, target)
    (tree.root / "runs/run_a/output/Old.csv").unlink()
    assert outcomes(import_from(tree.root, target)) == {"same": 1}
    assert len(target.runs.files("run_a")) == 2
    assert outcomes(import_from(tree.root, target)) == {"same": 1}


def test_a_directory_that_moved_is_the_same_record_at_a_new_place(
    tree: Any, target: Store, tmp_path: Path
) -> None:
    tree.add_all()
    import_from(tree.root, target)
    moved = tmp_path / "elsewhere"
    shutil.move(tree.root, moved)
    report = import_from(moved, target)
    assert outcomes(report) == {"updated": 5, "invalid": 1}
    assert target.runs.count() == 5
    paths = {f.storage_path for r in target.runs.stream() for f in target.runs.files(r.id)}
    assert all(path.startswith(str(moved)) and os.path.exists(path) for path in paths)
    assert outcomes(import_from(moved, target)) == {"same": 5, "invalid": 1}


def test_a_part_of_the_tree_is_known_from_the_whole(tree: Any, target: Store) -> None:
    tree.add_all()
    import_from(tree.root, target)
    for part in ("runs", "outputs", "experiments", "runs/run_a"):
        report = import_from(tree.root / part, target)
        assert report.records.same == report.records.found - report.records.invalid


def test_a_run_that_was_there_before_is_filled_not_overwritten(tree: Any, target: Store) -> None:
    created = dt.datetime(2025, 12, 5, 11, 52, 20, 515000, tzinfo=dt.UTC)
    target.runs.create(run_id="run_a", created_at=created, status="error", source="jetstream")
    tree.add_a()
    report = import_from(tree.root, target)
    assert list(report.entries[0].kept) == ["status"]
    run = target.runs.get("run_a")
    assert (run.status, run.jetstream_id) == ("error", "JS-TEST-001")
    assert len(target.runs.files("run_a")) == 1
    assert report.exit_code == 3


def test_a_run_that_equals_the_source_is_noted_as_taken_over(tree: Any, target: Store) -> None:
    tree.add_a()
    import_from(tree.root, target)
    target.imports.forget([row.id for row in target.imports.stream()])
    assert outcomes(import_from(tree.root, target)) == {"same": 1}
    assert target.imports.list().items[0].status == "same"


def test_a_dry_run_foretells_the_real_one_and_writes_nothing(tree: Any, store: Store) -> None:
    tree.add_all()
    tree.add_a("run_changed", status="processing")
    tree.add_a("run_edited", status="processing")
    import_from(tree.root, store)
    tree.add_a("run_changed", status="complete")
    tree.add_a("run_edited", status="complete")
    store.runs.update("run_edited", status="partial")
    tree.add_a("run_new")
    tree.write("runs/twin/run_state.json", tree.state("run_new"))
    ways: tuple[Existing, ...] = ("skip", "merge", "update")
    for existing in ways:
        before = rows_of(store)
        dry = import_from(tree.root, store, dry_run=True, existing=existing)
        assert rows_of(store) == before
        real = import_from(tree.root, store, existing=existing)
        expected, given = real.to_json(), dry.to_json()
        for document in (expected, given):
            del document["seconds"], document["dry_run"]
        assert given == expected


def test_a_dry_run_without_a_store_takes_everything_for_new(tree: Any, tmp_path: Path) -> None:
    tree.add_all()
    before = sorted(tmp_path.iterdir())
    report = import_from(tree.root, None, dry_run=True)
    assert outcomes(report) == {"created": 5, "invalid": 1}
    assert report.files.found == tree.file_count()
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_the_database_refuses_costs_its_whole_run(tree: Any, target: Store) -> None:
    tree.add_a("run_good")
    tree.add_a("run_odd")
    tree.add_b(0)
    target.database.execute_sql(
        "CREATE TRIGGER no_odd BEFORE INSERT ON run_files WHEN NEW.run_id = 'run_odd' "
        "BEGIN SELECT RAISE(ABORT, 'odd'); END"
    )
    report = import_from(tree.root, target)
    assert outcomes(report) == {"created": 2, "invalid": 1}
    assert {run.id for run in target.runs.stream()} == {"run_good", tree.uuids[0]}
    assert target.imports.count(status="created") == 2
    assert report.differences == []
    target.database.execute_sql("DROP TRIGGER no_odd")
    assert outcomes(import_from(tree.root, target)) == {"created": 1, "same": 2}


class OddReader:
    """A reader of another tool, one of whose two records has a child that no store can hold."""

    kind = "odd"

    def detect(self, source: str) -> bool:
        return True

    def read(self, source: str, options: ReadOptions) -> Iterator[SourceRecord | Finding]:
        now = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
        for key, size in (("good", 1), ("bad", -1)):
            run = {"id": key, "status": "pending", "source": "odd"}
            run |= {"created_at": now, "updated_at": now}  # type: ignore[dict-item]
            child = {"id": derived_id("run_files", key, "x"), "run_id": key, "filename": "x"}
            child |= {"size_bytes": size, "created_at": now}  # type: ignore[dict-item]
            yield SourceRecord(Run, key, run, [(RunFile, child)], key, f"{source}/{key}", "h")


def test_a_child_that_the_door_refuses_costs_its_record_in_both_runs(
    tmp_path: Path, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.importer.READERS", (OddReader(),))
    dry = import_from(tmp_path, target, dry_run=True)
    real = import_from(tmp_path, target)
    for report in (dry, real):
        assert outcomes(report) == {"created": 1, "invalid": 1}
        assert str(report.entries[1].reason).startswith("size_bytes: -1")
    assert dry.entries[1] == real.entries[1]
    assert [run.id for run in target.runs.stream()] == ["good"]


def test_progress_is_told_after_each_batch_in_files_of_all_files(tree: Any, target: Store) -> None:
    for number in range(530):
        tree.write(f"runs/m{number:03}/run_state.json", tree.state(f"m{number:03}"))
    told: list[tuple[int, int | None]] = []
    import_from(tree.root, target, progress=lambda done, total: told.append((done, total)))
    assert told == [(250, 530), (500, 530), (530, 530)]


def test_what_was_read_is_kept_as_canonical_json_of_what_is_stored(
    tree: Any, target: Store
) -> None:
    odd = {'"quoted" \\ \x7f\t ü 😀': [1e30, 1e-7, -0.0, 2**53 + 1, None, True, "\u2028"]}
    tree.add_a(results_summary=odd, jetstream_id='JS "\\ \x7f\n 😀')
    import_from(tree.root, target)
    (text,) = target.database.execute_sql("SELECT image FROM imports").fetchone()
    assert text == json_text(json.loads(text))
    (run,) = target.runs.stream()
    image = {
        "values": said_of(run),
        "children": {"run_files": {file.id: said_of(file) for file in target.runs.files(run.id)}},
        "read": {"root": str(tree.root), "timezone": "local"},
    }
    assert text == json_text(image)


@pytest.mark.parametrize("score", [1e-7, 1e30, 5, 0.5])
def test_a_number_is_kept_as_canonical_json_before_and_after_its_check(score: float) -> None:
    values = {"session_id": "s", "score": score, "level": "new", "can_submit": False}
    row = whole_row(IdeationMaturity, values | {"updated_at": dt.datetime.now(dt.UTC)})
    text = image_text([row], {})
    assert f'"score":{json_text(float(score))},' in text
    row.check()
    assert image_text([row], {}) == text


def said_of(record: Any) -> dict[str, Any]:
    """Give what of a record another version of it could say otherwise."""
    return {
        column: time_text(value) if isinstance(value, dt.datetime) else value
        for column, value in record.values().items()
        if value is not None and column not in ("id", "run_id")
    }
