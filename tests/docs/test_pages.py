"""What README and the guides show can be done as it is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from dynostore.cli import cli

pytestmark = pytest.mark.once

Walk = Callable[[Path], None]

GUIDES = sorted(f"docs/{path.name}" for path in Path(__file__).parents[2].glob("docs/*.md"))
PAGES = ["README.md", *GUIDES]
# They start a server of their own, or a process for each step.
LONG = {"docs/tutorial.md", "docs/adding-a-family.md", "docs/own-models.md"}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in PAGES]
)
def test_every_block_of_a_page_can_be_run_one_after_the_other(
    page: str, root: Path, walk: Walk
) -> None:
    walk(root / page)


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_link_of_a_page_leads_to_a_file_and_to_a_heading(page: str, root: Path) -> None:
    text = (root / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://")):
            name, _, heading = target.partition("#")
            path = (root / page).parent / name if name else root / page
            assert path.exists(), target
            assert not heading or heading in headings(path), target


def headings(page: Path) -> set[str]:
    """Give the anchors that a forge makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_guide_is_in_the_index(root: Path) -> None:
    index = (root / "docs/index.md").read_text(encoding="utf-8")
    guides = {path.name for path in root.glob("docs/*.md")} - {"index.md"}
    assert {name for name in guides if f"({name})" not in index} == set()


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_exist_with_their_options(
    page: str, root: Path, reader: Any
) -> None:
    for block in reader.blocks.read_blocks(root / page):
        if block.exempt is not None and block.language in ("sh", "console"):
            for line in block.text.splitlines():
                check_command(line)


def check_command(line: str) -> None:
    """Assert that a line's command is there, and takes its options."""
    program, *words = shlex.split(line.removeprefix("$ "), comments=True) or [""]
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
