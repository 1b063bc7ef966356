"""The commands of a page: run in this process where the process is not the point."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from dynostore.cli import main

_SETUP = Path(__file__).parents[3] / "setup.cfg"
_SHELL = frozenset("|&;()$`*~")
_CAPTURE = re.compile(r"(?:export )?(\w+)=\$\((.*?)\)(?:\s+#.*)?")
_SECONDS = 60


@dataclasses.dataclass
class Result:
    """What a command left: what a person at a terminal would have seen, and its exit code."""

    code: int
    seen: str


def split_commands(text: str) -> Iterator[str]:
    """Give the lines of a script; one that ends inside of quotes goes on in the next."""
    command = ""
    for line in text.replace("\\\n", "").splitlines():
        command = f"{command}\n{line}" if command else line
        with contextlib.suppress(ValueError):
            shlex.split(command, comments=True)
            yield command
            command = ""
    assert not command, f"a quotation is not closed: {command}"


def execute(line: str) -> Result:
    """Run a line as a shell would; only ``cd``, ``export`` and ``name=$(...)`` outlive it."""
    if capture := _CAPTURE.fullmatch(line):
        result = execute(capture[2])
        os.environ[capture[1]] = result.seen.strip()
        return result
    if line.startswith("dynostore"):
        line = re.sub(r"\$(\w+)", lambda match: os.environ[match[1]], line)
    words = shlex.split(line, comments=True)
    if words[:1] == ["cd"]:
        os.chdir(words[1])
    elif words[:1] == ["export"] and "$" not in line:
        name, _, value = words[1].partition("=")
        os.environ[name] = value
    elif words[:2] == ["pip", "install"]:
        _check_extras(words[2])
    elif "--watch" in words or words[-1:] == ["view"]:
        return _run_until_it_speaks(words[1:])
    elif words[:1] != ["dynostore"] or _SHELL & set("".join(_unquoted(line))):
        return _run_shell(line)
    else:
        return _run_here(words[1:])
    return Result(0, "")


def _unquoted(line: str) -> Iterator[str]:
    """Give what a shell would look at: all but comments and what single quotes hold."""
    for part in re.findall(r"'[^']*'|\s#.*|[^'#]+|#", line):
        if not part.startswith("'") and not re.match(r"\s#", part):
            yield part


def _check_extras(requirement: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(_SETUP, encoding="utf-8")
    named = re.fullmatch(r"(?:dynostore|\.)(?:\[([\w,]+)\])?", requirement)
    assert named is not None, requirement
    wanted = set(filter(None, (named[1] or "").split(",")))
    assert wanted <= set(setup["options.extras_require"]), requirement


def _run_here(words: list[str]) -> Result:
    """Run the command in this process, as it would run outside of a terminal."""
    streams: dict[str, str] = {}
    for sign in ("<", ">"):
        if sign in words:
            at = words.index(sign)
            streams[sign] = words[at + 1]
            del words[at : at + 2]
    given = Path(streams["<"]).read_bytes() if "<" in streams else None
    with CliRunner().isolation(input=given) as (out, err, seen):
        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
        if ">" in streams:
            Path(streams[">"]).write_bytes(out.getvalue())
            return Result(code, err.getvalue().decode())
        return Result(code, seen.getvalue().decode())


def _run_shell(line: str) -> Result:
    done = subprocess.run(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
    )
    return Result(done.returncode, done.stdout)


def _run_until_it_speaks(words: list[str]) -> Result:
    """Run a command that stays, until it has printed a line; it must end when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dynostore", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = process.stdout.readline()
    process.terminate()
    seen += process.communicate(timeout=_SECONDS)[0]
    return Result(process.returncode, seen)
