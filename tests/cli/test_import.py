"""``dynostore import`` and ``sources list``: the words around :mod:`dynostore.importer`."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.samples import legacy_runs

OUTCOMES = {"found", "created", "updated", "same", "skipped", "invalid"}


@pytest.fixture
def old_runs(workplace: Path) -> Path:
    """Give a copy of the shipped legacy runs, one of which is damaged."""
    return Path(shutil.copytree(legacy_runs(), workplace / "old_runs"))


@pytest.fixture
def sound_runs(old_runs: Path) -> Path:
    """Give those of them that are sound."""
    return old_runs / "runs"


def test_an_import_prints_its_numbers_and_what_to_look_at(
    call: Callable[..., Any], old_runs: Path
) -> None:
    done = call("import", "old_runs")
    assert done.code == 3
    assert done.err == ""
    numbers = dict(line.split()[:2] for line in done.out.splitlines()[1:7])
    assert set(numbers) == OUTCOMES
    assert int(numbers["found"]) == sum(int(numbers[n]) for n in OUTCOMES - {"found"})
    assert numbers["invalid"] == "1"
    assert "truncated JSON" in done.out
    assert "a left-over temporary file" in done.out
    with Store.open("dynostore.db", create=False) as store:
        assert store.runs.count() == int(numbers["created"])


def test_an_import_as_json_has_every_outcome(call: Callable[..., Any], old_runs: Path) -> None:
    document = json.loads(call("--json", "import", "old_runs").out)
    assert document["ok"] is False
    assert set(document["records"]) == OUTCOMES
    assert set(document["files"]) == OUTCOMES
    assert document["files"]["found"] == sum(item["files"] for item in document["items"])
    assert {"path", "outcome", "reason", "files"} <= set(document["items"][0])
    assert document["next"] is None
    assert {"kind", "dry_run", "warnings", "seconds"} <= set(document)


def test_all_in_the_store_is_0_and_again_all_the_same(
    call: Callable[..., Any], sound_runs: Path
) -> None:
    first = call("import", str(sound_runs), "--execute", "--kind", "dynoai", "--json")
    again = call("--json", "import", str(sound_runs))
    assert (first.code, again.code) == (0, 0)
    records = [json.loads(done.out)["records"] for done in (first, again)]
    assert records[0]["created"] == records[1]["same"] > 0
    assert json.loads(first.out)["ok"] is True


def test_a_dry_run_says_the_same_and_makes_nothing(
    call: Callable[..., Any], old_runs: Path, workplace: Path
) -> None:
    dry = call("import", "old_runs", "--dry-run")
    assert dry.err == "a dry run: nothing was written\n"
    assert [path.name for path in workplace.iterdir()] == ["old_runs"]
    real = call("import", "old_runs")
    assert (dry.code, dry.out) == (real.code, real.out)
    before = (workplace / "dynostore.db").read_bytes()
    assert call("--json", "import", "old_runs", "--dry-run").code == 3
    assert (workplace / "dynostore.db").read_bytes() == before
    assert not (workplace / "dynostore.db-wal").exists()


def test_the_report_is_the_json_in_a_file(call: Callable[..., Any], old_runs: Path) -> None:
    done = call("--json", "import", "old_runs", "--report", "report.json")
    report = json.loads(Path("report.json").read_text())
    assert report == {k: v for k, v in json.loads(done.out).items() if k != "next"}
    assert call("-q", "import", "old_runs", "--dry-run", "--report", "dry.json").err == ""
    assert json.loads(Path("dry.json").read_text())["dry_run"] is True


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    call: Callable[..., Any], old_runs: Path, workplace: Path
) -> None:
    for place in ("no/such/report.json", "old_runs"):
        assert call("--json", "import", "old_runs", "--report", place).error["code"] == "usage"
    assert not (workplace / "dynostore.db").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
def test_a_report_that_does_not_fit_loses_nothing_else(
    call: Callable[..., Any], old_runs: Path
) -> None:
    done = call("--json", "import", "old_runs", "--report", "/dev/full")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "/dev/full" in done.error["message"]
    assert len(call("--json", "runs", "list").items) == 10


def test_many_remarks_are_cut_short_with_where_to_find_the_rest(
    call: Callable[..., Any], old_runs: Path
) -> None:
    for number in range(30):
        (old_runs / f"runs/._manifest_{number}.tmp").touch()
    done = call("import", "old_runs", "--dry-run")
    assert done.out.count("\nskipped: ") == 19
    assert done.out.index("\ninvalid: ") < done.out.index("\nskipped: ")
    assert "and 13 more: --report FILE has all of them\n" in done.err


def test_what_the_source_lacks_is_a_warning(call: Callable[..., Any], old_runs: Path) -> None:
    next(old_runs.glob("outputs/5d0c*/HP_Map*")).unlink()
    next(old_runs.glob("outputs/5d0c*/VE_*")).write_text("changed")
    done = call("import", "old_runs", "--dry-run")
    assert "\nwarning: outputs/5d0c" in done.out


def test_what_was_edited_here_stays_unless_the_source_is_told_to_win(
    call: Callable[..., Any], sound_runs: Path
) -> None:
    call("import", str(sound_runs))
    path = next(sound_runs.glob("*processing/run_state.json"))
    state = json.loads(path.read_text())
    call("runs", "update", state["run_id"], "--current-stage", "mine")
    path.write_text(json.dumps(state | {"current_stage": "theirs"}))

    def stage() -> str:
        return str(call("--json", "runs", "show", state["run_id"]).item["current_stage"])

    assert call("import", str(sound_runs), "--skip-existing").code in (0, 3)
    assert stage() == "mine"
    kept = call("import", str(sound_runs))
    assert kept.code == 3
    assert "current_stage" in kept.out
    assert stage() == "mine"
    assert call("import", str(sound_runs), "--update").code == 0
    assert stage() == "theirs"
    both = call("--json", "import", "x", "--update", "--skip-existing")
    assert (both.code, both.error["code"]) == (2, "usage")


def test_nothing_to_import_is_4_and_makes_no_store(
    call: Callable[..., Any], workplace: Path
) -> None:
    for source in ("missing", "."):
        done = call("--json", "import", source, "--dry-run")
        assert (done.code, done.error["code"]) == (4, "source_not_found")
    assert list(workplace.iterdir()) == []


def test_sources_lists_what_was_taken_over_from_where(
    call: Callable[..., Any], old_runs: Path
) -> None:
    call("import", "old_runs")
    items = call("--json", "sources", "list", "--limit", "0").items
    assert {"kind", "source_path", "record_key", "status", "imported_at", "content_hash"} <= set(
        items[0]
    )
    runs = {run["id"] for run in call("--json", "runs", "list").items}
    assert {item["record_key"] for item in items if item["status"] == "created"} == runs
    assert all(os.path.isabs(item["source_path"]) for item in items)
    page = json.loads(call("--json", "sources", "list", "--limit", "2", "--status", "created").out)
    rest = call("--json", "sources", "list", "--status", "created", "--after", page["next"])
    assert len(page["items"] + rest.items) == len(runs)
    assert str(old_runs) in call("sources", "list", "--kind", "dynoai").out
    assert call("--json", "sources", "list", "--kind", "other").items == []
    assert call("sources", "list", "--status", "lost").code == 2


def test_what_a_source_said_of_a_record_is_forgotten_on_request(
    call: Callable[..., Any], old_runs: Path
) -> None:
    call("import", "old_runs")
    run, *others = (run["id"] for run in call("--json", "runs", "list").items)
    assert call("sources", "rm", run).code == 2  # nobody can be asked here
    assert call("sources", "rm", run, "nothing", "--yes").code == 4
    before = call("--json", "sources", "list").items
    assert call("sources", "rm", run, "--yes").code == 0
    after = call("--json", "sources", "list").items
    assert [item for item in before if item["record_key"] != run] == after
    assert {item["id"] for item in call("--json", "runs", "list").items} == {run, *others}
    call("runs", "rm", run, "--yes")
    call("import", "old_runs")
    assert run in {item["id"] for item in call("--json", "runs", "list").items}


def test_sources_are_shown_and_verified_and_moved_away(
    call: Callable[..., Any], sound_runs: Path, workplace: Path
) -> None:
    call("import", str(sound_runs))
    first = call("--json", "sources", "list").items[0]
    assert (
        call("--json", "sources", "show", first["id"]).item["content_hash"] == first["content_hash"]
    )
    assert str(sound_runs) in call("sources", "show", first["id"]).out
    assert call("sources", "verify").code == 0
    call("runs", "update", first["record_key"], "--current-stage", "mine")
    done = call("--json", "sources", "verify", str(sound_runs))
    assert (done.code, json.loads(done.out)["ok"]) == (7, False)
    found = {(item["key"], item["field"]) for item in done.items}
    assert (first["record_key"], "current_stage") in found
    assert "current_stage" in call("sources", "verify").out
    moved = call("import", str(sound_runs), "--archive", "done")
    assert (moved.code, "files were moved to the archive" in moved.err) == (0, True)
    assert [path.name for path in sound_runs.rglob("*") if path.is_file()] == ["index.json"]
    assert call("import", str(sound_runs), "--archive", "done").code == 0


def test_an_archive_that_cannot_be_made_is_refused_before_a_store_is(
    call: Callable[..., Any], sound_runs: Path, workplace: Path
) -> None:
    (workplace / "taken").write_text("")
    done = call("--json", "import", str(sound_runs), "--archive", "taken/below")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "is a file" in done.error["message"]
    assert "--archive" in done.error["hint"]
    assert not (workplace / "dynostore.db").exists()


def test_a_zone_that_there_is_not_is_a_usage_error(
    call: Callable[..., Any], old_runs: Path
) -> None:
    done = call("--json", "import", "old_runs", "--timezone", "Mars/Olympus")
    assert (done.code, done.error["code"]) == (2, "usage")
    document = json.loads(
        call("--json", "import", "old_runs", "--timezone", "Europe/Berlin", "--dry-run").out
    )
    assert document["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock"])
def test_a_report_never_goes_over_the_store_or_the_source(
    call: Callable[..., Any], old_runs: Path, workplace: Path, suffix: str
) -> None:
    state = next(old_runs.rglob("run_state.json"))
    os.symlink(workplace, workplace / "link")
    places = [f"dynostore.db{suffix}", f"link/dynostore.db{suffix}", str(state)]
    for place in places:  # there is no store yet
        assert refusal(call, "import", "old_runs", "--report", place) == place
    assert not (workplace / "dynostore.db").exists()
    assert call("import", "old_runs", "--report", "old_runs/new.json").code in (0, 3)
    assert call("import", "old_runs", "--report", "old_runs/new.json").code in (0, 3)  # a report
    Path("old_runs/new.json").write_text('{"ok": true}')
    assert refusal(call, "import", "old_runs", "--report", "old_runs/new.json")
    with Store.open("dynostore.db") as store:
        store.runs.create()  # now there is a log
        held = {path: path.read_bytes() for path in (workplace / "dynostore.db", state)}
        for place in places:
            assert refusal(call, "import", "old_runs", "--dry-run", "--report", place) == place
        assert {path: path.read_bytes() for path in held} == held
        assert store.check() == []


def test_a_report_never_goes_over_a_file_that_is_imported(
    call: Callable[..., Any], three_runs: list[str], workplace: Path
) -> None:
    Path("dynostore.db").rename("other.db")
    before = Path("other.db").read_bytes()
    for place in ("other.db", "other.db-wal", "./other.db"):
        assert refusal(call, "import", "other.db", "--report", place) == str(Path(place))
    assert Path("other.db").read_bytes() == before
    assert call("import", "other.db", "--report", "report.json").code == 0


def test_a_report_takes_the_place_of_another_when_it_is_whole(
    call: Callable[..., Any], old_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("report.json").write_text("the last one")

    def lines(content: Any) -> Iterator[str]:
        yield "{"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("dynostore.cli._output._report_lines", lines)
        assert refusal(call, "import", "old_runs", "--report", "report.json") == "report.json"
    assert Path("report.json").read_text() == "the last one"
    call("import", "old_runs", "--report", "report.json")
    assert json.loads(Path("report.json").read_text())["records"]


def refusal(call: Callable[..., Any], *words: str) -> str:
    """Give the path that a command refuses to write to."""
    done = call("--json", *words)
    assert (done.code, done.error["code"]) == (1, "unwritable")
    place: str = done.error["message"].partition(":")[0]
    return place
