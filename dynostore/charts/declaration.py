"""What a chart is: a question in SQL, how the answer is drawn, and what to say without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dynostore.reports.dialects import DIALECTS, JsonWord, worded


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture of the records.

    :ivar name: letters and hyphens; an identifier in CSS and in addresses.
    :ivar title: what is to be seen, with the period that it covers.
    :ivar text: how to read it, in a sentence or two.
    :ivar sql: a query for both databases, which begins with WITH or SELECT. ``{since}`` is the
        beginning of the period; further names in braces are the dialect's words, or ``words``.
    :ivar spec: Vega-Lite, without data; its fields are the columns of the query.
    :ivar empty: what to say where the query gives no row.
    :ivar words: values inside JSON columns.
    :ivar dialects: the databases that can answer it.
    :ivar needs: a table that may be missing; None: it needs those that every store has.
    :ivar missing: what to say without that table.
    """

    name: str
    title: str
    text: str
    sql: str
    spec: Mapping[str, Any]
    empty: str
    words: tuple[JsonWord, ...] = ()
    dialects: tuple[str, ...] = tuple(DIALECTS)
    needs: str | None = None
    missing: str = ""

    @property
    def of_days(self) -> bool:
        """Whether it shows the last days only, and not all that there is."""
        return "{since}" in self.sql


def statement(chart: Chart, dialect: str, since: str) -> str:
    """Give a chart's query for one database.

    :param dialect: one of the chart's.
    :param since: SQL for the time after which records count; used where :attr:`Chart.of_days`.
    """
    return worded(chart.sql, dialect, chart.words, since=since)
