"""Figures are printed in two forms, with the machine that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Run = Callable[..., CompletedProcess[str]]


def test_a_benchmark_prints_one_json_object_with_its_machine(run_python: Run, root: Path) -> None:
    text = run_python("-m", "bench", "open", "--rounds", "1", "--json", cwd=root).stdout
    result = json.loads(text)
    assert result["benchmark"] == "open"
    assert set(result["machine"]) >= {"cores", "python", "sqlite"}
    assert all(row["ms"] > 0 for row in result["processes"] + result["in_process"])


def test_a_benchmark_prints_tables(run_python: Run, root: Path) -> None:
    text = run_python("-m", "bench", "open", "--rounds", "1", cwd=root).stdout
    assert "import dynostore" in text
    assert "cores" in text
