"""``dynostore view``: what it refuses, what it says, and how it ends."""

from __future__ import annotations

import json
import re
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


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("number", "code", "option", "said"),
    [
        (signal.SIGINT, 130, "--json", r"\ninterrupted\n"),
        (signal.SIGTERM, 0, "-v", r"(?s).*GET /store/runs\.json.*"),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_it_and_leaves_nothing_beside_the_file(
    sample: Path, number: signal.Signals, code: int, option: str, said: str
) -> None:
    words = [sys.executable, "-m", "dynostore", "--db", str(sample), option, "view", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True) as shown:
        try:
            assert shown.stdout is not None
            line = shown.stdout.readline()
            address = json.loads(line)["item"]["url"] if option == "--json" else line.strip()
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}store/runs.json") as answer:
                assert json.load(answer)["rows"]
            shown.send_signal(number)
            out, err = shown.communicate(timeout=60)
        finally:
            shown.kill()
    assert (shown.returncode, out) == (code, "")
    assert re.fullmatch(said, err)
    assert {path.name for path in sample.parent.iterdir()} <= {"sample.db", "sample.db.lock"}


def test_the_page_is_opened_in_the_browser_of_the_user(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "browser.py"
    script.write_text(
        "import socket, sys, urllib.request\n"
        "page = urllib.request.urlopen(sys.argv[2]).read()\n"
        "with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as asked:\n"
        "    asked.sendall(page)\n"
    )
    words = [sys.executable, "-m", "dynostore", "--db", str(sample), "view", "--port=0", "--open"]
    with closing(socket.create_server(("127.0.0.1", 0))) as told:
        told.settimeout(60)
        port = told.getsockname()[1]
        monkeypatch.setenv("BROWSER", f"{sys.executable} {script} {port} %s")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as shown:
            try:
                connection, _ = told.accept()
                with connection, connection.makefile("rb") as page:
                    assert b"sample.db" in page.read()
            finally:
                shown.terminate()
