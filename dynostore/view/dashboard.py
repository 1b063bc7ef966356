"""The charts as a dashboard of datasette-dashboards."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from typing import Any

from dynostore.charts import CHARTS, DEFAULT_DAYS, MAX_DAYS, Chart
from dynostore.view.queries import chart_query

SLUG = "store"
TITLE = "What was recorded"
_COLUMNS, _LINE_CHARACTERS = 2, 50


def sqlite_charts() -> list[Chart]:
    """Give the charts that a file can answer, in order."""
    return [chart for chart in CHARTS if "sqlite" in chart.dialects]


def dashboards(database: str, reasons: Mapping[str, str]) -> dict[str, Any]:
    """Give the plugin's configuration.

    :param database: Datasette's name of the file.
    :param reasons: what to say instead of a chart that has nothing to show, by its name.
    """
    charts = sqlite_charts()
    names = [chart.name for chart in charts]
    return {
        SLUG: {
            "title": TITLE,
            "description": "Charts by day show the last days, as many as are asked for here; the "
            "others show all time. A click on a title gives the chart alone, with its SQL.",
            "layout": [names[i : i + _COLUMNS] for i in range(0, len(names), _COLUMNS)],
            "filters": {
                "days": {
                    "name": "Days back",
                    "type": "number",
                    "default": DEFAULT_DAYS,
                    "min": 1,
                    "max": MAX_DAYS,
                }
            },
            "charts": {chart.name: _card(chart, database, reasons) for chart in charts},
        }
    }


def _explained(text: str) -> dict[str, Any]:
    """Give the text as the drawing's own heading: the plugin's page has no other place for it."""
    return {
        "text": textwrap.wrap(text, _LINE_CHARACTERS),
        "anchor": "start",
        "frame": "bounds",
        "color": "#52606d",
        "fontSize": 12,
        "fontWeight": "normal",
        "offset": 12,
    }


def _card(chart: Chart, database: str, reasons: Mapping[str, str]) -> dict[str, Any]:
    reason = reasons.get(chart.name)
    if reason is None:
        return {
            "title": chart.title,
            "db": database,
            "query": chart_query(chart),
            "library": "vega-lite",
            "display": {**chart.spec, "title": _explained(chart.text)},
        }
    title, said = html.escape(chart.title), html.escape(reason)
    return {"title": chart.title, "library": "markdown", "display": f"**{title}**\n\n{said}"}
