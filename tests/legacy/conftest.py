"""A builder of trees as DynoAI left them, and a store to import them into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
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
def target(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store in a file; it is sound afterwards."""
    with Store.open(tmp_path / "target.db") as store:
        yield store
        assert store.check() == []
