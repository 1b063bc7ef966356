"""The first thing that README tells a newcomer to do works where there is only Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_NOT_OF_A_CHECKOUT = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "dist")


def test_the_readme_opens_with_two_commands_for_a_machine_with_only_python(
    root: Path, reader: Any
) -> None:
    blocks = reader.blocks.read_blocks(root / "README.md")
    assert [block.text for block in blocks if block.language == "sh"][:2] == [
        "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/dynostore demo\n",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox\n",
    ]


@pytest.mark.slow
def test_the_first_command_of_the_readme_works_on_a_machine_with_only_python(
    root: Path, reader: Any, reader_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = reader_directory / "checkout"
    shutil.copytree(root, checkout, ignore=_NOT_OF_A_CHECKOUT)
    programs = reader_directory.parent / "bin"
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python3").chmod(0o700)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    first = reader.blocks.read_blocks(root / "README.md")[0]
    done = subprocess.run(
        ["sh", "-c", first.text], cwd=checkout, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ dynostore sync" in done.stdout
