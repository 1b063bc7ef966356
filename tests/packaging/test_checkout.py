"""The commands of a contributor work from the root of a checkout, after a plain pip install.

There the current directory hides the installed package, and migrations are beside it, not in it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


def test_the_package_runs_as_a_module(
    distribution: Distribution, root: Path, run_python: Run, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    run_python("-m", "dynostore", "--db", str(store), "init", cwd=root)
    assert store.exists()


def test_the_benchmarks_name_themselves(
    distribution: Distribution, root: Path, run_python: Run
) -> None:
    text = run_python("-m", "bench", "--help", cwd=root).stdout
    assert all(f"\n{name} " in text for name in ("local", "open", "import", "push"))


@pytest.mark.parametrize("name", ["local", "open", "import", "push"])
def test_each_benchmark_says_its_options_without_its_peers(
    distribution: Distribution, root: Path, run_python: Run, name: str
) -> None:
    assert f"bench {name}" in run_python("-m", "bench", name, "--help", cwd=root).stdout


def test_the_tests_are_found(distribution: Distribution, root: Path, run_python: Run) -> None:
    arguments = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    text = run_python(*arguments, cwd=root).stdout
    assert "tests/packaging/test_checkout.py: " in text or "test_the_tests_are_found" in text
