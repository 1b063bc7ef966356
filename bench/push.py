"""The first push, against psql's \\copy of the same rows into a table of the same definition.

Also: a sync with nothing to do, one changed row in a small and in a large file, the same push to a
server that is further away, and the peak memory of a push of ten times the rows. Everything runs on
a Postgres of its own, from the wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.latency import delayed
from bench.run_files import RUNS, fill, fill_quickly, run_files
from bench.server import Server, postgres

_MEMORY_ROWS = (100_000, 1_000_000)


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure, and give the figures by name."""
    parser = argparse.ArgumentParser(prog="python -m bench push", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="run files to push (200000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (3)")
    parser.add_argument("--large", type=int, default=1_000_000, help="rows of the large file")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory as well")
    parser.add_argument("--latency", type=float, metavar="MS", help="push over a longer wire too")
    parser.add_argument("--only", choices=["one-row"], help="nothing but this")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--to", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--direction", default="push", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        return _sync_and_measure(options.one, options.to, options.direction)
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as server:
        if options.only == "one-row":
            return one_row(Path(name), server, options.large)
        figures = first_push(Path(name), server, options.rows, options.rounds)
        if options.latency:
            figures |= far_away(Path(name), server, options.latency)
        figures |= one_row(Path(name), server, options.large)
        figures |= _capture(Path(name), server, options.rounds)
        if options.memory:
            figures |= memory(Path(name), server, _MEMORY_ROWS)
        return {"cores": os.cpu_count(), "postgres": server.version(), **figures}


def first_push(directory: Path, server: Server, rows: int, rounds: int) -> dict[str, Any]:
    """Time first pushes, each beside a \\copy of the same rows, and syncs with nothing to do."""
    from dynostore import Store
    from dynostore.sync import sync

    original = directory / "first.db"
    fill(original, rows)
    pushes, copies, loaders, idles = [], [], [], []
    for number in range(rounds):
        path = directory / f"round-{number}.db"
        for suffix in ("", "-wal"):
            if Path(f"{original}{suffix}").exists():
                shutil.copy(f"{original}{suffix}", f"{path}{suffix}")
        url = server.database()
        with Store.open(path) as store:
            server.settle()
            started = time.perf_counter()
            report = sync(store, url)
            pushes.append(time.perf_counter() - started)
            assert sum(t.sent for t in report.tables) == rows + RUNS, report
            for _ in range(5):
                started = time.perf_counter()
                assert sync(store, url).up_to_date
                idles.append(time.perf_counter() - started)
        copies.append(_copy(directory, server, url))
        loaders += _pgloader(directory, server, url)
    push_s, copy_s = statistics.median(pushes), statistics.median(copies)
    return {
        "rows": rows,
        "push_rows_per_s": round(rows / push_s),
        "copy_rows_per_s": round(rows / copy_s),
        "ratio_copy": round(copy_s / push_s, 3),
        "ratio_pgloader": round(statistics.median(loaders) / push_s, 3) if loaders else None,
        "push_s": [round(s, 3) for s in pushes],
        "copy_s": [round(s, 3) for s in copies],
        "idle_ms": round(statistics.median(idles) * 1000, 1),
    }


def _copy(directory: Path, server: Server, url: str) -> float:
    """Time psql's \\copy of what the push sent, sync columns included."""
    data = directory / "rows.copy"
    server.psql(url, f"\\copy run_files TO '{data}'")
    server.psql(url, "CREATE TABLE floor (LIKE run_files INCLUDING ALL)")
    server.psql(url, "ALTER TABLE floor ADD FOREIGN KEY (run_id) REFERENCES runs (id)")
    server.settle()
    started = time.perf_counter()
    server.psql(url, f"\\copy floor FROM '{data}'")
    seconds = time.perf_counter() - started
    server.psql(url, "DROP TABLE floor")
    return seconds


