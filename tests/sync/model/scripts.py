"""Random scripts for the model: lists of plain tuples, made before anything runs."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from tests.sync.model.tables import Table

_TABLES = (
    Table("shelves"),
    Table("boxes", {"parent": "shelves"}),
    Table("items", {"parent": "boxes"}),
    Table("notes"),
    Table("tallies", {}, {"high": "max", "low": "min", "tags": "union"}),
    Table("folders", {"parent": "folders"}),
)
TABLES = {table.name: table for table in _TABLES}
KEYS = {
    "shelves": ("s0", "s1"),
    "boxes": ("b0", "b1"),
    "items": ("i0", "i1", "i2"),
    "notes": ("n0", "n1", "n2", "n3"),
    "tallies": ("t0", "t1"),
    "folders": ("f0", "f1", "f2", "f3"),
}
FILES = ("one", "two", "three")

Op = tuple[Any, ...]
"""A method of Model and its arguments; or one of History's own."""


class Scenario(NamedTuple):
    """What may happen in a history.

    :ivar tables: that people write.
    :ivar faults: of clone, restore, server, empty, purge, late, sql, rejects, rebuild, filter.
    :ivar files: how many there are at first.
    :ivar heat: how often faults happen, in hundredths of all that does.
    """

    name: str
    tables: tuple[str, ...]
    faults: frozenset[str]
    files: tuple[str, ...]
    heat: int


def scenario(name: str, tables: str, faults: str = "", files: int = 3, heat: int = 9) -> Scenario:
    """Make a scenario of words."""
    return Scenario(name, tuple(tables.split()), frozenset(faults.split()), FILES[:files], heat)


SCENARIOS = {
    each.name: each
    for each in (
        scenario("plain rows", "notes"),
        scenario("late batches", "notes", "late"),
        scenario("plain SQL", "notes", "sql late"),
        scenario("rejects", "notes", "sql rejects"),
        scenario("merges", "tallies", "late sql"),
        scenario("families", "shelves boxes items"),
        scenario("families and SQL", "shelves boxes items notes", "sql late"),
        scenario("families and rejects", "shelves boxes items", "sql rejects late"),
        scenario("self references", "folders", "sql late"),
        scenario("purges", "notes", "sql purge"),
        scenario("purged families", "shelves boxes items", "sql purge"),
        scenario("some tables", "shelves boxes items", "sql filter", 2),
        scenario("rebuilt tables", "shelves boxes notes", "sql rebuild"),
        scenario("copied files", "shelves boxes notes", "clone late"),
        scenario("restored files", "shelves boxes notes", "restore late"),
        scenario("restored servers", "notes", "server sql late"),
        scenario("one file and restored servers", "notes", "server", 1, 15),
        scenario("servers restored again and again", "notes", "server sql", 2, 25),
        scenario("copies and restored servers", "notes", "clone restore server sql", 2, 25),
        scenario("restored servers, purged", "notes", "server purge"),
        scenario("restored servers of families", "shelves boxes items", "server sql"),
        scenario("emptied servers", "shelves boxes notes", "empty"),
        scenario(
            "everything",
            "shelves boxes notes tallies folders",
            "clone restore server purge late sql rejects rebuild filter",
        ),
    )
}


def script(seed: int, what: Scenario, steps: int = 90) -> list[Op]:
    """Make a random history; the same for the same seed."""
    return _Author(seed, what).write(steps)


class _Author:
    """Writes one script.

    :ivar owner: the only person who writes a cell, so that no conflict on it is a real one; None:
        everybody does.
    """

    def __init__(self, seed: int, what: Scenario) -> None:
        dice = self.dice = random.Random(seed)
        self.what = what
        self.cells = [(table, key) for table in what.tables for key in KEYS[table]]
        writers = (None, None, *what.files, *(("sql",) if "sql" in what.faults else ()))
        self.owner = {cell: dice.choice(writers) for cell in self.cells}
        both = ("both", "push", "pull")
        self.directions = dice.choice((("both",), both, both))
        self.push_only = dice.choice((*what.files, "", "", ""))
        self.only_merging = dice.random() < 0.5
        self.files = list(what.files)
        self.ops: list[Op] = []

    def write(self, steps: int) -> list[Op]:
        dice, faults = self.dice, self.what.faults
        cold = 1 - self.what.heat / 100
        for number in range(1, steps + 1):
            name, move = dice.choice(self.files), dice.random()
            if move > cold:
                self._fault(name)
            elif move < 0.46 * cold:
                self._change(name, number)
            elif move < 0.88 * cold:
                self._go(name)
            elif move < 0.93 * cold:
                self.ops.append(("kill", name, "late" in faults and dice.random() < 0.5))
            elif move < 0.98 * cold and "sql" in faults:
                self._change("sql", number)
            elif "late" in faults:
                self.ops.append(("deliver", dice.random()))
        return self.ops

    def _change(self, who: str, number: int) -> None:
        dice = self.dice
        table, key = dice.choice(self.cells)
        if self.owner[table, key] not in (None, who):
            return
        kind = dice.random()
        if kind < 0.72:
            if table == "tallies" and dice.random() < 0.7:
                self.ops.append(("touch", who, table, key, number))
            else:
                self.ops.append(("write", who, table, key, self._values(table, key, number)))
        elif kind < 0.90:
            self.ops.append(("delete", who, table, key))
        elif kind < 0.95:
            new = dice.choice(KEYS[table])
            if self.owner[table, new] == self.owner[table, key]:
                values = self._values(table, new, number)
                self.ops.append(("rekey", who, table, key, new, values))
        elif who != "sql":
            self.ops.append(("replace", who, table, key, self._values(table, key, number)))

    def _values(self, table: str, key: str, number: int) -> dict[str, Any]:
        dice = self.dice
        row: dict[str, Any] = {"value": number}
        for parent in TABLES[table].references.values():
            row["parent"] = dice.choice(KEYS[parent])
            if parent == table:  # only to one of lesser name: no circles
                lesser = [other for other in KEYS[table] if other < key]
                row["parent"] = dice.choice((None, *lesser))
        if table == "tallies":
            row["value"] = 0 if self.only_merging else number
            row |= {"high": number, "low": -number, "tags": frozenset((number,))}
        if "rejects" in self.what.faults and dice.random() < 0.15:
            row["bad"] = dice.choice(("here", "there"))
        return row

    def _go(self, name: str) -> None:
        dice = self.dice
        direction = "push" if name == self.push_only else dice.choice(self.directions)
        tables = None
        if "filter" in self.what.faults and dice.random() < 0.6:
            tables = tuple(t for t in self.what.tables if dice.random() < 0.6) or None
        steps = 99 if dice.random() < 0.35 else dice.randint(1, 14)
        rows = dice.choice((1, 2, 9))
        self.ops.append(("go", name, direction, tables, rows, dice.random() < 0.5, steps))

    def _fault(self, name: str) -> None:
        dice, ops = self.dice, self.ops
        kind = dice.choice(sorted(self.what.faults | {"none"}))
        if kind == "clone" and len(self.files) < 6:
            self.files.append(f"copy-{len(self.files)}")
            ops.append(("copy", name, self.files[-1]))
        elif kind in ("restore", "server"):
            verb = dice.choice(("back up", "restore"))
            ops.append((f"{verb} {'file' if kind == 'restore' else 'server'}", name, dice.random()))
        elif kind == "empty" and dice.random() < 0.3:
            ops.append(("empty_server",))
        elif kind == "purge":
            ops.append(("purge", dice.random()))
        elif kind == "rebuild":
            ops.append(("rebuild", name, dice.choice(self.what.tables)))
