"""What other systems lack is not needed: the library and the command work without it.

This is no Windows: it hides from Python what POSIX alone has, which finds what is used unguarded.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dynostore

pytestmark = pytest.mark.once

WITHOUT = """
import importlib, os, pkgutil, signal, socket, sys

def import_all():
    package = importlib.import_module("dynostore")
    for found in pkgutil.walk_packages(package.__path__, "dynostore."):
        if not found.name.endswith("__main__") and ".migrations" not in found.name:
            importlib.import_module(found.name)

# Once as it is: other libraries choose by what is there, and are not what is tried.
import_all()
for name in [name for name in sys.modules if name.partition(".")[0] == "dynostore"]:
    del sys.modules[name]

# Not os.pread: a backup asks by the name of the system, whose locks are what matters there.
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for place, names in {
    os: "fork forkpty geteuid getuid getgid kill killpg mkfifo register_at_fork sync "
        "uname O_DIRECTORY O_NOFOLLOW posix_fadvise",
    signal: "SIGKILL SIGHUP SIGALRM SIGPIPE setitimer alarm pthread_sigmask",
    socket: "AF_UNIX TCP_INFO",
}.items():
    for name in names.split():
        if hasattr(place, name):
            delattr(place, name)
os.supports_effective_ids = set()
import_all()

from dynostore.cli import main
for words in (
    ["demo", "--seed-only"],
    ["runs", "list"],
    ["export", "-o", "all.jsonl"],
    ["--db", "copy.db", "import", "all.jsonl"],
    ["query", "SELECT count(*) FROM runs"],
    ["report", "by-status"],
    ["db", "check"],
    ["db", "backup", "saved.db"],
    ["--db", "other.db", "db", "restore", "saved.db", "--yes"],
    ["db", "vacuum"],
    ["info"],
    ["runs", "rm", "demo-run-pull-07", "--yes"],
):
    code = main(words)
    assert code == 0, (words, code)
assert main(["--db", "postgresql://nobody@localhost:1/x", "runs", "list"]) == 75
assert main(["--db", "postgresql://nobody@/x?port=1", "runs", "list"]) == 75
"""


@pytest.mark.slow
def test_the_library_and_the_command_do_without_what_posix_alone_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_text_files_are_opened_in_a_named_encoding() -> None:
    """Windows' own is one of a hundred, by the country."""
    found = []
    for path in Path(dynostore.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and _opens_text(node):
                found.append(f"{path.name}: {ast.unparse(node)}")
    assert found == []


def _opens_text(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    named = {keyword.arg for keyword in call.keywords}
    words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if name in ("read_text", "write_text"):
        return "encoding" not in named and len(call.args) < (1 if name == "read_text" else 2)
    if name != "open" or "encoding" in named or isinstance(call.func, ast.Attribute):
        return False
    return not any(isinstance(word, str) and "b" in word for word in words)


def test_nothing_is_named_as_windows_cannot_name_it(root: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    for name in names or [path.name for path in root.rglob("*.py")]:
        assert not set(name) & set('<>:"|?*\\'), name
        assert not any(part.endswith((" ", ".")) for part in name.split("/")), name
    lower = [os.fspath(name).lower() for name in names]
    assert len(set(lower)) == len(lower)
