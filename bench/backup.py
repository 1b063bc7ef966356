"""A backup while others write, beside copying the file, and their pace beside that without it."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.large_file import make_file
from dynostore import Store
from dynostore.backup import backup_file

_LEAST_S = 2.0
"""Shorter than that a pace is luck."""

_PAUSE_S = 1.0


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure in interleaved rounds: the writers alone, with a copy, with a backup; medians."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        path, copy = Path(directory) / "store.db", Path(directory) / "copy.db"
        runs = make_file(path, options.megabytes * 1_000_000)
        acts: dict[str, Callable[[], object]] = {
            "copy": lambda: _copy(path, copy),
            "backup": lambda: backup_file(path, copy),
        }
        quiet = {name: _timed(act, copy) for name, act in acts.items()}
        with _writers(path, options.writers) as counters:
            rounds = [_round(acts, copy, counters) for _ in range(options.rounds)]
    busy = {name: statistics.median(r[f"{name}_s"] for r in rounds) for name in acts}
    pace = statistics.median(r["backup_pace"] / r["alone_pace"] for r in rounds)
    speed = statistics.median(r["copy_s"] / r["backup_s"] for r in rounds)
    return {
        "file_mb": options.megabytes,
        "runs": runs,
        "writers": options.writers,
        "rounds": options.rounds,
        "goals": [
            _goal("speed of a backup, of that of a flushed cp, beside the writers", speed),
            _goal("pace of the writers during a backup, of that without", pace),
        ],
        "seconds": [
            {"what": name, "beside_writers_s": busy[name], "alone_s": quiet[name]} for name in acts
        ],
        "paces": [
            {"what": what, "commits_per_s": statistics.median(r[f"{what}_pace"] for r in rounds)}
            for what in ("alone", *acts)
        ],
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench backup", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file (1000)")
    parser.add_argument("--writers", type=int, default=4, help="processes that write (4)")
    parser.add_argument("--rounds", type=int, default=3, help="of all three (3)")
    parser.add_argument("--directory", help="where to work: on the disk to be measured")
    return parser.parse_args(arguments)


def _goal(what: str, measured: float) -> dict[str, Any]:
    return {"what": what, "measured": measured, "goal": 0.5, "reached": measured >= 0.5}


def _copy(path: Path, copy: Path) -> None:
    """Copy with cp, and flush: a backup that returned is on the disk."""
    program = shutil.which("cp")
    if program is None:
        shutil.copyfile(path, copy)
    else:
        subprocess.run([program, path, copy], check=True)
    with open(copy, "rb+") as file:
        os.fsync(file.fileno())


def _timed(act: Callable[[], object], copy: Path) -> float:
    copy.unlink(missing_ok=True)
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def _round(acts: dict[str, Callable[[], object]], copy: Path, counters: Any) -> dict[str, float]:
    result = {}
    result["alone_pace"] = _paced(counters, lambda: time.sleep(_LEAST_S))[1]
    for name, act in acts.items():
        result[f"{name}_s"], result[f"{name}_pace"] = _repeated(counters, act, copy)
    return result


def _paced(counters: Any, act: Callable[[], object]) -> tuple[float, float]:
    """Give how long it took, and the commits of all writers in a second of that."""
    before, begin = sum(counters), time.perf_counter()
    act()
    seconds = time.perf_counter() - begin
    return seconds, (sum(counters) - before) / seconds


def _repeated(counters: Any, act: Callable[[], object], copy: Path) -> tuple[float, float]:
    """Do it until the pace can be told; give the time of one, and the pace."""
    times: list[float] = []
    before, spent = 0, 0.0
    while spent < _LEAST_S:
        copy.unlink(missing_ok=True)
        # Until the log that grew during the last one is begun anew: nobody copies without end.
        time.sleep(_PAUSE_S)
        seconds, pace = _paced(counters, act)
        times.append(seconds)
        before += round(pace * seconds)
        spent += seconds
    return statistics.median(times), before / spent


@contextlib.contextmanager
def _writers(path: Path, count: int) -> Iterator[Any]:
    """Let processes create and change runs; give the number of each one's commits so far."""
    context = multiprocessing.get_context("spawn")
    counters = context.Array("q", count, lock=False)
    stop = context.Event()
    processes = [
        context.Process(target=_write, args=(str(path), counters, number, stop))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    try:
        while not all(counters):
            if not all(process.is_alive() for process in processes):
                raise RuntimeError("a writer ended: see above")
            time.sleep(0.05)
        yield counters
    finally:
        stop.set()
        for process in processes:
            process.join()


def _write(path: str, counters: Any, number: int, stop: Any) -> None:
    with Store.open(path) as store:
        while not stop.is_set():
            run_id = store.runs.create(source="bench", metadata={"writer": number}).id
            store.runs.set_status(run_id, "complete")
            counters[number] += 2
