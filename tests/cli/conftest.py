"""What the command's tests share: calling it in this process, and as a program."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynostore import Store
from dynostore.cli import main


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a call of the command left."""

    code: int
    out: str
    err: str

    @property
    def item(self) -> Any:
        return json.loads(self.out)["item"]

    @property
    def items(self) -> Any:
        return json.loads(self.out)["items"]

    @property
    def error(self) -> Any:
        document = json.loads(self.err)
        assert document["ok"] is False
        assert set(document["error"]) == {"code", "message", "hint"}
        return document["error"]


Call = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call() -> Call:
    """Give a function that runs the command in this process, error boundary included."""

    def run(*words: str, answer: str | None = None) -> Outcome:
        with CliRunner().isolation(input=answer) as (out, err, _):
            code = main(words)
            sys.stdout.flush()
            sys.stderr.flush()
            outcome = Outcome(code, out.getvalue().decode(), err.getvalue().decode())
        assert "Traceback" not in outcome.err
        return outcome

    return run


@pytest.fixture
def program() -> Call:
    """Give a function that runs the command as a program of its own."""

    def run(*words: str, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "dynostore", *words],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def store_file(workplace: Path, migrated_file: Path) -> Path:
    """Make ``./dynostore.db``, which has the schema and no rows."""
    return Path(shutil.copy(migrated_file, workplace / "dynostore.db"))


@pytest.fixture
def three_runs(store_file: Path) -> list[str]:
    """Give the ids of three runs in ``./dynostore.db``, oldest first."""
    with Store.open(store_file) as store:
        runs = [
            store.runs.create(run_id="run_alpha", source="dyno", status="complete"),
            store.runs.create(run_id="run_beta", source="dyno", status="error"),
            store.runs.create(run_id="other", source="upload", metadata={"operator": "Zoë"}),
        ]
        store.runs.add_files(
            "run_alpha",
            [
                {"filename": "output/VE.csv", "size_bytes": 2048},
                {"filename": "input/VE.csv", "file_type": "csv"},
            ],
        )
    return [run.id for run in runs]
