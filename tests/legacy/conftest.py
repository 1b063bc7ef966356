"""Builders of what older tools left, and a store to import it into."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

UUIDS = [f"{i:08x}-1111-4222-8333-{i:012x}" for i in range(1, 100)]


class Tree:
    """Writes runs in the real formats, with invented content, below a directory."""

    uuids = UUIDS

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: str | bytes | Any) -> Path:
        """Write a file: bytes and text as they are, anything else as JSON."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str | bytes):
            content = json.dumps(content, indent=2)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def state(self, run_id: str = "run_a", **changes: Any) -> dict[str, Any]:
        """Give a ``run_state.json``; a change of ... leaves the key out."""
        document = {
            "run_id": run_id,
            "status": "complete",
            "source": "jetstream",
            "created_at": "2025-12-05T11:52:20.515Z",
            "updated_at": "2025-12-08T06:18:43.620Z",
            "jetstream_id": "JS-TEST-001",
            "current_stage": "export",
            "progress_percent": 100,
            "files": ["VE.csv"],
            "results_summary": {"avg_correction": -1.8, "cells_corrected": 132},
        }
        return {k: v for k, v in (document | changes).items() if v is not ...}

    def manifest(self, run_id: str = "2025-12-05T15-32-59Z-501326", **changes: Any) -> Any:
        """Give a ``dynoai.manifest@1``; a change of ... leaves the key out."""
        document: dict[str, Any] = {
            "schema_id": "dynoai.manifest@1",
            "tool_version": "1.2",
            "run_id": run_id,
            "session_id": None,
            "status": {"code": "success", "message": "OK", "last_stage": "export"},
            "input": {"path": "C:\\Dev\\Bench\\uploads\\x\\log file.csv", "size_bytes": 166},
            "config": {"args": {"clamp": 15.0}, "base_tables": {"front": None}},
            "env": {"os": "Windows"},
            "timing": {
                "start": "2025-12-05T15:32:59.682Z",
                "end": "2025-12-05T15:33:01.685Z",
                "duration_ms": 2003,
            },
            "stats": {"rows_read": 5},
            "diagnostics": [],
            "outputs": [],
            "apply": {"allowed": False, "reasons_blocked": ["pending"]},
        }
        return {k: v for k, v in (document | changes).items() if v is not ...}

    def jetdrive(self, run_id: str = "jet_1", **changes: Any) -> dict[str, Any]:
        """Give the manifest of layout C; a change of ... leaves the key out."""
        document = {
            "run_id": run_id,
            "timestamp": "2025-11-07T14:30:12.400000+00:00",
            "source_file": "C:\\Logs\\evening.wp8",
            "analysis": {"peak_hp": 88.7, "overall_status": "LEAN"},
            "grid": {"rpm_bins": [2500], "map_bins": [40]},
            "outputs": {"ve": f"runs/{run_id}/VE.csv"},
        }
        return {k: v for k, v in (document | changes).items() if v is not ...}

    def output(self, path: str, content: str = "rpm,40\n1500,0.5\n", **changes: Any) -> Any:
        """Write an output file and give its entry for a manifest's ``outputs``."""
        file = self.write(path, content)
        data = file.read_bytes()
        entry = {
            "name": file.name,
            "path": file.name,
            "type": "csv",
            "schema": "ve_delta_grid",
            "rows": 1,
            "cols": 2,
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "created": "2025-12-05T15:33:00.000Z",
        }
        return {k: v for k, v in (entry | changes).items() if v is not ...}

    def add_a(self, run_id: str = "run_a", **changes: Any) -> str:
        """Write a run of layout A with one output; give its directory's path in the tree."""
        self.write(f"runs/{run_id}/run_state.json", self.state(run_id, **changes))
        self.write(f"runs/{run_id}/output/VE.csv", "rpm,40\n1500,0.5\n")
        return f"runs/{run_id}"

    def add_manifest(self, directory: str, document: dict[str, Any]) -> str:
        """Write a manifest and its stamped copy, as the old program did."""
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        self.write(f"{directory}/manifest.json", text)
        if isinstance(document.get("run_id"), str):
            self.write(f"{directory}/{document['run_id']}.manifest.json", text)
        return directory

    def add_b(self, number: int = 0, **changes: Any) -> str:
        """Write a run of layout B with one output; give its id."""
        directory = f"outputs/{UUIDS[number]}"
        outputs = [self.output(f"{directory}/VE.csv")]
        run_id = f"2025-12-05T15-32-59Z-{number:06x}"
        self.add_manifest(directory, self.manifest(run_id, **{"outputs": outputs} | changes))
        return UUIDS[number]

    def add_c(self, run_id: str = "jet_1", **changes: Any) -> str:
        """Write a run of layout C with one output; give its id."""
        self.write(f"runs/{run_id}/manifest.json", self.jetdrive(run_id, **changes))
        self.write(f"runs/{run_id}/VE.csv", "rpm,40\n")
        return run_id

    def add_d(self, directory: str = "experiments/k1_dense", **changes: Any) -> str:
        """Write a run of layout D with one output; give its id."""
        document = self.manifest(**{"outputs": [self.output(f"{directory}/VE.csv")]} | changes)
        self.add_manifest(directory, document)
        return str(document.get("run_id"))

    def add_all(self) -> None:
        """Write one run of each layout, an error, and what lies around in the wild."""
        self.add_a()
        self.add_b(0)
        failed = {"code": "error", "message": "Missing columns:\nMAP", "last_stage": "load"}
        self.add_b(1, status=failed, stats={}, outputs=[])
        self.add_c()
        self.add_d()
        self.write("runs/index.json", {"total": 0, "runs": []})
        self.write("outputs/._manifest_x8.tmp", "")
        self.write(f"outputs/{UUIDS[7]}/manifest.json", '{"schema_id": "dynoai.mani')

    def file_count(self) -> int:
        """Count everything that is no directory, links among it."""
        return sum(1 for p in self.root.rglob("*") if p.is_symlink() or not p.is_dir())


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Give a builder over an empty directory."""
    root = tmp_path / "old"
    root.mkdir()
    return Tree(root)


@pytest.fixture
def target(tmp_path: Path, migrated_file: Path) -> Iterator[Store]:
    """Give an empty store in a file; it is sound afterwards."""
    with Store.open(shutil.copy(migrated_file, tmp_path / "target.db")) as store:
        yield store
        assert store.check() == []


CHIFFON_SCHEMA = """
CREATE TABLE tasks (
    task_id UUID NOT NULL, project_id UUID, request_text VARCHAR NOT NULL, created_by VARCHAR(255),
    status VARCHAR(50) NOT NULL, created_at DATETIME NOT NULL, approved_at DATETIME,
    completed_at DATETIME, estimated_resources JSON, actual_resources JSON, external_ai_used JSON,
    error_message VARCHAR, PRIMARY KEY (task_id)
);
CREATE INDEX ix_tasks_created_at ON tasks (created_at);
CREATE TABLE execution_logs (
    log_id UUID NOT NULL, task_id UUID NOT NULL, step_number INTEGER NOT NULL,
    agent_type VARCHAR(50) NOT NULL, action VARCHAR NOT NULL, status VARCHAR(50) NOT NULL,
    duration_ms INTEGER, output_summary VARCHAR, output_full JSON, timestamp DATETIME NOT NULL,
    PRIMARY KEY (log_id), FOREIGN KEY(task_id) REFERENCES tasks (task_id)
);
CREATE INDEX ix_execution_logs_task_id ON execution_logs (task_id);
"""
HAIA_SCHEMA = """
CREATE TABLE conversations (
    id INTEGER NOT NULL, created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE messages (
    id INTEGER NOT NULL, conversation_id INTEGER NOT NULL, role VARCHAR(20) NOT NULL,
    content TEXT NOT NULL, created_at DATETIME NOT NULL, PRIMARY KEY (id),
    FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
);
CREATE INDEX ix_messages_conversation_id ON messages (conversation_id);
CREATE INDEX ix_messages_conversation_created ON messages (conversation_id, created_at);
"""


class OldDatabase:
    """A database of an older tool in the real schema, with rows of one's own.

    :ivar path: the file; it is whole on disk after each call.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.run(schema)

    def run(self, script: str) -> None:
        """Run statements."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)

    def add(self, table: str, *rows: dict[str, Any]) -> None:
        """Insert rows; what the schema would not let in is let in."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for row in rows:
                names = ", ".join(row)
                marks = ", ".join("?" * len(row))
                connection.execute(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()]
                )

    def task(self, number: int, **changes: Any) -> dict[str, Any]:
        """Give a row of ``tasks`` as Chiffon wrote it; a change of ... leaves the column out."""
        row = {
            "task_id": f"{number:032x}",
            "project_id": None,
            "request_text": f"Deploy {number}",
            "created_by": "user@example.com",
            "status": "completed",
            "created_at": "2026-01-20 03:38:36.291404",
            "approved_at": "2026-01-20 02:38:36.291404",
            "completed_at": "2026-01-20 02:33:36",
            "estimated_resources": '{"duration_seconds": 600, "gpu_vram_mb": 2048}',
            "actual_resources": "null",
            "external_ai_used": None,
            "error_message": None,
        }
        return {k: v for k, v in (row | changes).items() if v is not ...}

    def step(self, number: int, task: Any, **changes: Any) -> dict[str, Any]:
        """Give a row of ``execution_logs``; a change of ... leaves the column out."""
        row = {
            "log_id": f"{0xABC << 64 | number:032x}",
            "task_id": f"{task:032x}" if isinstance(task, int) else task,
            "step_number": number,
            "agent_type": "infra",
            "action": "Check the environment",
            "status": "completed",
            "duration_ms": 1200,
            "output_summary": "All systems operational",
            "output_full": '{"lines": [1, 2]}',
            "timestamp": "2026-01-20 03:38:41.291404",
        }
        return {k: v for k, v in (row | changes).items() if v is not ...}

    def talk(self, number: int, **changes: Any) -> dict[str, Any]:
        """Give a row of ``conversations``."""
        times = {
            "created_at": "2026-01-20 10:00:00.000000",
            "updated_at": "2026-01-20 10:05:00.000000",
        }
        return {"id": number, **times, **changes}

    def message(self, number: int, talk: Any, **changes: Any) -> dict[str, Any]:
        """Give a row of ``messages``."""
        row = {
            "id": number,
            "conversation_id": talk,
            "role": "assistant" if number % 2 == 0 else "user",
            "content": f"Frage {number}: naïve café ✅",
            "created_at": f"2026-01-20 10:01:{number % 60:02}.{number:06}",
        }
        return row | changes

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Give what lies in the file's directory: content and time by name."""
        return {
            p.name: (p.read_bytes(), p.stat().st_mtime_ns)
            for p in sorted(self.path.parent.iterdir())
        }


@pytest.fixture
def chiffon(tmp_path: Path) -> OldDatabase:
    """Give an empty database of Chiffon."""
    return OldDatabase(tmp_path / "old" / "agents.data", CHIFFON_SCHEMA)


@pytest.fixture
def haia(tmp_path: Path) -> OldDatabase:
    """Give an empty database of Haia."""
    return OldDatabase(tmp_path / "old" / "haia.db", HAIA_SCHEMA)
