"""Haia's transcripts to import: a file for each conversation."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from bench.import_script import fingerprint, write_and_read_back

RECORDS = 3_000
FLOOR = 0.3
_MESSAGES = 20


def generate(place: Path, records: int) -> Path:
    """Write so many transcripts, each with 20 messages."""
    root = place / "data" / "transcripts"
    root.mkdir(parents=True)
    for number in range(records):
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, str(number)))
        transcript = {
            "conversation_id": key,
            "start_time": "2025-12-08T10:00:00+00:00",
            "end_time": "2025-12-08T10:20:00+00:00",
            "message_count": _MESSAGES,
            "trigger_reason": "idle_and_both",
            "messages": [
                {
                    "role": "assistant" if place % 2 else "user",
                    "content": f"Message {place} of {number}: naïve café, {'words ' * 28}",
                    "timestamp": f"2025-12-08T10:{place:02}:00+00:00",
                }
                for place in range(_MESSAGES)
            ],
            "metadata": {"model": "large"},
        }
        (root / f"{key[:8]}_20251208_102000.json").write_text(json.dumps(transcript, indent=2))
    return root


def script(source: Path, database: Path) -> int:
    """Copy conversations and messages without any care; give the number of rows."""
    conversations: list[tuple[Any, ...]] = []
    messages: list[tuple[Any, ...]] = []
    for name in sorted(os.listdir(source)):
        data = (source / name).read_bytes()
        document = json.loads(data)
        key = document["conversation_id"]
        conversations.append((key, document["start_time"], fingerprint(data)))
        for number, said in enumerate(document["messages"]):
            row = (f"{key}/{number}", key, said["role"], said["content"], said["timestamp"])
            messages.append(row)
    return write_and_read_back(database, {"conversations": conversations, "messages": messages})
