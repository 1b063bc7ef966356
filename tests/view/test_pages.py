"""Every page of the view opens, says what it shows, and stays whole over odd names and values."""

from __future__ import annotations

import html
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest
from datasette.utils import tilde_encode

from dynostore import models
from dynostore.charts import CHARTS
from dynostore.fields import UuidField
from dynostore.reports import REPORTS, answer
from dynostore.store import Store

DASHBOARD = "/-/dashboards/store"
ODD_NAMES = [
    "failed-tasks",
    "a]b",
    "a[b",
    'a"b',
    "a'b",
    "<script>alert(1)</script>",
    "100%",
    "50%20off",
    "a/b",
    "a?b#c&d=e",
    "..",
    "ünï 😀 \u202e name",
    "line\nbreak",
    " ",
    "x" * 3000,
    "=1+1",
    "{{ 7*7 }}",
    "select",
    "a~b",
    ":days",
    "back\\slash",
    "runs.json",
]
ODD_VALUES = [
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    '"',
    "100%",
    "=cmd|'/c calc'!A0",
    "z" * 100_000,
    "😀\u202e\ufeff\x7f",
    "http://example.invalid/<b>",
    b"\x00\xff",
    2**62,
    -0.0,
    1e308,
    float("inf"),
    "{{ 7*7 }}",
    "abc",
    "",
    None,
]


def execute(path: Path, sql: str, *rows: tuple[Any, ...]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(sql, rows or [()])


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_every_table_and_a_row_of_each_has_a_page(site: Any) -> None:
    overview = site.page("/store")
    assert "sample.db" in site.page("/")
    for model in models.ALL:
        table = model._meta.table_name
        assert f'href="/store/{table}"' in overview
        page = site.page(f"/store/{table}")
        title = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.S)
        assert title is not None
        # A table whose name is its title has none in the list of titles.
        assert title[1] == "Runs" or title[1].lower() != table.lower() or "_" not in table
        for row in site.rows(f"/store/{table}", _size="1"):
            key = next(iter(row.values()))
            assert str(key) in html.unescape(site.page(f"/store/{table}/{tilde_encode(key)}"))


def test_every_table_of_ours_has_a_title_and_says_what_it_holds(site: Any) -> None:
    site.page("/")
    tables = site.ask("/-/metadata.json").json()["databases"]["store"]["tables"]
    for model in models.ALL:
        about = tables[model._meta.table_name]
        assert about["title"] != model._meta.table_name
        assert about["description"]
        assert about["columns"]
    assert tables["execution_logs"]["columns"]["duration_ms"] == "milliseconds"
    assert tables["execution_logs"]["facets"] == ["agent_type", "status"]
    assert tables["dynostore_migration"] == {"hidden": True}


def test_values_are_legible_and_references_are_links(site: Any) -> None:
    page = site.page("/store/execution_logs")
    assert re.search(r'<time title="[^"]+\+00:00">[\d-]+&nbsp;[\d:]+&nbsp;UTC</time>', page)
    assert re.search(r'<span title="\d+ milliseconds">[\d.]+ (ms|s)</span>', page)
    assert re.search(r'<a href="/store/tasks/[0-9a-f-]{36}">\w[^<]+</a>', page)
    run = site.rows("/store/run_files", _size="1")[0]["run_id"]
    assert "run_files" in site.page(f"/store/runs/{run}")


@pytest.mark.parametrize("name", REPORTS)
def test_a_canned_query_answers_what_its_report_does(site: Any, name: str) -> None:
    days = {p.name for p in REPORTS[name].parameters} == {"days"}
    task = site.rows("/store/execution_logs")[0]["task_id"]
    parameters: dict[str, Any] = {"days": "300"} if days else {}
    options: dict[str, Any] = {"days": 300} if days else {}
    if name == "timeline":
        parameters, options = {"task_id": task[:13].upper()}, {"task_id": task}
    expected = answer(site.store, name, **options)
    found = site.rows(f"/store/{name}", **parameters)
    assert [{k: str(v)[:19].replace("T", " ") for k, v in row.items()} for row in found] == [
        {k: str(v)[:19] for k, v in row.items()} for row in expected
    ]
    assert expected
    page = site.page(f"/store/{name}", **parameters)
    assert REPORTS[name].title in page
    assert all(f'name="{p.name}"' in page for p in REPORTS[name].parameters)
    # Left empty a parameter has its default; what makes no sense finds nothing, or the same.
    assert site.rows(f"/store/{name}") == site.rows(f"/store/{name}", days="", task_id="")
    for nonsense in ("abc", "-5", "9" * 30, "'; DROP TABLE tasks; --", "<b>"):
        site.page(f"/store/{name}", days=nonsense, task_id=nonsense)


