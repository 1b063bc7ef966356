"""How long it takes until dynostore is there: import, help, an existing file."""

from __future__ import annotations

import argparse
import importlib.util
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

from dynostore import Store

TARGETS_MS = {"import dynostore": 150.0, "dynostore --help": 300.0}


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure whole processes and calls in this one, in interleaved rounds; medians."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "existing.db"
        with Store.open(path) as store:
            store.runs.create(source="bench")
        processes = _processes(path)
        calls = _calls(path)
        process_ms = _medians(processes, options.rounds)
        call_ms = _medians(calls, options.rounds * 10)
    floor = process_ms["python -c pass"]
    return {
        "rounds": options.rounds,
        "processes": [
            {
                "what": what,
                "ms": ms,
                "above_python_ms": ms - floor,
                "target_ms": TARGETS_MS.get(what),
            }
            for what, ms in process_ms.items()
        ],
        "in_process": [{"what": what, "ms": ms} for what, ms in call_ms.items()],
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench open", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds over all commands (15)")
    return parser.parse_args(arguments)


def _processes(path: Path) -> dict[str, Callable[[], object]]:
    python = sys.executable
    script = Path(python).with_name("dynostore")
    command = [str(script)] if script.exists() else [python, "-m", "dynostore"]
    opening = f"from dynostore import Store; Store.open({str(path)!r}).close()"
    listing = [*command, "--db", str(path), "runs", "list"]
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import dynostore": [python, "-c", "import dynostore"],
        "from dynostore import Store": [python, "-c", "from dynostore import Store"],
        "open an existing file": [python, "-c", opening],
        "dynostore --help": [*command, "--help"],
        "dynostore runs list": listing,
    }
    if importlib.util.find_spec("sqlalchemy"):
        commands["import sqlalchemy"] = [python, "-c", "import sqlalchemy"]
    return {what: _process(argv) for what, argv in commands.items()}


def _process(argv: list[str]) -> Callable[[], object]:
    # Without its bytecode, which pip writes for what it installs, a checkout is compiled each time.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def call() -> None:
        nowhere = subprocess.DEVNULL
        subprocess.run(argv, env=environment, check=True, stdout=nowhere, stdin=nowhere)

    return call


def _calls(path: Path) -> dict[str, Callable[[], object]]:
    def open_store() -> None:
        Store.open(path).close()

    def open_raw() -> None:
        # The floor: what any program must do before its first row.
        connection = sqlite3.connect(path)
        connection.execute("SELECT name FROM sqlite_master").fetchall()
        connection.close()

    return {"Store.open of an existing file": open_store, "sqlite3.connect and one query": open_raw}


def _medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Give each call's median in milliseconds; the first round warms the caches up."""
    times: dict[str, list[float]] = {what: [] for what in calls}
    for number in range(rounds + 1):
        for what, call in calls.items():
            begin = time.perf_counter()
            call()
            if number:
                times[what].append((time.perf_counter() - begin) * 1000)
    return {what: statistics.median(values) for what, values in times.items()}
