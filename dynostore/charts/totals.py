"""Charts of all that is recorded: durations, costs, and what the sync has still to do."""

from __future__ import annotations

from dynostore.charts.declaration import Chart
from dynostore.charts.looks import (
    BLUE,
    ORANGE,
    SYNC_COLOURS,
    Spec,
    coloured,
    count_axis,
    drawing,
    order_of,
    tip,
)
from dynostore.reports import REPORTS

_AVERAGE, _SLOW = "average", "95 % are faster"


def _named_axis(field: str, title: str, *, sort: str) -> Spec:
    """Give the axis of names beside horizontal bars, the longest bar on top."""
    return {
        "field": field,
        "type": "nominal",
        "sort": {"field": sort, "op": "max", "order": "descending"},
        "axis": {"title": title, "ticks": False, "domain": False},
    }


def _in_seconds(field: str) -> Spec:
    return {"calculate": f"datum.{field} / 1000", "as": field.replace("_ms", "_s")}


_DURATION_TIPS = [
    tip("agent_type", "agent"),
    tip("avg_duration_s", "average (s)", ",.3~f"),
    tip("p95_duration_s", "95 % are faster than (s)", ",.3~f"),
    tip("max_duration_s", "longest (s)", ",.3~f"),
    tip("execution_count", "steps", ",d"),
]
_DURATION_COLOURS = {_AVERAGE: BLUE, _SLOW: ORANGE}

AGENT_DURATIONS = Chart(
    name="agent-durations",
    title="Duration of steps by type of agent, all time",
    text="How long the logged steps of tasks took: the bar is the average, the mark says how long "
    "all but the slowest twentieth took at most.",
    sql=f"SELECT * FROM ({REPORTS['agent-durations'].sql}) AS answer"
    " WHERE avg_duration_ms IS NOT NULL ORDER BY avg_duration_ms DESC, agent_type",
    spec=drawing(
        {
            "transform": [
                *map(_in_seconds, ("avg_duration_ms", "p95_duration_ms", "max_duration_ms"))
            ],
            "encoding": {
                "y": _named_axis("agent_type", "type of agent", sort="avg_duration_s"),
                "tooltip": _DURATION_TIPS,
            },
            "layer": [
                {
                    "mark": {"type": "bar", "height": {"band": 0.6}},
                    "encoding": {
                        "x": {
                            "field": "avg_duration_s",
                            "type": "quantitative",
                            "axis": {"title": "duration of a step (seconds)", "tickCount": 5},
                        },
                        "color": {"datum": _AVERAGE},
                    },
                },
                {
                    "mark": {"type": "tick", "opacity": 1, "thickness": 4, "height": {"band": 0.9}},
                    "encoding": {
                        "x": {"field": "p95_duration_s", "type": "quantitative"},
                        "color": {
                            "datum": _SLOW,
                            "scale": {
                                "domain": [*_DURATION_COLOURS],
                                "range": [*_DURATION_COLOURS.values()],
                            },
                            "legend": {"title": None},
                        },
                    },
                },
            ],
        },
        height={"step": 36},
    ),
    empty="No step of a task has a duration yet. A tool records them; so does dynostore tasks "
    "log-step.",
)

AI_COST = Chart(
    name="ai-cost",
    title="Cost of external AI by model, all time",
    text="What the tasks that used an external AI say that it cost, by its model.",
    sql="SELECT COALESCE(model, 'model not named') AS model, usage_count, total_tokens,"
    f" total_cost_usd FROM ({REPORTS['ai-cost'].sql}) AS answer"
    " WHERE total_cost_usd IS NOT NULL ORDER BY total_cost_usd DESC, model",
    words=REPORTS["ai-cost"].words,
    spec=drawing(
        {
            # Room for the amount beside the longest bar.
            "padding": {"left": 5, "top": 5, "right": 60, "bottom": 5},
            "encoding": {
                "y": _named_axis("model", "model", sort="total_cost_usd"),
                "x": {
                    "field": "total_cost_usd",
                    "type": "quantitative",
                    "axis": {"title": "cost (US dollars)", "format": "$,~f", "tickCount": 5},
                },
                "tooltip": [
                    tip("model", "model"),
                    tip("total_cost_usd", "cost (US dollars)", "$,.6~f"),
                    tip("usage_count", "tasks", ",d"),
                    tip("total_tokens", "tokens", ",d"),
                ],
            },
            "layer": [
                {"mark": {"type": "bar", "color": BLUE, "height": {"band": 0.6}}},
                {
                    "mark": {"type": "text", "align": "left", "dx": 5},
                    "encoding": {
                        "text": {
                            "field": "total_cost_usd",
                            "type": "quantitative",
                            "format": "$,.4~f",
                        }
                    },
                },
            ],
        },
        height={"step": 36},
    ),
    empty="No task says what an external AI cost yet.",
)

_SYNC_STATE = """
SELECT tbl AS table_name, 'waits to be sent' AS state, COUNT(DISTINCT key) AS count
FROM sync_log WHERE tbl IS NOT NULL GROUP BY tbl
UNION ALL
SELECT tbl, 'in conflict', COUNT(*) FROM sync_conflict GROUP BY tbl
UNION ALL
SELECT tbl, 'rejected by the server', COUNT(*) FROM sync_reject GROUP BY tbl
ORDER BY table_name, state
"""

SYNC_STATE = Chart(
    name="sync-state",
    title="Rows that are not on the shared server yet",
    text="Rows of this file that wait for the next sync, that were changed on both sides, or that "
    "the server refused; dynostore sync status says more.",
    sql=_SYNC_STATE,
    spec=drawing(
        {
            "transform": [order_of("state", SYNC_COLOURS)],
            "mark": {"type": "bar", "height": {"band": 0.6}},
            "encoding": {
                "y": {
                    "field": "table_name",
                    "type": "nominal",
                    "sort": {"field": "count", "op": "sum", "order": "descending"},
                    "axis": {"title": "table", "ticks": False, "domain": False},
                },
                "x": {"field": "count", "type": "quantitative", "axis": count_axis("rows")},
                "color": coloured("state", SYNC_COLOURS),
                "order": {"field": "place"},
                "tooltip": [
                    tip("table_name", "table"),
                    tip("state", "state"),
                    tip("count", "rows", ",d"),
                ],
            },
        },
        height={"step": 30},
    ),
    empty="Nothing waits: all rows are on the shared server.",
    dialects=("sqlite",),
    needs="sync_log",
    missing="This file was never synced. To do so: dynostore sync --to postgresql://USER@HOST/NAME",
)
