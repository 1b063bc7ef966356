"""A file of a given size, filled quickly, for benchmarks of what is done to whole files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dynostore import Store

_CHUNK_RUNS = 5_000
_RUN = (
    "INSERT INTO runs (id, status, source, created_at, updated_at, metadata) VALUES (?,?,?,?,?,?)"
)
_FILE = "INSERT INTO run_files (id, run_id, filename, size_bytes, created_at) VALUES (?,?,?,?,?)"


def make_file(path: Path, size_bytes: int) -> int:
    """Make a store of at least that size, of runs with one file each; give the number of runs."""
    Store.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    count = 0
    while connection.execute("PRAGMA page_count").fetchone()[0] * page_bytes < size_bytes:
        numbers = range(count, count + _CHUNK_RUNS)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_RUN, map(_run, numbers))
        connection.executemany(_FILE, map(_file, numbers))
        connection.execute("COMMIT")
        count += _CHUNK_RUNS
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return count


def _time(number: int) -> str:
    return f"2026-01-{1 + number // 86_400 % 28:02}T00:00:00.{number % 1_000_000:06}+00:00"


def _run(number: int) -> tuple[object, ...]:
    moment = _time(number)
    note = f'{{"note": "{number:0600}"}}'
    return f"run-{number:09}", "complete", "bench", moment, moment, note


def _file(number: int) -> tuple[object, ...]:
    key = f"{number:08x}-0000-7000-8000-000000000000"
    return key, f"run-{number:09}", "output/VE.csv", 2048, _time(number)
