"""The checkout, and the package as it was installed from it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root() -> Path:
    """Give the root of the checkout."""
    return ROOT


@pytest.fixture
def distribution() -> importlib.metadata.Distribution:
    """Give the installed distribution; tox always has one, a checkout alone has none."""
    # pip leaves dynostore.egg-info in a checkout; run from there, that one is found too.
    found = [
        candidate
        for candidate in importlib.metadata.distributions(name="dynostore")
        if Path(str(candidate.locate_file(""))).resolve() != ROOT
    ]
    if not found:
        return _not_installed("dynostore is not installed: pip install .")
    origin = json.loads(found[0].read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return _not_installed("dynostore is installed as editable")
    return found[0]


def _not_installed(reason: str) -> importlib.metadata.Distribution:
    if "TOX_ENV_NAME" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def run_python() -> Run:
    """Give a function that runs this interpreter, checks that it exits 0, and gives its output."""

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return _run(sys.executable, *arguments, cwd=cwd)

    return run


@pytest.fixture
def run_command(distribution: importlib.metadata.Distribution) -> Run:
    """Give a function that runs the installed command ``dynostore``, as ``run_python`` does."""
    script = Path(sysconfig.get_path("scripts")) / "dynostore"

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return _run(str(script), *arguments, cwd=cwd)

    return run


def _run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # A checkout on PYTHONPATH would hide what is installed.
    # Nor is measured what starts there: collecting all tests takes a quarter of a minute then.
    hidden = ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done
