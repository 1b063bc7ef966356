"""How long a person waits for a command: whole processes, on a file of a million runs."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dynostore import Run, Store

TARGETS_MS = {"dynostore --help": 250.0, "dynostore runs list": 400.0}

_STATUSES = ("complete", "error", "pending", "partial")
_BATCH_RUNS = 20_000
_FIRST = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure commands as whole processes, in interleaved rounds; medians, and the processor's."""
    options = _options(arguments)
    with contextlib.ExitStack() as stack:
        path = options.file or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "runs.db"
        if not path.exists():
            _fill(path, options.runs)
        timed: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            for what, words, more in _commands(path, options.runs):
                timed.setdefault(what, []).append(_timed(words, more))
    return {
        "runs": options.runs,
        "rounds": options.rounds,
        "commands": [
            {
                "what": what,
                "ms": statistics.median(wall for wall, _ in times),
                "least_ms": min(wall for wall, _ in times),
                "processor_ms": statistics.median(spent for _, spent in times),
                "target_ms": TARGETS_MS.get(what),
            }
            for what, times in timed.items()
        ],
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench cli", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="in the file (1,000,000)")
    parser.add_argument("--rounds", type=int, default=11, help="over all commands (11)")
    parser.add_argument("--file", type=Path, help="made here where it is not yet, and kept")
    return parser.parse_args(arguments)


def _fill(path: Path, count: int) -> None:
    with Store.open(path) as store:
        for start in range(0, count, _BATCH_RUNS):
            numbers = range(start, min(count, start + _BATCH_RUNS))
            refused = store.runs.put_many([_run(number) for number in numbers])
            if refused:
                raise RuntimeError(f"{len(refused)} runs were refused: {refused[0]}")


def _run(number: int) -> Run:
    at = _FIRST + dt.timedelta(seconds=40 * number)
    return Run(
        id=f"run_{number:08}",
        status=_STATUSES[number % len(_STATUSES)],
        source="dyno",
        created_at=at,
        updated_at=at,
        progress_percent=number % 101,
        input_filename=f"pull_{number}.csv",
    )


def _commands(path: Path, count: int) -> list[tuple[str, list[str], dict[str, str]]]:
    """Give what is measured: its name, the words behind ``python``, more environment."""
    middle = f"run_{count // 2:08}"
    asked = {
        "_DYNOSTORE_COMPLETE": "zsh_complete",
        "COMP_WORDS": f"dynostore --db {path} runs show {middle[:-2]}",
        "COMP_CWORD": "5",
    }

    def words(*command: str) -> list[str]:
        return ["-m", "dynostore", "-q", "--db", str(path), *command]

    return [
        ("python -c pass", ["-c", "pass"], {}),
        ("dynostore --help", ["-m", "dynostore", "--help"], {}),
        ("dynostore runs list", words("runs", "list"), {}),
        ("dynostore --json runs list", words("--json", "runs", "list"), {}),
        ("dynostore runs list --status error", words("runs", "list", "--status", "error"), {}),
        ("dynostore runs show", words("runs", "show", middle), {}),
        ("dynostore query", words("query", f"SELECT status FROM runs WHERE id = '{middle}'"), {}),
        ("completing an id", ["-m", "dynostore"], asked),
    ]


def _timed(words: list[str], more: dict[str, str]) -> tuple[float, float]:
    """Give the milliseconds that a process took, by the clock and of the processor."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, *words], env={**os.environ, **more}, stdout=subprocess.DEVNULL, check=True
    )
    took, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    return took * 1000, spent * 1000
