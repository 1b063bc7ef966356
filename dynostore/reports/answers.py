"""A declared report becomes a statement for one database, and the statement an answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from dynostore import errors
from dynostore.compat import require_database
from dynostore.errors import quoted
from dynostore.fields import UtcTimeField, UuidField, WholeNumberField, time_text, utc_now
from dynostore.reports import tasks
from dynostore.reports.declaration import Report
from dynostore.reports.dialects import DIALECTS, worded
from dynostore.store import Store

REPORTS: Mapping[str, Report] = {report.name: report for report in tasks.REPORTS}
"""All reports by name."""

_MAX_DAYS = 36_500

_READ: Mapping[str, Callable[[Any], Any]] = {
    "text": str,
    "uuid": str,
    "integer": int,
    "real": float,
    "time": UtcTimeField().python_value,
}


def statement(
    name: str,
    dialect: str,
    *,
    days: int | None = None,
    task_id: str | None = None,
    now: dt.datetime | None = None,
) -> str:
    """Give a report's SQL with all values in it, to be pasted into psql or sqlite3.

    :param dialect: ``sqlite`` or ``postgres``.
    :param days: 1 to 36,500; the report's own default where nothing is passed.
    :param task_id: of the one task that the report is about.
    :param now: when ages end; aware; now by default.
    :raises InvalidValue: no such report or dialect, a parameter that the report lacks or needs, or
        a bad value.
    """
    report = _report(name)
    if dialect not in DIALECTS:
        raise errors.InvalidValue("dialect", f"{quoted(dialect)} is none of {', '.join(DIALECTS)}")
    literals = _literals(report, days, task_id, now)
    sql = worded(report.sql, dialect, report.words, **literals)
    return f"-- {report.title}\n{sql};\n"


def answer(
    store: Store,
    name: str,
    *,
    days: int | None = None,
    task_id: str | None = None,
    now: dt.datetime | None = None,
) -> list[dict[str, Any]]:
    """Answer a report: a mapping for each row, by the report's columns and in its order.

    Executes what :func:`statement` gives, so that what is printed is what was asked. Writes
    nothing. Times are aware UTC, ids 36 characters, amounts of money exact to the millionth.

    :raises InvalidValue: as :func:`statement`.
    :raises TaskNotFound: there is no task ``task_id``.
    :raises NotHeld: the store is in an older tool's form.
    """
    require_database(store.place, "reports")
    db = store.database
    sql = statement(name, db.dialect, days=days, task_id=task_id, now=now)
    columns = _report(name).columns
    with db.reading():
        if task_id is not None:
            store.tasks.get(task_id)
        rows = db.execute_sql(sql).fetchall()
    return [
        {
            column.name: None if value is None else _READ[column.kind](value)
            for column, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]


def _report(name: str) -> Report:
    if name not in REPORTS:
        raise errors.InvalidValue("report", f"{quoted(name)} is none of {', '.join(REPORTS)}")
    return REPORTS[name]


def _literals(
    report: Report, days: int | None, task_id: str | None, now: dt.datetime | None
) -> dict[str, str]:
    """Give the statement's values as SQL text; only what was checked gets into it."""
    moment = utc_now() if now is None else _checked("now", UtcTimeField(), now)
    literals = {"day_ago": _ago(moment, 1), "week_ago": _ago(moment, 7)}
    given: dict[str, Any] = {"days": days, "task_id": task_id}
    for parameter in report.parameters:
        value = given.pop(parameter.name)
        value = parameter.default if value is None else value
        if parameter.name == "days":
            count = _checked("days", WholeNumberField(low=1, high=_MAX_DAYS), value)
            literals["since"] = _ago(moment, count)
        else:
            literals[parameter.name] = f"'{_checked(parameter.name, UuidField(), value)}'"
    for name, value in given.items():
        if value is not None:
            raise errors.InvalidValue(name, f"is no parameter of the report {report.name}")
    return literals


def _checked(name: str, field: Any, value: Any) -> Any:
    if value is None:
        raise errors.InvalidValue(name, "must be given")
    try:
        return field.check(value)
    except ValueError as exc:
        raise errors.InvalidValue(name, str(exc)) from None


def _ago(now: dt.datetime, days: int) -> str:
    try:
        return f"'{time_text(now - dt.timedelta(days=days))}'"
    except OverflowError:
        raise errors.InvalidValue("now", f"{days} days before it is no date") from None
