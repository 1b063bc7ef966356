"""Runs in directories that DynoAI's RunManager reads and writes at the same time."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors, reports
from dynostore.charts import draw_all
from dynostore.cli import main
from dynostore.compat.file_names import file_name
from dynostore.exporter import export_to
from dynostore.importer import import_from
from dynostore.prune import prune

REAL = (Path(__file__).resolve().parents[3] / "shared/legacy-samples/dynoai/runs").resolve()
T0 = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"dir:{tmp_path / 'runs'}"


def test_a_run_is_written_byte_for_byte_as_the_older_tool_would(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        store.runs.create(run_id="run_a", source="dyno — ✓", created_at=T0)
        store.runs.add_file("run_a", "output/VE.csv", size_bytes=5)
        store.runs.put_many([store.runs.get("run_a")])
    text = (tmp_path / "runs/run_a/run_state.json").read_text("utf-8")
    assert text == (
        "{\n"
        '  "run_id": "run_a",\n'
        '  "status": "pending",\n'
        '  "source": "dyno \\u2014 \\u2713",\n'
        '  "created_at": "2026-01-02T03:04:05.678Z",\n'
        '  "updated_at": "2026-01-02T03:04:05.678Z",\n'
        '  "jetstream_id": null,\n'
        '  "current_stage": null,\n'
        '  "progress_percent": null,\n'
        '  "files": [\n    "VE.csv"\n  ]\n'
        "}"
    )
    assert (tmp_path / "runs/run_a/output").is_dir()


def test_both_tools_write_in_turn_and_neither_loses_what_the_other_said(
    url: str, old_runs: Any
) -> None:
    old_runs.create("run_old", operator="kim")
    with Store.open(url) as store:
        assert store.runs.get("run_old").metadata == {"operator": "kim"}
        store.runs.update("run_old", status="processing", config_snapshot={"clamp": 15})
        store.runs.create(run_id="run_new", status="partial", metadata={"a": 1}, error_info=["x"])
        store.runs.add_file("run_new", "snapshots/a.csv", sha256="ab" * 32)
        assert old_runs.get("run_old")["status"] == "processing"
        assert old_runs.get("run_new")["status"] == "complete"
        old_runs.update("run_new", progress_percent=50)
        changed = store.runs.get("run_new")
        assert (changed.status, changed.progress_percent) == ("partial", 50)
        old_runs.update("run_new", status="error", error={"stage": "s", "code": "c", "message": ""})
        old_runs.update("run_old", current_stage="export")
    with Store.open(url) as store:
        found = store.runs.get("run_new")
        assert (found.status, found.metadata) == ("error", {"a": 1})
        assert found.error_info == {"stage": "s", "code": "c", "message": ""}
        assert [file.sha256 for file in store.runs.files("run_new")] == ["ab" * 32]
        found = store.runs.get("run_old")
        assert (found.current_stage, found.config_snapshot) == ("export", {"clamp": 15})


def test_the_index_that_the_older_tool_trusts_has_every_run_newest_first(
    url: str, old_runs: Any
) -> None:
    old_runs.create("run_old")
    with Store.open(url) as store:
        for number in range(3):
            store.runs.create(run_id=f"run_{number}", created_at=T0 + dt.timedelta(number))
        assert old_runs.listed() == ["run_2", "run_1", "run_0", "run_old"]
        store.runs.delete("run_1")
        assert old_runs.listed() == ["run_2", "run_0", "run_old"]
    index = json.loads((old_runs.root / "index.json").read_text())
    assert index["runs"][2]["source"] == "jetstream"


def test_a_half_written_file_is_named_and_never_replaced(url: str, old_runs: Any) -> None:
    old_runs.create("run_a")
    path = old_runs.root / "run_a/run_state.json"
    whole = path.read_bytes()
    with Store.open(url) as store:
        store.runs.create(run_id="run_b")
        path.write_bytes(whole[:40])
        os.utime(path, (1, 1))  # nobody is writing it any more
        broken: list[Callable[[], object]] = [
            lambda: store.runs.get("run_a"),
            lambda: store.runs.update("run_a", status="error"),
            lambda: store.runs.delete("run_a"),
            lambda: store.runs.create(run_id="run_a"),
            lambda: store.runs.list(),
            lambda: [*store.runs.stream()],
            lambda: store.runs.count(),
            lambda: store.runs.resolve("run"),
            lambda: store.runs.files("run_a"),
        ]
        for verb in broken:
            with pytest.raises(errors.IntegrityFailure, match=r"run_a/run_state\.json: truncated"):
                verb()
        assert path.read_bytes() == whole[:40]
        assert store.runs.update("run_b", status="complete").status == "complete"
        (problem,) = store.check()
        assert problem.startswith("run_a/run_state.json: truncated JSON")
        path.write_bytes(whole)
        assert store.runs.get("run_a").status == "pending"
        assert store.check() == []


def test_a_file_that_changes_between_look_and_write_is_not_replaced(
    url: str, old_runs: Any
) -> None:
    old_runs.create("run_a")
    with Store.open(url) as store:

        def write_meanwhile() -> None:
            with store.transaction():
                store.runs.create(run_id="run_b")
                store.runs.update("run_a", status="complete")
                old_runs.update("run_a", status="error")

        with pytest.raises(errors.StaleWrite, match="run_a"):
            write_meanwhile()
        assert store.runs.get("run_a").status == "error"
        assert store.runs.count() == 1
        with pytest.raises(errors.RunNotFound):
            store.runs.get("run_b")
        assert store.runs.update("run_a", status="complete").status == "complete"


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_a_transaction_is_whole_or_not_there(
    tmp_path: Path, stride: int, killed_before: Callable[[int, Callable[[], object]], bool]
) -> None:
    def prepare(url: str) -> None:
        with Store.open(url) as store:
            store.runs.create(run_id="a", source="before")
            store.runs.create(run_id="gone")

    def act(url: str) -> None:
        with Store.open(url) as store, store.transaction():
            store.runs.update("a", source="after", metadata={"n": 1})
            store.runs.create(run_id="b", source="after")
            store.runs.delete("gone")

    before, after = [("gone", "manual"), ("a", "before")], [("b", "after"), ("a", "after")]
    seen = []
    for number in range(1, 200, stride):
        url = f"dir:{tmp_path / str(number)}"
        prepare(url)
        was_killed = killed_before(number, lambda url=url: act(url))  # type: ignore[misc]
        with Store.open(url) as store:
            found = [(run.id, run.source) for run in store.runs.list()]
            assert found in (before, after)
            if found == after:
                assert store.runs.get("a").metadata == {"n": 1}
            assert store.check() == []
            store.runs.create(run_id="c")
        left = {path.name for path in Path(url[4:], ".dynostore").iterdir()}
        assert left <= {"runs", "new", "files.lock", "write.lock"}
        seen.append(found)
        shutil.rmtree(url[4:])
        if not was_killed:
            break
    assert seen == [before] * seen.count(before) + [after] * seen.count(after)
    assert before in seen
    assert after in seen


def test_what_the_older_tool_wrote_after_a_crash_is_not_undone_by_finishing(
    tmp_path: Path, killed_before: Callable[[int, Callable[[], object]], bool], old_runs: Any
) -> None:
    url = f"dir:{old_runs.root}"

    def act() -> None:
        with Store.open(url) as store, store.transaction():
            store.runs.update("a", source="after")
            store.runs.update("b", source="after")

    with Store.open(url) as store:
        store.runs.create(run_id="a")
        store.runs.create(run_id="b")
    for number in range(1, 60):
        assert killed_before(number, act)
        if (old_runs.root / ".dynostore/journal.json").exists():
            break
    old_runs.update("a", source="later")
    with pytest.raises(errors.StoreLocked), Store.open(url, read_only=True) as reader:
        reader.runs.get("b")
    with Store.open(url) as store:
        assert [store.runs.get(key).source for key in "ab"] == ["later", "after"]


WRITER = """
import sys
from dynostore import Store
with Store.open(sys.argv[1]) as store:
    for number in range(15):
        store.runs.update("r", **{sys.argv[2]: str(number)})
