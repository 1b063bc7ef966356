"""A pull into an empty file, beside what SQLite alone does with the same rows."""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.run_files import fill
from bench.server import Server

_TABLES = ("runs", "run_files", "sync_base")


def pull_into_an_empty_file(
    directory: Path, server: Server, rows: int, rounds: int
) -> dict[str, Any]:
    """Time a first pull, and executemany of the same rows and bases into the same schema.

    The floor writes batches of the same size into a file that the sync has set up, its triggers
    included, which log nothing while a sync writes.
    """
    from dynostore import Store
    from dynostore.sync import sync
    from dynostore.sync.exchange import Limits

    full, empty, url = directory / "full.db", directory / "empty.db", server.database()
    fill(full, rows)
    with Store.open(full) as store:
        sync(store, url)
    with Store.open(empty) as store:
        sync(store, server.database(), direction="pull")
    server.psql(url, "VACUUM ANALYZE")
    with closing(sqlite3.connect(full)) as connection:
        data = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in _TABLES}
    data["run_files"].sort()
    pulls, floors = [], []
    for number in range(rounds):
        floor = directory / f"floor-{number}.db"
        shutil.copy(empty, floor)
        floors.append(_write(floor, data, Limits().rows))
        with Store.open(directory / f"pulled-{number}.db") as store:
            started = time.perf_counter()
            report = sync(store, url, direction="pull")
            pulls.append(time.perf_counter() - started)
            assert sum(t.received for t in report.tables) == len(data["sync_base"]), report
    pull_s, floor_s = statistics.median(pulls), statistics.median(floors)
    return {
        "rows": rows,
        "pull_rows_per_s": round(rows / pull_s),
        "executemany_rows_per_s": round(rows / floor_s),
        "ratio_executemany": round(floor_s / pull_s, 3),
        "pull_s": [round(s, 3) for s in pulls],
        "executemany_s": [round(s, 3) for s in floors],
    }


def _write(path: Path, data: dict[str, list[Any]], batch_rows: int) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")
        started = time.perf_counter()
        for name, rows in data.items():
            places = ", ".join("?" * len(rows[0]))
            for start in range(0, len(rows), batch_rows):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE sync_meta SET applying = 1")
                connection.executemany(
                    f"INSERT INTO {name} VALUES ({places})", rows[start : start + batch_rows]
                )
                connection.execute("UPDATE sync_meta SET applying = 0")
                connection.execute("COMMIT")
        return time.perf_counter() - started
