"""What a person at a terminal sees: tables that fit, colours, questions, progress."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from dynostore import Store

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

import fcntl
import pty
import select
import struct
import termios

pytestmark = pytest.mark.once

Terminal = Callable[..., tuple[int, str]]

# Opened by the leader of a session, a terminal becomes its own, and Ctrl-C reaches it.
_AT_ITS_TERMINAL = (
    "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); "
    "os.execv(sys.executable, [sys.executable, '-m', 'dynostore', *sys.argv[1:]])"
)


@pytest.fixture
def terminal() -> Terminal:
    """Give a function that runs the command at a terminal of its own; code and what it showed."""

    def run(*words: str, width: int = 60, answer: str = "", **environment: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        without = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
        process = subprocess.Popen(
            [sys.executable, "-c", _AT_ITS_TERMINAL, *words],
            env={**without, "TERM": "xterm-256color", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = bytearray()
        for _ in range(30):
            if b"[y/N]: " in shown:
                # Again when nothing happens: a Ctrl-C that meets Python just before it reads is
                # seen only when the next key wakes it.
                os.write(ours, answer.encode())
            if _read_on(ours, shown):
                break
        os.close(ours)
        return process.wait(30), shown.decode().replace("\r\n", "\n")

    return run


def _read_on(descriptor: int, shown: bytearray) -> bool:
    """Add what is shown until it is quiet for a second; tell whether the program has ended."""
    while select.select([descriptor], [], [], 1)[0]:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other end is closed
            return True
        if not part:
            return True
        shown += part
        if shown.endswith(b"[y/N]: "):
            return False
    return False


def test_a_table_fits_the_terminal_and_keeps_ids_whole(
    terminal: Terminal, three_runs: list[str]
) -> None:
    with Store.open("dynostore.db") as store:
        store.runs.update("other", current_stage="a long stage " * 20)
        made = store.runs.create(source="dyno").id
    code, shown = terminal("runs", "list", width=110)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert code == 0
    assert all(len(line) <= 110 for line in plain.splitlines())
    assert "…" in plain
    for word in [*three_runs, made]:
        assert word in plain
    _, narrow = terminal("runs", "list", width=72)
    assert made in narrow
    assert "stage" not in narrow


def test_colours_are_for_terminals_without_no_color(
    terminal: Terminal, three_runs: list[str]
) -> None:
    _, shown = terminal("runs", "list")
    assert "\x1b[32mcomplete" in shown
    _, shown = terminal("runs", "list", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3\d", shown)
    assert "complete" in shown


def test_what_is_stored_cannot_command_the_terminal(
    terminal: Terminal, three_runs: list[str]
) -> None:
    with Store.open("dynostore.db") as store:
        store.runs.update("other", current_stage="[bold]\x1b[2Jgone")
    for words in (["runs", "list"], ["runs", "show", "other"]):
        _, shown = terminal(*words, width=200)
        assert "\x1b[2J" not in shown
        assert r"[bold]\x1b[2Jgone" in shown


def test_a_destructive_command_asks_and_takes_no_for_an_answer(
    terminal: Terminal, three_runs: list[str]
) -> None:
    code, shown = terminal("runs", "rm", "other", answer="n\n")
    assert code == 1
    assert "would remove other (pending, 0 files)" in shown
    assert "Go on? [y/N]" in shown
    assert "nothing was changed" in shown
    code, shown = terminal("runs", "rm", "other", answer="y\n")
    assert code == 0
    with Store.open("dynostore.db") as store:
        assert [run.id for run in store.runs.list()] == ["run_beta", "run_alpha"]


def test_ctrl_c_at_the_question_changes_nothing(terminal: Terminal, three_runs: list[str]) -> None:
    code, shown = terminal("db", "downgrade", "--to", "0", answer="\x03")
    assert code == 130
    assert "Traceback" not in shown
    with Store.open("dynostore.db", migrate=False) as store:
        assert store.runs.count() == 3


def test_progress_is_drawn_and_taken_away(
    terminal: Terminal, three_runs: list[str], postgres_url: str
) -> None:
    code, shown = terminal("sync", "--to", postgres_url, width=100)
    assert code == 0
    assert "\x1b[2K" in shown  # a line that was drawn is erased
    assert "\x1b[2K" not in shown[shown.index("rows/s") :]
    code, shown = terminal("-q", "sync", "--to", postgres_url, width=100)
    assert (code, shown) == (0, "everything is up to date\n")


def test_yes_is_not_asked(terminal: Terminal, three_runs: list[str]) -> None:
    code, shown = terminal("runs", "rm", "other", "--yes")
    assert code == 0
    assert "Go on?" not in shown
