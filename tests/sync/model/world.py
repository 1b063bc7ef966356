"""The model's files and their server, and what people do to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from tests.sync.model.fence import Fence
from tests.sync.model.file import File
from tests.sync.model.pull import Pull
from tests.sync.model.push import Push
from tests.sync.model.rules import RULES
from tests.sync.model.server import Server
from tests.sync.model.tables import (
    DELETE,
    PUT,
    IdentityMismatch,
    Refused,
    Row,
    Schema,
    Steps,
    Stopped,
    Table,
)

ROUNDS = 3
"""How often a sync both ways pushes and pulls, while a pull leaves something to push."""


class Model:
    """Files and their server.

    :ivar files: by name.
    :ivar server: the one that answers now.
    :ivar in_flight: batches whose clients have given them up, and which may arrive yet.
    :ivar running: the syncs on their way, by file.
    :ivar cases: how often each case of the fence was taken.
    """

    def __init__(
        self,
        tables: Iterable[Table],
        files: Iterable[str] = (),
        *,
        without: Iterable[str] = (),
        on_change: Callable[[str, str, str, Any, Any], None] | None = None,
    ) -> None:
        """Make empty files and an empty server.

        :param without: rules of ``RULES`` that are switched off.
        :param on_change: called for each change that a person makes, cascades included, with (who,
            table, key, before, after); what is no row is the tag of a deletion, or None.
        """
        self.schema = Schema(tables)
        self.on = dict.fromkeys(RULES, True)
        for rule in without:
            if rule not in RULES:
                raise KeyError(rule)
            self.on[rule] = False
        self._on_change = on_change or (lambda *_: None)
        self._numbers = self._tags = 0
        self.files = {name: File(name, self.schema) for name in files}
        self.server = Server(self.schema, self.on, self._new)
        self.running: dict[str, Steps] = {}
        self.in_flight: list[Callable[[], None]] = []
        self._pushes: dict[str, Push] = {}
        self.cases: dict[str, int] = {}

    def _new(self) -> int:
        self._numbers += 1
        return self._numbers

    def _tag(self) -> int:
        self._tags -= 1
        return self._tags

    def state(self) -> dict[str, dict[str, dict[str, Row]]]:
        """Give all rows by place (a file's name, or ``server``), table and key."""
        server = {
            table: {key: held[0] or {} for key, held in rows.items()}
            for table, rows in self.server.rows.items()
        }
        return {**{name: file.rows for name, file in self.files.items()}, "server": server}

    # -- what people do to a file ------------------------------------------------------------

    def write(self, name: str, table: str, key: str, values: Row) -> bool:
        """Insert or update one row; False: it has no parent, and nothing was written."""
        file = self.files[name]
        if self.schema.orphaned(file.rows, table, values):
            return False
        before = file.rows[table].get(key) or file.deletions[table].get(key)
        file.rows[table][key] = values
        if table in file.captured:
            file.note(table, key, PUT)
        self._on_change(name, table, key, before, values)
        return True

    def replace(self, name: str, table: str, key: str, values: Row) -> bool:
        """INSERT OR REPLACE: the old row goes first, and its children with it."""
        file = self.files[name]
        if self.schema.orphaned(file.rows, table, values):
            return False
        for child in file.children_of(table, key):
            self.delete(name, *child)
        return self.write(name, table, key, values)

    def delete(self, name: str, table: str, key: str) -> bool:
        """Delete a row with all that refers to it; False: there is none."""
        file = self.files[name]
        row = file.rows[table].get(key)
        if row is None:
            return False
        for child in file.children_of(table, key):
            self.delete(name, *child)
        del file.rows[table][key]
        file.deletions[table][key] = self._tag()
        if table in file.captured:
            file.note(table, key, DELETE)
        self._on_change(name, table, key, row, file.deletions[table][key])
        return True

    def rekey(self, name: str, table: str, old: str, new: str, values: Row) -> bool:
        """Change a key, and the row with it; False: it is taken, or children refer to the old."""
        file = self.files[name]
        rows = file.rows[table]
        if old not in rows or new in rows or file.children_of(table, old):
            return False
        return self.write(name, table, new, values) and self.delete(name, table, old)

    def rebuild(self, name: str, table: str) -> None:
        """Rebuild a table as it was, and lose its triggers by that."""
        self.files[name].captured.discard(table)

    def retry(self, name: str) -> None:
        """Log all rejects again."""
        file = self.files[name]
        for table, key in file.rejects:
            file.note(table, key, PUT)

    def copy(self, name: str, new: str) -> None:
        """Copy a file, whatever is under way."""
        self.files[new] = self.files[name].copy(new)

    def restore(self, name: str, backup: File) -> None:
        """Put an older copy in a file's place."""
        self.kill(name)
        self.files[name] = backup.copy(name)

    def adopt(self, name: str) -> None:
        """Take a server that does not know this file: a first sync, under a new identity."""
        old = self.files[name]
        new = self.files[name] = File(name, self.schema)
        new.id = f"{name}/{self._new()}"
        new.rows, new.deletions, new.conflicts = old.rows, old.deletions, old.conflicts
        new.log, new.marker = [entry for entry in old.log if not entry[1]], old.marker

    # -- what people do to the server --------------------------------------------------------

    def sql_write(self, table: str, key: str, values: Row) -> bool:
        """Insert or update a row with plain SQL; False: it has no parent."""
        server = self.server
        if self.schema.orphaned(server.rows, table, values):
            return False
        held = server.held(table, key)
        server.rows[table][key] = (values, self._new(), server.take_clock(), "sql")
        server.tombstones[table].pop(key, None)
        self._on_change("sql", table, key, held and (held[0] or held[3]), values)
        return True

    def sql_delete(self, table: str, key: str) -> bool:
        """Delete a row with all that refers to it, with plain SQL; False: there is none."""
        server = self.server
        if key not in server.rows[table]:
            return False
        for child in server.children_of(table, key):
            self.sql_delete(*child)
        row, tag = server.rows[table].pop(key)[0], self._tag()
        server.tombstones[table][key] = (None, self._new(), server.take_clock(), tag)
        server.archive.append((table, key, "deleted by SQL", row, None))
        self._on_change("sql", table, key, row, tag)
        return True

    def sql_rekey(self, table: str, old: str, new: str, values: Row) -> bool:
        """Change a key with plain SQL; False: the new one is taken, or the old referred to."""
        rows = self.server.rows[table]
        if old not in rows or new in rows or self.server.children_of(table, old):
            return False
        return self.sql_write(table, new, values) and self.sql_delete(table, old)

    def purge(self, horizon: int) -> None:
        """Forget the tombstones up to a number."""
        server = self.server
        server.horizon = max(server.horizon, min(horizon, server.hi))
        for table, tombstones in server.tombstones.items():
            kept = {key: held for key, held in tombstones.items() if held[2] > server.horizon}
            server.tombstones[table] = kept

    def restore_server(self, backup: Server) -> None:
        """Put an older copy of the server in its place; every connection breaks."""
        for name in list(self.running):
            self.kill(name)
        self.in_flight.clear()
        self.server = backup.copy()

    def empty_server(self) -> None:
        """Begin with a server that knows nobody."""
        self.restore_server(Server(self.schema, self.on, self._new))

    def deliver(self, number: int = 0) -> None:
        """Let a batch arrive whose client has given it up."""
        with contextlib.suppress(Stopped, Refused):
            self.in_flight.pop(number)()

    # -- syncs -------------------------------------------------------------------------------

    def sync(
        self,
        name: str,
        direction: str = "push",
        *,
        tables: Iterable[str] | None = None,
        rows: int = 2,
        die_at: int | None = None,
    ) -> list[str]:
        """Sync a file from beginning to end, or until it dies.

        :param direction: ``push``, ``pull`` or ``both``.
        :param tables: those to sync; None: all.
        :param rows: in a batch.
        :param die_at: after how many steps, from 1.
        :return: the steps that were taken.
        :raises IdentityMismatch: the server has forgotten the file, or is another one.
        """
        self.start(name, direction, tables=tables, rows=rows)
        taken: list[str] = []
        while name in self.running:
            step = self.step(name)
            if step is not None:
                taken.append(step)
                if len(taken) == die_at:
                    self.kill(name)
        return taken

    def start(
        self,
        name: str,
        direction: str = "push",
        *,
        tables: Iterable[str] | None = None,
        rows: int = 2,
        eager: bool = False,
    ) -> bool:
        """Begin a sync; False: one of this file is running.

        :param eager: the next batch is committed before the one before it is acknowledged.
        """
        if name in self.running:
            return False
        scope = tuple(t for t in self.schema.tables if tables is None or t in tables)
        self.running[name] = self._sync(self.files[name], direction, scope, rows, eager)
        return True

    def step(self, name: str) -> str | None:
        """Go on with a file's sync to its next step; None: it has ended.

        :raises IdentityMismatch: the server has forgotten the file, or is another one.
        """
        try:
            return str(next(self.running[name]))
        except StopIteration:
            del self.running[name]
        except Stopped as stopped:
            del self.running[name]
            if isinstance(stopped, IdentityMismatch):
                raise
        return None

    def kill(self, name: str, *, late: bool = False) -> None:
        """Let a file's sync die where it is.

        :param late: what it was about to send is on its way, and may arrive yet.
        """
        if name in self.running:
            self.running.pop(name).close()
        push = self._pushes.pop(name, None)
        if push and push.message and late:
            self.in_flight.append(push.message)

    def _sync(
        self, file: File, direction: str, scope: tuple[str, ...], rows: int, eager: bool
    ) -> Steps:
        file.capture(suspect=self.on["suspect"])
        yield "captured"
        server, on, new = self.server, self.on, self._new
        fence = Fence(file, server, on, new)
        yield from fence.steps()
        for case in fence.cases:
            self.cases[case] = self.cases.get(case, 0) + 1
        for _ in range(ROUNDS):
            if direction != "pull":
                push = Push(file, server, on, new, scope=scope, rows=rows, eager=eager)
                self._pushes[file.name] = push
                yield from push.steps()
            if direction == "push":
                return
            pull = Pull(file, server, on, scope=scope)
            yield from pull.steps()
            if not pull.logged or direction == "pull":
                return
