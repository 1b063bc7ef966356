"""Charts have the same figures on both databases, and one page holds all of them."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from dynostore import models
from dynostore.charts import CHARTS, Drawn, draw_all
from dynostore.charts.looks import ROLE_COLOURS, RUN_COLOURS, SYNC_COLOURS
from dynostore.charts.page import write_page
from dynostore.charts.totals import SYNC_STATE
from dynostore.models.conversations import ROLES
from dynostore.models.runs import STATUSES
from dynostore.store import Store
from dynostore.sync import sync

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
EVIL = "</script><script>alert(1)</script><!--"
Call = Callable[..., tuple[int, str, str]]


def before(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


def fill(store: Store) -> None:
    runs = [("a", "complete", 1), ("b", "complete", 1.1), ("c", "error", 1), ("old", "error", 40)]
    assert not store.runs.put_many(
        models.Run(id=name, status=status, source="s", created_at=at, updated_at=at)
        for name, status, days in runs
        for at in (before(days),)
    )
    tasks = [
        models.Task(
            task_id=key(number),
            request_text="do",
            status=status,
            created_at=before(2),
            external_ai_used=used,
        )
        for number, (status, used) in enumerate(
            [
                ("completed", {"model": EVIL, "cost_usd": 0.5, "token_count": 10}),
                ("failed", {"cost_usd": 0.25}),
                ("pending", {"model": "free"}),
            ]
        )
    ]
    steps = [
        models.ExecutionLog(
            log_id=key(number),
            task=key(0),
            step_number=number,
            agent_type=agent,
            action="act",
            status="completed",
            timestamp=NOW,
            duration_ms=duration,
        )
        for number, (agent, duration) in enumerate(
            [("infra", 1000), ("infra", 3000), ("code", None)]
        )
    ]
    assert not store.tasks.put_many([*tasks, *steps])
    talk = models.Conversation(id="c", title="t", created_at=NOW, updated_at=NOW)
    message = models.Message(
        id=key(1), conversation="c", role="user", content="hi", created_at=before(0)
    )
    assert not store.conversations.put_many([talk, message])


def test_charts_have_the_same_figures_on_both_databases(store: Store) -> None:
    fill(store)
    drawn = {one.chart.name: one for one in draw_all(store, days=30, now=NOW)}
    assert drawn["runs-by-day"].rows == [
        {"day": "2026-03-09", "status": "complete", "count": 2},
        {"day": "2026-03-09", "status": "error", "count": 1},
    ]
    (day,) = drawn["success-by-day"].rows
    assert (day["day"], day["total"], day["success_rate_pct"]) == ("2026-03-08", 3, 33.33)
    (agent,) = drawn["agent-durations"].rows  # one without any duration is left out
    assert (agent["agent_type"], agent["avg_duration_ms"]) == ("infra", 2000)
    assert agent["p95_duration_ms"] == 2900
    assert [(row["model"], row["total_cost_usd"]) for row in drawn["ai-cost"].rows] == [
        (EVIL, 0.5),
        ("model not named", 0.25),
    ]
    assert drawn["messages-by-day"].rows == [{"day": "2026-03-10", "role": "user", "count": 1}]
    assert all(one.reason is None for name, one in drawn.items() if name != "sync-state")
    # The server knows of no file what waits there.
    assert ("sync-state" in drawn) == (store.database.dialect == "sqlite")
    # What PostgreSQL and SQLite gave are numbers that JSON has.
    json.dumps([one.rows for one in drawn.values()], allow_nan=False)


def test_the_chart_of_the_sync_shows_what_waits(postgres_url: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:

        def waiting() -> Drawn:
            return next(d for d in draw_all(store, days=30, now=NOW) if d.chart is SYNC_STATE)

        store.runs.create()
        assert waiting().reason == SYNC_STATE.missing
        sync(store, postgres_url)
        assert waiting().reason == SYNC_STATE.empty
        run = store.runs.create()
        store.runs.update(run.id, status="error")
        row = {"table_name": "runs", "state": "waits to be sent", "count": 1}
        assert waiting().rows == [row]
        # The other states are read too: such rows as the sync writes.
        execute = store.database.execute_sql
        execute("INSERT INTO sync_conflict (tbl, key, why, at) VALUES ('runs', 'k', 'w', 'a')")
        execute(
            "INSERT INTO sync_reject (tbl, key, sqlstate, message, tries, at)"
            " VALUES ('tasks', 'k', 's', 'm', 1, 'a')"
        )
        assert {r["state"] for r in waiting().rows} == set(SYNC_COLOURS)


def test_each_value_of_a_chart_has_a_colour_of_its_own() -> None:
    assert set(RUN_COLOURS) == set(STATUSES)
    assert set(ROLE_COLOURS) == set(ROLES)
    for colours in (RUN_COLOURS, ROLE_COLOURS):
        assert len(set(colours.values())) == len(colours)


def test_every_chart_is_declared_whole() -> None:
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)
    for chart in CHARTS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", chart.name)
        assert chart.title
        assert chart.text.endswith(".")
        assert chart.empty
        assert bool(chart.needs) == bool(chart.missing)
        assert "data" not in chart.spec
        json.dumps(chart.spec)


def test_the_page_needs_nothing_but_itself(store: Store, tmp_path: Path) -> None:
    fill(store)
    path = tmp_path / "page.html"
    drawn = draw_all(store, days=30, now=NOW)
    write_page(path, drawn, shown="<b>&.db", days=30, now=NOW)
    text = path.read_text("utf-8")
    assert "&lt;b&gt;&amp;.db" in text
    assert "as of 2026-03-10 12:00 UTC" in text
    assert "default-src 'none'" in text
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert len(markup) < 60_000
    assert not re.search(r"(src|href|url)\s*[=(]", markup)
    assert EVIL not in text
    # The data, the three of Vega and the one that draws end where they were meant to.
    assert len(re.findall("</script", text)) == 5
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)
    assert data is not None
    assert {chart["name"]: chart["spec"]["data"]["values"] for chart in json.loads(data[1])} == {
        one.chart.name: one.rows for one in drawn if one.rows
    }
    for one in drawn:
        assert html.escape(one.chart.title) in text
        assert one.reason is None or html.escape(one.reason) in text


def test_report_html_writes_the_page_and_replaces_an_older_one(
    call: Call, sample: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r%20 &.html"
    page.write_text("older")
    code, out, _ = call("--db", sample, "--json", "report", "--html", page, "--days", 20)
    assert code == 0
    item = json.loads(out)["item"]
    assert item["file"] == str(page)
    assert [chart["name"] for chart in item["charts"]] == [chart.name for chart in CHARTS]
    assert "the last 20 days" in page.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert call("--db", sample, "report", "--html", page) == (0, f"{page}\n", "")


def test_report_html_never_goes_over_the_store(call: Call, sample: Path) -> None:
    before = sample.read_bytes()
    for place in (sample, f"{sample}-wal"):
        code, _, err = call("--db", sample, "report", "--html", place)
        assert code == 1
        assert "the store itself" in err
    assert sample.read_bytes() == before


def test_report_html_over_an_empty_store_says_so(call: Call, tmp_path: Path) -> None:
    Store.open(tmp_path / "empty.db").close()
    code, _, err = call("--db", tmp_path / "empty.db", "report", "--html", tmp_path / "page.html")
    assert code == 0
    assert "nothing to draw" in err
    text = html.unescape((tmp_path / "page.html").read_text("utf-8"))
    for chart in CHARTS:
        assert (chart.missing or chart.empty) in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--html", "no/such/page.html"], 2, "its directory does not exist"),
        (["--html", "."], 2, "is a directory"),
        (["--html", "x.html", "by-status"], 2, "--html"),
        (["--days", "7"], 2, "no report is named"),
        (["--html", "x.html", "--days", "0"], 2, "--days"),
        (["--html", "x" * 300], 1, "x" * 300),
    ],
)
def test_report_html_says_what_is_wrong(
    call: Call,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(sample.parent)
    found, out, err = call("--db", sample, "report", *words)
    assert (found, out) == (code, "")
    assert said in err
    assert [path.name for path in sample.parent.glob("*.html")] == []


def test_without_the_extra_or_without_tables_report_html_says_what_to_do(
    call: Call, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    code, _, err = call("--db", f"dir:{tmp_path / 'runs'}", "report", "--html", tmp_path / "p")
    assert code == 2
    assert "import" in err
    monkeypatch.setitem(sys.modules, "datasette_dashboards", None)
    code, _, err = call("--db", sample, "report", "--html", tmp_path / "p")
    assert code == 2
    assert "pip install 'dynostore[view]'" in err
    assert not (tmp_path / "p").exists()
    assert call("--db", sample, "report", "by-status")[0] == 0
