"""The way back: what an older tool's directory can hold comes out of it again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.exporter import export_to
from dynostore.importer import import_from
from dynostore.models.runs import Run, RunFile
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.models.todos import TodoList
from dynostore.samples.seed import seed

Call = Callable[..., Any]

# What run_state.json has keys for.
STATED = (
    *("id", "status", "source", "created_at", "updated_at", "jetstream_id", "current_stage"),
    *("progress_percent", "results_summary", "error_info"),
)


@pytest.fixture
def seeded(store_file: Path) -> Iterator[Store]:
    """Give ``./dynostore.db`` with samples of every family."""
    with Store.open(store_file) as store:
        seed(store)
        yield store


def rows(store: Store, *models: Any) -> list[dict[str, Any]]:
    """Give all rows of these tables, in the order of their keys."""
    with store.database.reading():
        return [
            record.values()
            for model in models
            for record in model.select().order_by(model._meta.primary_key).execute(store.database)
        ]


def stated(store: Store) -> list[list[Any]]:
    """Give what run_state.json says of all runs; it has no word for ``partial``."""
    return [
        [
            {"partial": "complete"}.get(row[name], row[name]) if name == "status" else row[name]
            for name in STATED
        ]
        for row in rows(store, Run)
    ]


@pytest.mark.parametrize(
    ("form", "models"),
    [("runs", (Run, RunFile)), ("taskforce", (AgentSession, SessionState, TodoList))],
)
def test_a_directory_is_a_store_that_holds_the_same(
    form: str, models: Any, call: Call, seeded: Store
) -> None:
    done = json.loads(call("--json", "export", "--format", form, "-o", "out").out)
    assert [item["table"] for item in done["items"]] == [m._meta.table_name for m in models]
    assert done["rows"] == len(rows(seeded, *models))
    with Store.open("dir:out") as there:
        assert rows(there, *models) == rows(seeded, *models)
        assert there.check() == []


@pytest.mark.parametrize(
    ("form", "models"), [("runs", [Run]), ("taskforce", [AgentSession, TodoList])]
)
def test_a_directory_that_is_imported_again_gives_the_same_records(
    form: str, models: Any, seeded: Store
) -> None:
    export_to(seeded, "out", form)
    with Store.open("again.db") as again:
        assert import_from("out", again).exit_code == 0
        for model in models:
            key = model._meta.primary_key.column_name
            ours, theirs = rows(seeded, model), rows(again, model)
            assert [row[key] for row in ours] == [row[key] for row in theirs]
            if model is Run:
                assert stated(seeded) == stated(again)
            else:
                assert [row["mission"] for row in ours] == [row["mission"] for row in theirs]


def test_runs_take_their_files_along_and_are_equal_when_they_are_imported_again(
    workplace: Path, call: Call
) -> None:
    with as_file(files("dynostore.samples")) as samples:
        shutil.copytree(samples / "legacy_runs" / "runs", "old")
    with Store.open("dynostore.db") as store, Store.open("again.db") as again:
        import_from("old", store)
        done = call("--json", "export", "--format", "runs", "-o", "new", "--with-files")
        assert (done.code, json.loads(done.out)["files"]) == (0, store_files(store))
        assert import_from("new", again).exit_code == 0
        facts = ("id", "run_id", "filename", "size_bytes", "sha256")
        ours, theirs = (
            [
                [row[name] for name in facts]
                for row in rows(found, RunFile)
                if row["filename"] != "run_state.json"
            ]
            for found in (store, again)
        )
        assert ours == theirs
        assert stated(store) == stated(again)


def store_files(store: Store) -> int:
    return sum(row["filename"] != "run_state.json" for row in rows(store, RunFile))


def test_a_file_that_is_gone_or_has_changed_is_left_out_and_named(
    workplace: Path, call: Call
) -> None:
    with as_file(files("dynostore.samples")) as samples:
        shutil.copytree(samples / "legacy_runs" / "runs", "old")
    with Store.open("dynostore.db") as store:
        import_from("old", store)
        (changed,) = Path("old").glob("*/output/VE_Correction_Delta_DYNO.csv")
        changed.write_text("other\n")
        (gone,) = Path("old").glob("*/input/dynoai_input.csv")
        gone.unlink()
        done = call("export", "--format", "runs", "-o", "new", "--with-files")
        assert done.code == 3
        assert "VE_Correction_Delta_DYNO.csv: has changed since it was recorded" in done.err
        assert "dynoai_input.csv: No such file or directory" in done.err
        run = store.runs.list().items[0]
        kept = sorted(path.name for path in Path("new", run.id).rglob("*") if path.is_file())
    assert "run_state.json" in kept
    assert not {"VE_Correction_Delta_DYNO.csv", "dynoai_input.csv"} & set(kept)
    assert not [name for name in kept if name.endswith(".tmp")]


def test_no_file_that_is_copied_goes_over_the_store(workplace: Path, call: Call) -> None:
    Path("old").mkdir()
    Path("old/VE.csv").write_text("1\n")
    place = Path("runs/run_a/output/VE.csv")
    place.parent.mkdir(parents=True)
    with Store.open(place) as store:
        store.runs.create(run_id="run_a", source="dyno")
        origin = os.path.abspath("old/VE.csv")
        store.runs.add_files("run_a", [{"filename": "output/VE.csv", "storage_path": origin}])
    words = ("--format", "runs", "-o", "runs", "--with-files", "--yes")
    done = call("--db", str(place), "export", *words)
    assert done.code == 3
    assert "VE.csv: is the store itself" in done.err
    assert place.read_bytes().startswith(b"SQLite format 3")


def test_a_directory_in_use_keeps_what_is_not_replaced(call: Call, seeded: Store) -> None:
    with Store.open("dir:runs") as older:
        older.runs.create(run_id="its-own", source="jetstream")
        older.runs.create(run_id="demo-run-pull-07", source="jetstream")
    assert call("export", "--format", "runs", "-o", "runs").code == 2
    with pytest.raises(errors.AlreadyExists):
        export_to(seeded, "runs", "runs")
    chosen = ("--run", "demo-run-pull-07")
    assert call("export", "--format", "runs", "-o", "runs", *chosen, "--yes").code == 0
    with Store.open("dir:runs") as older:
        assert {run.id for run in older.runs.list()} == {"its-own", "demo-run-pull-07"}
        assert older.runs.get("demo-run-pull-07") == seeded.runs.get("demo-run-pull-07")
    other = call("export", "--format", "taskforce", "-o", "runs", "--yes")
    assert other.code == 2
    assert "holds DynoAI's run directories" in other.err


def test_an_interrupted_export_leaves_the_directory_as_it_was(seeded: Store) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    before = sorted(os.listdir())
    with pytest.raises(KeyboardInterrupt):
        export_to(seeded, "new", "runs", progress=interrupt)
    assert sorted(os.listdir()) == before
    with Store.open("dir:runs") as older:
        older.runs.create(run_id="its-own", source="jetstream")
    with pytest.raises(KeyboardInterrupt):
        export_to(seeded, "runs", "runs", replace=True, progress=interrupt)
    with Store.open("dir:runs") as older:
        assert [run.id for run in older.runs.list()] == ["its-own"]
    assert [name for name in os.listdir("runs") if name.startswith("demo")] == []


@pytest.mark.parametrize(
    "words",
    [("--format", "runs"), ("--format", "runs", "-o", "x", "--tables", "runs"), ("--with-files",)],
    ids=["a stream", "tables", "files of lines"],
)
def test_what_makes_no_directory_is_refused(words: Any, call: Call, seeded: Store) -> None:
    done = call("export", *words)
    assert (done.code, done.out) == (2, "")
    assert not Path("x").exists()
