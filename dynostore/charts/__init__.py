"""Charts of the records, each declared once for the dashboard and for the page that is a file.

To add one: declare a :class:`Chart` in ``daily`` or ``totals``, with one SQL text for both
databases and a Vega-Lite specification without its data, in the colours of ``looks``; name it in
:data:`CHARTS`. ``dynostore view`` and ``dynostore report --html`` take up whatever is there.
"""

from __future__ import annotations

import datetime as dt

from dynostore.charts.daily import MESSAGES_BY_DAY, RUNS_BY_DAY, SUCCESS_BY_DAY
from dynostore.charts.declaration import Chart, statement
from dynostore.charts.drawn import Drawn, draw
from dynostore.charts.totals import AGENT_DURATIONS, AI_COST, SYNC_STATE
from dynostore.compat import require_database
from dynostore.store import Store

CHARTS: tuple[Chart, ...] = (
    RUNS_BY_DAY,
    SUCCESS_BY_DAY,
    AGENT_DURATIONS,
    AI_COST,
    MESSAGES_BY_DAY,
    SYNC_STATE,
)
"""All charts, in the order in which they are shown."""

DEFAULT_DAYS, MAX_DAYS = 30, 36_500


def draw_all(store: Store, *, days: int, now: dt.datetime) -> list[Drawn]:
    """Answer all charts that the store's database can answer, in order, as of one moment.

    :param days: how far back charts of days look, 1 to :data:`MAX_DAYS`.
    :param now: when that period ends, aware.
    :raises NotHeld: a store in an older tool's form, which answers no SQL.
    """
    require_database(store.place, "charts")
    db = store.database
    charts = [chart for chart in CHARTS if db.dialect in chart.dialects]
    with db.snapshot():
        return [draw(store, chart, days=days, now=now) for chart in charts]


__all__ = [
    "CHARTS",
    "DEFAULT_DAYS",
    "MAX_DAYS",
    "Chart",
    "Drawn",
    "draw",
    "draw_all",
    "statement",
]
