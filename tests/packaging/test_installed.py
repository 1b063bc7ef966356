"""What pip installed is whole and does the main job, far from any checkout."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess

Run = Callable[..., CompletedProcess[str]]


def test_every_file_of_the_package_is_installed(
    root: Path, distribution: importlib.metadata.Distribution
) -> None:
    installed = {PurePosixPath(file) for file in distribution.files or ()}
    missing = {
        PurePosixPath(prefix, path.relative_to(root / tree))
        for tree, prefix in (("dynostore", "dynostore"), ("migrations", "dynostore/migrations"))
        for path in (root / tree).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - installed
    assert missing == set()
    assert PurePosixPath("dynostore/py.typed") in installed
    assert PurePosixPath("dynostore/migrations/0001_initial.py") in installed


def test_nothing_but_the_package_is_installed(
    distribution: importlib.metadata.Distribution,
) -> None:
    top = {PurePosixPath(file).parts[0] for file in distribution.files or ()}
    assert {name for name in top if not name.endswith(".dist-info")} - {".."} == {"dynostore"}


def test_the_installed_package_reads_its_own_migrations(
    distribution: importlib.metadata.Distribution, run_python: Run, tmp_path: Path
) -> None:
    code = (
        "from dynostore.migrator import directory, step_names; print(directory()); "
        "print(step_names()[0])"
    )
    place, first = run_python("-c", code, cwd=tmp_path).stdout.splitlines()
    assert Path(place) == Path(str(distribution.locate_file("dynostore/migrations")))
    assert first == "0001_initial"


def test_the_installed_command_makes_a_store_and_records_a_run(
    run_command: Run, tmp_path: Path
) -> None:
    run_command("init", cwd=tmp_path)
    run_command("runs", "create", "--source", "manual", "--status", "complete", cwd=tmp_path)
    listed = json.loads(run_command("--json", "runs", "list", cwd=tmp_path).stdout)
    assert listed["ok"] is True
    assert [(item["source"], item["status"]) for item in listed["items"]] == [
        ("manual", "complete")
    ]
    assert (tmp_path / "dynostore.db").exists()


def test_the_installed_command_shows_the_main_job_and_leaves_nothing_behind(
    run_command: Run, tmp_path: Path
) -> None:
    shown = run_command("demo", cwd=tmp_path).stdout
    assert "run_2025-11-03T09-14-22Z-4be71c" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_installed_package_is_typed_for_its_users(
    distribution: importlib.metadata.Distribution,
) -> None:
    assert Path(str(distribution.locate_file("dynostore/py.typed"))).read_bytes() == b""
