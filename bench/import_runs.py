"""DynoAI's run directories to import: half layout A, half layout B, most of those errors."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import uuid
from pathlib import Path
from typing import Any

RECORDS = 10_000
FLOOR = 0.3
OUTPUT_BYTES = 2048
FILES_OF_A = 5
FILES_OF_B = 11


def generate(place: Path, records: int) -> Path:
    """Write run directories: half layout A, half layout B, two thirds of those errors."""
    tree, chance = place / "tree", random.Random(7)
    for number in range(records):
        if number % 2:
            _write_b(tree, chance, is_error=number % 3 != 0)
        else:
            _write_a(tree, chance, number)
    return tree


def _table(chance: random.Random) -> bytes:
    lines = [b"rpm,40,60,80,100"]
    while sum(map(len, lines)) + len(lines) < OUTPUT_BYTES:
        lines.append(",".join(f"{chance.uniform(-9, 9):.3f}" for _ in range(5)).encode())
    return b"\n".join(lines)[: OUTPUT_BYTES - 1] + b"\n"


def _write_a(tree: Path, chance: random.Random, number: int) -> None:
    run_id = f"run_2025-12-05T{number // 3600 % 24:02}-{number // 60 % 60:02}-{number % 60:02}Z-"
    run_id += f"{number:06x}"
    output = tree / "runs" / run_id / "output"
    output.mkdir(parents=True)
    names = [f"VE_Table_{i}.csv" for i in range(FILES_OF_A)]
    for name in names:
        (output / name).write_bytes(_table(chance))
    state = {
        "run_id": run_id,
        "status": "complete",
        "source": "jetstream",
        "created_at": "2025-12-05T12:21:48.347Z",
        "updated_at": "2025-12-08T06:18:43.608Z",
        "jetstream_id": f"JS-ETA-{number}",
        "current_stage": "export",
        "progress_percent": 100,
        "files": names,
        "results_summary": {"avg_correction": 4.2, "max_correction": 11.5, "cells_corrected": 168},
    }
    (output.parent / "run_state.json").write_text(json.dumps(state, indent=2))


def _write_b(tree: Path, chance: random.Random, *, is_error: bool) -> None:
    name = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    run_id = f"2025-12-05T15-32-59Z-{chance.getrandbits(24):06x}"
    directory = tree / "outputs" / name
    directory.mkdir(parents=True)
    outputs = [] if is_error else [_output(directory, chance, i) for i in range(FILES_OF_B)]
    code, stage = ("error", "load") if is_error else ("success", "export")
    manifest = {
        "schema_id": "dynoai.manifest@1",
        "tool_version": "1.2",
        "run_id": run_id,
        "session_id": None,
        "status": {
            "code": code,
            "message": "Missing required columns: MAP/kPa\n" * 6,
            "last_stage": stage,
        },
        "input": {
            "path": f"C:\\Dev\\DynoAI_3\\uploads\\{name}\\test_log.csv",
            "size_bytes": 166,
            "sha256": "b9be8382a36b0ad5b68e9867e8a3a5a614cd37055c7fab38ad4cacabfb2b0752",
            "dialect": {"sep": ",", "encoding": "utf-8", "newline": "auto"},
            "required_columns_present": not is_error,
            "missing_columns": ["map_kpa"] if is_error else [],
        },
        "config": {"args": {f"option_{i}": i for i in range(11)}, "base_tables": {"front": None}},
        "env": {"python": "3.14.0", "os": "Windows", "platform": "AMD64", "hostname": "bench-pc"},
        "timing": {
            "start": "2025-12-05T15:32:59.682Z",
            "end": "2025-12-05T15:32:59.685Z",
            "duration_ms": 3,
        },
        "stats": {} if is_error else {"rows_read": 3000, "bins_total": 55, "bins_covered": 12},
        "diagnostics": [],
        "outputs": outputs,
        "apply": {"allowed": False, "reasons_blocked": ["pending"]},
    }
    text = json.dumps(manifest, separators=(",", ":"))
    (directory / "manifest.json").write_text(text)
    (directory / f"{run_id}.manifest.json").write_text(text)


def _output(directory: Path, chance: random.Random, number: int) -> dict[str, Any]:
    name = f"Output_Table_{number}.csv"
    data = _table(chance)
    (directory / name).write_bytes(data)
    # As in the wild: hashed on Windows, with other line endings than git left behind.
    written = data.replace(b"\n", b"\r\n")
    return {
        "name": name,
        "path": name,
        "type": "csv",
        "schema": "ve_delta_grid",
        "rows": 11,
        "cols": 5,
        "size_bytes": len(written),
        "sha256": hashlib.sha256(written).hexdigest(),
        "created": "2025-12-05T15:32:59.684Z",
    }


_SCRIPT_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE runs (id TEXT PRIMARY KEY, status TEXT, created_at TEXT, document TEXT);
CREATE INDEX runs_status ON runs (status);
CREATE INDEX runs_created_at ON runs (created_at);
CREATE TABLE run_files (
    id TEXT PRIMARY KEY, run_id TEXT REFERENCES runs (id), filename TEXT, size_bytes INTEGER,
    sha256 TEXT, storage_path TEXT
);
CREATE INDEX run_files_run_id ON run_files (run_id);
"""


def script(tree: Path, database: Path) -> int:
    """Do the same work without any care; give the rows written."""
    runs: list[tuple[Any, ...]] = []
    files: list[tuple[Any, ...]] = []
    for directory, below, names in os.walk(tree):
        below.sort()
        head = next((n for n in ("run_state.json", "manifest.json") if n in names), None)
        if head is None:
            continue
        run_id = os.path.basename(directory)
        for place, _, names_below in os.walk(directory):
            for name in sorted(names_below):
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    data = file.read()
                digest = hashlib.sha256(data).hexdigest()
                if place == directory and name == head:
                    document = json.loads(data)
                    status = str(document["status"])
                    text = json.dumps(document)
                    created = document.get("created_at") or document["timing"]["start"]
                    runs.append((run_id, status, created, text))
                elif not name.endswith("manifest.json"):
                    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run_id}/{name}"))
                    files.append((key, run_id, name, len(data), digest, path))
        below.clear()
    connection = sqlite3.connect(database)
    connection.executescript(_SCRIPT_TABLES)
    with connection:
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?, ?)", runs)
        connection.executemany("INSERT INTO run_files VALUES (?, ?, ?, ?, ?, ?)", files)
    stored = connection.execute("SELECT * FROM runs").fetchall()
    stored += connection.execute("SELECT * FROM run_files").fetchall()
    connection.close()
    if sorted(map(str, stored)) != sorted(map(str, runs + files)):
        raise SystemExit("the script lost rows")
    return len(stored)
