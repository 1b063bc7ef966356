"""The example of docs/own-models.md, run exactly as it is shown there, Python and commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # every command is a program of its own

PAGE = Path(__file__).parents[2] / "docs" / "own-models.md"


@pytest.fixture
def page(workplace: Path) -> str:
    """Give the page, whose files are written into an empty directory."""
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"`([\w./]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    assert len(files) == 5
    for name, content in files:
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return text


def run_file(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"exec(open({name!r}).read())"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_page_records_syncs_and_is_verified(
    page: str, program: Callable[..., Any], postgres: Any, postgres_url: str
) -> None:
    assert run_file("record.py") == "a.jpg {'iso': 200}\n"
    assert run_file("threads.py") == "2\n"
    Path("dynostore.yaml").unlink()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    ours = [words for name, *words in commands if name == "dynostore"]
    assert len(ours) > 4
    for words in ours:
        done = program(*words, DYNOSTORE_REMOTE=postgres_url)
        assert (done.code, done.err.count("error")) == (0, 0), (words, done)
    with closing(_connected(postgres_url)) as server, server.cursor() as cursor:
        cursor.execute(
            "SELECT p.path, a.title, p.exif FROM photo p JOIN album a ON a.id = p.album_id"
        )
        assert sorted(cursor.fetchall()) == [
            ("a.jpg", "This year", {"iso": 200}),
            ("b.jpg", "This year", None),
        ]


def test_the_profile_names_the_models_and_a_command_without_them_says_what_it_left(
    page: str, program: Callable[..., Any], postgres_url: str
) -> None:
    run_file("record.py")
    assert program("sync", "--to", postgres_url).code == 0
    run_file("threads.py")
    without = program(
        "--config", _empty("other.yaml"), "--db", "lab.db", "sync", "--to", postgres_url
    )
    assert without.code == 1
    assert without.out == "everything else is up to date\n"
    assert "album (0 wait), photo (1 wait)" in without.err
    assert "dynostore --models MODULE sync" in without.err
    assert re.search(r"^photo +1 ", program("sync", "--to", postgres_url).out, re.M)
    wrong = program("--models", "no.such", "sync", "--to", postgres_url)
    assert (wrong.code, "no.such: cannot be imported" in wrong.err) == (2, True)


def test_the_step_of_the_page_renames_the_column_here_and_on_the_server(
    page: str, program: Callable[..., Any], postgres_url: str
) -> None:
    run_file("record.py")
    assert program("sync", "--to", postgres_url).code == 0
    models = Path("photos/models.py")
    models.write_text(models.read_text().replace("path = ", "file = "))
    refused = program("sync", "--to", postgres_url)
    assert refused.code == 6
    assert "photo.path is in the table and not in the model" in refused.err
    with Path("dynostore.yaml").open("a") as profile:
        profile.write("    migrations: photos/migrations\n")
    behind = program("sync", "--to", postgres_url)
    assert (behind.code, "--upgrade-server" in behind.err) == (6, True)
    assert Path("lab.db.before-own-0001.bak").exists()
    assert program("sync", "--upgrade-server", "--to", postgres_url).code == 0
    assert program("sync", "verify", "--deep", "--to", postgres_url).code == 0


def _empty(name: str) -> str:
    Path(name).write_text("{}\n")
    return name


def _connected(url: str) -> Any:
    import psycopg2

    return psycopg2.connect(url)
