"""What README and the guides show can be done as it is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from importlib.metadata import Distribution
from pathlib import Path
from subprocess import CompletedProcess

import click
import pytest

from dynostore.cli import cli

Run = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md")))]
EXAMPLES = [
    "README.md",
    "docs/runs.md",
    "docs/tasks.md",
    "docs/sessions.md",
    "docs/conversations.md",
    "docs/ideation.md",
    "docs/reports.md",
    "docs/async.md",
    "docs/schemas.md",
    "docs/durability.md",
    "docs/upgrades.md",
]


def blocks(page: str, language: str) -> list[str]:
    """Give the fenced blocks of one language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [t for t in targets if t and not t.startswith(("http://", "https://"))]
    assert [t for t in local if not (ROOT / page).parent.joinpath(t).exists()] == []


def test_every_guide_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    guides = {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}
    assert {name for name in guides if f"({name})" not in index} == set()


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_python_examples_of_a_page_run_one_after_the_other(
    distribution: Distribution, page: str, run_python: Run, tmp_path: Path
) -> None:
    examples = blocks(page, "python")
    assert examples
    script = tmp_path / "example.py"
    script.write_text("\n\n".join(examples), encoding="utf-8")
    run_python("-W", "error", str(script), cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists_with_its_options(page: str) -> None:
    for line in "\n".join(blocks(page, "sh")).splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "dynostore":
            command, known = find_command(words)
            used = {w.partition("=")[0] for w in words if re.match(r"--?[a-z]", w)}
            assert not isinstance(command, click.Group) or command.invoke_without_command, line
            assert used <= known, line


def find_command(words: list[str]) -> tuple[click.Command, set[str]]:
    """Give the command that a line names, and all options that it takes there."""
    command: click.Command = cli
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is not None:
                command = found
                known |= {option for parameter in command.params for option in parameter.opts}
    return command, known


def test_the_readme_opens_with_two_commands_for_a_machine_with_only_python() -> None:
    assert blocks("README.md", "sh")[:2] == [
        "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/dynostore demo\n",
        "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox\n",
    ]
