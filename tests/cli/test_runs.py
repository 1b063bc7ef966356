"""``dynostore runs``: the verbs, the table, the JSON, and what goes wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

COLUMNS = {
    "id",
    "status",
    "source",
    "created_at",
    "updated_at",
    "jetstream_id",
    "current_stage",
    "progress_percent",
    "results_summary",
    "error_info",
    "input_filename",
    "config_snapshot",
    "metadata",
}


def test_list_gives_whole_records_newest_first_as_json(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    done = call("runs", "list", "--json")
    assert done.code == 0
    assert set(json.loads(done.out)) == {"ok", "items", "next"}
    assert [item["id"] for item in done.items] == three_runs[::-1]
    assert all(set(item) == COLUMNS for item in done.items)
    assert all(item["created_at"].endswith("+00:00") for item in done.items)
    assert done.err == ""


def test_list_of_nothing_is_an_empty_list(call: Callable[..., Any]) -> None:
    call("init")
    assert json.loads(call("--json", "runs", "list").out) == {"ok": True, "items": [], "next": None}
    assert call("runs", "list").out.split()[:2] == ["id", "status"]


def test_list_filters_by_status_source_and_time(call: Callable[..., Any]) -> None:
    now = dt.datetime.now(dt.UTC)
    with Store.open("dynostore.db") as store:
        for name, days in (("old", 30), ("week", 6), ("new", 0)):
            created = now - dt.timedelta(days=days)
            store.runs.create(run_id=name, created_at=created, source=name, status="complete")
        store.runs.create(run_id="pending")

    def ids(*words: str) -> list[str]:
        return [item["id"] for item in call("--json", "runs", "list", *words).items]

    assert ids("--since", "7d") == ["pending", "new", "week"]
    assert ids("--since", "1000h", "--until", "36h") == ["week", "old"]
    assert ids("--status", "complete") == ["new", "week", "old"]
    assert ids("--source", "old") == ["old"]
    week = (now - dt.timedelta(days=6)).isoformat()
    assert ids("--since", week, "--status", "complete") == ["new", "week"]
    assert ids("--until", week) == ["old"]


@pytest.fixture
def live_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Give a function that takes this machine to another time zone."""

    def move(zone: str) -> None:
        patch.setenv("TZ", zone)
        time.tzset()

    with monkeypatch.context() as patch:
        yield move
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_a_date_and_a_naive_time_are_this_machines(
    call: Callable[..., Any], live_in: Callable[[str], None], zone: str
) -> None:
    live_in(zone)
    created = dt.datetime(2025, 12, 6, 0, 30, tzinfo=dt.UTC)
    with Store.open("dynostore.db") as store:
        store.runs.create(run_id="early", created_at=created)
    shown = call("runs", "list").out.split()[-4]
    assert dt.datetime.fromisoformat(shown) == created
    assert shown.endswith({"UTC": "+00:00", "Asia/Kolkata": "+05:30"}.get(zone, "-05:00"))
    assert "2025-12-06T00:30:00+00:00" in call("runs", "list", "--utc").out
    found = call("-q", "runs", "list", "--since", "2025-12-06", "--json").items
    assert len(found) == (0 if zone.startswith("America") else 1)
    # What a table shows can be pasted, whole or without the offset.
    for given in (shown, shown[:19]):
        assert len(call("runs", "list", "--json", "--since", given).items) == 1
        assert len(call("runs", "list", "--json", "--until", given).items) == 0


def test_the_ends_of_time_are_shown_in_utc_where_no_local_time_is(
    call: Callable[..., Any], live_in: Callable[[str], None]
) -> None:
    with Store.open("dynostore.db") as store:
        store.runs.create(run_id="first", created_at=dt.datetime(1, 1, 1, tzinfo=dt.UTC))
        store.runs.create(run_id="last", created_at=dt.datetime(9999, 12, 31, 23, tzinfo=dt.UTC))
    live_in("America/New_York")
    assert "0001-01-01T00:00:00+00:00" in call("runs", "list").out
    live_in("Asia/Kolkata")
    assert "9999-12-31T23:00:00+00:00" in call("runs", "list").out


