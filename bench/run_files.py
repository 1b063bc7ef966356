"""Files with many run files in them, for what is measured by the row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

RUNS = 200


def fill(path: Path, rows: int, *, prefix: str = "run", runs: int = RUNS) -> None:
    """Make a store with ``rows`` run files of about 140 bytes in some runs.

    :param prefix: what the runs' keys begin with.
    """
    from dynostore import Store

    with Store.open(path) as store:
        for number in range(runs):
            store.runs.create(run_id=f"{prefix}-{number:04}", source="bench")
        store.runs.put_many(run_files(rows, prefix, runs))


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
            (rows, RUNS),
        )
        connection.commit()


def run_files(rows: int, prefix: str = "run", runs: int = RUNS) -> Iterator[Any]:
    """Give records of run files, spread over the runs."""
    from dynostore import RunFile
    from dynostore.fields import utc_now
    from dynostore.ids import derived_id

    now = utc_now()
    for number in range(rows):
        run_id = f"{prefix}-{number % runs:04}"
        yield RunFile(
            id=derived_id("run_files", run_id, f"f{number}"),
            run_id=run_id,
            filename=f"output/VE_Correction_{number:07}.csv",
            file_type="csv",
            size_bytes=number,
            created_at=now,
        )