def test_a_report_says_its_default_and_asks_it(site: Any) -> None:
    assert "7 where it is left empty" in html.unescape(site.page("/store/failed-tasks"))
    assert site.rows("/store/failed-tasks") == site.rows("/store/failed-tasks", days="7")
    latest = site.rows("/store/execution_logs", _size="1")[0]["task_id"]
    assert {row["task_id"] for row in site.rows("/store/timeline")} == {latest}


def test_the_dashboard_and_each_chart_ask_what_the_chart_declares(site: Any) -> None:
    page = site.page(DASHBOARD)  # the first page that anybody asks for
    assert 'value="30"' in page
    (style,) = re.findall(r'href="(/-/dynostore/[^"]+)"', page)
    assert ".overview" in site.page(style)
    for chart in CHARTS:
        assert chart.title in page
        alone = site.page(f"{DASHBOARD}/{chart.name}", days="9")
        assert chart.title in alone
        if chart.name != "sync-state":
            query = re.search(r'href="/store\?([^"]+)"', alone)
            assert query is not None
            assert site.page("/store?" + html.unescape(query[1])).count("<tr>") > 1
    for days in ("abc", "", "-1", "9" * 40, "<script>"):
        assert site.ask(f"{DASHBOARD}", params={"days": days}).status_code == 200


def test_an_empty_store_says_at_each_chart_that_there_is_nothing(
    site_of: Callable[..., Any], tmp_path: Path
) -> None:
    site = site_of(tmp_path / "empty.db")
    page = html.unescape(site.page(DASHBOARD))
    for chart in CHARTS:
        assert (chart.missing if chart.needs else chart.empty) in page
        assert (chart.missing or chart.empty) in html.unescape(
            site.page(f"{DASHBOARD}/{chart.name}")
        )
    assert "Executions of an analysis" in site.page("/store")


def test_what_comes_while_it_is_served_is_shown(site: Any, sample: Path) -> None:
    site.page("/store")
    assert "never synced" in site.page(DASHBOARD)
    execute(sample, "CREATE TABLE noises (id TEXT PRIMARY KEY)")
    for table in ("sync_log (tbl, key)", "sync_conflict (tbl)", "sync_reject (tbl)"):
        execute(sample, f"CREATE TABLE {table}")
    execute(sample, "INSERT INTO sync_log VALUES (?, ?)", ("runs", "a"), ("runs", "a"))
    site.store.runs.create(run_id="while-served")
    overview = site.page("/store")
    assert "noises" in overview
    assert "sync_log" not in overview
    assert "sync_log" in site.page("/store", _show_hidden="1")
    assert "while-served" in site.page("/store/runs")
    assert "never synced" not in site.page(DASHBOARD)


def test_no_name_of_a_table_or_column_breaks_a_page(
    site_of: Callable[..., Any], tmp_path: Path
) -> None:
    # The name of the file is odd too.
    path = tmp_path / "a?b#c %41&d.db"
    site = site_of(path)
    for name in ODD_NAMES:
        table, column = quoted(name), quoted(name if name != "x" * 3000 else "long")
        execute(
            path,
            f"CREATE TABLE {table} ({column} TEXT PRIMARY KEY,"
            f" up REFERENCES {table}, gone REFERENCES nowhere)",
        )
        execute(path, f"INSERT INTO {table} VALUES (?, ?, ?)", (name, name, 1))
    execute(path, "CREATE VIEW 'v]<b>' AS SELECT 1 AS one")
    execute(path, "CREATE TABLE pairs (a, b, PRIMARY KEY (a, b))")
    execute(path, "CREATE TABLE ones (a, b, FOREIGN KEY (a, b) REFERENCES pairs (a, b))")
    execute(path, "INSERT INTO ones VALUES (?, ?)", ("x", "y"))
    overview = site.page("/store")
    assert "<script>alert" not in overview
    assert "{{ 7*7 }}" in overview
    for name in ODD_NAMES:
        place = f"/store/{tilde_encode(name)}"
        assert f'href="{place}"' in html.unescape(overview)
        for page in (site.page(place), site.page(f"{place}/{tilde_encode(name)}")):
            assert "<script>alert" not in page
        assert site.rows(place)[0]["up"] == name
    assert "/store/pairs/" not in site.page("/store/ones")  # no row has the name of half a key
    assert site.page("/store/failed-tasks-report")  # the report, whose name a table took
    assert site.page(f"/store/{tilde_encode('v]<b>')}")
    for page in ("/", DASHBOARD, "/-/dashboards", "/-/metadata"):
        assert "<script>alert" not in site.page(page)


def test_a_users_own_models_are_described_by_their_fields(
    site_of: Callable[..., Any], tmp_path: Path
) -> None:
    class Odd(peewee.Model):
        id = UuidField(primary_key=True)
        run = peewee.ForeignKeyField(models.Run)
        wait_ms = peewee.IntegerField(column_name="wait ]_ms")

        class Meta:
            table_name = "dyno ]{odd}$ <i>"

    site = site_of(tmp_path / "own.db", Odd)
    run = site.store.runs.create()
    insert = f"INSERT INTO {quoted(Odd._meta.table_name)} VALUES (?, ?, ?)"
    execute(tmp_path / "own.db", insert, ("k", run.id, 1500))
    page = site.page(f"/store/{tilde_encode(Odd._meta.table_name)}")
    assert "refers to the table Runs" in page
    assert '<span title="1500 milliseconds">1.5 s</span>' in page
    assert f'href="/store/runs/{run.id}"' in page