"""


def test_writers_in_several_processes_lose_nothing(
    url: str, start_python: Callable[..., Any]
) -> None:
    with Store.open(url) as store:
        store.runs.create(run_id="r")
        writers = [start_python(WRITER, url, name) for name in ("source", "current_stage")]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
        found = store.runs.get("r")
    assert (found.source, found.current_stage) == ("14", "14")


HOLDER = """
import sys
from dynostore import Store
with Store.open(sys.argv[1]) as store, store.transaction():
    store.runs.create(run_id="held")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_transaction_locks_writers_out_and_no_reader(
    url: str, tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    profile = tmp_path / "dynostore.yaml"
    profile.write_text(f"profiles:\n  dev:\n    url: {url}\n    busy_timeout_s: 0.2\n")
    with Store.open(profile="dev", config=profile) as store:
        holder = start_python(HOLDER, url)
        assert holder.stdout.readline() == "held\n"
        assert store.runs.count() == 0
        with pytest.raises(errors.StoreLocked):
            store.runs.create()
        holder.communicate(timeout=60)
        assert [run.id for run in store.runs.list()] == ["held"]


def test_a_reader_writes_nothing(url: str, old_runs: Any) -> None:
    old_runs.create("run_a")
    with Store.open(url, read_only=True) as store:
        assert store.runs.get("run_a").status == "pending"
        with pytest.raises(errors.StoreUnwritable):
            store.runs.create()
    assert sorted(p.name for p in old_runs.root.rglob("*")) == ["run_a", "run_state.json"]


def test_each_id_has_a_file_of_its_own(url: str) -> None:
    ids = ["a", "A/b", "A%2Fb", "..", ".", ".dynostore", "index.json", "é x", "x" * 64, "走" * 64]
    assert len({file_name(key) for key in [*ids, "y" * 300, "y" * 301]}) == len(ids) + 2
    with Store.open(url) as store:
        for key in ids:
            store.runs.create(run_id=key)
    with Store.open(url) as store:
        assert {run.id for run in store.runs.stream()} == set(ids)
        assert store.check() == []


def test_an_import_takes_over_what_was_written_here_notes_and_all(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        store.runs.create(run_id="a/b", status="partial", metadata={"n": 1}, input_filename="x.csv")
        store.runs.add_file("a/b", "output/VE.csv", sha256="ab" * 32, metadata={"rows": 1})
        store.runs.create(run_id="plain")
        runs = {run.id: run.values() for run in store.runs.stream()}
        files = store.runs.files("a/b")
    with Store.open(tmp_path / "new.db") as new:
        report = import_from(tmp_path / "runs", new)
        assert (report.exit_code, report.records.created) == (0, 2)
        there = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
        assert report.files.found == len(there)
        found = {run.id: run.values() for run in new.runs.stream()}
        more: dict[str, Any] = {
            "a/b": {"directory": "a%2Fb", "files": ["VE.csv"]},
            "plain": {"files": []},
        }
        for key, run in runs.items():
            run["metadata"] = {**more[key], **(run["metadata"] or {})}
        assert found == runs
        assert new.runs.files("a/b") == files
        assert import_from(tmp_path / "runs", new).records.same == 2


def test_other_families_say_what_to_do(url: str) -> None:
    with Store.open(url) as store:
        others: list[Any] = [store.tasks, store.sessions, store.ideation]
        for family in others:
            with pytest.raises(errors.NotHeld, match="hold runs and no") as info:
                family.list()
            assert "dynostore import" in str(info.value.hint)
        for asked in (
            lambda: reports.answer(store, "by-status"),
            lambda: draw_all(store, days=1, now=T0),
            lambda: prune(store, keep_last=1),
            lambda: export_to(store, "all.jsonl"),
            lambda: store.search("words"),
        ):
            with pytest.raises(errors.NotHeld, match="take a SQLite file or a Postgres") as info:
                asked()
            assert "dynostore import" in str(info.value.hint)
    with pytest.raises(errors.StoreNotFound):
        Store.open(f"{url}-missing", create=False)


def test_the_command_works_on_a_directory(
    url: str, tmp_path: Path, old_runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    old_runs.create("run_a")
    config = tmp_path / "dynostore.yaml"
    config.write_text(f"profiles:\n  dev:\n    url: {url}\n")
    dev = ["--config", str(config), "--profile", "dev"]
    assert main([*dev, "--json", "runs", "list"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["id"] == "run_a"
    assert main(["--db", url, "runs", "update", "run", "--status", "complete"]) == 0
    assert old_runs.get("run_a")["status"] == "complete"
    assert main(["--db", url, "info"]) == 0
    assert "DynoAI's run directories" in capsys.readouterr().out
    refusals = {
        "tasks list": "hold runs and no tasks",
        "sync --to postgresql://host/team": "what syncs with a server is a SQLite file",
        "db status": "a directory of files in an older tool's form, and no database",
    }
    for words, reason in refusals.items():
        assert main(["--db", url, *words.split()]) == 2
        said = capsys.readouterr().err
        assert reason in said
        assert "hint: " in said


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
def test_the_real_samples_are_what_an_import_gives(tmp_path: Path, url: str) -> None:
    shutil.copytree(REAL, tmp_path / "runs")
    with Store.open(url) as old, Store.open(tmp_path / "new.db") as new:
        import_from(tmp_path / "runs", new)
        assert old.runs.count() == new.runs.count() == 6
        for run in old.runs.stream():
            other = new.runs.get(run.id).values()
            mine = run.values()
            for column in ("input_filename", "config_snapshot", "metadata"):
                mine.pop(column), other.pop(column)
            assert mine == other