def _pgloader(directory: Path, server: Server, url: str) -> list[float]:
    """Time pgloader on the same rows; an empty list where it is not installed."""
    if shutil.which("pgloader") is None:
        return []
    data = directory / "rows.csv"
    server.psql(url, f"\\copy run_files TO '{data}' WITH (FORMAT csv)")
    server.psql(url, "CREATE TABLE floor (LIKE run_files INCLUDING ALL)")
    socket = url.partition("host=")[2]
    target = f"postgresql://postgres@unix:{socket}:5432/{url.partition('///')[2]}?tablename=floor"
    started = time.perf_counter()
    subprocess.run(
        ["pgloader", "--type", "csv", "--with", "fields terminated by ','", str(data), target],
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - started
    server.psql(url, "DROP TABLE floor")
    return [seconds]


def one_row(directory: Path, server: Server, large: int) -> dict[str, Any]:
    """Time the sync of one changed row in a file of a thousand and in one of a million.

    In turns, and after the disk is done with what the filling wrote: both wait for it.
    """
    from dynostore import Store
    from dynostore.sync import sync

    sizes = {"small": 1000, "large": large}
    urls = {name: server.database() for name in sizes}
    for name, rows in sizes.items():
        fill_quickly(directory / f"{name}.db", rows)
        with Store.open(directory / f"{name}.db") as store:
            sync(store, urls[name])
        server.psql(urls[name], "VACUUM ANALYZE")
    server.settle()
    times: dict[str, list[float]] = {name: [] for name in sizes}
    for number in range(25):
        for name in sizes:
            with Store.open(directory / f"{name}.db") as store:
                store.runs.update("run-0007", current_stage=f"stage {number}")
                started = time.perf_counter()
                assert sync(store, urls[name]).tables[0].sent == 1
                times[name].append(time.perf_counter() - started)
    figures: dict[str, Any] = {
        f"one_row_{name}_ms": round(statistics.median(seconds) * 1000, 1)
        for name, seconds in times.items()
    }
    figures |= {
        f"one_row_{name}_least_ms": round(min(seconds) * 1000, 1) for name, seconds in times.items()
    }
    figures["one_row_large_rows"] = large
    figures["ratio_one_row"] = round(figures["one_row_large_ms"] / figures["one_row_small_ms"], 2)
    return figures


def far_away(
    directory: Path, server: Server, round_trip_ms: float, *, rows: int = 200_000, rounds: int = 3
) -> dict[str, Any]:
    """Compare the first push with the same over a wire with longer round trips."""
    from dynostore import Store
    from dynostore.sync import sync

    if not (directory / "first.db").exists():
        fill(directory / "first.db", rows)
    times: dict[str, list[float]] = {"near": [], "far": []}
    for number in range(rounds):
        for name, seconds in times.items():
            path = directory / f"{name}-{number}.db"
            shutil.copy(directory / "first.db", path)
            url = server.database()
            wire = round_trip_ms if name == "far" else 0
            way = delayed(directory / f"wire-{name}-{number}", url, wire)
            with way as far_url, Store.open(path) as store:
                started = time.perf_counter()
                sync(store, far_url)
                seconds.append(time.perf_counter() - started)
    near, far = (statistics.median(seconds) for seconds in times.values())
    return {
        "latency_ms": round_trip_ms,
        "push_near_s": round(near, 3),
        "push_far_s": round(far, 3),
        "ratio_latency": round(far / near, 2),
    }


def _capture(directory: Path, server: Server, rounds: int) -> dict[str, Any]:
    """Compare put_many in a file that never synced with one whose triggers log."""
    from dynostore import Store
    from dynostore.sync import sync

    times: dict[str, list[float]] = {"plain": [], "captured": []}
    for number in range(max(rounds, 9)):
        for name, seconds in times.items():
            path = directory / f"{name}-{number}.db"
            with Store.open(path) as store:
                for run_number in range(RUNS):
                    store.runs.create(run_id=f"run-{run_number:04}", source="bench")
                if name == "captured":
                    sync(store, server.database())
                records = list(run_files(20_000))
                started = time.process_time()
                store.runs.put_many(records)
                seconds.append(time.process_time() - started)
    # CPU time only grows with what else the machine does: the least is the nearest to the truth.
    plain, captured = (min(seconds) for seconds in times.values())
    return {
        "put_many_rows_per_s": round(20_000 / plain),
        "capture_percent": round((captured / plain - 1) * 100, 1),
    }


def memory(directory: Path, server: Server, sizes: Sequence[int]) -> dict[str, Any]:
    """Compare the peak memory of pushing some rows, and of pulling them, with that of more."""
    peaks: dict[str, list[int]] = {"push": [], "pull": []}
    for rows in sizes:
        sent, received = directory / f"sent-{rows}.db", directory / f"received-{rows}.db"
        fill_quickly(sent, rows)
        url = server.database()
        for direction, path in (("push", sent), ("pull", received)):
            command = [sys.executable, "-m", "bench", "push", "--json", "--one", str(path)]
            command += ["--to", url, "--direction", direction]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks[direction].append(json.loads(done.stdout)["peak_bytes"])
    return {"memory_rows": list(sizes)} | {
        name: value
        for direction, seen in peaks.items()
        for name, value in (
            (f"{direction}_peak_mib", [round(p / 2**20, 1) for p in seen]),
            (f"ratio_{direction}_peak", round(seen[-1] / seen[0], 3)),
        )
    }


def _sync_and_measure(path: str, url: str, direction: Any) -> dict[str, Any]:
    from dynostore import Store
    from dynostore.sync import sync

    with Store.open(path) as store:
        sync(store, url, direction=direction)
    return {"peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Give the most memory that this process ever held."""
    # Not ru_maxrss, where there is better: a child begins with its parent's.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
