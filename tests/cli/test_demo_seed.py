"""``dynostore demo --seed-only``: a store full of samples, of which every report can speak."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.fields import UtcTimeField
from dynostore.models import REPLICATED
from dynostore.models.tasks import AGENT_TYPES, STATUSES
from dynostore.reports import REPORTS
from dynostore.samples.seed import families_in, seed

Call = Callable[..., Any]
NOW = dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC)


def rows_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Give everything that replicates, by table, in the order of the keys."""
    with store.database.reading():
        return {
            model._meta.table_name: [
                row.values()
                for row in model.select().order_by(model._meta.primary_key).execute(store.database)
            ]
            for model in REPLICATED
        }


def test_an_empty_store_gets_samples_of_every_family(call: Call, store_url: str) -> None:
    done = call("--db", store_url, "demo", "--seed-only", "--json")
    assert (done.code, done.err) == (0, "")
    with Store.open(store_url, warm=False) as store:
        rows = rows_of(store)
        assert store.check() == []
    counts = {item["table"]: item["records"] for item in done.items}
    assert counts == {table: len(found) for table, found in rows.items()}
    assert all(counts.values())
    assert [row["status"] for row in rows["tasks"]].count("completed") == 3
    assert {row["status"] for row in rows["tasks"]} == set(STATUSES)
    assert (counts["tasks"], counts["sessions"], counts["conversations"]) == (8, 2, 3)
    assert counts["execution_logs"] >= 20
    assert {row["run_id"] for row in rows["run_files"]} == {row["id"] for row in rows["runs"]}
    log = [row for row in rows["messages"] if row["conversation_id"] == "demo-chat-bench-log"]
    assert len(log) > 1000


def test_every_report_has_something_to_say_of_them(call: Call, store_url: str) -> None:
    assert call("--db", store_url, "demo", "--seed-only").code == 0
    tasks = call("--db", store_url, "tasks", "list", "--status", "failed", "--json").items
    answers = {}
    for name in REPORTS:
        task = ["--task", tasks[0]["task_id"]] if name == "timeline" else []
        answers[name] = call("--db", store_url, "report", name, *task, "--json").items
    assert all(answers.values())
    new = {row["status"]: (row["last_24h"], row["last_7d"]) for row in answers["by-status"]}
    assert (sum(day for day, _ in new.values()), sum(week for _, week in new.values())) == (4, 7)
    assert {row["agent_type"] for row in answers["agent-durations"]} == set(AGENT_TYPES)
    assert all(row["p95_duration_ms"] for row in answers["agent-durations"])
    assert all(row["total_cost_usd"] > 0 for row in answers["ai-cost"])
    assert {row["success_rate_pct"] for row in answers["success-by-day"]} >= {0, 100}
    assert all(row["duration_sec"] and row["cpu_ms"] for row in answers["resources"])
    assert [row["status"] for row in answers["timeline"]] == [*["completed"] * 3, "failed"]


def test_on_a_store_with_records_it_asks_for_a_yes_and_writes_nothing(
    call: Call, store: Store, store_url: str
) -> None:
    store.runs.create(run_id="mine", source="manual")
    before = rows_of(store)
    refused = call("--db", store_url, "demo", "--seed-only")
    assert (refused.code, refused.out) == (2, "")
    assert "holds records (runs); would add samples" in refused.err
    assert "needs --yes" in refused.err
    as_json = call("--db", store_url, "--json", "demo", "--seed-only")
    assert (as_json.code, as_json.out, as_json.error["code"]) == (2, "", "usage")
    assert rows_of(store) == before
    assert call("--db", store_url, "demo", "--seed-only", "--yes").code == 0
    assert store.runs.get("mine").values() in rows_of(store)["runs"]


def test_done_again_it_moves_the_samples_and_makes_no_second_copy(store: Store) -> None:
    assert families_in(store) == []
    mine = store.conversations.create_conversation("mine")
    seed(store, now=NOW)
    first = rows_of(store)
    store.runs.update("demo-run-pull-12", status="error")
    later = NOW + dt.timedelta(days=400)
    seed(store, now=later)
    assert len(families_in(store)) == 7
    assert store.runs.get("demo-run-pull-12").status == "processing"
    assert store.conversations.get_conversation(mine.id) == mine
    for table, rows in rows_of(store).items():
        assert len(rows) == len(first[table])
    seed(store, now=NOW)
    assert rows_of(store) == first


def test_samples_tell_of_the_two_weeks_before_now_and_of_nothing_later(store: Store) -> None:
    seed(store, now=NOW)
    rows = rows_of(store)
    for model in REPLICATED:
        names = [c for c, f in model._meta.columns.items() if isinstance(f, UtcTimeField)]
        for row in rows[model._meta.table_name]:
            times = [row[name] for name in names if row[name] is not None]
            assert all(NOW - dt.timedelta(days=14) < time <= NOW for time in times), row


def test_both_databases_get_the_same_samples(tmp_path: Path, migrated_postgres_url: str) -> None:
    here = Store.open(tmp_path / "here.db")
    with here, Store.open(migrated_postgres_url, warm=False) as there:
        assert seed(here, now=NOW) == seed(there, now=NOW)
        assert rows_of(here) == rows_of(there)


def test_a_sample_that_cannot_be_stored_leaves_none_of_them(call: Call, workplace: Path) -> None:
    with Store.open("sample.db") as store:
        store.database.execute_sql(
            "CREATE TRIGGER full BEFORE INSERT ON ideation_user_stories "
            "BEGIN SELECT RAISE(ABORT, 'no more stories'); END"
        )
        done = call("--db", "sample.db", "demo", "--seed-only")
        assert (done.code, done.out) == (1, "")
        assert "no more stories" in done.err
        assert not any(rows_of(store).values())


def test_a_damaged_file_is_left_as_it_is(call: Call, workplace: Path) -> None:
    damaged = workplace / "damaged.db"
    damaged.write_bytes(b"this was a database once" * 100)
    done = call("--db", "damaged.db", "demo", "--seed-only", "--yes")
    assert (done.code, done.out) == (7, "")
    assert "is not a database" in done.err
    assert damaged.read_bytes() == b"this was a database once" * 100


@pytest.mark.parametrize("words", [["--yes"], ["--seed-only", "more"]])
def test_what_makes_no_sense_is_refused_and_makes_no_store(
    call: Call, workplace: Path, words: list[str]
) -> None:
    assert call("demo", *words).code == 2
    assert [*workplace.iterdir()] == []


def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(errors.InvalidValue, match="now: naive"):
        seed(store, now=NOW.replace(tzinfo=None))
    assert families_in(store) == []
