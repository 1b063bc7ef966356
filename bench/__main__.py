"""``python -m bench NAME``: run one benchmark, and print what it measured with the machine."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sqlite3
import sys
from typing import Any

MODULES = {
    "backup": "bench.backup",
    "cli": "bench.cli",
    "doctor": "bench.doctor",
    "local": "bench.local",
    "open": "bench.opening",
    "import": "bench.imports",
    "import-ideation": "bench.import_ideation",
    "push": "bench.push",
    "records": "bench.records",
    "search": "bench.search",
    "sync": "bench.sync",
    "verify": "bench.verify",
}

_EPILOG = """\
local    create a run, update it, list a page: dynostore, sqlite3, SQLAlchemy, MLflow
cli      dynostore --help and lists of a million runs, as whole processes
open     import dynostore, dynostore --help, open an existing file
import   take over what each of the older tools left, beside a straight script
import-ideation  take over a generated Redis of ideation, and a dump of it
push     the first push to Postgres, beside psql's \\copy
sync     all that the sync has to reach, each beside its floor in the same run
verify   compare a file with its server, beside psql's \\copy of the same rows
backup   copy a file while others write, beside cp and beside their pace without it
doctor   look a large file over, beside a whole check
records  conversations and agent states: openai-agents, google-adk, LangGraph
search   a word that few of a million messages have, beside FTS5 by hand

Options of one of them: python -m bench NAME --help
The peers: pip install . -r bench/requirements.txt
"""


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names; the others are its own."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        usage="python -m bench NAME [options] [--json]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=MODULES, help=", ".join(MODULES))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    as_json = "--json" in arguments
    first, *own = [argument for argument in arguments if argument != "--json"] or ["--help"]
    name = parser.parse_args([first]).name
    module = importlib.import_module(MODULES[name])
    result = {"benchmark": name, "machine": describe_machine(), **module.run(own)}
    print(json.dumps(result, indent=2) if as_json else as_text(result))
    return 0


def describe_machine() -> dict[str, Any]:
    """Give what the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
    }


def as_text(result: dict[str, Any]) -> str:
    """Give the lists of objects as tables, everything else as lines."""
    parts = []
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            parts.append(f"\n{name}\n{_table(value)}\n")
        elif isinstance(value, dict):
            parts.append(f"{name}: " + ", ".join(f"{k} {_cell(v)}" for k, v in value.items()))
        else:
            parts.append(f"{name}: {_cell(value)}")
    return "\n".join(parts).strip()


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names] + [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [isinstance(rows[0].get(name), int | float) for name in names]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
