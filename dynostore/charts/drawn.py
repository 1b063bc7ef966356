"""A chart with its figures from one store, or with the reason why there are none."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from dynostore.charts.declaration import Chart, statement
from dynostore.fields import time_text, utc_now
from dynostore.store import Store


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What can be shown of one chart.

    :ivar rows: a mapping for each row, by column, as JSON can say it.
    :ivar reason: what to say instead of the chart; None where there are rows.
    """

    chart: Chart
    rows: list[dict[str, Any]]
    reason: str | None


def draw(store: Store, chart: Chart, *, days: int, now: dt.datetime | None = None) -> Drawn:
    """Answer a chart's question; writes nothing.

    :param days: how far back charts of days look, at least 1.
    :param now: when the period ends; now by default.
    """
    db = store.database
    since = (utc_now() if now is None else now) - dt.timedelta(days=days)
    with db.reading():
        if chart.needs is not None and not db.table_exists(chart.needs):
            return Drawn(chart, [], chart.missing)
        cursor = db.execute_sql(statement(chart, db.dialect, f"'{time_text(since)}'"))
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return Drawn(chart, rows, None if rows else chart.empty)
