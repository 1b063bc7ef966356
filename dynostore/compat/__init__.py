"""Stores in the forms that older tools wrote and may still write, behind the repositories' verbs.

``dir:PATH`` is a directory of files, ``redis://`` a server with ideation's keys. To add a form:
write a module with a class that fulfils :class:`OldForm`, whose families fulfil the contracts of
:mod:`dynostore.repositories`; add a function that opens it to :data:`_OPENERS` under the scheme of
its URLs, which imports the module late; and let the contract suite of those families run over it.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from dynostore import errors

if TYPE_CHECKING:
    from dynostore.config import Place
    from dynostore.inventory import Inventory

FAMILIES = (
    "runs",
    "tasks",
    "sessions",
    "todos",
    "history",
    "memories",
    "conversations",
    "ideation",
    "imports",
)
"""The families of a store, by the names of its attributes."""


class OldForm(Protocol):
    """A place in an older tool's form: what a store needs of it in place of a database."""

    @property
    def shown(self) -> str:
        """Its address without a password."""
        ...

    @property
    def title(self) -> str:
        """What it is, for people: ``DynoAI's run directories``."""
        ...

    @property
    def families(self) -> Mapping[str, Any]:
        """What it holds, by the name of the store's attribute; each fulfils its contract."""
        ...

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Hold what a verb that reads needs."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Make all verbs inside one transaction: all or nothing. Nested, it is a savepoint."""
        ...

    def shut(self) -> None:
        """Give everything back, from any thread and as often as you like."""
        ...

    def check(self) -> list[str]:
        """Say what is damaged or contradicts itself; an empty list: nothing."""
        ...

    def inventory(self) -> Inventory:
        """Give the facts that ``dynostore info`` shows."""
        ...


def is_compat(url: str) -> bool:
    """Tell whether an address names a store in an older tool's form."""
    return _scheme_of(url) in _OPENERS


def open_compat(place: Place, *, read_only: bool = False, create: bool = True) -> OldForm:
    """Open the place that an address names; see :func:`is_compat`.

    :param read_only: nothing is ever written.
    :param create: make it where it is missing.
    :raises StoreNotFound: it is missing, and not to be made.
    """
    return _OPENERS[_scheme_of(place.url)](place, read_only, create)


def require_database(place: Place, what: str) -> None:
    """Refuse what takes tables where there are none.

    :param what: that is asked for, in the plural: ``reports``.
    :raises NotHeld: the place is in an older tool's form.
    """
    if is_compat(place.url):
        raise errors.NotHeld(
            f"{place.shown}: {what} take a SQLite file or a Postgres",
            hint=_import_of(place.shown),
        )


def _import_of(shown: str) -> str:
    # Into the database that the usual places name: it holds all families.
    return f"dynostore import {shlex.quote(shown.removeprefix('dir:'))}"


def families_of(form: OldForm) -> dict[str, Any]:
    """Give every family of a store; those that the form cannot hold say so when they are used."""
    held = form.families
    return {name: held.get(name) or _Elsewhere(name, form, held) for name in FAMILIES}


class _Elsewhere:
    """A family that a form cannot hold."""

    def __init__(self, family: str, form: OldForm, held: Iterable[str]) -> None:
        self._message = f"{form.shown}: {form.title} hold {', '.join(held)} and no {family}"
        self._hint = _import_of(form.shown)

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_"):
            raise AttributeError(verb)
        raise errors.NotHeld(self._message, hint=self._hint)


def _scheme_of(url: str) -> str:
    return url.partition(":")[0].lower()


def _open_folder(place: Place, read_only: bool, create: bool) -> OldForm:
    from dynostore.compat.folders import open_folder

    return open_folder(place, read_only=read_only, create=create)


def _open_redis(place: Place, read_only: bool, create: bool) -> OldForm:
    from dynostore.compat.ideation_redis import open_ideation_redis

    return open_ideation_redis(place, read_only=read_only)


_OPENERS: dict[str, Callable[[Place, bool, bool], OldForm]] = {
    "dir": _open_folder,
    "redis": _open_redis,
    "rediss": _open_redis,
}
"""What opens a place, by the scheme of its URL: place, read_only, create."""
