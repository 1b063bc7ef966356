"""The pages that are drawn from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dynostore import models

pytestmark = pytest.mark.once


def test_the_command_reference_and_the_schema_are_those_of_the_code(root: Path) -> None:
    command = [sys.executable, "-m", "docs", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.fail(
            f"run this in the checkout, and commit what it writes:\n{done.stdout}{done.stderr}"
        )


def test_the_schema_page_has_every_column_of_every_table(root: Path) -> None:
    page = (root / "docs/schema.md").read_text(encoding="utf-8")
    tables = {part.partition("\n")[0]: part for part in page.split("\n### Table ")[1:]}
    assert set(tables) == {model._meta.table_name for model in models.ALL}
    for model in models.ALL:
        for column in model._meta.columns:
            assert f"| `{column}` |" in tables[model._meta.table_name]