def test_pages_follow_each_other_by_the_cursor(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    first = json.loads(call("--json", "runs", "list", "--limit", "2").out)
    rest = call("--json", "runs", "list", "--limit", "0", "--after", first["next"])
    assert [r["id"] for r in first["items"] + rest.items] == three_runs[::-1]
    assert json.loads(rest.out)["next"] is None
    note = call("runs", "list", "--limit", "2").err
    assert f"--after {first['next']}" in note
    done = call("runs", "list", "--after", "nonsense")
    assert (done.code, done.out) == (2, "")
    assert "after: 'nonsense' is not a cursor" in done.err


def test_a_row_that_plain_sql_broke_hides_no_other_and_can_be_changed_and_removed(
    call: Callable[..., Any], workplace: Path, three_runs: list[str]
) -> None:
    with contextlib.closing(sqlite3.connect(workplace / "dynostore.db")) as db, db:
        db.execute("UPDATE runs SET current_stage = x'ff41', metadata = x'ff'")
        db.execute("UPDATE runs SET created_at = '2025-12-06 10:00:00'")  # as SQLite writes it
    first = call("runs", "list", "--limit", "1", "--json")
    assert first.code == 0
    assert (first.items[0]["current_stage"], first.items[0]["metadata"]) == ("\\xff41", "\\xff")
    after = json.loads(first.out)["next"]
    rest = call("runs", "list", "--limit", "0", "--after", after, "--json")
    assert {item["id"] for item in first.items + rest.items} == set(three_runs)
    assert "\\xff41" in call("runs", "list", "--format", "csv").out
    assert call("runs", "list").code == 0

    run = three_runs[0]
    assert call("runs", "update", run, "--current-stage", "mended", "--json").code == 0
    assert call("runs", "show", run, "--json").item["current_stage"] == "mended"
    assert call("runs", "rm", run, "--yes").code == 0


def test_text_that_is_not_utf_8_is_an_error_that_says_what_reads_it(
    call: Callable[..., Any], workplace: Path, three_runs: list[str]
) -> None:
    with contextlib.closing(sqlite3.connect(workplace / "dynostore.db")) as db, db:
        db.execute("UPDATE runs SET current_stage = CAST(x'ff41' AS TEXT)")
    done = call("runs", "list", "--json")
    assert (done.code, done.error["code"]) == (7, "integrity")
    assert "current_stage" in done.error["message"]
    assert "dynostore query" in done.error["hint"]
    shown = call("query", "SELECT current_stage FROM runs LIMIT 1", "--format", "csv")
    assert "\\xff" in shown.out


def test_limit_0_lists_more_than_one_fetch(call: Callable[..., Any]) -> None:
    with Store.open("dynostore.db") as store, store.transaction():
        for number in range(1501):
            store.runs.create(run_id=f"run_{number:04}")
    assert len(call("--json", "runs", "list", "--limit", "0").items) == 1501
    assert len(call("runs", "list", "--limit", "0").out.splitlines()) == 1502
    assert len(call("--json", "runs", "list").items) == 50


def test_a_piped_table_is_plain_and_whole(
    program: Callable[..., Any], three_runs: list[str]
) -> None:
    stage = "a stage of so many words that no terminal is as wide as it " * 5
    with Store.open("dynostore.db") as store:
        store.runs.update("other", current_stage=stage, input_filename="[red]\x1b[31mred\ntwo")
    done = program("runs", "list", COLUMNS="40", FORCE_COLOR="1")
    assert stage.strip() in done.out
    assert "\x1b" not in done.out
    assert r"[red]\x1b[31mred\ntwo" in done.out
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == three_runs[::-1]
    assert all(len(line.split()) == 7 for line in lines[2:])


def test_show_gives_fields_and_files_by_the_beginning_of_the_id(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    item = call("runs", "show", "run_a", "--json").item
    assert set(item) == COLUMNS | {"files"}
    assert [(f["filename"], f["size_bytes"]) for f in item["files"]] == [
        ("input/VE.csv", None),
        ("output/VE.csv", 2048),
    ]
    text = call("runs", "show", "run_a").out
    assert "output/VE.csv" in text
    assert text.splitlines()[0].split() == ["id", "run_alpha"]


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (["show", "nobody"], 4, "run_not_found"),
        (["show", "run_"], 2, "ambiguous_id"),
        (["update", "nobody", "--source", "x"], 4, "run_not_found"),
        (["update", "run_", "--source", "x"], 2, "ambiguous_id"),
        (["update", "other", "--source", "x" * 65], 2, "invalid_value"),
        (["rm", "--yes", "nobody"], 4, "run_not_found"),
        (["rm", "--yes", "other", "nobody"], 4, "run_not_found"),
        (["create", "--id", "other"], 1, "already_exists"),
        (["create", "--id", "x" * 65], 2, "invalid_value"),
        (["create", "--id", ""], 2, "invalid_value"),
        (["create", "--metadata", '"\\u0000"'], 2, "invalid_value"),
        (["create", "--metadata", "NaN"], 2, "invalid_value"),
    ],
)
def test_what_is_refused_has_its_exit_code_and_changes_nothing(
    call: Callable[..., Any], three_runs: list[str], words: list[str], code: int, name: str
) -> None:
    before = call("--json", "runs", "list").out
    done = call("--json", "runs", *words)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == name
    done = call("runs", *words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert call("--json", "runs", "list").out == before


def test_create_records_every_field_and_prints_the_id(
    call: Callable[..., Any], workplace: Path
) -> None:
    (workplace / "config.json").write_text('{"args": {"clamp": 7.5}}', encoding="utf-8")
    done = call(
        "runs", "create", "--id", "mine", "--source", "dyno", "--status", "partial",
        "--created-at", "2025-12-06T00:03:47Z", "--jetstream-id", "JS-1",
        "--current-stage", "export",
        "--progress-percent", "80", "--results-summary", "[1, 2]", "--error-info", '"late"',
        "--input-filename", "pull.csv", "--config-snapshot", "@config.json", "--metadata", "0",
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "mine\n", "")
    created = dt.datetime(2025, 12, 6, 0, 3, 47, tzinfo=dt.UTC)
    with Store.open("dynostore.db", create=False) as store:
        assert store.runs.get("mine").values() == {
            "id": "mine",
            "status": "partial",
            "source": "dyno",
            "created_at": created,
            "updated_at": created,
            "jetstream_id": "JS-1",
            "current_stage": "export",
            "progress_percent": 80,
            "results_summary": [1, 2],
            "error_info": "late",
            "input_filename": "pull.csv",
            "config_snapshot": {"args": {"clamp": 7.5}},
            "metadata": 0,
        }


def test_create_makes_the_store_and_the_id(call: Callable[..., Any], workplace: Path) -> None:
    run_id = call("runs", "create").out.strip()
    assert (workplace / "dynostore.db").exists()
    item = call("runs", "show", run_id[:-6], "--json").item
    assert (item["status"], item["source"]) == ("pending", "manual")
    assert set(call("--json", "runs", "create").item) == COLUMNS


def test_update_changes_what_is_given_and_clears_what_is_named(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    before = call("--json", "runs", "show", "other").item
    done = call(
        "runs", "update", "oth", "--status", "complete", "--progress-percent", "0",
        "--clear", "metadata", "--json",
    )  # fmt: skip
    after = call("--json", "runs", "show", "other").item
    assert done.item == {k: v for k, v in after.items() if k != "files"}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"status", "progress_percent", "metadata", "updated_at"}
    assert after["progress_percent"] == 0
    assert after["metadata"] is None


def test_an_empty_text_is_a_value(call: Callable[..., Any], three_runs: list[str]) -> None:
    assert call("runs", "update", "other", "--current-stage", "").code == 0
    assert call("--json", "runs", "show", "other").item["current_stage"] == ""


def test_rm_shows_what_it_would_do_and_needs_yes_where_nobody_can_be_asked(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    done = call("runs", "rm", "run_a", answer="y\n")
    assert (done.code, done.out) == (2, "")
    assert "would remove run_alpha (complete, 2 files)" in done.err
    assert "--yes" in done.err
    assert call("--json", "runs", "rm", "run_a").error["code"] == "usage"
    assert len(call("--json", "runs", "list").items) == 3


def test_rm_with_yes_removes_all_named_or_none(
    call: Callable[..., Any], three_runs: list[str]
) -> None:
    done = call("runs", "rm", "--yes", "run_a", "run_alpha", "oth", "--json")
    assert [item["id"] for item in done.items] == ["run_alpha", "other"]
    assert [item["id"] for item in call("--json", "runs", "list").items] == ["run_beta"]


def test_all_of_it_works_on_postgres(call: Callable[..., Any], postgres_url: str) -> None:
    at = ("--db", postgres_url)
    done = call(*at, "runs", "list")
    assert (done.code, done.out) == (6, "")
    assert "has no tables yet" in done.err
    assert call(*at, "init").code == 0
    assert call(*at, "runs", "create", "--id", "one", "--metadata", '{"a": 1}').code == 0
    assert call(*at, "runs", "update", "on", "--status", "error").code == 0
    assert call(*at, "--json", "runs", "show", "one").item["metadata"] == {"a": 1}
    assert [r["id"] for r in call(*at, "--json", "runs", "list", "--limit", "0").items] == ["one"]
    assert call(*at, "runs", "rm", "one", "--yes").code == 0
