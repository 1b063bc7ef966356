"""What somebody probably meant whose words say nothing to the command."""

from __future__ import annotations

import contextlib
import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from dynostore import errors

if TYPE_CHECKING:
    from dynostore.cli._session import Session

_MOST = 3
_AS_LIKELY = 0.1  # of difflib's ratio
_WRONG_WORDS = (errors.InvalidValue.exit_code, errors.NotFound.exit_code)
_INIT = "dynostore --db dynostore.db init"
_FIRST_USE = (
    "dynostore init makes one here, --db FILE names another; dynostore demo shows it at work"
)
_NO_COMMAND = re.compile(r"No such command '(.*?)'")
_NO_CHOICE = re.compile(r"'([^']*)' is not one of ")
_NONE_OF = re.compile(r"'([^']*)' is none of (.*)")
_EXTRA = re.compile(r"Got unexpected extra argument \((.*)\)")
_NO_NUMBER = re.compile(r"is not a valid integer( range)?")
_PLACE = re.compile(r"\.db$|\.sqlite3?$|://")
_RIGHTS = "ask its owner for the right (chmod), or name another place"
_ROOM = "make room, and try again"
_WAYS_OUT: dict[int | None, str] = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "name a place that can be written to",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
}
_OTHER_WORDS = {
    "add": ("create",),
    "delete": ("rm",),
    "del": ("rm",),
    "edit": ("update",),
    "get": ("show",),
    "help": ("--help",),
    "ls": ("list",),
    "migrate": ("db upgrade",),
    "new": ("create",),
    "pull": ("sync --direction pull",),
    "push": ("sync --direction push",),
    "remove": ("rm",),
    "set": ("update",),
    "sql": ("query",),
    "version": ("--version",),
    "view": ("show",),
}
"""What other tools call it; taken where the command is there."""


def explain(exc: click.ClickException, path: str) -> tuple[str, str]:
    """Give click's complaint in one line, with the near word, and where to read on.

    :param path: the command as far as it is known, where click does not say it.
    """
    ctx = exc.ctx if isinstance(exc, click.UsageError) else None
    hint = f"{ctx.command_path if ctx else path} --help"
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        return "no command is given", hint
    message = exc.format_message()
    meant: Iterable[str] = ()
    if isinstance(exc, click.NoSuchOption) and ctx:
        message = f"no such option {exc.option_name!r}"
        meant = _options_like(exc.option_name, ctx)
    elif (found := _NO_COMMAND.match(message)) and ctx:
        message = f"no such command {found[1]!r}"
        meant = _commands_like(found[1], ctx)
    elif found := _EXTRA.match(message):
        meant = [f"--db {found[1]}"] if _PLACE.search(found[1]) else ()
    elif isinstance(exc, click.BadParameter) and (found := _NO_CHOICE.search(message)):
        meant = _near(found[1], getattr(exc.param and exc.param.type, "choices", ()))
    elif found := _NONE_OF.search(message):
        meant = _near(found[1], found[2].split(", "))
    words = " or ".join(f"{word!r}" for word in list(dict.fromkeys(meant))[:_MOST])
    message = " ".join(_NO_NUMBER.sub("is no whole number", message).rstrip(".").split())
    if message[1:2].islower():
        message = message[:1].lower() + message[1:]
    return message + (f"; did you mean {words}?" if words else ""), hint


def hint_of(session: Session, exc: errors.DynostoreError, path: str) -> str | None:
    """Give what to do about an error: its own hint, with what was probably meant.

    :param path: the command, whose help is the hint where the user's words are wrong and nothing
        better is known.
    """
    if isinstance(exc, errors.StoreNotFound) and _is_first_use(session, exc):
        return _FIRST_USE
    if isinstance(exc, errors.NotFound) and "id" in exc.data:
        from dynostore.cli._known import near_id

        near = near_id(session, exc.code, str(exc.data["id"]))
        if near is not None:
            return f"did you mean {near}?" + (f" all of them: {exc.hint}" if exc.hint else "")
    if isinstance(exc, errors.StoreUnwritable) and exc.hint is None:
        return _way_out(exc.__cause__)
    is_wrong = exc.exit_code in _WRONG_WORDS or isinstance(exc, errors.AlreadyExists)
    if not is_wrong:
        return exc.hint
    known = _NONE_OF.search(exc.message)
    like = _near(known[1], known[2].split(", ")) if known else []
    hint = exc.hint or _where_named(session, exc)
    if like:
        return f"did you mean {like[0]}? {hint or f'see {path} --help'}"
    return hint or f"{path} --help"


def _way_out(cause: BaseException | None) -> str | None:
    """Give what to do about a file that the system let nobody make, read or write."""
    return _WAYS_OUT.get(cause.errno) if isinstance(cause, OSError) else None


def _where_named(session: Session, exc: errors.DynostoreError) -> str | None:
    """Give where the address of the store stands, if it is wrong and nobody typed it."""
    if not isinstance(exc, errors.ConfigError):
        return None
    with contextlib.suppress(errors.DynostoreError):
        place = session.place()
        if place.source not in ("argument", "default") and exc.message.startswith(place.shown):
            return f"mend {place.source}; docs/configuration.md says how an address looks"
    return None


def _is_first_use(session: Session, exc: errors.StoreNotFound) -> bool:
    """Tell whether nobody has said yet where the store is to be, and it is what is missing."""
    with contextlib.suppress(errors.DynostoreError):
        place = session.place()
        return place.source == "default" and exc.hint == _INIT
    return False


def _near(word: str, known: Iterable[str]) -> list[str]:
    """Give the words that look like this one; where one clearly does, it alone."""
    by_lower = {str(name).lower(): str(name) for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=_MOST)
    likeness = [difflib.SequenceMatcher(None, name, word.lower()).ratio() for name in close]
    return [
        by_lower[name]
        for name, ratio in zip(close, likeness, strict=True)
        if ratio > likeness[0] - _AS_LIKELY
    ]


def _options_of(command: click.Command) -> list[str]:
    return [name for param in command.params for name in param.opts if name[:1] == "-"]


def _options_like(word: str, ctx: click.Context) -> Iterator[str]:
    """Give options of the command, else the commands below it that have this one."""
    yield from _near(word, [*_options_of(ctx.command), *ctx.help_option_names])
    if isinstance(ctx.command, click.Group):
        # To look at records is what people want most often.
        for name in sorted(ctx.command.list_commands(ctx), key=lambda name: name != "list"):
            below = ctx.command.get_command(ctx, name)
            if below is not None and word in _options_of(below):
                yield f"{name} {word}"


def _commands_like(word: str, ctx: click.Context) -> Iterator[str]:
    """Give commands of the group, else those below it that are called so."""
    group = ctx.command
    assert isinstance(group, click.Group)  # noqa: S101 - only groups have commands
    there = group.list_commands(ctx)
    for other in _OTHER_WORDS.get(word.lower(), ()):
        if other.startswith("--") or other.split()[0] in there:
            yield other
    yield from _near(word, there)
    for name in there:
        below = group.get_command(ctx, name)
        if isinstance(below, click.Group) and word in below.list_commands(ctx):
            yield f"{name} {word}"
