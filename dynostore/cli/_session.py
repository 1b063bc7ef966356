"""What the global options say, and the store that they lead to.

The options are accepted before the command and after it. Everything that costs time to import is
imported in the methods: this module is loaded for ``dynostore --help``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from dynostore import errors

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from dynostore.config import Place
    from dynostore.database import StoreDatabase
    from dynostore.migrator import Migrator
    from dynostore.own_models import OwnModels
    from dynostore.store import Store


FORMATS = ("table", "json", "jsonl", "csv", "md")
"""How results can be printed: the first and the last for people, the others for programs."""


@dataclasses.dataclass
class Session:
    """One call of the command: the global options as given.

    :ivar db: URL or path of the store; None means: look in the usual places.
    :ivar models: the module of the user's own models; None means: what the profile says.
    :ivar format: how results are printed, one of :data:`FORMATS`.
    :ivar quiet: no notes on stderr, only errors.
    """

    db: str | None = None
    profile: str | None = None
    config: str | None = None
    models: str | None = None
    format: str = FORMATS[0]
    quiet: bool = False
    verbose: bool = False

    @property
    def json(self) -> bool:
        """Whether a program reads the results: whole records, as JSON, its lines or CSV."""
        return self.format in ("json", "jsonl", "csv")

    @property
    def json_errors(self) -> bool:
        """Whether a program reads stderr too: one JSON object a line, and no notes."""
        return self.format in ("json", "jsonl")

    def note(self, text: str) -> None:
        """Say something useful that is no data, on stderr, to people who want to hear it."""
        if not self.quiet and not self.json_errors:
            print(text, file=sys.stderr)

    def warn(self, text: str) -> None:
        """Say on stderr what a person should change, whatever the options."""
        if self.json_errors:
            print(json.dumps({"warning": text}), file=sys.stderr)
        else:
            print(f"warning: {text}", file=sys.stderr)

    def place(self) -> Place:
        """Find out where the store is."""
        from dynostore.config import locate

        return locate(self.db, profile=self.profile, config=self.config)

    def remote(self, to: str | None = None) -> Place:
        """Find out where the shared server is; ``to`` wins.

        :raises ConfigError: none is configured.
        """
        from dynostore.config import locate_remote

        self._warn_of_password(to)
        return locate_remote(to, profile=self.profile, config=self.config)

    def remote_if_any(self, to: str | None = None) -> Place | None:
        """Find out where the shared server is, as :meth:`remote` does; None: nowhere."""
        from dynostore.config import find_remote

        self._warn_of_password(to)
        return find_remote(to, profile=self.profile, config=self.config)

    def _warn_of_password(self, to: str | None) -> None:
        from dynostore.config import mask

        if to is not None and mask(to) != to:
            self.warn(
                "a password in --to is seen by all users of this machine: use DYNOSTORE_REMOTE, or "
                "~/.pgpass"
            )

    def store(self, *, create: bool = False) -> Store:
        """Open the store; a SQLite file that is behind is upgraded.

        Read-only in SQLite's sense only where this user may not write to the file or its directory:
        elsewhere such a connection leaves ``-wal`` and ``-shm`` behind.

        :param create: make a store where there is none; else a missing file and an empty database
            are errors that say how to make one.
        """
        from dynostore.migrator import step_names
        from dynostore.store import Store

        place = self.place()
        own = self.own_models(place)
        # warm=False: connections opened ahead would be thrown away at once.
        if create:
            return Store.at(place, own=own, warm=False)
        try:
            store = Store.at(place, own=own, create=False, migrate=False, warm=False)
        except errors.SchemaBehind as exc:
            if len(exc.data["pending"]) == len(step_names()) and "own" not in exc.data:
                raise
            store = Store.at(place, own=own, create=False, warm=False)
            self.note(f"{place.shown}: upgraded ({', '.join(exc.data['pending'])})")
            return store
        with contextlib.suppress(errors.StoreUnwritable):  # it can still be read
            store.migrator.turn_on_log()
        return store

    def own_models(self, place: Place) -> OwnModels:
        """Give the user's own models, which the option or the profile names."""
        from dynostore.own_models import OwnModels, load

        module = self.models or place.settings.models
        if module is None:
            return OwnModels()
        # The profile's steps belong to the profile's models.
        given = self.models is None or self.models == place.settings.models
        return OwnModels.of(load(module), place.settings.migrations if given else None)

    @contextlib.contextmanager
    def database(self, *, create: bool = False) -> Iterator[StoreDatabase]:
        """Reach the store's database without upgrading it."""
        from dynostore.database import connect

        place = self.place()
        found = connect(place.url, place.settings, create=create)
        try:
            yield found
        finally:
            found.shut()

    @contextlib.contextmanager
    def migrator(self, *, create: bool = False) -> Iterator[Migrator]:
        """Reach the store's schema without upgrading it."""
        from dynostore.migrator import Migrator

        with self.database(create=create) as found:
            yield Migrator(found)


