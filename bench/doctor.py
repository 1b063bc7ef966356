"""How long the doctor looks at a large file, beside reading its first page and beside a check."""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.large_file import make_file
from dynostore.config import Place
from dynostore.doctor import diagnose

_GOAL_S = 2.0


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure whole processes and calls in this one; medians."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path = Path(directory) / "store.db"
        make_file(path, options.megabytes * 1_000_000)
        size = path.stat().st_size
        words = [sys.executable, "-m", "dynostore", "--db", str(path)]
        acts: dict[str, Callable[[], object]] = {
            "python -c pass": lambda: _process([sys.executable, "-c", "pass"]),
            "dynostore doctor": lambda: _process([*words, "doctor", "--offline"]),
            "dynostore info": lambda: _process([*words, "info"]),
            "diagnose()": lambda: diagnose(Place(str(path), "bench")),
            "quick_check": lambda: _quick_check(path),
        }
        seconds = {
            what: statistics.median(_timed(act) for _ in range(options.rounds))
            for what, act in acts.items()
        }
    measured = seconds["dynostore doctor"]
    return {
        "file_mb": size / 1_000_000,
        "rounds": options.rounds,
        "goals": [
            {
                "what": "dynostore doctor, the whole process",
                "measured_s": measured,
                "goal_s": _GOAL_S,
                "reached": measured < _GOAL_S,
            }
        ],
        "seconds": [{"what": what, "s": value} for what, value in seconds.items()],
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench doctor", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file (1000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each (5)")
    parser.add_argument("--directory", help="where to work: on the disk to be measured")
    return parser.parse_args(arguments)


def _timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def _process(words: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def _quick_check(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA quick_check").fetchall()
    connection.close()
