"""``dynostore report``: the table, the JSON, the CSV, the SQL, and what goes wrong."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, Task
from dynostore.models import ExecutionLog
from dynostore.reports import REPORTS, statement

pytestmark = pytest.mark.once

FIRST, SECOND = (str(uuid.UUID(int=number)) for number in (1, 2**127))


@pytest.fixture
def failures(workplace: Path) -> dt.datetime:
    """Give the time of an old failed task; ``./dynostore.db`` has a new one too."""
    old = dt.datetime.now(dt.UTC) - dt.timedelta(days=20)
    used = {"model": "claude-opus", "token_count": 1500, "cost_usd": 0.000225}
    records = [
        Task(
            task_id=key,
            request_text=f"Deploy, {n}",
            status="failed",
            created_at=created,
            error_message='port "8080"\nin use',
            external_ai_used=used,
            actual_resources={"duration_seconds": 10 ** (3 * n)},
        )
        for n, (key, created) in enumerate([(FIRST, old), (SECOND, dt.datetime.now(dt.UTC))])
    ]
    steps = [
        ExecutionLog(
            log_id=str(uuid.uuid4()),
            task=FIRST,
            step_number=n,
            agent_type="infra",
            action="act",
            status="failed",
            timestamp=old,
            duration_ms=n,
        )
        for n in (1, 2)
    ]
    with Store.open("dynostore.db") as store:
        assert store.tasks.put_many([*records, *steps]) == []
    return old


def words_for(name: str) -> list[str]:
    return ["report", name, *(["--task", "00"] if name == "timeline" else [])]


def test_the_help_lists_every_report_and_each_has_examples(call: Callable[..., Any]) -> None:
    listed = call("report", "--help").out
    for name, report in REPORTS.items():
        assert f"  {name} " in listed
        text = call("report", name, "--help").out
        assert report.title.split(",")[0] in " ".join(text.split())
        assert f"dynostore report {name}" in text
        assert ("--days" in text) == any(p.name == "days" for p in report.parameters)


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_gives_its_columns_in_every_form(
    call: Callable[..., Any], failures: dt.datetime, name: str
) -> None:
    names = [column.name for column in REPORTS[name].columns]
    done = call(*words_for(name), "--json")
    document = json.loads(done.out)
    assert {"ok": True, "next": None, "report": name}.items() <= document.items()
    assert all(list(item) == names for item in done.items)
    rows = [*csv.reader(io.StringIO(call(*words_for(name), "--csv").out))]
    assert rows[0] == names
    assert len(rows) == len(done.items) + 1
    lines = call(*words_for(name)).out.splitlines()
    assert lines[0].split() == " ".join(names).replace("_", " ").split()
    assert len(lines) == len(done.items) + 1
    by_hand = call(*words_for(name), "--sql").out
    with closing(sqlite3.connect("dynostore.db")) as bare:
        assert len(bare.execute(by_hand).fetchall()) == len(done.items)


def test_days_are_the_reports_own_unless_said(
    call: Callable[..., Any], failures: dt.datetime
) -> None:
    assert len(call("report", "failed-tasks", "--json").items) == 1
    assert len(call("report", "failed-tasks", "--days", "21", "--json").items) == 2
    assert len(call("report", "longest", "--json").items) == 2
    assert len(call("report", "longest", "--days", "3", "--json").items) == 1


def test_numbers_stand_digit_below_digit_and_are_written_out(
    call: Callable[..., Any], failures: dt.datetime
) -> None:
    head, *lines = call("report", "longest", "--utc").out.splitlines()
    end = head.index("duration sec") + len("duration sec")
    assert [line[:end].split()[-1] for line in lines] == ["1000", "1"]
    assert failures.isoformat(timespec="seconds") in lines[1]
    assert "0.00045" in call("report", "ai-cost").out.split()
    assert call("report", "ai-cost", "--json").items[0]["total_cost_usd"] == 0.00045


def test_csv_has_whole_times_and_quotes_what_needs_it(
    call: Callable[..., Any], failures: dt.datetime
) -> None:
    done = call("report", "failed-tasks", "--days", "90", "--csv")
    row = [*csv.DictReader(io.StringIO(done.out))][1]
    assert row["created_at"] == failures.isoformat(timespec="microseconds")
    assert row["error_message"] == 'port "8080"\nin use'
    assert (row["task_id"], row["approved_at"]) == (FIRST, "")


def test_sql_needs_no_store_and_has_no_placeholder(call: Callable[..., Any]) -> None:
    for name in REPORTS:
        task = ["--task", FIRST] if name == "timeline" else []
        for dialect in ("sqlite", "postgres"):
            done = call("report", name, *task, "--sql", "--dialect", dialect)
            assert done.code == 0
            assert done.out.rstrip().endswith(";")
            assert not set("{}?%") & set(done.out)
    item = call("report", "by-status", "--sql", "--json").item
    assert (item["report"], item["dialect"]) == ("by-status", "sqlite")
    assert item["sql"].startswith("-- How many tasks")
    at = ("--db", "postgresql://nobody@nowhere.invalid/none")
    assert call(*at, "report", "ai-cost", "--sql").out == statement("ai-cost", "postgres")
    assert not Path("dynostore.db").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nonsense"], 2),
        (["timeline"], 2),
        (["timeline", "--task", "ffff"], 4),
        (["timeline", "--task", SECOND[:-1] + "9"], 4),
        (["failed-tasks", "--days", "0"], 2),
        (["failed-tasks", "--days", "40000"], 2),
        (["by-status", "--days", "7"], 2),
        (["by-status", "--dialect", "sqlite"], 2),
        (["by-status", "--csv", "--json"], 2),
        (["by-status", "--csv", "--sql"], 2),
    ],
)
def test_what_is_refused_has_its_exit_code_and_prints_no_data(
    call: Callable[..., Any], failures: dt.datetime, words: list[str], code: int
) -> None:
    done = call("report", *words)
    assert (done.code, done.out) == (code, "")
    assert "error" in done.err


def test_a_report_on_a_missing_store_makes_none(call: Callable[..., Any], workplace: Path) -> None:
    done = call("report", "by-status")
    assert (done.code, done.out) == (4, "")
    assert "init" in done.err
    assert not (workplace / "dynostore.db").exists()


def test_the_answer_on_postgres_is_that_on_sqlite(
    call: Callable[..., Any], failures: dt.datetime, postgres_url: str
) -> None:
    with Store.open("dynostore.db") as store, Store.open(postgres_url, warm=False) as server:
        records: list[Any] = [*store.tasks.stream()]
        records += [step for task in records for step in store.tasks.steps(task.task_id)]
        assert server.tasks.put_many(records) == []
    for name in REPORTS:
        for form in ("--json", "--csv", "--utc"):
            here = call(*words_for(name), form)
            assert call("--db", postgres_url, *words_for(name), form).out == here.out