class _KnownText(click.types.StringParamType):
    """Text that the shell completes from what is in the store."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Give what is known; never an error, which would be shown in the middle of a line."""
        with contextlib.suppress(Exception):
            from dynostore.cli.completion import known_values

            return known_values(ctx, param, incomplete)
        return []


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if (
        param.name
        and ctx.get_parameter_source(param.name) == click.core.ParameterSource.COMMANDLINE
    ):
        setattr(ctx.ensure_object(Session), param.name, value)


def _json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).format = "json"


def _log(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _remember(ctx, param, value)
    if value and not ctx.resilient_parsing:
        logger, handler = logging.getLogger("dynostore"), logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        ctx.call_on_close(functools.partial(logger.setLevel, logger.level))
        ctx.call_on_close(functools.partial(logger.removeHandler, handler))
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)


def _global(
    *names: str, hidden: bool, callback: Callable[..., None] = _remember, **settings: Any
) -> click.Option:
    return click.Option(names, expose_value=False, hidden=hidden, callback=callback, **settings)


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """Give the options that every command accepts.

    :param hidden: leave them out of the help, where they are not the command's own matter.
    """
    return [
        _global("--db", metavar="URL", help="The store: a path or URL.", hidden=hidden),
        _global(
            "--profile",
            type=_KnownText(),
            metavar="NAME",
            help="A profile of dynostore.yaml.",
            hidden=hidden,
        ),
        _global("--config", metavar="FILE", help="Use this dynostore.yaml.", hidden=hidden),
        _global(
            "--models", metavar="MODULE", help="Peewee models of your own, to sync.", hidden=hidden
        ),
        _global(
            "--format",
            type=click.Choice(FORMATS),
            help="How to print results; a table by default.",
            hidden=hidden,
        ),
        _global(
            "--json", is_flag=True, help="The same as --format json.", hidden=hidden, callback=_json
        ),
        _global("-q", "--quiet", is_flag=True, help="No notes, only errors.", hidden=hidden),
        _global(
            "-v",
            "--verbose",
            is_flag=True,
            help="Log to stderr, SQL included.",
            hidden=hidden,
            callback=_log,
        ),
    ]


def _equip(command: click.Command) -> None:
    """Give a command the global options that it has no use of its own for, and completion."""
    from dynostore.cli._known import IDS, NAMES

    taken = {name for param in command.params for name in param.opts}
    command.params += [o for o in global_options(hidden=True) if not taken & {*o.opts}]
    for param in command.params:
        name, is_option = param.name or "", isinstance(param, click.Option)
        is_known = name in NAMES if is_option else name.removesuffix("s") in IDS
        is_known = is_known or (name in IDS and "--id" not in param.opts)  # that of a new record
        if is_known and param.type is click.STRING:
            param.type = _KnownText()


class Command(click.Command):
    """A command that also takes the global options after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _equip(self)


class Group(click.Group):
    """A group of commands, itself and each of them taking the global options."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _equip(self)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Take a command up, also one of click's own kind."""
        if not isinstance(cmd, Command | Group):
            _equip(cmd)
        super().add_command(cmd, name)
