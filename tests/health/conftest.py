"""What the tests of a store's health share: calling the command, and ways to damage a file."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynostore import Store
from dynostore.cli import main

PAGE_BYTES = 4096


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
    def error(self) -> Any:
        return json.loads(self.err.splitlines()[-1])["error"]

    def finding(self, check: str) -> Any:
        """Give the worst that the doctor found in one of its checks."""
        order = ("ok", "note", "warning", "error")
        found = [item for item in json.loads(self.out)["items"] if item["check"] == check]
        return max(found, key=lambda item: order.index(item["severity"]))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Give a function that runs the command in an empty directory, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        with CliRunner().isolation() as (out, err, _):
            code = main([str(word) for word in words])
            sys.stdout.flush()
            sys.stderr.flush()
            outcome = Outcome(code, out.getvalue().decode(), err.getvalue().decode())
        assert "Traceback" not in outcome.err
        return outcome

    return run


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Give a file with 60 runs and their files, which nobody has open."""
    path = tmp_path / "dynostore.db"
    with Store.open(path) as store, store.transaction():
        for number in range(60):
            store.runs.create(run_id=f"r{number}", metadata={"text": "é" * 1200})
            store.runs.add_file(f"r{number}", "a/b")
    return path


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Give ``flip(path, page)``, which turns all bits of a page, counted from 0."""

    def flip_page(path: Path, page: int) -> None:
        with open(path, "rb+") as file:
            file.seek(page * PAGE_BYTES)
            content = file.read(PAGE_BYTES)
            file.seek(page * PAGE_BYTES)
            file.write(bytes(byte ^ 0xFF for byte in content))

    return flip_page


@pytest.fixture
def leave_log(start_python: Callable[..., Any]) -> Callable[[Path], None]:
    """Give ``leave_log(path)``: a process records the run ``late`` and dies; its log stays."""
    script = """
import os, sys
from dynostore import Store
store = Store.open(sys.argv[1])
store.runs.create(run_id="late")
print("written", flush=True)
os._exit(0)
"""

    def leave(path: Path) -> None:
        process = start_python(script, path)
        assert process.stdout.readline() == "written\n"
        process.wait()
        assert path.with_name(path.name + "-wal").stat().st_size

    return leave
