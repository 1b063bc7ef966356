"""``dynostore export``: what is written, where, and what never happens to a file that is there."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.exporter import export_to
from dynostore.exporting.rows import Selection
from dynostore.samples.seed import seed

pytestmark = pytest.mark.once

Call = Callable[..., Any]


@pytest.fixture
def seeded(store_file: Path) -> Iterator[Store]:
    """Give ``./dynostore.db`` with samples of every family."""
    with Store.open(store_file) as store:
        seed(store)
        yield store


def rows_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    documents = map(json.loads, text.splitlines())
    return [(line["table"], line["row"]) for line in documents if "table" in line]


def tables_of(text: str) -> set[str]:
    return {table for table, _ in rows_of(text)}


def test_what_is_exported_is_imported_into_an_equal_store(call: Call, seeded: Store) -> None:
    done = call("--json", "export", "-o", "all.jsonl")
    document = json.loads(done.out)
    assert (done.code, document["ok"], document["rows"]) == (0, True, 1310)
    assert (document["format"], document["output"], document["left_out"]) == (
        "jsonl",
        "all.jsonl",
        0,
    )
    assert document["items"][0] == {"table": "runs", "rows": 4}
    assert call("--db", "copy.db", "import", "all.jsonl").code == 0
    copy = call("--db", "copy.db", "export").out
    assert copy.splitlines()[1:] == Path("all.jsonl").read_text("utf-8").splitlines()[1:]
    assert os.stat("all.jsonl").st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_replaced_only_after_a_yes(call: Call, seeded: Store) -> None:
    Path("out.jsonl").write_text("precious")
    os.chmod("out.jsonl", 0o640)
    Path("link.jsonl").symlink_to("out.jsonl")
    for words in (("export",), ("--json", "export"), ("export", "--format", "csv")):
        refused = call(*words, "-o", "out.jsonl")
        assert refused.code == 2
        assert "--yes" in refused.err
    assert Path("out.jsonl").read_text() == "precious"
    with pytest.raises(errors.AlreadyExists, match="is there already"):
        export_to(seeded, "out.jsonl")
    assert call("export", "-o", "link.jsonl", "--yes").code == 0
    assert len(rows_of(Path("out.jsonl").read_text("utf-8"))) == 1310
    assert (Path("link.jsonl").is_symlink(), os.stat("out.jsonl").st_mode & 0o777) == (True, 0o640)
    Path("csv").mkdir()
    Path("csv/notes.txt").write_text("mine")
    assert call("export", "--format", "csv", "-o", "csv").code == 2
    assert call("export", "--format", "csv", "-o", "csv", "--yes").code == 0
    assert Path("csv/notes.txt").read_text() == "mine"
    assert len([*Path("csv").glob("*.csv")]) == 17
    assert not [name for name in os.listdir() if name.endswith(".tmp")]


def test_records_are_chosen_with_what_belongs_to_them(call: Call, seeded: Store) -> None:
    run = call("export", "--run", "demo-run-pull-0").out
    assert [table for table, _ in rows_of(run)].count("runs") == 1
    assert {row["run_id"] for table, row in rows_of(run) if table == "run_files"} == {
        "demo-run-pull-07"
    }
    assert tables_of(run) == {"runs", "run_files"}
    session = call("export", "--session", seeded.sessions.list_sessions().items[0].session_id).out
    assert tables_of(session) <= {"sessions", "states", "todo_lists", "execution_history"}
    assert len([row for table, row in rows_of(session) if table == "sessions"]) == 1
    assert tables_of(call("export", "--family", "memories,ideation").out) == {
        *("memories", "ideation_sessions", "ideation_messages", "ideation_requirements"),
        *("ideation_maturity", "ideation_prd_drafts", "ideation_user_stories"),
    }
    # Lines of JSON take the parents along, without which nothing could be imported.
    assert tables_of(call("export", "--tables", "run_files").out) == {"runs", "run_files"}
    assert call("export", "--run", "none").code == 4
    for option in ("--tables", "--family"):
        wrong = call("export", option, "engines")
        assert (wrong.code, wrong.out) == (2, "")
        assert "'engines' is none of" in wrong.err


def test_records_are_chosen_by_their_time(call: Call, seeded: Store) -> None:
    todo = seeded.todos.create(plan={"items": []}, mission="belongs to no session")
    recent = rows_of(call("export", "--since", "1h").out)
    plans = [row["todolist_id"] for table, row in recent if table == "todo_lists"]
    assert plans == [todo.todolist_id]
    old = rows_of(call("export", "--until", "3d").out)
    kept = {row["id"] for table, row in old if table == "conversations"}
    assert kept
    assert {row["conversation_id"] for table, row in old if table == "messages"} == kept
    every = rows_of(call("export").out)
    late = rows_of(call("export", "--since", "3d").out)
    assert 0 < len(late) < len(every)
    assert {row["id"] for t, row in late if t == "conversations"}.isdisjoint(kept)


def test_records_are_chosen_alike_on_both_databases(store: Store) -> None:
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    seed(store, now=now)
    store.todos.create(plan={"items": []}, mission="belongs to no session")
    week = now - dt.timedelta(days=7)
    conversation = store.conversations.list_conversations().items[0].id
    chosen = (
        Selection(since=week),
        Selection(until=week),
        Selection(keys={"runs": ["demo-run-pull-07"], "conversations": [conversation]}),
        Selection(tables=["messages"], since=week, keys={"conversations": [conversation]}),
    )
    numbers = []
    for selection in chosen:
        stream = io.BytesIO()
        report = export_to(store, stream, selection=selection)
        assert len(rows_of(stream.getvalue().decode())) == sum(report.rows.values())
        numbers.append(report.rows)
    assert {t: numbers[0][t] + numbers[1][t] for t in numbers[0]} == {
        **export_to(store, io.BytesIO()).rows
    }
    said = store.conversations.get_conversation(conversation).message_count
    assert numbers[2] == {"runs": 1, "run_files": 4, "conversations": 1, "messages": said}
    assert numbers[3] == {"conversations": 1, "messages": said}


def test_tables_of_own_models_are_named_because_they_are_not_exported(
    call: Call, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("notebook.py").write_text(
        "import peewee\n\n\nclass Note(peewee.Model):\n"
        "    id = peewee.CharField(primary_key=True, max_length=64)\n"
    )
    monkeypatch.syspath_prepend(str(workplace))
    call("--models", "notebook", "init")
    done = call("--models", "notebook", "export")
    assert (done.code, rows_of(done.out)) == (0, [])
    assert "not exported, as tables of your own: note" in done.err


def test_an_export_is_one_moment_and_keeps_nobody_from_writing(
    store: Store, tmp_path: Path
) -> None:
    seed(store)
    with Store.open(store.place.url, warm=False) as other:

        def write_meanwhile(done: int, total: int | None) -> None:
            other.runs.create(source="late")
            other.runs.delete("demo-run-pull-07") if done == 4 else None

        export_to(store, tmp_path / "out.jsonl", progress=write_meanwhile)
        rows = rows_of((tmp_path / "out.jsonl").read_text("utf-8"))
        assert len(rows) == 1310
        assert not [row for table, row in rows if row.get("source") == "late"]
        # All of its files are there with the run that is gone by now.
        assert sum(row.get("run_id") == "demo-run-pull-07" for table, row in rows) == 4
        assert other.runs.count() > 17


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_that_is_interrupted_leaves_what_was_there(
    form: str, seeded: Store, workplace: Path
) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done > 100:
            raise KeyboardInterrupt

    before = sorted(os.listdir())
    with pytest.raises(KeyboardInterrupt):
        export_to(seeded, "new", form, progress=interrupt)
    assert sorted(os.listdir()) == before
    export_to(seeded, "old", form, selection=Selection(tables=["runs"]))
    there = {path: path.read_bytes() for path in Path().glob("old/**") if path.is_file()}
    there |= {Path("old"): Path("old").read_bytes()} if form == "jsonl" else {}
    with pytest.raises(KeyboardInterrupt):
        export_to(seeded, "old", form, replace=True, progress=interrupt)
    assert {path: path.read_bytes() for path in there} == there
    assert sorted(os.listdir()) == sorted([*before, "old"])
    assert seeded.runs.create(source="still open").source == "still open"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_disk_that_is_full_leaves_no_half_of_a_file(
    form: str, seeded: Store, start_python: Callable[..., Any]
) -> None:
    before = sorted(os.listdir())
    limited = start_python(
        "import resource, sys; from dynostore.cli import main\n"
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))\n"
        "code = main(sys.argv[1:])\n"
        # What measures coverage writes more than that at the end.
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "sys.exit(code)",
        *("--json", "export", "--format", form, "-o", "out"),
    )
    out, err = limited.communicate(timeout=60)
    assert (limited.returncode, out) == (1, "")
    assert json.loads(err)["error"]["code"] == "unwritable"
    assert sorted(os.listdir()) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full")
def test_streams_end_as_those_of_other_commands_do(seeded: Store) -> None:
    command = [sys.executable, "-m", "dynostore", "export"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        b"error: stdout: No space left on device\nhint: make room, and try again\n",
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_a_pipe_or_device_is_written_and_not_replaced(call: Call, seeded: Store) -> None:
    os.mkfifo("pipe")
    with open("read.jsonl", "wb") as file:
        reader = subprocess.Popen(["cat", "pipe"], stdout=file)
    assert call("export", "-o", "pipe").code == 0
    assert reader.wait(60) == 0
    assert len(rows_of(Path("read.jsonl").read_text("utf-8"))) == 1310
    assert call("export", "-o", "/dev/null").code == 0
    assert not Path("/dev/null").is_file()


def test_csv_of_one_table_goes_to_stdout(call: Call, seeded: Store) -> None:
    done = call("export", "--format", "csv", "--tables", "runs")
    assert done.out.splitlines()[0].startswith('"id","status","source","created_at"')
    assert (len(done.out.splitlines()), done.err) == (5, "4 rows\n")
    several = call("export", "--format", "csv")
    assert (several.code, several.out) == (2, "")
    assert "one table" in several.err
    assert call("--json", "export").code == 2


def test_csv_runs_no_formula_in_a_spreadsheet_unless_it_is_asked_for_raw(
    call: Call, seeded: Store
) -> None:
    for lesson in ("=HYPERLINK(1)", "-5", "'quoted", "a=b", ""):
        seeded.memories.add("x", lesson, tool_name="csv", confidence=-5)
    chosen = ("export", "--format", "csv", "--tables", "memories", "--since", "1h")
    assert {line.split(",")[2] for line in call(*chosen).out.splitlines()[1:]} == {
        *('"\'=HYPERLINK(1)"', '"\'-5"', "\"''quoted\"", '"a=b"', '""'),
    }
    raw = call(*chosen, "--raw").out.splitlines()[1:]
    assert {line.split(",")[2] for line in raw} == {
        *('"=HYPERLINK(1)"', '"-5"', '"\'quoted"', '"a=b"', '""')
    }
    # A number is no text, and NULL is not the empty one.
    assert {tuple(line.split(",")[i] for i in (4, 6)) for line in raw} == {("-5", "")}


def test_postgres_copies_csv_in_without_loss(seeded: Store, migrated_postgres_url: str) -> None:
    export_to(seeded, "csv", "csv", raw=True)
    with Store.open(migrated_postgres_url, warm=False) as there:
        with there.database.writing():
            cursor = there.database.cursor()
            for table in ("runs", "tasks", "memories", "ideation_sessions", "ideation_maturity"):
                with open(f"csv/{table}.csv", encoding="utf-8") as file:
                    cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT csv, HEADER)", file)
        chosen = Selection(tables=["runs", "tasks", "memories", "ideation_maturity"])
        streams = io.BytesIO(), io.BytesIO()
        for store, stream in zip((seeded, there), streams, strict=True):
            export_to(store, stream, selection=chosen)
        ours, theirs = (stream.getvalue().splitlines()[1:] for stream in streams)
        assert ours == theirs


@pytest.mark.parametrize("broken", ["x'ff'", "CAST(x'ff41' AS TEXT)"])
def test_a_row_that_plain_sql_broke_is_left_out_and_named(
    call: Call, seeded: Store, broken: str
) -> None:
    with seeded.database.writing():
        seeded.database.execute_sql(f"UPDATE runs SET current_stage = {broken} WHERE rowid = 1")
    done = call("export", "--tables", "runs")
    assert (done.code, len(rows_of(done.out))) == (3, 3)
    assert "left out: runs 'demo-run-pull-07': " in done.err
    document = json.loads(call("--json", "export", "-o", "out.jsonl").out)
    assert (document["ok"], document["left_out"]) == (False, 1)


def test_a_key_that_is_not_utf_8_is_an_error_that_says_so(call: Call, seeded: Store) -> None:
    with seeded.database.writing():
        seeded.database.execute_sql(
            "UPDATE memories SET memory_id = CAST(x'ff41' AS TEXT) WHERE rowid = 1"
        )
    done = call("--json", "export", "--tables", "memories", "-o", "out.jsonl")
    assert (done.code, done.error["code"]) == (7, "integrity")


def test_memory_does_not_grow_with_the_store(seeded: Store) -> None:
    talk = seeded.conversations.create_conversation().id
    messages: Any = [{"role": "user", "content": "x" * 8000}] * 4000
    seeded.conversations.add_messages(talk, messages)
    tracemalloc.start()
    try:
        export_to(seeded, "out.jsonl")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert os.path.getsize("out.jsonl") > 32_000_000
    assert peak_bytes < 25_000_000


def test_a_store_in_files_is_taken_over_before_it_is_exported(call: Call, workplace: Path) -> None:
    Path("runs").mkdir()
    refused = call("--db", "dir:runs", "export")
    assert refused.code == 2
    assert "dynostore import" in refused.err


def test_every_command_of_the_guide_runs(call: Call, workplace: Path) -> None:
    guide = Path(__file__).parents[2].joinpath("docs/exporting.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```$", guide, re.M | re.S)[0].splitlines()
    assert len(commands) == 9
    for line in commands:
        program, *words = shlex.split(re.split(r"[>|]", line)[0])
        done = call(*words)
        assert (program, done.code) == ("dynostore", 0), line
        assert "-o" in words or done.out


@pytest.mark.parametrize("number", [50, 51, 250])
def test_each_row_leaves_once_where_a_page_ends(tmp_path: Path, number: int) -> None:
    keys = [f"run-{place:03}" for place in range(number)]
    with Store.open(tmp_path / "s.db") as store:
        with store.transaction():
            for key in keys:
                store.runs.create(run_id=key)
        report = export_to(store, tmp_path / "x.jsonl", selection=Selection(tables=("runs",)))
    found = [row["id"] for _, row in rows_of((tmp_path / "x.jsonl").read_text("utf-8"))]
    assert (found, report.rows["runs"]) == (keys, number)


def test_yes_and_no_leave_as_json_says_them(call: Call, seeded: Store) -> None:
    seeded.database.execute_sql(
        "UPDATE ideation_maturity SET can_submit = 1"
        " WHERE session_id = (SELECT min(session_id) FROM ideation_maturity)"
    )
    out = call("export", "--tables", "ideation_maturity").out
    said = {
        row["session_id"]: row["can_submit"] for table, row in rows_of(out) if "maturity" in table
    }
    assert {key for key, value in said.items() if value is True} == {min(said)}
    assert {key for key, value in said.items() if value is False} == {*said} - {min(said)}


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock", ".sync-lock"])
def test_an_export_never_goes_over_the_store(call: Call, seeded: Store, suffix: str) -> None:
    place = f"dynostore.db{suffix}"
    before = Path("dynostore.db").read_bytes()
    for consent in ((), ("--yes",)):
        done = call("--json", "export", "-o", place, *consent)
        assert (done.code, done.error["code"]) == (1, "unwritable")
        assert done.error["message"].endswith("the store itself")
    with pytest.raises(errors.StoreUnwritable, match="the store itself"):
        export_to(seeded, place, replace=True)
    assert Path("dynostore.db").read_bytes() == before
    assert seeded.check() == []


@pytest.mark.parametrize(("form", "name"), [("csv", "runs.csv"), ("runs", "index.json")])
def test_no_file_of_a_directory_goes_over_the_store(
    call: Call, seeded: Store, form: str, name: str
) -> None:
    Path("out").mkdir()
    place = Path("out") / name
    seeded.close()
    os.rename("dynostore.db", place)
    before = place.read_bytes()
    done = call("--json", "--db", str(place), "export", "--format", form, "-o", "out", "--yes")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert done.error["message"] == f"{place}: is the store itself"
    assert place.read_bytes() == before
    assert [path.name for path in Path("out").iterdir() if path.suffix != ".lock"] == [name]
    if form == "csv":
        done = call(
            "--db",
            str(place),
            "export",
            "--format",
            form,
            "-o",
            "out",
            "--tables",
            "tasks",
            "--yes",
        )
        assert (done.code, place.read_bytes()) == (0, before)


def test_no_file_of_a_directory_goes_over_a_database_in_use(call: Call, seeded: Store) -> None:
    place = Path("out/tasks.csv")
    place.parent.mkdir()
    with Store.open(place) as other:
        other.runs.create(source="dyno")
        done = call("--json", "export", "--format", "csv", "-o", "out", "--yes")
        assert (done.code, done.error["code"]) == (1, "unwritable")
        assert "is a database in use" in done.error["message"]
        assert (other.runs.count(), other.check()) == (1, [])


def test_a_pipe_without_a_path_of_its_own_can_be_written(seeded: Store) -> None:
    words = [sys.executable, "-m", "dynostore", "-q", "export", "-o", "/dev/stdout", "--yes"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "runs" in tables_of(done.stdout.partition('{"end"')[0])
