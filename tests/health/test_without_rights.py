"""A store that this user may only read: what reads it works, and what would write says why not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store

pytestmark = pytest.mark.once

Call = Callable[..., Any]

READING = (
    ("runs", "list"),
    ("info", "--bytes"),
    ("report", "by-status"),
    ("search", "r0"),
    ("export",),
    ("db", "check", "--full"),
    ("db", "status"),
    ("sync", "status"),
    ("query", "SELECT id FROM runs"),
)
WRITING = (
    ("runs", "create"),
    ("runs", "update", "r0", "--status", "complete"),
    ("search", "--rebuild"),
    ("search", "--drop"),
    ("db", "vacuum"),
    ("db", "upgrade"),
)


@pytest.fixture
def unwritable(filled: Path, open_to_all: Path) -> Path:
    """Give a store with an index, in a directory that nobody may write to."""
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    with Store.open(store) as opened:
        opened.search("r0")
    store.chmod(0o666)
    open_to_all.chmod(0o555)
    return store


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_only_reads_works_in_a_directory_that_may_not_be_written_to(
    call_unprivileged: Call, unwritable: Path, words: tuple[str, ...]
) -> None:
    there = sorted(os.listdir(unwritable.parent))
    done = call_unprivileged("--db", unwritable, *words)
    assert (done.code if words[0] != "sync" else 0, done.err.count("error")) == (0, 0)
    assert sorted(os.listdir(unwritable.parent)) == there


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_what_writes_names_the_directory_that_may_not_be_written_to(
    call_unprivileged: Call, unwritable: Path, words: tuple[str, ...]
) -> None:
    done = call_unprivileged("--json", "--db", unwritable, *words)
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert f"the directory {unwritable.parent} may not be written to" in done.error["message"]


def test_what_writes_names_the_file_that_may_not_be_written_to(
    call_unprivileged: Call, filled: Path, open_to_all: Path
) -> None:
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    store.chmod(0o444)
    done = call_unprivileged("--json", "--db", store, "runs", "create")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "the file may not be written to" in done.error["message"]


def test_a_store_that_may_not_be_written_to_is_backed_up_elsewhere(
    call_unprivileged: Call, unwritable: Path
) -> None:
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chmod(elsewhere, 0o777)
        done = call_unprivileged("--db", unwritable, "db", "backup", "--yes", f"{elsewhere}/c.db")
        assert (done.code, done.err) == (0, "")
        with Store.open(f"{elsewhere}/c.db") as copy:
            assert copy.runs.get("r0").id == "r0"
