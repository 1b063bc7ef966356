"""Fixtures for the tests of programs that use dynostore, so that no test writes to a real store.

pytest finds this module by the entry point ``pytest11`` wherever dynostore is installed. It imports
nothing of dynostore before a test asks for a store.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dynostore import Store


@pytest.fixture
def dynostore_store_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of the test's own store, which is made when it is opened.

    ``DYNOSTORE_URL`` names it for as long as the test runs: a program that is not told where its
    store is, and every process that it starts, finds this one.
    """
    path = tmp_path / "dynostore.db"
    monkeypatch.setenv("DYNOSTORE_URL", str(path))
    return path


@pytest.fixture
def dynostore_store(dynostore_store_path: Path) -> Iterator[Store]:
    """Give an open, empty store in a file of the test's own; it is closed behind the test."""
    from dynostore import Store

    with Store.open(dynostore_store_path) as store:
        yield store
