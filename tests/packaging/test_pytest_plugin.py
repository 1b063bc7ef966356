"""The fixtures that dynostore gives to other programs' tests, tried by pytest inside of pytest."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLES = """
import subprocess, sys
from pathlib import Path

import pytest
from dynostore import Store

@pytest.mark.parametrize("number", [1, 2])
def test_each_test_has_an_empty_store_of_its_own(dynostore_store, number):
    assert dynostore_store.runs.count() == 0
    dynostore_store.runs.create(run_id="same")
    assert dynostore_store.check() == []

def test_the_program_finds_it_where_it_is_not_told(dynostore_store, dynostore_store_path):
    with Store.open() as store:
        store.runs.create(run_id="x")
    assert dynostore_store.runs.get("x").status == "pending"
    command = [sys.executable, "-m", "dynostore", "-q", "runs", "create", "--id", "y"]
    subprocess.run(command, check=True)
    assert dynostore_store.runs.count() == 2
    assert dynostore_store_path.is_file()

def test_a_path_alone_makes_no_file(dynostore_store_path, tmp_path):
    assert dynostore_store_path.parent == tmp_path
    assert not dynostore_store_path.exists()
"""

WATCH = """
import sys

def test_nothing_is_loaded_before_it_is_wanted():
    ours = {name for name in sys.modules if name.partition(".")[0] == "dynostore"}
    assert ours == {"dynostore", "dynostore.pytest_plugin"}
    assert not {"peewee", "click", "yaml"} & set(sys.modules)
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the plugin by hand: an uninstalled checkout has no entry point, and a module cannot be
    taken up under two names."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    plugins = ["-p", "no:cacheprovider", "-p", "dynostore.pytest_plugin"]
    return pytester.runpytest_subprocess(*plugins, "-W", "error")


def test_every_test_has_a_store_of_its_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNOSTORE_URL", "precious.db")
    run(pytester, EXAMPLES).assert_outcomes(passed=4)
    assert os.environ["DYNOSTORE_URL"] == "precious.db"
    assert not Path("precious.db").exists()
    assert not Path("dynostore.db").exists()


def test_the_plugin_costs_nothing_where_nobody_uses_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WATCH)
    script = (
        "import sys, pytest; sys.exit(pytest.main("
        "['-q', '-p', 'no:cacheprovider', '-p', 'dynostore.pytest_plugin']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_pytest_finds_it_by_its_entry_point(root: Path) -> None:
    declared = configparser.ConfigParser()
    declared.read(root / "setup.cfg", encoding="utf-8")
    (line,) = declared["options.entry_points"]["pytest11"].split("\n")[1:]
    assert line == "dynostore = dynostore.pytest_plugin"
