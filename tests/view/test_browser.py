"""The view and the page in a real browser: charts are drawn, nothing fails, no network is asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import models
from dynostore.charts import CHARTS, draw_all
from dynostore.charts.page import write_page
from dynostore.fields import utc_now
from dynostore.reports import REPORTS
from dynostore.store import Store

pytestmark = pytest.mark.slow

_MARKS = "svg .mark-rect path, svg .mark-symbol path, svg .mark-line path, svg .mark-bar path"
_WAIT_S = 60
EVIL = "</script><script>document.title='broken'</script>"


class Tab:
    """The browser's one tab, which says what its pages asked for and complained of."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self._read()

    def open(self, address: str) -> None:
        """Open a page, which must complain of nothing."""
        self.browser.get(address)
        self.check()

    def check(self) -> None:
        """See that the pages since the last look had no error."""
        complaints = [entry for entry in self.browser.get_log("browser") if self._counts(entry)]
        assert complaints == []
        assert self.browser.title not in ("", "broken")

    @staticmethod
    def _counts(entry: dict[str, Any]) -> bool:
        return entry["level"] == "SEVERE" or "WARN" in entry["message"]

    def all(self, selector: str) -> list[Any]:
        """Give the elements that a selector of CSS finds."""
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def wait_for(self, selector: str) -> list[Any]:
        """Wait until a selector finds something; give it."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, _WAIT_S).until(lambda _: self.all(selector), selector)
        return self.all(selector)

    def asked(self) -> list[str]:
        """Give the addresses that were asked for since the last look."""
        return self._read()

    def _read(self) -> list[str]:
        messages = (
            json.loads(e["message"])["message"] for e in self.browser.get_log("performance")
        )
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    browser.get("about:blank")
    browser.get_log("browser")
    yield Tab(browser)
    browser.set_network_conditions(offline=False, latency=0, throughput=-1)


def make_waiting(path: Path) -> None:
    """Add what a sync leaves, so that all charts have something to show."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE sync_log (seq INTEGER PRIMARY KEY, tbl, key, op)")
        connection.execute("CREATE TABLE sync_conflict (id INTEGER PRIMARY KEY, tbl)")
        connection.execute("CREATE TABLE sync_reject (tbl)")
        rows = [(table, str(key)) for table, n in (("runs", 9), (EVIL, 3)) for key in range(n)]
        connection.executemany("INSERT INTO sync_log (tbl, key) VALUES (?, ?)", rows)
        connection.execute("INSERT INTO sync_conflict (tbl) VALUES ('tasks')")
        connection.execute("INSERT INTO sync_reject (tbl) VALUES ('runs')")
        connection.execute(
            "UPDATE tasks SET external_ai_used = json_set(external_ai_used, '$.model', ?)"
            " WHERE task_id = (SELECT min(task_id) FROM tasks WHERE external_ai_used IS NOT NULL)",
            (EVIL,),
        )


def test_every_page_opens_and_every_chart_is_drawn(
    tab: Tab, serve: Callable[[Path], str], sample: Path
) -> None:
    make_waiting(sample)
    address = serve(sample)
    for page in ("/", "/store", "/-/dashboards"):
        tab.open(address + page)
    for model in models.ALL:
        tab.open(f"{address}/store/{model._meta.table_name}")
        if rows := tab.all("td.type-pk a"):
            tab.open(rows[0].get_attribute("href"))
            assert tab.all("table.one-row td")
    tab.open(f"{address}/-/dashboards/store")
    for chart in CHARTS:
        assert tab.wait_for(", ".join(f"#chart-{chart.name} {m}" for m in _MARKS.split(", ")))
    tab.check()
    for chart in CHARTS:
        tab.open(f"{address}/-/dashboards/store/{chart.name}?days=30")
        assert tab.wait_for(_MARKS)
        tab.check()
    assert [url for url in tab.asked() if not url.startswith((address, "data:", "blob:"))] == []


def test_a_query_answers_what_is_typed_into_its_form(
    tab: Tab, serve: Callable[[Path], str], sample: Path
) -> None:
    address = serve(sample)
    for name, report in REPORTS.items():
        tab.open(f"{address}/store/{name}")
        for parameter in report.parameters:
            (field,) = tab.all(f"input[name={parameter.name}]")
            field.send_keys("300" if parameter.name == "days" else "")
            field.submit()
            tab.wait_for("body.query")
            tab.check()
        assert tab.all("table.rows-and-columns td"), name
    tab.open(f"{address}/-/dashboards/store")
    (field,) = tab.all("input[name=days]")
    assert field.get_attribute("value") == "30"


def test_an_empty_store_shows_words_instead_of_charts(
    tab: Tab, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    Store.open(tmp_path / "empty.db").close()
    tab.open(f"{serve(tmp_path / 'empty.db')}/-/dashboards/store")
    shown = tab.all("body")[0].text
    assert all((chart.missing or chart.empty) in shown for chart in CHARTS)
    assert tab.all("svg.marks") == []


def test_the_page_is_drawn_without_a_network(tab: Tab, sample: Path, tmp_path: Path) -> None:
    make_waiting(sample)
    now = utc_now()
    with Store.open(sample) as store:
        drawn = draw_all(store, days=30, now=now)
    page = tmp_path / "page.html"
    write_page(page, drawn, shown=EVIL, days=30, now=now)
    tab.browser.set_network_conditions(offline=True, latency=0, throughput=0)
    tab.open(page.as_uri())
    for one in drawn:
        assert one.rows
        assert tab.wait_for(", ".join(f"#{one.chart.name} {m}" for m in _MARKS.split(", ")))
    tab.check()
    assert EVIL in tab.browser.title
    # The page itself, and nothing else, by whatever way.
    assert [url for url in tab.asked() if not url.startswith(("data:", "blob:"))] == [page.as_uri()]
