"""All that the sync has to reach, each beside its floor or peer in the same run.

Everything runs on a Postgres of its own, from the wheel. A figure says something about its
neighbour in the same run, and little about those of other runs.
"""

from __future__ import annotations

import argparse
import operator
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import nodes, pull, push, verify
from bench.server import Server, postgres

_LATENCY_MS = 20.0

# What is measured: its part, its figure, what it has to be, and how it is said.
_GOALS: tuple[tuple[str, str, Callable[[Any, Any], bool], float], ...] = (
    ("push", "ratio_copy", operator.ge, 0.6),
    ("push", "ratio_pgloader", operator.ge, 1.0),
    ("push", "idle_ms", operator.lt, 50),
    ("pull", "ratio_executemany", operator.ge, 0.6),
    ("one-row", "one_row_small_ms", operator.lt, 25),
    ("changed", "ratio_changed", operator.le, 1.5),
    ("nodes", "ratio_nodes", operator.ge, 0.7),
    ("verify", "level_1_s", operator.lt, 3),
    ("verify", "deep_rows_per_s", operator.ge, 150_000),
    ("memory", "ratio_push_peak", operator.le, 1.1),
    ("memory", "ratio_pull_peak", operator.le, 1.1),
    ("latency", "ratio_latency", operator.le, 2.0),
)
_SIGNS = {operator.ge: ">=", operator.lt: "<", operator.le: "<="}

Part = Callable[[Path, Server, argparse.Namespace], Any]

PARTS: dict[str, Part] = {
    "push": lambda d, s, o: push.first_push(d, s, o.rows, o.rounds),
    "pull": lambda d, s, o: pull.pull_into_an_empty_file(d, s, o.rows, o.rounds),
    "one-row": lambda d, s, o: push.one_row(d, s, o.large),
    # A sync of a tenth of a second: three of them say nothing on a busy machine, nine cost nothing.
    "changed": lambda d, s, o: nodes.few_among_many(
        d, s, o.large // 1000, (o.large // 100, o.large), 3 * o.rounds
    ),
    "nodes": lambda d, s, o: nodes.all_at_once(d, s, o.nodes, o.rows // 200, o.rounds),
    "verify": lambda d, s, o: verify.compare(d, s, o.large, o.rounds),
    # The smaller one is large enough to fill every cache, which has its limit.
    "memory": lambda d, s, o: push.memory(d, s, (o.large // 4, o.large)),
    "latency": lambda d, s, o: push.far_away(d, s, _LATENCY_MS, rows=o.rows, rounds=o.rounds),
    "growing": lambda d, s, o: nodes.growing(d, s, _counts(o), _cells(o)),
}


def _counts(options: argparse.Namespace) -> list[int]:
    return sorted({1, options.nodes // 4, options.nodes} - {0})


def _cells(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Give sizes of batches, and how many rows each node pushes in them."""
    return [(1, options.rows // 4000), (1000, options.rows // 40), (50_000, options.rows // 4)]


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure, and give the figures by part, with what each of them has to be."""
    parser = argparse.ArgumentParser(prog="python -m bench sync", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="run files to sync (200000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="rows of large files")
    parser.add_argument("--nodes", type=int, default=20, help="files that sync at once (20)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (3)")
    parser.add_argument(
        "--only", metavar="PART,...", help=f"some of {', '.join(PARTS)}", default=",".join(PARTS)
    )
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := set(chosen).difference(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as server:
        version = server.version()
        for part in chosen:
            directory = Path(name) / f"files-{part}"
            directory.mkdir()
            figures[part] = PARTS[part](directory, server, options)
    return {"cores": os.cpu_count(), "postgres": version, "goals": _judge(figures), **figures}


def _judge(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "part": part,
            "figure": name,
            "measured": figures[part][name],
            "goal": f"{_SIGNS[compare]} {goal:,g}",
            "reached": compare(figures[part][name], goal),
        }
        for part, name, compare, goal in _GOALS
        if part in figures and figures[part][name] is not None
    ]
