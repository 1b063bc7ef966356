"""Taskforce's files to import: states of sessions, each with its todo list."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

from bench.import_script import Tables, fingerprint, write_and_read_back

RECORDS = 4_000
FLOOR = 0.3
_STAMP = "2026-01-02T03:04:05.678901"


def generate(place: Path, records: int) -> Path:
    """Write so many states, half of them with a todo list of eight steps."""
    root, chance = place / ".taskforce", random.Random(7)
    (root / "states").mkdir(parents=True)
    (root / "todolists").mkdir()
    for number in range(records):
        key, plan = (str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(2))
        data: dict[str, Any] = {"mission": f"Mission {number}", "answers": {"n": number}}
        data["message_history"] = [
            {"role": "user", "content": f"{chance.getrandbits(400):0100x}"} for _ in range(8)
        ]
        if number % 2:
            data["todolist_id"] = plan
            _write(root / f"todolists/todolist_{plan}.json", _plan(plan, number))
        data |= {"_version": 1, "_updated_at": _STAMP}
        state = {"session_id": key, "timestamp": _STAMP, "state_data": data}
        _write(root / f"states/{key}.json", state)
    return root


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _plan(key: str, number: int) -> dict[str, Any]:
    items = [
        {
            "position": position,
            "description": f"Step {position} of {number}",
            "acceptance_criteria": "it is done",
            "dependencies": [position - 1] if position > 1 else [],
            "status": "COMPLETED",
            "chosen_tool": "shell",
            "tool_input": {"command": "true"},
            "execution_result": {"success": True, "output": "x" * 60},
            "attempts": 1,
            "max_attempts": 3,
            "replan_count": 0,
        }
        for position in range(1, 9)
    ]
    head = {"todolist_id": key, "mission": f"Mission {number}", "items": items}
    rest = {"open_questions": [], "notes": "", "created_at": _STAMP, "updated_at": _STAMP}
    return {**head, **rest}


def script(source: Path, database: Path) -> int:
    """Copy the documents without any care; give the number of rows."""
    tables: Tables = {"sessions": [], "states": [], "todo_lists": []}
    for path in sorted(source.rglob("*.json")):
        content = path.read_bytes()
        digest, document = fingerprint(content), json.loads(content)
        if path.parent.name == "states":
            key, at = document["session_id"], document["timestamp"]
            data = document["state_data"]
            tables["sessions"].append((key, at, data["mission"], digest))
            version = data["_version"]
            tables["states"].append((f"{key} {version}", key, version, json.dumps(data), at))
        else:
            key, plan = document["todolist_id"], json.dumps(document)
            tables["todo_lists"].append((key, document["mission"], plan, digest))
    return write_and_read_back(database, tables)
