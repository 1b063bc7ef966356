"""Comparing a file with its server: keys and versions of a large table, and every value of one.

Beside it the floor: psql copying the same columns of the same rows out, in the order of the keys.
Everything runs on a Postgres of its own, from the wheel.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.run_files import fill
from bench.server import Server, postgres

_KEYS = "SELECT id, sync_rev, sync_seq FROM run_files ORDER BY id"
_VALUES = "SELECT * FROM run_files ORDER BY id"


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure, and give the figures by name."""
    parser = argparse.ArgumentParser(prog="python -m bench verify", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="run files (1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (3)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as server:
        return {
            "cores": os.cpu_count(),
            **compare(Path(name), server, options.rows, options.rounds),
        }


def compare(directory: Path, server: Server, rows: int, rounds: int) -> dict[str, Any]:
    """Time both levels on a file that is equal to its server, beside copies of the same rows."""
    from dynostore import Store
    from dynostore.sync import sync
    from dynostore.sync.verify.run import verify

    path, url = directory / "node.db", server.database()
    fill(path, rows)
    times: dict[str, list[float]] = {"level_1": [], "deep": [], "keys_out": [], "values_out": []}
    with Store.open(path) as store:
        sync(store, url)
        server.psql(url, "VACUUM ANALYZE")
        for _ in range(rounds):
            for name, deep in (("level_1", False), ("deep", True)):
                report = verify(store, url, deep=deep)
                assert report.exit_code == 0, report
                times[name].append(report.seconds)
            for name, sql in (("keys_out", _KEYS), ("values_out", _VALUES)):
                started = time.perf_counter()
                server.psql(url, f"\\copy ({sql}) TO '/dev/null'")
                times[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return {
        "rows": rows,
        "level_1_s": round(seconds["level_1"], 2),
        "level_1_rows_per_s": round(rows / seconds["level_1"]),
        "deep_s": round(seconds["deep"], 2),
        "deep_rows_per_s": round(rows / seconds["deep"]),
        "ratio_level_1": round(seconds["keys_out"] / seconds["level_1"], 3),
        "ratio_deep": round(seconds["values_out"] / seconds["deep"], 3),
        "all_s": {name: [round(s, 2) for s in values] for name, values in times.items()},
    }
