"""What is imported from: a directory, a file or a URL, and which readers know its data."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

from dynostore import errors
from dynostore.database import PostgresServer, StoreDatabase
from dynostore.errors import quoted
from dynostore.fleeting import is_same_file
from dynostore.legacy import Reader
from dynostore.legacy.detection import TreeReader, readers_below
from dynostore.legacy.source_sqlite import refuse_broken
from dynostore.legacy.source_tree import shown
from dynostore.urls import is_postgres, mask, postgres_parameters, sqlite_path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MASK = "***"


@dataclasses.dataclass(frozen=True)
class Source:
    """A place to import from.

    :ivar root: what readers get: an absolute path without links, or a URL with its password.
    :ivar shown: the same for people and for the store: printable, without a password.
    """

    root: str
    shown: str
    _secrets: tuple[str, ...] = ()

    @functools.cached_property
    def is_url(self) -> bool:
        """Tell whether it is a server."""
        return bool(_URL.match(self.root))

    @functools.cached_property
    def is_file(self) -> bool:
        """Tell whether it is a single file."""
        return not self.is_url and os.path.isfile(self.root)

    def hide(self, text: str) -> str:
        """Take the URL's password out of a text; a text about a path is left as it is."""
        if not self.is_url:
            return text
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return mask(text)

    def place_of(self, path: str) -> str:
        """Give the place of something in the source, as the store names it.

        Of what is in a file that is the file, and after ``#`` which of the records in it.
        """
        if self.is_file:
            return self.shown + "".join(path.partition("#")[1:])
        return self.shown if path == "." else f"{self.shown.rstrip('/')}/{path}"

    def holds(self, place: str) -> bool:
        """Tell whether a place, as the store names it, is the source or in it."""
        within = f"{self.shown}#" if self.is_file else f"{self.shown.rstrip('/')}/"
        return place == self.shown or place.startswith(within)

    def path_of(self, place: str) -> str:
        """Give the path below the root, with ``/``, of an absolute place; ``.`` for the root."""
        below = place.removeprefix(self.root).lstrip(os.sep)
        return shown(below.replace(os.sep, "/")) or "."

    @contextlib.contextmanager
    def hiding(self) -> Iterator[None]:
        """Take the password out of the errors that are raised inside."""
        try:
            yield
        except errors.DynostoreError as exc:
            exc.message = self.hide(exc.message)
            exc.hint = self.hide(exc.hint) if exc.hint else None
            raise


def find_source(given: str | os.PathLike[str]) -> Source:
    """Give the source at a path or URL; a server is not asked yet.

    :raises SourceNotFound: nothing is at the path, or a stream, which can be read once alone.
    :raises ConfigError: empty text, or a SQLite URL that names no file.
    """
    text = os.fspath(given)
    if not text:
        raise errors.ConfigError("the source is empty text; the current directory is named .")
    if _URL.match(text) and not os.path.exists(text):
        if not text.lower().startswith("sqlite"):
            return Source(text, mask(text), _secrets_of(text))
        path = sqlite_path(text)
        if path is None:
            raise errors.ConfigError(f"{text}: a database in memory holds nothing to import")
        text = path
    if text == "-" or _is_stream(text):
        raise errors.SourceNotFound(
            f"{shown(text)}: is a stream, and a source is read more than once",
            hint="save it first: ... > all.jsonl && dynostore import all.jsonl",
        )
    root = os.path.realpath(text)
    if not os.path.exists(root):
        raise errors.SourceNotFound(f"{shown(text)}: there is nothing to import")
    return Source(root, shown(root))


def _is_stream(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: NUL in the name
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _secrets_of(url: str) -> tuple[str, ...]:
    try:
        password = urlsplit(url).password
    except ValueError:  # no host and port could be read; mask() still hides what looks like one
        return ()
    # A word as short as these is in every other text, and tells nobody anything.
    forms = {password, unquote(password)} if password and len(password) > 3 else set()
    return tuple(sorted(forms, key=len, reverse=True))


def choose_readers(source: Source, kind: str, readers: Sequence[Reader]) -> list[Reader]:
    """Give the one of the readers that has this kind; for ``auto`` all that find data of theirs.

    :raises SourceNotFound: none of them does, or it is a URL of no server that one could ask.
    :raises StoreCorrupt: it is a database that is damaged, so that nobody can tell whose it is.
    :raises StoreLocked: it is one that another process keeps locked.
    :raises ConfigError: an unknown kind.
    """
    _require_server(source, readers)
    known = ", ".join(reader.kind for reader in readers)
    if kind != "auto":
        for reader in readers:
            if reader.kind == kind:
                return [reader]
        raise errors.ConfigError(f"kind: {quoted(kind)} is none of auto, {known}")
    with source.hiding():
        found = _detected(source, readers)
    if not found and os.path.isfile(source.root):
        refuse_broken(source.root)
        raise errors.SourceNotFound(
            f"{source.shown}: is a file that none of the readers knows ({known}); of some tools "
            "the directory that they wrote is needed",
            hint=f"dynostore import {os.path.dirname(source.shown)}",
        )
    if not found:
        raise errors.SourceNotFound(
            f"{source.shown}: holds nothing that one of the readers knows ({known})",
            hint=f"dynostore import --kind {readers[0].kind} {source.shown}",
        )
    return found


def _require_server(source: Source, readers: Sequence[Reader]) -> None:
    """Refuse a URL of another kind, of which a reader would say that the directory is not there."""
    if not source.is_url or is_postgres(source.root):
        return
    if not any(reader.detect(source.root) for reader in readers):
        raise errors.SourceNotFound(
            f"{source.shown}: no reader knows such an address",
            hint="give a path, redis://, rediss://, sqlite:/// or postgresql://",
        )


def _detected(source: Source, readers: Sequence[Reader]) -> list[Reader]:
    if source.is_url or not os.path.isdir(source.root):
        return [reader for reader in readers if reader.detect(source.root)]
    in_trees = [reader for reader in readers if isinstance(reader, TreeReader)]
    met = {id(reader) for reader in readers_below(source.root, in_trees)}
    return [
        reader
        for reader in readers
        if (id(reader) in met if isinstance(reader, TreeReader) else reader.detect(source.root))
    ]


def refuse_itself(source: Source, database: StoreDatabase) -> None:
    """Refuse a source that is the store which it would go to.

    :raises ConfigError: it is.
    """
    if isinstance(database, PostgresServer):
        is_same = is_postgres(source.root) and _is_same_database(source.root, database.url)
    else:
        is_same = not source.is_url and is_same_file(source.root, database.path)
    if is_same:
        raise errors.ConfigError(f"{source.shown}: is the store itself")


def _is_same_database(one: str, other: str) -> bool:
    first, second = postgres_parameters(one), postgres_parameters(other)
    return all(first.get(name) == second.get(name) for name in ("host", "port", "dbname"))


def count_files(root: str) -> int:
    """Count what an import of a directory has to account for: all that is no directory."""
    return sum(len(names) + _links(place, below) for place, below, names in os.walk(root))


def _links(place: str, directories: list[str]) -> int:
    # os.walk() takes a link to a directory for a directory, though it does not go there.
    return sum(os.path.islink(os.path.join(place, name)) for name in directories)
