"""Charts of the last days: what happened on each of them. Days are days in UTC."""

from __future__ import annotations

from dynostore.charts.declaration import Chart
from dynostore.charts.looks import (
    BLUE,
    ROLE_COLOURS,
    RUN_COLOURS,
    Spec,
    coloured,
    count_axis,
    day_axis,
    day_tip,
    drawing,
    order_of,
    tip,
)
from dynostore.reports import REPORTS

_BY_DAY = """
SELECT {{created_on}} AS day, {group}, COUNT(*) AS count
FROM {table}
WHERE created_at > {{since}}
GROUP BY {{created_on}}, {group}
ORDER BY day, {group}
"""


def _stacked(group: str, things: str, colours: dict[str, str]) -> Spec:
    return drawing(
        {
            "transform": [order_of(group, colours)],
            "mark": {"type": "bar", "stroke": "#ffffff", "strokeWidth": 0.5},
            "encoding": {
                "x": day_axis(bars=True),
                "y": {"field": "count", "type": "quantitative", "axis": count_axis(things)},
                "color": coloured(group, colours),
                "order": {"field": "place"},
                "tooltip": [day_tip(), tip(group, group), tip("count", things, ",d")],
            },
        }
    )


RUNS_BY_DAY = Chart(
    name="runs-by-day",
    title="Runs by day and status",
    text="How many runs were created on each day, and what has become of them since.",
    sql=_BY_DAY.format(group="status", table="runs"),
    spec=_stacked("status", "runs", RUN_COLOURS),
    empty="No runs in these days. A tool records them; so does dynostore runs create.",
)

MESSAGES_BY_DAY = Chart(
    name="messages-by-day",
    title="Messages by day and role",
    text="How many messages of conversations were written on each day, and by whom.",
    sql=_BY_DAY.format(group="role", table="messages"),
    spec=_stacked("role", "messages", ROLE_COLOURS),
    empty="No messages in these days. A tool records them; so does dynostore conversations add.",
)

SUCCESS_BY_DAY = Chart(
    name="success-by-day",
    title="Success rate of tasks by day",
    text="The share of the tasks created on a day that are completed by now; pending ones count "
    "as not completed.",
    sql=REPORTS["success-by-day"].sql,
    spec=drawing(
        {
            "mark": {
                "type": "line",
                "color": "#9fc3da",
                "point": {"filled": True, "size": 60, "color": BLUE},
            },
            "encoding": {
                "x": day_axis(),
                "y": {
                    "field": "success_rate_pct",
                    "type": "quantitative",
                    "scale": {"domain": [0, 100]},
                    "axis": {"title": "tasks completed (%)", "tickCount": 5},
                },
                "tooltip": [
                    day_tip(),
                    tip("success_rate_pct", "completed (%)", ".1f"),
                    tip("completed", "tasks completed", ",d"),
                    tip("failed", "tasks failed", ",d"),
                    tip("total", "tasks created", ",d"),
                ],
            },
        }
    ),
    empty="No tasks in these days. A tool records them; so does dynostore tasks create.",
)
