"""Chiffon's files to import: reports of runs, and the queue's tasks in YAML."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from bench.import_script import fingerprint, write_and_read_back

RECORDS = 5_000
FLOOR = 0.3
_CHECKS = 3


def generate(place: Path, records: int) -> Path:
    """Write so many tasks: three quarters of them reports, the others in a queue."""
    root = place / "chiffon"
    for number in range(records):
        goal = f"Establish part {number} of the structure and document it."
        name = f"task-{number}"
        if number % 4:
            stamp = f"20260202-{number // 3600 % 24:02}{number // 60 % 60:02}{number % 60:02}"
            report = {
                "task_id": name,
                "goal": goal,
                "branch": f"chiffon/{name}/{stamp}",
                "commit_hash": f"{number:040x}",
                "timestamp": stamp,
                "verify_results": [
                    {"cmd": f"pytest {n}", "exit_code": 0, "stdout": "ok " * 60, "stderr": ""}
                    for n in range(_CHECKS)
                ],
            }
            path = root / "runs" / name / stamp / "report.json"
            text = json.dumps(report, indent=2)
        else:
            path = root / "tasks" / "queue" / "core" / "done" / f"{name}.yml"
            text = yaml.safe_dump({"id": name, "goal": goal, "edits": [], "verify": ["pytest"]})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def script(source: Path, database: Path) -> int:
    """Copy the documents without any care; give the number of rows."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows: list[tuple[Any, ...]] = []
    for place, _, names in os.walk(source):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                data = file.read()
            is_json = name.endswith(".json")
            document = json.loads(data) if is_json else yaml.load(data, loader)
            rows.append((path, document["goal"], json.dumps(document), fingerprint(data)))
    return write_and_read_back(database, {"tasks": rows})
