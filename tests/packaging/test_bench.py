"""Figures are printed in two forms, with the machine that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_a_benchmark_prints_one_json_object_with_its_machine(run_python: Run, root: Path) -> None:
    text = run_python("-m", "bench", "open", "--rounds", "1", "--json", cwd=root).stdout
    result = json.loads(text)
    assert result["benchmark"] == "open"
    assert set(result["machine"]) >= {"cores", "python", "sqlite"}
    assert all(row["ms"] > 0 for row in result["processes"] + result["in_process"])


@pytest.mark.slow
def test_the_benchmark_of_the_command_says_what_was_to_be_reached(
    run_python: Run, root: Path, tmp_path: Path
) -> None:
    tiny = ("--runs", "300", "--rounds", "1", "--file", str(tmp_path / "kept.db"))
    result = json.loads(run_python("-m", "bench", "cli", *tiny, "--json", cwd=root).stdout)
    rows = {row["what"]: row for row in result["commands"]}
    assert {what for what, row in rows.items() if row["target_ms"]} == {
        "dynostore --help",
        "dynostore runs list",
    }
    assert all(row["ms"] >= row["least_ms"] > 0 for row in rows.values())
    assert (tmp_path / "kept.db").exists()


def test_a_benchmark_prints_tables(run_python: Run, root: Path) -> None:
    text = run_python("-m", "bench", "open", "--rounds", "1", cwd=root).stdout
    assert "import dynostore" in text
    assert "cores" in text


@pytest.mark.slow
def test_the_benchmark_of_records_runs_with_the_peers_that_there_are(
    run_python: Run, root: Path
) -> None:
    tiny = ("--rounds", "1", "--count", "2", "--conversations", "3", "--messages", "2")
    text = run_python("-m", "bench", "records", *tiny, "--json", cwd=root).stdout
    result = json.loads(text)
    measured = {(row["verb"], row["store"]) for row in result["figures"]}
    verbs = {"context", "all messages", "list 100", "append", "save state", "load state"}
    assert {verb for verb, store in measured if store == "dynostore"} == verbs
    assert {verb for verb, store in measured if store == "sqlite3"} == verbs
    assert all(row["median_ms"] > 0 for row in result["figures"])
    peers = ("openai-agents", "google-adk", "google-adk-database", "langgraph")
    for peer in peers:
        assert peer in result["promises"] or f"{peer}: " in result["skipped"]


@pytest.mark.slow
def test_the_benchmark_of_the_sync_says_what_was_to_be_reached(run_python: Run, root: Path) -> None:
    tiny = ("--rounds", "1", "--rows", "4000", "--large", "2000", "--nodes", "2")
    parts = ("push", "pull", "nodes", "growing")
    text = run_python(
        "-m", "bench", "sync", *tiny, "--only", ",".join(parts), "--json", cwd=root
    ).stdout
    result = json.loads(text)
    assert set(parts) < set(result)
    assert {goal["part"] for goal in result["goals"]} == set(parts) - {"growing"}
    assert all(goal["measured"] > 0 for goal in result["goals"])
    assert [row["nodes"] for row in result["growing"]] == [1, 2] * 3
