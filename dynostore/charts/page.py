"""Charts as one HTML file that opens anywhere: no server, no network, nothing beside it."""

from __future__ import annotations

import datetime as dt
import html
import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dynostore import errors
from dynostore.charts.drawn import Drawn
from dynostore.exporting.places import whole_file

_SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js")

# Vega compiles expressions of the specifications, which are ours; all else is forbidden, so that
# no value in the figures could reach out.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline';"
    " img-src data: blob:"
)

_STYLE = """
body { margin: 0; background: #f4f6f8; color: #1f2933; line-height: 1.45;
  font-family: system-ui, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { margin: 0 0 4px; font-size: 1.6rem; }
h2 { margin: 0; font-size: 1.05rem; }
.about, .text, footer { color: #52606d; }
.about { margin: 0 0 20px; overflow-wrap: anywhere; }
.text { margin: 4px 0 12px; font-size: .9rem; }
.charts { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
section { min-width: 0; padding: 16px 20px; background: #fff; border-radius: 8px;
  box-shadow: 0 1px 3px rgb(0 0 0 / 15%); }
.chart { width: 100%; }
.none { padding: 28px 12px; border: 1px dashed #9aa5b1; border-radius: 6px; text-align: center; }
.more { margin-top: 12px; font-size: .9rem; }
.more summary { cursor: pointer; color: #52606d; }
.figures { max-height: 320px; overflow: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 16px 3px 0; border-bottom: 1px solid #dde3e9; text-align: left; }
td.number { text-align: right; }
footer { margin-top: 20px; font-size: .85rem; }
"""

_DRAW = """
for (const chart of JSON.parse(document.getElementById('charts').textContent)) {
  const place = document.getElementById(chart.name);
  vegaEmbed(place, chart.spec).catch(error => {
    console.error(error);
    place.textContent = 'This chart could not be drawn; its figures are below.';
  });
}
"""


def write_page(
    path: Path, drawn: Sequence[Drawn], *, shown: str, days: int, now: dt.datetime
) -> None:
    """Write the page; the file is there whole or not at all, and replaces one of that name.

    :param shown: the store's address, without a password.
    :param days: how far back the charts of days look.
    :param now: the time as of which it is, aware.
    :raises MissingExtra: the drawing scripts are not installed.
    :raises StoreUnwritable: the file cannot be written.
    """
    text = _page(drawn, shown, days, now, _scripts())
    with whole_file(path, replace=True) as file:
        file.write(text.encode())


def _scripts() -> list[str]:
    # Found, not imported: the package would load all of Datasette for three files.
    spec = importlib.util.find_spec("datasette_dashboards")
    if spec is None or spec.submodule_search_locations is None:
        raise errors.MissingExtra(
            "the page draws with Vega, which datasette-dashboards brings and which is missing",
            hint="pip install 'dynostore[view]'",
        )
    static = Path(spec.submodule_search_locations[0]) / "static"
    return [(static / name).read_text("utf-8") for name in _SCRIPTS]


def _page(
    drawn: Sequence[Drawn], shown: str, days: int, now: dt.datetime, scripts: Iterable[str]
) -> str:
    name, moment = html.escape(shown), f"{now.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    specs = [
        {"name": one.chart.name, "spec": {**one.chart.spec, "data": {"values": one.rows}}}
        for one in drawn
        if one.rows
    ]
    # "<" ends a script element, or begins a comment in it, wherever it stands.
    data = json.dumps(specs).replace("<", "\\u003c")
    libraries = "\n".join(f"<script>{_harmless(text)}</script>" for text in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>dynostore: {name}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>What was recorded</h1>
<p class="about">{name} &middot; as of {moment} &middot; charts by day show the last {days} days</p>
<div class="charts">
{"".join(_section(one) for one in drawn)}
</div>
<footer>Made by dynostore report --html. Drawn by Vega, Vega-Lite and Vega-Embed, copyright
University of Washington Interactive Data Lab, BSD-3-Clause.</footer>
</main>
<script type="application/json" id="charts">{data}</script>
{libraries}
<script>{_DRAW}</script>
</body>
</html>
"""


def _harmless(script: str) -> str:
    """Keep a library's own text from ending its element."""
    return script.replace("</script", "<\\/script")


def _section(one: Drawn) -> str:
    title, text = html.escape(one.chart.title), html.escape(one.chart.text)
    if one.reason is not None:
        content = f'<p class="none">{html.escape(one.reason)}</p>'
    else:
        content = f'<div class="chart" id="{one.chart.name}"></div>{_figures(one.rows)}'
    return f'<section><h2>{title}</h2><p class="text">{text}</p>{content}</section>\n'


def _figures(rows: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>" for row in rows)
    return (
        "<details class='more'><summary>The figures</summary><div class='figures'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, int | float):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"
