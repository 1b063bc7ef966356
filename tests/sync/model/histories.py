"""Runs scripts on the model, with a judge who accounts for every version that was written.

Every version that a person writes has a number of its own, and the judge knows which versions its
writer had seen. At the end each one is live, or superseded by a writer who had seen it, or
archived; or its only copy was in a file or a server that was thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.sync.model.scripts import SCENARIOS, TABLES, Op, Scenario, script
from tests.sync.model.tables import IdentityMismatch
from tests.sync.model.world import Model

__all__ = ["SCENARIOS", "History", "run", "script", "versions"]

ROUNDS = 8


class History:
    """One script run on the model.

    :ivar seen: by version, those that its writer had seen.
    :ivar writers: by (table, key).
    :ivar sent: deletions of what the server had held.
    :ivar gone: versions whose only copy was thrown away.
    :ivar trace: what happened, for who looks into a violation.
    """

    def __init__(
        self, what: Scenario, ops: Iterable[Op], without: Iterable[str] = (), *, trace: bool = False
    ) -> None:
        self.what = what
        self.ops = ops
        tables = [TABLES[name] for name in what.tables]
        self.model = Model(tables, what.files, without=without, on_change=self._note)
        self.seen: dict[int, frozenset[int]] = {}
        self.places: dict[int, tuple[str, str]] = {}
        self.writers: dict[tuple[str, str], set[str]] = {}
        self.gone: set[int] = set()
        self.sent: set[int] = set()
        self.trace: list[str] | None = [] if trace else None
        # A copy may offer again what it had not sent, and a thrown away file or server takes the
        # knowledge along of what was newer; one file alone knows everything.
        faults = {"clone", "restore", "empty"} | ({"server"} if len(what.files) > 1 else set())
        self._exempt = bool(faults & what.faults)
        self._files: list[Any] = []
        self._servers: list[Any] = []
        self._last = 0
        self._own: dict[str, Callable[..., object]] = {
            "go": self._go,
            "kill": self._kill,
            "touch": self._touch,
            "deliver": self._deliver,
            "purge": self._purge,
            "empty_server": self._empty_server,
            "back up file": lambda name, _: self._files.append(
                (name, self.model.files[name].copy(name))
            ),
            "back up server": lambda *_: self._servers.append(self.model.server.copy()),
            "restore file": self._restore_file,
            "restore server": self._restore_server,
        }
        self.violations: list[str] = []

    def _note(self, who: str, table: str, key: str, before: Any, after: Any) -> None:
        """Account for a version: what its writer saw, it supersedes."""
        old = versions(before)
        seen = old.union(*[self.seen[version] for version in old])
        for version in versions(after) - old:
            self.seen[version] = seen
            self.places[version] = (table, key)
            self._last = max(self._last, version)
        self.writers.setdefault((table, key), set()).add(who)
        if type(after) is int and who != "sql" and key in self.model.files[who].base[table]:
            self.sent.add(after)
        if self.trace is not None:
            self.trace.append(f"    {who}: {table} {key} {before} -> {after}")

    def run(self) -> list[str]:
        """Run the script, then let everybody sync until all is quiet; give what was violated."""
        for op in self.ops:
            if self.trace is not None:
                self.trace.append(" ".join(map(str, op)))
            self._do(op)
        return self._settle() + self.violations + self._judge()

    def _do(self, op: Op) -> None:
        verb, *arguments = op
        model, own = self.model, self._own.get(verb)
        if own:
            own(*arguments)
        elif arguments and arguments[0] == "sql":
            getattr(model, f"sql_{verb}")(*arguments[1:])
        else:
            getattr(model, verb)(*arguments)

    def _kill(self, name: str, late: bool) -> None:
        self.model.kill(name, late=late)

    def _deliver(self, which: float) -> None:
        if self.model.in_flight:
            self.model.deliver(int(which * len(self.model.in_flight)))

    def _empty_server(self) -> None:
        server = self.model.server
        self.model.empty_server()
        self._throw_away(self._on(server))

    def _go(
        self, name: str, direction: str, tables: Any, rows: int, eager: bool, count: int
    ) -> None:
        model = self.model
        model.start(name, direction, tables=tables, rows=rows, eager=eager)
        for _ in range(count):
            try:
                step = model.step(name)
            except IdentityMismatch:
                if {"server", "empty"} & self.what.faults:
                    model.adopt(name)
                    step = "adopts"
                else:
                    raise
            if self.trace is not None:
                self.trace.append(f"    {name}: {step}")
            if step in ("pulled", "acknowledged") and self._orphans(model.files[name]):
                self.violations.append("orphans")
            if name not in model.running:
                break

    def _touch(self, who: str, table: str, key: str, number: int) -> None:
        """Change only what merges."""
        model = self.model
        if who == "sql":
            held = model.server.rows[table].get(key)
            row = held and held[0]
        else:
            row = model.files[who].rows[table].get(key)
        if row:
            new = {**row, "high": max(row["high"], number), "low": min(row["low"], -number)}
            new["tags"] = row["tags"] | {number}
            if who == "sql":
                model.sql_write(table, key, new)
            else:
                model.write(who, table, key, new)

    def _purge(self, share: float) -> None:
        server = self.model.server
        before = self._on(server)
        self.model.purge(server.horizon + int(share * (server.hi - server.horizon)))
        self.gone |= before - self._on(server)

    def _restore_file(self, _: str, which: float) -> None:
        if not self._files:
            return
        name, backup = self._files[int(which * len(self._files))]
        old = self.model.files[name]
        self.model.restore(name, backup)
        lost = {v for rows in old.rows.values() for row in rows.values() for v in versions(row)}
        lost |= {tag for tags in old.deletions.values() for tag in tags.values()}
        lost |= {v for item in old.conflicts for v in versions(item[3])}
        self._throw_away(lost)

    def _restore_server(self, _: str, which: float) -> None:
        if not self._servers:
            return
        server, number = self.model.server, int(which * len(self._servers))
        self.model.restore_server(self._servers[number])
        if len(self.what.files) == 1:  # never to a later backup after an older one
            del self._servers[number + 1 :]
        self._throw_away(self._on(server))

    def _on(self, server: Any) -> set[int]:
        found: set[int] = set()
        for held in (*server.rows.values(), *server.tombstones.values()):
            for item in held.values():
                found |= versions(item[0] or item[3])
        for item in server.archive:
            found |= versions(item[3] or item[4])
        return found

    def _throw_away(self, lost: Iterable[int]) -> None:
        kept = self._on(self.model.server)
        for file in self.model.files.values():
            for rows in file.rows.values():
                for row in rows.values():
                    kept |= versions(row)
        self.gone.update(version for version in lost if version not in kept)

    def _settle(self) -> list[str]:
        """Let everybody sync both ways, with the rejects mended, until nothing moves any more."""
        model = self.model
        for name in list(model.running):
            model.kill(name)
        while model.in_flight:
            model.deliver()
        for number in range(ROUNDS):
            for name in model.files:
                if number in (1, 3):
                    self._mend(name)
                if self.trace is not None:
                    self.trace.append(f"{name} settles")
                before = None
                if number == ROUNDS - 1:
                    before = (model.server.hi, dict(model.server.nodes))
                self._go(name, "both", None, 2, False, 1000)
                if name in model.running:
                    return ["stuck"]
                if before and before != (model.server.hi, model.server.nodes):
                    return ["restless"]
        return []

    def _mend(self, name: str) -> None:
        file = self.model.files[name]
        for table, key in list(file.rejects):
            row = file.rows[table].get(key)
            if row is None:
                file.note(table, key, "p")
            elif "bad" in row:
                self._last += 1
                whole = {k: v for k, v in row.items() if k != "bad"}
                self.model.write(name, table, key, {**whole, "value": self._last})
            else:
                file.note(table, key, "p")

    # -- the judge -----------------------------------------------------------------------------

    def _judge(self) -> list[str]:
        found = []
        state = self.model.state()
        server = state.pop("server")
        if any(rows != server for rows in state.values()):
            found.append("diverged")
        for file in self.model.files.values():
            if any(table for _, table, _, _ in file.log) or file.rejects or file.pending:
                found.append("unsettled")
        live = {
            version
            for rows in server.values()
            for row in rows.values()
            for version in versions(row)
        }
        found += self._unaccounted(live, server)
        if not self._exempt:
            found += self._false_conflicts()
        for row in server.get("tallies", {}).values():
            if row["high"] != max(row["tags"]) or row["low"] != -max(row["tags"]):
                found.append("merged wrongly")
        return found

    def _orphans(self, file: Any) -> bool:
        return any(
            self.model.schema.orphaned(file.rows, table, row)
            for table, rows in file.rows.items()
            if self.model.schema.tables[table].references
            for row in rows.values()
        )

    def _unaccounted(self, live: set[int], server: Any) -> list[str]:
        """Find versions that are not live, not seen by a later writer, and not archived."""
        found = []
        archived = {v for item in self.model.server.archive for v in versions(item[3] or item[4])}
        listed = {
            v
            for file in self.model.files.values()
            for item in file.conflicts
            for v in versions(item[3])
        }
        told = archived | listed
        if {"server", "empty"} & self.what.faults:  # whose archive may have been thrown away
            archived |= listed
        superseded: set[int] = set().union(*self.seen.values())
        for version, seen in self.seen.items():
            if version in superseded or version in self.gone or version in live:
                continue
            table, key = self.places[version]
            row = server[table].get(key)
            if version > 0 and version not in archived:
                found.append("lost")
            if row is None or self._exempt or self._undone(table, key, told):
                continue
            if versions(row) <= seen:
                found.append("stale" if version > 0 else "resurrected")
            if version in self.sent:
                known = {v for live in versions(row) for v in self.seen[live] if v < 0}
                if not known:
                    found.append("untold")
        return found

    def _undone(self, table: str, key: str, told: set[int]) -> bool:
        """Tell whether a deletion of a key was undone, and that was said."""
        return any(v < 0 and self.places.get(v) == (table, key) for v in told | self.gone)

    def _false_conflicts(self) -> list[str]:
        """Find conflicts on keys that only one person ever wrote."""
        found = []
        for file in self.model.files.values():
            for table, key, why, mine in file.conflicts:
                who = set(self.writers.get((table, key), ()))
                for name in self._below(table):
                    for cell, others in self.writers.items():
                        if cell[0] == name:
                            who |= others
                merging = (
                    table == "tallies"
                    and why == "lost"
                    and type(mine) is dict
                    and not mine["value"]
                )
                if len(who) < 2 or merging:
                    found.append(f"false conflict: {why}")
        return found

    def _below(self, table: str) -> set[str]:
        """Give the tables whose rows depend on a table's."""
        found: set[str] = set()
        for child, _ in self.model.schema.children[table]:
            found |= {child} if child == table else {child} | self._below(child)
        return found


def versions(value: Any) -> frozenset[int]:
    """Give the versions that a row, the tag of a deletion, or nothing stands for."""
    if value is None:
        return frozenset()
    if type(value) is int:
        return frozenset((value,))
    tags: frozenset[int] = value.get("tags", frozenset())
    return tags | {value["value"]} if value["value"] else tags


def run(
    seed: int, what: Scenario, without: Iterable[str] = (), *, trace: bool = False
) -> tuple[list[str], History]:
    """Run one history; give what was violated."""
    history = History(what, script(seed, what), without, trace=trace)
    return history.run(), history
