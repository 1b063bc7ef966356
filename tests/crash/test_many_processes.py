"""Processes that open and write the same store at once: no error, one schema, nothing lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore.store import Store

pytestmark = pytest.mark.slow

StartPython = Callable[..., "subprocess.Popen[str]"]

PROCESSES = 8

# Each line is an address; the answer is "ok" or what went wrong.
OPENER = """
import sys, traceback
from dynostore.store import Store

print("ready", flush=True)
for line in sys.stdin:
    try:
        with Store.open(line.strip(), warm=False) as store:
            run = store.runs.create(source="opener")
            store.runs.add_file(run.id, "a")
        print("ok", flush=True)
    except Exception:
        print(repr(traceback.format_exc()), flush=True)
"""

COUNTER = """
import sys
from dynostore.store import Store

with Store.open(sys.argv[1], warm=False) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(40):
        with store.transaction():
            run = store.runs.get("counter")
            store.runs.update("counter", metadata=run.metadata + 1)
print("ok", flush=True)
"""


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@pytest.fixture
def openers(start_python: StartPython) -> list[subprocess.Popen[str]]:
    """Processes that have imported all and wait for an address."""
    processes = [start_python(OPENER) for _ in range(PROCESSES)]
    assert [line_of(process) for process in processes] == ["ready"] * PROCESSES
    return processes


def open_at_once(processes: list[subprocess.Popen[str]], address: object) -> list[str]:
    for process in processes:
        tell(process, str(address))
    return [line_of(process) for process in processes]


def test_eight_processes_open_the_same_fresh_file_at_once(
    openers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    for number in range(12):
        path = tmp_path / f"s{number}.db"
        assert open_at_once(openers, path) == ["ok"] * PROCESSES
        with Store.open(path) as store:
            assert store.runs.count() == PROCESSES
            assert store.check() == []
            with store.database.reading():
                rows = store.database.execute_sql("SELECT count(*) FROM dynostore_migration")
                assert rows.fetchone()[0] == len(store.migrator.status())


def test_eight_processes_set_up_the_same_empty_server_at_once(
    openers: list[subprocess.Popen[str]], postgres: Any
) -> None:
    for _ in range(3):
        name = postgres.create()
        assert open_at_once(openers, postgres.url_of(name)) == ["ok"] * PROCESSES
        with Store.open(postgres.url_of(name), warm=False) as store:
            assert store.runs.count() == PROCESSES
            assert store.check() == []
        postgres.drop(name)


def test_read_modify_write_of_eight_processes_loses_nothing(
    start_python: StartPython, tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.runs.create(run_id="counter", metadata=0)
        processes = [start_python(COUNTER, path) for _ in range(PROCESSES)]
        assert [line_of(process) for process in processes] == ["ready"] * PROCESSES
        for process in processes:
            tell(process, "go")
        for process in processes:
            output, problems = process.communicate()
            assert (output.strip(), problems) == ("ok", "")
        assert store.runs.get("counter").metadata == PROCESSES * 40
        assert store.check() == []
