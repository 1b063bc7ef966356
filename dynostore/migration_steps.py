"""Which steps of the schema this program knows, for those who look at a store and run none."""

from __future__ import annotations

import re
from pathlib import Path

HISTORY_TABLE = "dynostore_migration"
"""Where a store has the steps that it took; what has this table is a store."""


def directory() -> Path:
    """Give the directory of the steps: inside the installed package, else beside the checkout's."""
    installed = Path(__file__).parent / "migrations"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "migrations"


def step_names(where: Path | None = None) -> list[str]:
    """Give the names of all steps that this program has, in order."""
    return sorted(path.stem for path in (where or directory()).glob("[0-9]*.py"))


def is_additive(name: str) -> bool:
    """Tell whether a step only adds tables, columns that may be empty, and plain indexes.

    Its name says so, as in ``0007_add_rating``, since names are what a database records of its
    steps: an older program that finds this one can go on syncing, and leave alone what it adds.
    """
    return re.match(r"\d+_add_", name) is not None