def test_no_value_breaks_a_page_or_gets_into_it_as_markup(site: Any, sample: Path) -> None:
    task = site.store.tasks.list(limit=1).items[0]
    insert = (
        "INSERT INTO execution_logs (log_id, task_id, step_number, agent_type, action, status,"
        " timestamp, duration_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for number, value in enumerate(ODD_VALUES):
        text = value if value is not None else ""
        row = (f"odd-{number}", task.task_id, text, text, text, "failed", text, value)
        execute(sample, insert, row)
    execute(sample, "UPDATE tasks SET request_text = ?", ("<b>" + "w" * 5000,))
    execute(
        sample,
        "UPDATE tasks SET external_ai_used = ? WHERE task_id = ?",
        ('{"model": "</script><script>alert(1)//", "cost_usd": 1}', task.task_id),
    )
    site.page("/store/execution_logs", _facet="duration_ms")
    page = site.page("/store/execution_logs")
    assert "<script>alert" not in page
    assert "w" * 100 not in page  # a label is short, and no markup
    assert "<b>" not in page
    for number in range(len(ODD_VALUES)):
        assert "<script>alert" not in site.page(f"/store/execution_logs/odd-{number}")
    for name in REPORTS:
        assert "<script>alert" not in site.page(f"/store/{name}")
    assert "<script>alert" not in site.page(DASHBOARD)


@pytest.mark.parametrize("run_id", ["R&D", "a#b", "100%25", "a+b c", 'ä=1?;/~"<'])
def test_a_row_links_to_what_belongs_to_it_whatever_its_id(
    site_of: Callable[..., Any], tmp_path: Path, run_id: str
) -> None:
    path = tmp_path / "ids.db"
    with Store.open(path) as store:
        for other in ("R", "a", "100%", run_id):  # what would be left of it
            store.runs.create(run_id=other)
            store.runs.add_files(other, [{"filename": f"of {other}", "file_type": "csv"}])
    site = site_of(path)
    text = site.page(f"/store/runs/{tilde_encode(run_id)}")
    links = re.findall(r'<li><a href="([^"]*)">1 row</a> of run_files', text)
    assert len(links) == 1
    address, _, asked = html.unescape(links[0]).partition("?")
    rows = site.ask(f"{address}.json?{asked}&_shape=objects").json()["rows"]
    assert [row["run_id"] for row in rows] == [run_id]


def test_nothing_can_be_written_and_nobody_else_may_ask(site: Any, sample: Path) -> None:
    before = sample.read_bytes()
    for sql in ("DELETE FROM runs", "ATTACH 'x.db' AS x", "PRAGMA user_version = 9", "select 1;;"):
        assert site.ask("/store", params={"sql": sql}).status_code == 400
    connection = site.view._file.connect()
    connection.execute("ATTACH ? AS beside", (str(sample.with_name("beside.db")),))
    for sql in ("DELETE FROM runs", "CREATE TABLE beside.runs (id)"):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute(sql)
    with pytest.raises(sqlite3.OperationalError, match="only reads"):
        site.view._file.connect(write=True)
    assert site.ask("/store.db").status_code in (403, 404)
    assert sample.read_bytes() == before
    for host in ("evil.example", "evil.example:8001", "127.0.0.1.evil.example", "", "[::2]:80"):
        assert site.ask("/store", headers={"host": host}).status_code == 421
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8001"):
        assert site.ask("/store", headers={"host": host}).status_code == 200


def test_a_wrong_query_is_an_answer_and_prints_nothing(
    site: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for sql in ("selec", "select nothing", "select :secret, nothing"):
        wrong = site.ask("/store", params={"sql": sql, "secret": "s3cret"})
        assert wrong.status_code == 400
    assert site.ask("/store/nothing").status_code == 404
    assert capfd.readouterr() == ("", "")


def test_pages_open_while_another_process_writes(
    site: Any, sample: Path, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    script = (
        "import sys\n"
        "from dynostore import Store\n"
        "with Store.open(sys.argv[1]) as store:\n"
        "    for number in range(1_000_000):\n"
        "        store.runs.create(run_id=f'busy-{number:07}')\n"
        "        print(number, flush=True)\n"
    )
    writer = start_python(script, sample)
    assert writer.stdout is not None
    for _ in range(5):
        written = int(writer.stdout.readline())
        assert site.rows(f"/store/runs/busy-{written:07}")
        for page in ("/store", "/store/runs", DASHBOARD):
            site.page(page, _size="10")
    assert writer.poll() is None
