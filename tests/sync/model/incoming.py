"""The server's rows written into the model's file, with the parents that they need."""

from __future__ import annotations

from collections.abc import Mapping

from tests.sync.model.file import File
from tests.sync.model.server import Server
from tests.sync.model.tables import PUT, SUSPECT, Held, Row


class Incoming:
    """What the server held at one moment, written into the file in one transaction.

    :ivar server: that moment.
    :ivar logged: rows were logged, for the server to judge.
    :ivar kept: (table, key) of rows that a child kept from going with their tombstone.
    :ivar withdrawn: how many deletions were undone for the sake of a child.
    """

    def __init__(
        self, file: File, server: Server, on: Mapping[str, bool], *, limit: int | None = None
    ) -> None:
        self._file = file
        self.server = server
        self._on = on
        self._limit = limit
        self.logged = False
        self.kept: set[tuple[str, str]] = set()
        self.withdrawn = 0

    def is_dirty(self, table: str, key: str) -> bool:
        """Tell whether a key waits for push to judge it."""
        if self._on["rejects"] and (table, key) in self._file.rejects:
            return True
        return self._on["dirty"] and self._file.is_logged(table, key)

    def take_what_is_held(self, table: str, key: str) -> bool:
        """Make the file hold what the server holds under a key.

        :return: False: that is too new, or nothing is left of it; nothing was done.
        """
        held = self.server.held(table, key)
        if held is None or not self._is_within_limit(table, held):
            return False
        self.take(table, key, held)
        return True

    def _is_within_limit(self, table: str, held: Held) -> bool:
        if self._limit is None:
            return True
        if held[2] > self._limit:
            return False
        return all(self._is_within_limit(*parent[::2]) for parent in self._missing(table, held[0]))

    def _missing(self, table: str, row: Row | None) -> list[tuple[str, str, Held]]:
        """Give (table, key, held) of the parents of a row that are not here."""
        found = []
        if row is not None:
            for column, parent in self._file.schema.tables[table].references.items():
                at = row[column]
                if at is not None and at not in self._file.rows[parent]:
                    found.append((parent, at, self.server.rows[parent][at]))
        return found

    def take(self, table: str, key: str, held: Held) -> None:
        """Make the file hold a row or a tombstone, and remember it as the base.

        A row brings the parents that are missing here. With a tombstone go the children that nobody
        changed here; where one was changed the row is logged instead, and push judges both.
        """
        file = self._file
        row, revision, seq, tag = held
        if row is None:
            if not self._clear_children(table, key):
                # Not as a change: its child brings it back when that is one.
                self._log(table, key, SUSPECT if self._on["clean parent"] else PUT)
                self.kept.add((table, key))
                return
            file.rows[table].pop(key, None)
            file.deletions[table][key] = tag
        else:
            self._bring_parents(table, row)
            if not self._on["upsert"]:
                for child, child_key in file.children_of(table, key):
                    del file.rows[child][child_key]
            file.rows[table][key] = row
        file.base[table][key] = (revision, seq)

    def _log(self, table: str, key: str, op: str) -> None:
        self._file.note(table, key, op)
        self.logged = True

    def _clear_children(self, table: str, key: str) -> bool:
        """Let the children go along that nobody changed here; False: one was changed."""
        file = self._file
        children = file.children_of(table, key)
        if not self._on["children"]:
            for child, child_key in children:
                file.rows[child].pop(child_key, None)
            return True
        if children and not self._on["children along"]:
            return False
        if any(self.is_dirty(*child) for child in children):
            return False
        for child, child_key in children:
            held = self.server.held(child, child_key)
            if held:
                self.take(child, child_key, held)
            elif self._clear_children(child, child_key):
                del file.rows[child][child_key]
                file.base[child].pop(child_key, None)
            else:
                self._log(child, child_key, PUT)
        return not file.children_of(table, key)

    def _bring_parents(self, table: str, row: Row) -> None:
        if not self._on["parents"]:
            return
        for parent, at, held in self._missing(table, row):
            if self._on["recursion"]:
                self._bring_parents(parent, held[0] or {})
            self._file.rows[parent][at] = held[0] or {}
            self._file.base[parent][at] = held[1:3]
            if self._file.is_logged(parent, at):
                tag = self._file.deletions[parent].get(at)
                self._file.list_conflict(parent, at, "parent", tag)
                if self._on["withdrawn"]:
                    self._log(parent, at, PUT)
                    self.withdrawn += 1
