"""What is imported before anybody asked for it: start-up time is what a command line costs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


def loaded(run_python: Run, code: str, cwd: Path) -> set[str]:
    """Give the top-level modules that some code loads beyond those of a bare interpreter."""
    show = "import sys; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    before = run_python("-c", show, cwd=cwd).stdout.splitlines()[-1]
    after = run_python("-c", f"{code}\n{show}", cwd=cwd).stdout.splitlines()[-1]
    return set(ast.literal_eval(after)) - set(ast.literal_eval(before))


def test_importing_dynostore_imports_nothing_heavy(run_python: Run, root: Path) -> None:
    new = loaded(run_python, "import dynostore", root)
    heavy = {"peewee", "playhouse", "click", "rich", "yaml", "sqlite3", "psycopg2", "asyncio"}
    assert new & heavy == set()


@pytest.mark.parametrize(
    ("code", "kept_out"),
    [
        (
            "from dynostore.cli import main; main(['--help'])",
            {"peewee", "playhouse", "rich", "yaml", "psycopg2", "sqlite3"},
        ),
        (
            "from dynostore import Store; Store.open(':memory:').runs.create()",
            {"click", "rich", "yaml", "filelock"},  # Peewee itself loads psycopg2 where it is
        ),
    ],
    ids=["help", "store"],
)
def test_a_feature_loads_only_what_it_needs(
    run_python: Run, root: Path, code: str, kept_out: set[str]
) -> None:
    assert loaded(run_python, code, root) & kept_out == set()


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["sync", "--help"], 0, "Usage"),
        (["sync", "--to", "postgresql://user@localhost/team"], 2, "dynostore[postgres]"),
        (["--db", "postgresql://user@localhost/team", "runs", "list"], 2, "dynostore[postgres]"),
        (["runs", "list"], 0, ""),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_without_the_extra_it_is_named_where_it_is_needed_and_only_there(
    run_python: Run, root: Path, tmp_path: Path, words: list[str], exit_code: int, said: str
) -> None:
    code = (
        "import sys; sys.modules['psycopg2'] = None  # as if it were not installed\n"
        "from dynostore.cli import main; from dynostore import Store\n"
        f"Store.open({str(tmp_path / 'store.db')!r}).close()\n"
        f"words = ['--db', {str(tmp_path / 'store.db')!r}, *{words!r}]\n"
        f"assert main(words) == {exit_code}"
    )
    done = run_python("-c", code, cwd=root)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
