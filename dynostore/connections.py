"""What files and servers share as databases: logging without values, the end, and forks."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import peewee

from dynostore import errors, forked
from dynostore.driver_errors import translated

_STATEMENT_ROWS = (128, 32, 8, 1)
"""How many rows one statement writes: the largest that fits, so that few texts are kept."""

_sql_log = logging.getLogger("dynostore.sql")
databases: weakref.WeakSet[Any] = weakref.WeakSet()
# Connections that a child inherited. Closing a server's would end the parent's session, and
# closing a file's would drop the parent's locks, so they are kept until the child ends.
inherited: list[Any] = []


def all_databases() -> list[Any]:
    """Give those that are in use in this process."""
    while True:
        with contextlib.suppress(RuntimeError):  # another thread opened one meanwhile
            return list(databases)


def _before_fork() -> None:
    if databases:
        forked.begin()


def _forget_after_fork() -> None:
    for database in all_databases():
        database.forget_inherited()
    forked.hold()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=forked.wait_for_child,
        after_in_child=_forget_after_fork,
    )


class OfOneProcess:
    """A transaction or savepoint, ahead of Peewee's, that a forked child cannot end."""

    db: Any  # Peewee's
    _forks: int

    def __enter__(self) -> Any:
        self._forks = self.db.forks
        return super().__enter__()  # type: ignore[misc]  # Peewee's, behind in the MRO

    def __exit__(self, kind: type[BaseException] | None, exc: Any, traceback: Any) -> None:
        """End it, where it was begun; in a forked child leave it to the parent.

        :raises WrongProcess: this is the child, and no error of its own led it here.
        """
        if self._forks == self.db.forks:
            super().__exit__(kind, exc, traceback)  # type: ignore[misc]  # Peewee's
        elif kind is None:
            raise errors.WrongProcess(
                f"{self.db.shown}: a transaction cannot be ended by a forked child: it belongs to "
                "the process that began it",
                hint="end the child inside the block with os._exit(), or fork outside of it; what "
                "the child wrote inside was no part of the transaction",
            )


class Transaction(OfOneProcess, peewee._transaction):
    """Peewee's transaction, for the process that began it."""


class Savepoint(OfOneProcess, peewee._savepoint):
    """Peewee's savepoint, for the process that began it."""


class CommonDatabase:
    """What all kinds share: logging without values, and refusal after the end."""

    shown: str
    read_only: bool
    forks = 0  # how often this process became a forked child
    reading: Any  # each kind holds its connection in its own way
    atomic: Any  # Peewee's
    execute_sql: Any
    transaction: Any  # Peewee's
    snapshot_begins: tuple[Any, ...]  # what Peewee begins a transaction of one moment with
    _shut = False
    _state: Any  # Peewee's: the thread's connection and open transactions
    _connections: Any  # the pool's
    _in_use: Any

    def _log_query(self, sql: str, params: Any) -> None:
        # Peewee's own log holds the values; they are people's data.
        if _sql_log.isEnabledFor(logging.DEBUG):
            _sql_log.debug("%s", sql)

    def _refuse_if_shut(self) -> None:
        if self._shut:
            raise errors.StoreClosed(f"{self.shown}: the store is closed", hint="open it again")

    def _none_free(self, connections: int) -> errors.StoreLocked:
        return errors.StoreLocked(
            f"{self.shown}: all {connections} connections are in use",
            hint="raise pool_max in dynostore.yaml",
        )

    def pop_transaction(self) -> Any:
        """Forget the innermost transaction, which its block is leaving.

        :raises StoreClosed: the store was closed inside of it, and it undone.
        """
        if not self._state.transactions:
            self._refuse_if_shut()
        return super().pop_transaction()  # type: ignore[misc]  # Peewee's, behind in the MRO

    @contextlib.contextmanager
    def _verb(self) -> Iterator[None]:
        self._refuse_if_shut()
        try:
            with translated(self.shown):
                yield
        except errors.DynostoreError:
            # Another thread closed the store in the middle of this verb.
            self._refuse_if_shut()
            raise

    def write_rows(self, text: Callable[[int], str], rows: Sequence[Sequence[Any]]) -> None:
        """Execute a statement over many rows, inside a transaction.

        :param text: gives the statement for so many rows at once.
        :param rows: values as the driver takes them.
        """
        start = 0
        for size in _STATEMENT_ROWS:
            while len(rows) - start >= size:
                values = [*itertools.chain.from_iterable(rows[start : start + size])]
                self.execute_sql(text(size), values)
                start += size

    def require_writable(self) -> None:
        """Do nothing where the database was opened for writing.

        :raises StoreUnwritable: it was opened for reading only.
        """
        if self.read_only:
            raise errors.StoreUnwritable(
                f"{self.shown}: was opened for reading only", hint="open it without read_only"
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold a connection inside a transaction, or a savepoint of the one that is open.

        :raises StoreUnwritable: the database was opened for reading only.
        """
        self.require_writable()
        with self.reading(), self.atomic():
            yield

    def lent(self) -> contextlib.AbstractContextManager[None]:
        """Let others close the connection inside, where the caller's own code runs."""
        return contextlib.nullcontext()  # a pool's is closed by whoever has it

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold a connection that sees one moment of the database, and keeps nobody from writing."""
        with self.reading(), self.transaction(*self.snapshot_begins):
            yield
