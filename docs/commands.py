"""docs/commands.md: every command with its options, as its ``--help`` says it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from dynostore.cli import COMMANDS, cli

_INTRODUCTION = """\
# Every command

What `dynostore COMMAND --help` says, on one page. What holds for all of them, such as exit codes,
times and output for programs, is in [The command](cli.md).
"""


def commands_page() -> str:
    """Give the page."""
    root = click.Context(cli, info_name="dynostore", max_content_width=100)
    contents = [
        f"- [`dynostore {name}`](#dynostore-{name}): {summary}"
        for name, (_, summary) in COMMANDS.items()
    ]
    lines = [_INTRODUCTION, *contents, "", "## Options of every command", "", *_options(root)]
    for name in cli.list_commands(root):
        lines += _command(root, name, 2)
    return "\n".join(lines) + "\n"


def _command(parent: click.Context, name: str, level: int) -> Iterator[str]:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    if command is None or command.hidden:
        return
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield ""
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield f"    {usage}"
    yield ""
    yield from _prose(command.help or "")
    options = list(_options(context))
    if options:
        yield ""
        yield from options
    if command.epilog:
        yield ""
        yield from _prose(command.epilog)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _command(context, child, level + 1)


def _options(context: click.Context) -> Iterator[str]:
    records = [parameter.get_help_record(context) for parameter in context.command.params]
    shown = [record for record in records if record is not None]
    if shown:
        yield "| option | |"
        yield "| --- | --- |"
        for option, said in shown:
            yield f"| `{_cell(option)}` | {_escaped(_cell(said))} |"


def _prose(text: str) -> Iterator[str]:
    """Give paragraphs as they are; those that click is told not to wrap as blocks of code."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text).partition("\f")[0].strip())
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ""
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.splitlines()[1:]
            yield from [title, "", *(f"    {line.removeprefix('  ')}" for line in lines)]
        else:
            yield from map(_escaped, paragraph.splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    return re.sub(r"([<*_\[])", r"\\\1", text)
