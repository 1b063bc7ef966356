"""The reports as Datasette's canned queries: values become parameters that a reader can change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dynostore.charts import DEFAULT_DAYS, Chart
from dynostore.charts import statement as chart_statement
from dynostore.reports import REPORTS, Report
from dynostore.reports.dialects import worded

# As Datasette gives them, parameters are text, and '' where none was given. What is no number is 0.
# A sum of days that is no date is NULL, and no row is younger than that.
_AGO = "STRFTIME('%Y-%m-%dT%H:%M:%f000+00:00', 'now', '-' || {days} || ' days')"
_DAYS = "CAST(COALESCE(NULLIF(:days, ''), {default}) AS INTEGER)"

# Of the tasks whose id begins so, the one whose step was logged last; of all where none is given.
_TASK = (
    "(SELECT task_id FROM execution_logs"
    " WHERE SUBSTR(task_id, 1, LENGTH(:task_id)) = LOWER(:task_id)"
    " ORDER BY timestamp DESC, log_id DESC LIMIT 1)"
)


def days_ago(default: int) -> str:
    """Give SQL for the time that lies ``:days`` days back, or so many where none are given."""
    return _AGO.format(days=_DAYS.format(default=default))


def chart_query(chart: Chart) -> str:
    """Give a chart's query, with the parameter ``:days`` where it shows days."""
    return chart_statement(chart, "sqlite", days_ago(DEFAULT_DAYS))


def canned_queries(tables: Collection[str]) -> dict[str, dict[str, Any]]:
    """Give all reports as canned queries, by name.

    :param tables: the names of the file's tables, which queries must not hide: where a table is
        called like a report, the report's query is called otherwise.
    """
    return {_free_name(report.name, tables): _canned(report) for report in REPORTS.values()}


def _free_name(name: str, tables: Collection[str]) -> str:
    taken = {table.lower() for table in tables}
    while name.lower() in taken:
        name += "-report"
    return name


def _canned(report: Report) -> dict[str, Any]:
    expressions = {
        "day_ago": _AGO.format(days="1"),
        "week_ago": _AGO.format(days="7"),
        "task_id": _TASK,
    }
    hints: Mapping[str, str] = {
        "days": "days: how many days back; {default} where it is left empty.",
        "task_id": "task_id: a task's id or its beginning; where it is left empty, the "
        "task whose step was logged last.",
    }
    described = []
    for parameter in report.parameters:
        described.append(hints[parameter.name].format(default=parameter.default))
        if parameter.name == "days":
            expressions["since"] = days_ago(parameter.default or 0)
    return {
        "sql": worded(report.sql, "sqlite", report.words, **expressions),
        "title": report.title,
        "description": " ".join(described),
        "params": [parameter.name for parameter in report.parameters],
        "hide_sql": True,
    }
