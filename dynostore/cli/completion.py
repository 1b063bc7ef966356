"""``dynostore completion``: what a shell must be told to complete commands, options and ids."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from dynostore.cli._known import IDS, NAMES, ids, names, profiles
from dynostore.cli._options import examples
from dynostore.cli._output import print_item
from dynostore.cli._session import Command, Session

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_DYNOSTORE_COMPLETE"
_ABOUT_CHARACTERS = 50


@click.command(
    cls=Command,
    epilog=examples(
        'eval "$(dynostore completion bash)"                # in ~/.bashrc',
        'eval "$(dynostore completion zsh)"                 # in ~/.zshrc, behind compinit',
        "dynostore completion fish > ~/.config/fish/completions/dynostore.fish",
    ),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@click.pass_obj
def completion(session: Session, shell: str) -> None:
    """Print the script by which a shell completes this command.

    SHELL is bash, zsh or fish. Commands, options, states, ids, profiles and the names of tools and
    users are completed. The last four are read from the store's file at each press of the key; no
    file is made or upgraded for it.
    """
    from dynostore.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - for the type checker
    # Not source(), which starts a bash to find out its version, and fails where there is none.
    made = kind(cli, {}, "dynostore", VARIABLE)
    script = made.source_template % made.source_vars()
    print_item(session, {"shell": shell, "script": script}, text=script.rstrip())


def known_values(
    ctx: click.Context, param: click.Parameter, beginning: str
) -> list[CompletionItem[Any]]:
    """Give what the store knows for a parameter; nothing where it cannot be found out."""
    session = ctx.find_object(Session) or Session()
    name = param.name or ""
    if name == "profile":
        return [CompletionItem(found) for found in profiles(session, beginning)]
    if name in NAMES:
        return [CompletionItem(found) for found in names(session, NAMES[name], beginning)]
    name = name.removesuffix("s") if isinstance(param, click.Argument) else name
    if name == "session_id" and " ideation" in ctx.command_path:
        name = "ideation_id"
    return [
        CompletionItem(key, help=" ".join(about.split())[:_ABOUT_CHARACTERS])
        for key, about in ids(session, IDS[name], beginning)
    ]
