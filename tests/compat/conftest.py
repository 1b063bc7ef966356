"""The older tools' own ways with their files: no locks, no temporary files, no flushing.

They are what the stores in their forms must get along with.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class RunManager:
    """What DynoAI's does with a run's state: it keeps the keys that it knows, and no others."""

    KEYS = (
        *("run_id", "status", "source", "created_at", "updated_at", "jetstream_id"),
        *("current_stage", "progress_percent", "files", "error", "results_summary"),
    )
    STATUSES = (
        *("pending", "downloading", "converting", "validating", "processing", "complete", "error"),
    )

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, run_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            (self.root / run_id / "run_state.json").read_text("utf-8")
        )
        assert document["status"] in self.STATUSES
        if "error" in document:
            assert {"stage", "code", "message"} <= set(document["error"])
        required = self.KEYS[:5]
        assert all(key in document for key in required)
        return {key: document[key] for key in self.KEYS if key in document}

    def update(self, run_id: str, **changes: Any) -> None:
        document = self.get(run_id) | changes
        document["updated_at"] = "2030-01-01T00:00:00.000Z"
        with open(self.root / run_id / "run_state.json", "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)

    def create(self, run_id: str, **values: Any) -> None:
        (self.root / run_id).mkdir()
        document: dict[str, Any] = {
            "run_id": run_id,
            "status": "pending",
            "source": "jetstream",
            "created_at": "2025-12-05T11:52:20.515Z",
            "updated_at": "2025-12-05T11:52:20.515Z",
            "jetstream_id": None,
            "current_stage": None,
            "progress_percent": None,
            "files": [],
        }
        (self.root / run_id / "run_state.json").write_text(json.dumps(document | values, indent=2))

    def listed(self) -> list[str]:
        index = json.loads((self.root / "index.json").read_text("utf-8"))
        assert index["total"] == len(index["runs"])
        assert isinstance(index["updated_at"], str)
        return [run["run_id"] for run in index["runs"]]


class StateManager:
    """What Taskforce's does with states: the next version over the last one, nothing compared."""

    def __init__(self, root: Path) -> None:
        self.root = root / "states"
        self.root.mkdir(parents=True, exist_ok=True)

    def sessions(self) -> list[str]:
        return sorted(path.stem for path in self.root.glob("*.json"))

    def load(self, session_id: str) -> dict[str, Any]:
        path = self.root / f"{session_id}.json"
        if not path.exists():
            return {}
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))["state_data"]
        return data

    def save(self, session_id: str, state: dict[str, Any]) -> None:
        now = dt.datetime.now().isoformat()  # noqa: DTZ005  # as the older tool does
        data = {**state, "_version": state.get("_version", 0) + 1, "_updated_at": now}
        document = {"session_id": session_id, "timestamp": now, "state_data": data}
        text = json.dumps(document, indent=2, ensure_ascii=False)
        (self.root / f"{session_id}.json").write_text(text, "utf-8")


@pytest.fixture
def old_runs(tmp_path: Path) -> RunManager:
    """Give the older tool over an empty ``runs``."""
    (tmp_path / "runs").mkdir()
    return RunManager(tmp_path / "runs")


@pytest.fixture
def old_states(tmp_path: Path) -> StateManager:
    """Give the older tool over an empty ``.taskforce``."""
    return StateManager(tmp_path / ".taskforce")


def _die_at_change(number: int, die: Callable[[], object]) -> None:
    """Let this process die before its change of the file system of this number."""
    steps = itertools.count(1)

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(steps) == number:
                die()
            return call(*args, **kwargs)

        return step

    for name in ("replace", "fsync", "unlink", "rmdir", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


@pytest.fixture
def killed_before(
    kill_child: Callable[..., bool],
) -> Callable[[int, Callable[[], object]], bool]:
    """Give ``killed_before(number, act)``, which kills a child in the middle of it.

    The child dies before its change of the file system of this number; the result is False when it
    came to the end before that.
    """
    return lambda number, act: kill_child(number, _die_at_change, act)
