"""``dynostore view``: what it refuses, what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql://kim:secret@db.example/team", "sync --direction pull --to postgresql://"),
        ("dir:runs", "import runs"),
        ("redis://cache.example/0", "import redis://cache.example/0"),
    ],
)
def test_what_is_no_file_is_refused_with_what_to_do(call: Call, url: str, hint: str) -> None:
    code, out, err = call("--db", url, "--json", "view")
    assert (code, out) == (2, "")
    error = json.loads(err)["error"]
    assert "SQLite files" in error["message"]
    assert hint in error["hint"]
    assert "secret" not in err


@pytest.mark.parametrize("module", ["datasette", "datasette_dashboards", "uvicorn"])
def test_a_missing_extra_is_one_line_that_says_what_to_install(
    call: Call, sample: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = call("--db", sample, "view")
    assert (code, out) == (2, "")
    assert module in err
    assert err.splitlines()[1:] == ["hint: pip install 'dynostore[view]'"]


def test_a_missing_file_and_a_taken_port_are_named(
    call: Call, sample: Path, tmp_path: Path
) -> None:
    code, _, err = call("--db", tmp_path / "none.db", "view")
    assert code == 4
    assert "none.db" in err
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        code, _, err = call("--db", sample, "view", "--port", port)
    assert code == 2
    assert f"127.0.0.1:{port}" in err
    assert "--port 0" in err


@pytest.mark.parametrize(
    ("number", "code", "last"),
    [(signal.SIGINT, 130, "\ninterrupted\n"), (signal.SIGTERM, 0, "")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_it_and_leaves_nothing_beside_the_file(
    sample: Path, number: signal.Signals, code: int, last: str
) -> None:
    words = [
        sys.executable,
        "-m",
        "dynostore",
        "--db",
        str(sample),
        "--json",
        "view",
        "--port",
        "0",
    ]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shown:
        try:
            assert shown.stdout is not None
            address = json.loads(shown.stdout.readline())["item"]["url"]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}store/runs.json") as answer:
                assert json.load(answer)["rows"]
            shown.send_signal(number)
            _, said = shown.communicate(timeout=60)
        finally:
            shown.kill()
    assert (shown.returncode, said) == (code, last)
    assert {path.name for path in sample.parent.iterdir()} <= {"sample.db", "sample.db.lock"}
