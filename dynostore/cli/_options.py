"""Options and argument types that several commands share."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from dynostore.cli._session import Session

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def examples(*lines: str) -> str:
    """Give the end of a command's help: commands that can be pasted."""
    # The backspace tells click to keep the lines.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def moment(text: str) -> dt.datetime:
    """Read a date, a time or an age as an aware time; what has no offset is local.

    Accepts ``2025-12-06``, ``2025-12-06T10:30``, ``10:30`` (today), ``7d`` and ``36h``.
    """
    now = dt.datetime.now(dt.UTC)
    try:
        if age := re.fullmatch(r"(\d+)([smhdw])", text):
            return now - dt.timedelta(**{_UNITS[age[2]]: int(age[1])})
        if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text):
            text = f"{now.astimezone().date()}T{text:0>5}"
        # astimezone() takes a naive time for one of this machine's clock, as the tables show it.
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no date (2025-12-06), time (2025-12-06T10:30) or age (7d, 36h)"
        ) from None


def json_value(text: str) -> Any:
    """Read a JSON value, or the one in the file named by ``@FILE``; no ``null``."""
    try:
        parsed = json.loads(Path(text[1:]).read_text("utf-8") if text[:1] == "@" else text)
    except OSError as exc:
        raise click.BadParameter(f"{text[1:]}: {exc.strerror}") from None
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"not JSON: {exc}") from None
    if parsed is None:
        raise click.BadParameter("null is no value; leave the field out, or use --clear")
    return parsed


def named(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a place with an empty name, as an option's callback.

    A script's unset variable leaves one, and to the system it is the current directory.
    """
    if value is not None and not value.strip():
        raise click.BadParameter("is empty", ctx, param)
    return value


def comma_separated(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Read names with commas between them, as an option's callback."""
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


def settable(fields: dict[str, Any]) -> Callable[[FunctionT], FunctionT]:
    """Add an option for each field that a person can set, of its type; the text is its name."""

    def add(function: FunctionT) -> FunctionT:
        for name, kind in reversed(fields.items()):
            metavar = "JSON" if kind is json_value else None
            option = click.option(f"--{name.replace('_', '-')}", name, type=kind, metavar=metavar)
            function = option(function)
        return function

    return add


def clearable(names: Sequence[str]) -> Callable[[FunctionT], FunctionT]:
    """Add ``--clear FIELD``, for a command that calls :func:`wanted_changes`."""
    return click.option(
        "--clear",
        multiple=True,
        type=click.Choice(names),
        metavar="FIELD",
        help=f"Empty a field; may be repeated. One of: {', '.join(names)}.",
    )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that were used."""
    return {name: value for name, value in values.items() if value is not None}


def wanted_changes(values: Mapping[str, Any], clear: Sequence[str]) -> dict[str, Any]:
    """Give what a command is to change, None for what is to be cleared.

    :raises click.UsageError: nothing, or a field that is set and cleared.
    """
    changes = given(values)
    if not changes and not clear:
        raise click.UsageError("nothing to change is given", click.get_current_context())
    if both := set(changes) & set(clear):
        raise click.UsageError(f"{min(both)}: set and cleared", click.get_current_context())
    return changes | dict.fromkeys(clear)


def report_path(text: str) -> Path:
    """Read the path of a file to write: found out before the work that it cannot be, not after."""
    path = Path(text)
    # os.path answers False where pathlib raises, of a name that is too long.
    if os.path.isdir(path) or not os.path.isdir(path.absolute().parent):
        raise click.BadParameter(f"{text}: is a directory, or its directory does not exist")
    return path


def zone(text: str) -> dt.tzinfo:
    """Read the name of a time zone."""
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(f"{text!r} is no time zone, such as Europe/Berlin") from None


def paged(function: FunctionT) -> FunctionT:
    """Add ``--limit`` and ``--after``."""
    function = click.option("--after", metavar="CURSOR", help="Begin after this place.")(function)
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=50,
        show_default=True,
        help="Most items to list; 0 is all, printed as they come.",
    )(function)


def in_utc(function: FunctionT) -> FunctionT:
    """Add ``--utc``."""
    return click.option("--utc", is_flag=True, help="Times in UTC, not local.")(function)


def assured(function: FunctionT) -> FunctionT:
    """Add ``--yes``, for a command that calls :func:`require_consent`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def require_consent(session: Session, what: str, yes: bool) -> None:
    """Show what would be destroyed, and ask; go on only after a yes.

    :raises click.UsageError: there is nobody to ask.
    :raises click.exceptions.Exit: the answer was no.
    """
    if yes:
        return
    if not session.json:
        print(what, file=sys.stderr)
    if session.json or not sys.stdin.isatty():
        raise click.UsageError("needs --yes where nobody can be asked", click.get_current_context())
    if not click.confirm("Go on?", err=True):
        session.note("nothing was changed")
        raise click.exceptions.Exit(1)
