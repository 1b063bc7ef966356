"""The commands of docs/moving.md, in their order."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynostore.samples import legacy_runs

PAGE = Path(__file__).parents[2] / "docs" / "moving.md"


def test_the_move_goes_as_it_is_told(call: Callable[..., Any], workplace: Path) -> None:
    shutil.copytree(legacy_runs() / "runs", workplace / "old/runs")
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if "redis:" not in line]
    assert len(lines) > 8
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        done = call(*words)
        assert (program, done.code) == ("dynostore", 0), (line, done.err)
    rest = {path.name for path in (workplace / "old").rglob("*") if path.is_file()}
    assert rest <= {"index.json", "files.lock"}
    assert call("sources", "verify").code == 0
