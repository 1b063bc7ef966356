"""How charts look: colours that keep their meaning everywhere, axes and tooltips in plain words.

The colours are those of Okabe and Ito, which people with any form of colour blindness tell apart;
stages of the same thing are shades of one of them. No colour stands alone: each has its name in
the legend, and each mark its figures in a tooltip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]

BLUE, GREEN, ORANGE, RED, GREY = "#0072b2", "#009e73", "#e69f00", "#d55e00", "#8c8c8c"

RUN_COLOURS = {
    "complete": GREEN,
    "partial": ORANGE,
    "error": RED,
    "processing": BLUE,
    "validating": "#4a9bd1",
    "converting": "#8cc0e3",
    "downloading": "#c3dcf0",
    "pending": GREY,
}
ROLE_COLOURS = {"user": BLUE, "assistant": GREEN, "tool": ORANGE, "system": GREY}
SYNC_COLOURS = {"waits to be sent": BLUE, "in conflict": ORANGE, "rejected by the server": RED}

# As many as stand beside each other in a narrow window.
_LEGEND_COLUMNS = {3: 2, 4: 4}

_INK, _LINES = "#1f2933", "#dde3e9"


def drawing(spec: Spec, *, height: int | Spec = 220) -> Spec:
    """Give a specification in the common look.

    :param spec: Vega-Lite: marks and encodings.
    :param height: in pixels, or the step between the bars of an axis of names.
    """
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "height": height,
        "config": {
            "background": "#ffffff",
            "font": "system-ui, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "labelColor": _INK,
                "titleColor": _INK,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "gridColor": _LINES,
                "domainColor": _LINES,
                "tickColor": _LINES,
                "labelLimit": 200,
                "titlePadding": 10,
            },
            "legend": {
                "orient": "top",
                "labelColor": _INK,
                "titleColor": _INK,
                "labelFontSize": 12,
                "symbolType": "square",
            },
            "text": {"color": _INK, "fontSize": 12},
        },
        # The menu offers the picture; a source without its data helps nobody. Only errors are said:
        # Vega warns of every axis of names in a drawing that is as wide as its place.
        "usermeta": {
            "embedOptions": {
                "renderer": "svg",
                "logLevel": 1,
                "actions": {"export": True, "source": False, "compiled": False, "editor": False},
            }
        },
        **spec,
    }


_DAY = {"field": "day", "type": "temporal", "timeUnit": {"unit": "yearmonthdate", "utc": True}}


def day_axis(*, bars: bool = False) -> Spec:
    """Give the axis of days. They are UTC days, and stay so for readers in other zones.

    :param bars: a day is as wide as its bar: its label begins where the bar does, and the end of
        the last day, which is no day, has none.
    """
    axis: Spec = {
        "title": "day (UTC)",
        "format": "%b %d",
        "labelOverlap": True,
        "labelSeparation": 8,
        "grid": False,
        "tickCount": {"interval": "day", "step": 1},
    }
    if bars:
        axis |= {
            "labelAlign": "left",
            "labelFlush": False,
            "labelExpr": "datum.value < domain('x')[1] ? datum.label : ''",
        }
    return {**_DAY, "scale": {"type": "utc"}, "axis": axis}


def count_axis(title: str) -> Spec:
    """Give the title and labels of an axis of whole numbers: no halves of a record."""
    # By a step of 1 Vega still halves the axis of a single record.
    return {"title": title, "format": ",d", "tickMinStep": 1.01}


def coloured(field: str, colours: Mapping[str, str]) -> Spec:
    """Give the encoding of fixed colours, with a legend in their order."""
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": [*colours], "range": [*colours.values()]},
        "legend": {"title": None, "columns": _LEGEND_COLUMNS.get(len(colours), 3)},
    }


def order_of(field: str, colours: Mapping[str, str]) -> Spec:
    """Give the transformation that adds ``place``: a value's place among the colours."""
    return {"calculate": f"indexof({[*colours]}, datum.{field})", "as": "place"}


def day_tip() -> Spec:
    """Give the tooltip's line that says which day it is."""
    return {**_DAY, "title": "day (UTC)", "format": "%Y-%m-%d"}


def tip(field: str, title: str, form: str | None = None) -> Spec:
    """Give a line of a tooltip: a number in the given form of d3, else text."""
    line: Spec = {"field": field, "title": title}
    line |= {"type": "nominal"} if form is None else {"type": "quantitative", "format": form}
    return line
