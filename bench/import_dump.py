"""A dump of ideation's keys to import: sessions of messages, requirements and maturity."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from bench.import_script import Tables, fingerprint, write_and_read_back

RECORDS = 500
FLOOR = 0.3
_MESSAGES = 100
_AT = "2026-01-02T03:04:05.678901+00:00"


def generate(place: Path, records: int) -> Path:
    """Write so many sessions of 100 messages with ten requirements."""
    chance = random.Random(7)
    keys: dict[str, Any] = {}
    for number in range(records):
        name = f"ideation-{1_700_000_000_000 + number}-bench{number:04}"
        _add(keys, "string", f"session:{name}", json.dumps(_session(name)))
        messages = [json.dumps(_message(chance, name, n)) for n in range(_MESSAGES)]
        _add(keys, "list", f"messages:{name}", messages)
        needs = {f"REQ-{n:03}": json.dumps(_requirement(name, n)) for n in range(10)}
        _add(keys, "hash", f"requirements:{name}", needs)
    path = place / "dump.json"
    path.write_text(json.dumps(keys))
    return path


def _add(keys: dict[str, Any], kind: str, name: str, value: Any) -> None:
    keys[f"ideation:{name}"] = {"type": kind, "ttl": -1, "value": value}


def _session(name: str) -> dict[str, Any]:
    words = {"id": name, "project_name": "Bench", "user_id": "u", "status": "draft"}
    return {**words, "data_source": "mock", "version": 1, "created_at": _AT, "updated_at": _AT}


def _message(chance: random.Random, name: str, number: int) -> dict[str, Any]:
    return {
        "id": f"msg-{chance.getrandbits(60):015x}",
        "session_id": name,
        "role": "user" if number % 2 else "assistant",
        "content": f"{chance.getrandbits(400):0100x}",
        "timestamp": _AT,
        "maturity_delta": 1,
        "metadata": {"n": number},
    }


def _requirement(name: str, number: int) -> dict[str, Any]:
    return {
        "id": f"REQ-{number:03}",
        "session_id": name,
        "description": f"It must do {number}",
        "type": "functional",
        "priority": "must_have",
        "category_id": "functional",
        "created_at": _AT,
    }


def script(source: Path, database: Path) -> int:
    """Copy the values without any care; give the number of rows."""
    content = source.read_bytes()
    fingerprint(content)
    tables: Tables = {"sessions": [], "messages": [], "requirements": []}
    for name, entry in json.loads(content).items():
        noun = name.split(":")[1]
        value = entry["value"]
        if noun == "session":
            session = json.loads(value)
            tables["sessions"].append((session["id"], *list(session.values())[1:]))
            continue
        for text in value if noun == "messages" else value.values():
            row = json.loads(text)
            cells = [json.dumps(v) if isinstance(v, dict) else v for v in row.values()]
            key = row["id"] if noun == "messages" else f"{row['session_id']} {row['id']}"
            tables[noun].append((key, *cells[1:]))
    return write_and_read_back(database, tables)
