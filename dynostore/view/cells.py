"""How values are written in Datasette's tables: times to the second, numbers with their unit.

A plugin of Datasette. What a value is in full stands in its tooltip, and in the JSON and CSV that
every page offers. Datasette's own units are not used: they fail on a value that is no number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from datasette import hookimpl
from datasette.utils import tilde_encode
from markupsafe import Markup

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\.\d{6}\+00:00", re.ASCII)
_REFERENCES = {"task_id": "tasks", "run_id": "runs", "conversation_id": "conversations"}
"""Columns of a query's answer that name a row of a table."""


@hookimpl  # type: ignore[untyped-decorator]  # Datasette has no types
def render_cell(
    value: Any, column: str, table: str | None, database: str, datasette: Any
) -> str | Markup | None:
    """Write a value of the store's file; None leaves it to Datasette."""
    if database != getattr(datasette, "store_name", None):
        return None
    if isinstance(value, str):
        if table is None and column in _REFERENCES and value:
            place = datasette.urls.row(database, _REFERENCES[column], tilde_encode(value))
            return Markup('<a href="{}">{}</a>').format(place, value)
        return _time(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return _number(value, column)
    return None


def _time(value: str) -> Markup | None:
    if len(value) == 32 and (found := _TIME.fullmatch(value)):
        shown = Markup('<time title="{}">{}&nbsp;{}&nbsp;UTC</time>')
        return shown.format(value, found[1], found[2])
    return None


def _number(value: float, column: str) -> Markup | None:
    for suffix, (write, unit) in _WRITERS.items():
        if column.endswith(suffix):
            return Markup('<span title="{} {}">{}</span>').format(value, unit, write(value))
    return None


def _duration(seconds: float) -> str:
    if abs(seconds) < 1:
        return f"{seconds * 1000:,.4g} ms"
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 else ""
    return f"{sign}{hours:,} h {minutes} min" if hours else f"{sign}{minutes} min {rest} s"


def _size(count: float) -> str:
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:,.4g} {unit}"
        amount /= 1024
    return f"{amount:,.4g} TiB"


def _money(amount: float) -> str:
    written = f"{amount:,.6f}".rstrip("0")
    whole, _, cents = written.partition(".")
    return f"${whole}.{cents:<02}"


_WRITERS: Mapping[str, tuple[Callable[[float], str], str]] = {
    "_ms": (lambda value: _duration(value / 1000), "milliseconds"),
    "_sec": (_duration, "seconds"),
    "_seconds": (_duration, "seconds"),
    "_bytes": (_size, "bytes"),
    "_mb": (lambda value: f"{value:,.6g} MB", "megabytes"),
    "_percent": (lambda value: f"{value:,.4g} %", "percent"),
    "_pct": (lambda value: f"{value:,.4g} %", "percent"),
    "_usd": (_money, "US dollars"),
}
"""By the end of a column's name: how its numbers are written, and what the unit is called."""
