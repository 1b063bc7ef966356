"""What the tests of a store's health share: calling the command, and ways to damage a file."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynostore import Store
from dynostore.cli import main

PAGE_BYTES = 4096
_NOBODY = 65534


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


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Give a directory that every user of the machine may enter, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="dynostore-health-"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def call_unprivileged(call: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Give what runs the command like ``call``, as a user whom permissions bind."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")

    def run(*words: object) -> Outcome:
        call(*words)  # whatever is imported late is imported now: the other user may not read it
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setegid(_NOBODY)
                    os.seteuid(_NOBODY)
                os.write(writer, json.dumps(dataclasses.astuple(call(*words))).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answer:
            content = answer.read()
        os.waitpid(pid, 0)
        assert content, "the child failed"
        return Outcome(*json.loads(content))

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give the root of a file system of four megabytes."""
    mount = shutil.which("mount")
    where = tmp_path / "small"
    where.mkdir()
    if sys.platform != "linux" or os.geteuid() or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", where], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", where], check=True)
