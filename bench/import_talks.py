"""Haia's database to import: conversations of twenty messages."""

from __future__ import annotations

import random
import sqlite3
import uuid
from pathlib import Path

from bench.import_script import rows_of, write_and_read_back

RECORDS = 3_000
FLOOR = 0.2
_MESSAGES = 20
_TABLES = """
CREATE TABLE conversations (
    id INTEGER NOT NULL PRIMARY KEY, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL
);
CREATE TABLE messages (
    id INTEGER NOT NULL PRIMARY KEY, conversation_id INTEGER NOT NULL, role VARCHAR(20) NOT NULL,
    content TEXT NOT NULL, created_at DATETIME NOT NULL,
    FOREIGN KEY (conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
);
CREATE INDEX ix_messages_conversation_id ON messages (conversation_id);
"""


def generate(place: Path, records: int) -> Path:
    """Write a database of so many conversations."""
    chance, path = random.Random(7), place / "haia.db"
    connection = sqlite3.connect(path)
    connection.executescript(_TABLES)
    with connection:
        for number in range(1, records + 1):
            day = f"2026-01-{number % 28 + 1:02}"
            row = (number, f"{day} 03:04:00.000000", f"{day} 03:04:59.000000")
            connection.execute("INSERT INTO conversations VALUES (?, ?, ?)", row)
            connection.executemany(
                "INSERT INTO messages (conversation_id, role, content, created_at) "
                "VALUES (?, ?, ?, ?)",
                [
                    (
                        number,
                        "user" if place % 2 else "assistant",
                        f"{chance.getrandbits(800):0200x}",
                        f"{day} 03:04:{place:02}.{number:06}",
                    )
                    for place in range(_MESSAGES)
                ],
            )
    connection.close()
    return path


def script(source: Path, database: Path) -> int:
    """Copy the tables, with keys that are unique in more than one file; give the number of rows."""
    tables = rows_of(source, ("conversations", "messages"), ())
    names: dict[int, str] = {}
    for number, created, *_ in tables["conversations"]:
        names[number] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"conversations/{number}/{created}"))
    talks = [(names[number], *rest) for number, *rest in tables["conversations"]]
    messages = [
        (str(uuid.uuid5(uuid.NAMESPACE_URL, f"messages/{number}/{created}")), names[talk], *rest)
        for number, talk, *rest, created, _ in tables["messages"]
    ]
    return write_and_read_back(database, {"conversations": talks, "messages": messages})
