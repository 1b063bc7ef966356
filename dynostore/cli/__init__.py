"""The command ``dynostore``: where a command is found, and where every error ends.

To add a command: write ``cli/NAME.py`` with a function on ``Command`` or ``Group``, that parses,
calls one function of the library and prints; name it in :data:`COMMANDS`. Its module is imported
when it is called, so it may import what it likes at the top.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import click

from dynostore import __version__, errors
from dynostore.cli._options import examples
from dynostore.cli._output import print_error
from dynostore.cli._session import Session, global_options

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init:init", "Make the store."),
    "info": ("info:info", "Say where the store is and what it holds."),
    "doctor": ("doctor:doctor", "Say what is wrong with the store, and what mends it."),
    "demo": ("demo:demo", "Show the main job on sample data, with a real Postgres."),
    "runs": ("runs:runs", "List, show, create, change and remove runs."),
    "tasks": ("tasks:tasks", "Record tasks, move them through their states, log their steps."),
    "sessions": ("sessions:sessions", "Keep agent sessions: states, todo lists, history."),
    "memories": ("memories:memories", "Keep and search what agents learned."),
    "conversations": ("conversations:conversations", "Keep conversations, message by message."),
    "ideation": ("ideation:ideation", "Take product ideas to requirements and user stories."),
    "import": ("import_:import_", "Take over what an older tool left behind."),
    "export": (
        "export:export",
        "Write records as lines of JSON, as CSV or in an older tool's files.",
    ),
    "sources": ("sources:sources", "Say what was taken over, from where and when, or forget that."),
    "sync": (
        "sync:sync",
        "Send what changed to the shared Postgres, or bring what changed there.",
    ),
    "search": ("search:search", "Find records by the words in them."),
    "report": ("report:report", "Answer a question about the records."),
    "query": ("query:query", "Ask the database in SQL; nothing is written."),
    "view": ("view:view", "Look at the store's file in a browser: tables, questions, a dashboard."),
    "prune": ("prune:prune", "Delete what is old, with all that hangs on it."),
    "db": ("db:db", "See and change the schema's version; check, copy and tidy the file."),
    "completion": (
        "completion:completion",
        "Print the script by which a shell completes this command.",
    ),
}
"""The commands in the order of the help: module and function below ``dynostore.cli``, summary."""

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
EXIT_BUG = 70
_NO_ROOM = {"ENOSPC", "EDQUOT", "EFBIG", "EIO"}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, not for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"dynostore.cli.{module}"), function)
        assert isinstance(command, click.Command)  # noqa: S101 - for the type checker
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing what they summarise."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    params=global_options(hidden=False),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "dynostore demo                          see it work, in a temporary directory",
        "dynostore init                          make ./dynostore.db",
        "dynostore import old_runs/              take over DynoAI's run directories",
        "dynostore runs list --since 7d",
        "dynostore sync --to postgresql://user@host/database",
    ),
)
@click.version_option(__version__, prog_name="dynostore")
def cli() -> None:
    """Remember what a tool did, in one SQLite file; replicate it to a shared Postgres.

    The store is found by --db, --profile, DYNOSTORE_URL, DATABASE_URL, dynostore.yaml; else it is
    ./dynostore.db. Global options may also follow the command.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code; the one place where errors end.

    :param arguments: those after the program's name; ``sys.argv`` by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    session = Session()
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file name in another encoding is shown escaped; it is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _invoke(words, session)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _end_of_pipe()
    except (KeyboardInterrupt, click.Abort):
        # CPython notes an interrupt of code that is made of text, as dataclasses are, and under
        # ``python -m`` ends by that signal although it was caught here; other such code clears it.
        exec("")  # noqa: S102
        print("\ninterrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as exc:
        if os.name == "nt" and isinstance(exc, OSError) and _name_of(exc) == "EINVAL":
            return _end_of_pipe()  # so Windows says it
        code = _report(exc, session, words)
        _drop_unwritable()
        return code


def _open_closed() -> None:
    """Give a stream that the caller closed, as ``>&-`` does, the place where nothing is kept."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, stream)


def _invoke(words: list[str], session: Session) -> int:
    if instruction := os.environ.get("_DYNOSTORE_COMPLETE"):
        return _complete(instruction, session)
    try:
        with cli.make_context("dynostore", words, obj=session) as ctx:
            result = cli.invoke(ctx)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    return result if isinstance(result, int) else 0


def _complete(instruction: str, session: Session) -> int:
    """Answer a shell that asks for completion, or say nothing: it is in the middle of a line."""
    from click.shell_completion import shell_complete

    with contextlib.suppress(Exception):
        arguments = {"obj": session}
        return shell_complete(cli, arguments, "dynostore", "_DYNOSTORE_COMPLETE", instruction)
    return 1


def _wants_json(words: Sequence[str]) -> bool:
    """Tell what an option asks for that may stand behind the word that could not be read."""
    pairs = {*itertools.pairwise(words)}
    forms = ("json", "jsonl")
    return "--json" in words or any(
        ("--format", form) in pairs or f"--format={form}" in words for form in forms
    )


def _report(exc: Exception, session: Session, words: Sequence[str]) -> int:
    as_json = session.json_errors or _wants_json(words)
    if isinstance(exc, OSError) and exc.filename is None and _name_of(exc) in _NO_ROOM:
        exc = errors.StoreUnwritable(f"stdout: {exc.strerror}")
    if isinstance(exc, FileNotFoundError) and _is_nowhere():
        exc = errors.StoreNotFound(
            "the current directory is not there any more", hint="cd to one that is there"
        )
    if isinstance(exc, errors.DynostoreError):
        from dynostore.cli._mistakes import hint_of

        hint = hint_of(session, exc, _path_of(words))
        print_error(exc.code, exc.message, hint, as_json=as_json)
        return exc.exit_code
    if isinstance(exc, click.exceptions.NoArgsIsHelpError) and not as_json:
        print(exc.format_message(), file=sys.stderr)
        return exc.exit_code
    if isinstance(exc, click.ClickException):
        from dynostore.cli._mistakes import explain

        print_error("usage", *explain(exc, _path_of(words)), as_json=as_json)
        return exc.exit_code
    text = "".join(traceback.format_exception(exc))
    hint = f"this is a bug in dynostore {__version__}: please report it with the lines above"
    print_error("bug", f"{type(exc).__name__}: {exc}", hint, as_json=as_json, traceback=text)
    return EXIT_BUG


def _path_of(words: Sequence[str]) -> str:
    """Give the command that the words name, as far as they do."""
    path, command = "dynostore", cast("click.Group", cli)
    for word in words:
        found = command.get_command(click.Context(command), word)
        if found is not None:
            path = f"{path} {word}"
            if not isinstance(found, click.Group):
                break
            command = found
    return path


def _is_nowhere() -> bool:
    """Tell whether somebody removed the current directory: no name in it means anything then."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _name_of(exc: OSError) -> str | None:
    return errno.errorcode.get(exc.errno or 0)


def _drop_unwritable() -> None:
    # What is still buffered for a full disk would raise again at exit, as code 120.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_of_pipe() -> int:
    # The reader went away, as `head` does. What is still buffered would raise again at exit.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return EXIT_PIPE_CLOSED
