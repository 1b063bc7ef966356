"""Chiffon's database to import: tasks, each with five steps."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from pathlib import Path

from bench.import_script import rows_of, write_and_read_back

RECORDS = 10_000
FLOOR = 0.2
_STEPS = 5
_TABLES = """
CREATE TABLE tasks (
    task_id UUID PRIMARY KEY, request_text TEXT NOT NULL, created_by VARCHAR(255),
    created_at DATETIME, approved_at DATETIME, completed_at DATETIME, status VARCHAR(50),
    estimated_resources JSON, actual_resources JSON, error_message TEXT,
    external_ai_used JSON, project_id UUID
);
CREATE TABLE execution_logs (
    log_id UUID PRIMARY KEY, task_id UUID NOT NULL, step_number INTEGER, agent_type VARCHAR(50),
    action TEXT, status VARCHAR(50), output_summary TEXT, output_full JSON, timestamp DATETIME,
    duration_ms INTEGER
);
CREATE INDEX ix_execution_logs_task_id ON execution_logs (task_id);
"""
_AT = "2026-01-02 03:04:05.678901"


def generate(place: Path, records: int) -> Path:
    """Write a database of so many tasks."""
    chance, path = random.Random(7), place / "agents.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(_TABLES)
    estimated = json.dumps({"duration_seconds": 60, "gpu_vram_mb": 0, "cpu_cores": 2})
    actual = json.dumps({"duration_seconds": 55, "gpu_vram_mb_used": 0, "cpu_time_ms": 900})
    with connection:
        for number in range(records):
            key = uuid.UUID(int=chance.getrandbits(128), version=4).hex
            said = f"Do {number}: {chance.getrandbits(400):0100x}"
            task = (
                key,
                said,
                "u",
                _AT,
                _AT,
                _AT,
                "completed",
                estimated,
                actual,
                None,
                "null",
                None,
            )
            connection.execute(f"INSERT INTO tasks VALUES ({', '.join('?' * 12)})", task)
            for step in range(_STEPS):
                log = uuid.UUID(int=chance.getrandbits(128), version=4).hex
                full = json.dumps({"stdout": f"{chance.getrandbits(400):0100x}", "code": 0})
                row = (log, key, step, "code", "write", "completed", "done", full, _AT, 1200)
                connection.execute(
                    f"INSERT INTO execution_logs VALUES ({', '.join('?' * 10)})", row
                )
    connection.close()
    return path


def script(source: Path, database: Path) -> int:
    """Copy the tables, UUIDs in one form; give the number of rows."""
    as_json = ("estimated_resources", "actual_resources", "external_ai_used", "output_full")
    tables = rows_of(source, ("tasks", "execution_logs"), as_json)
    tasks = [(str(uuid.UUID(key)), *rest) for key, *rest in tables["tasks"]]
    logs = [
        (str(uuid.UUID(key)), str(uuid.UUID(task)), *rest)
        for key, task, *rest in tables["execution_logs"]
    ]
    return write_and_read_back(database, {"tasks": tasks, "execution_logs": logs})
