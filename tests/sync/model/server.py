"""The model's server: rows, tombstones, archive, clock, and how it judges a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.sync.model.tables import Held, Line, Refused, Row, Schema, Stopped, Table, Verdict


class Server:
    """The shared server.

    :ivar hi: the greatest number that was committed; ``clock``: that was handed out.
    :ivar nodes: (token, epoch) by node; ``history``: (number, verdicts) by node and token.
    :ivar archive: (table, key, why, row, tag).
    """

    def __init__(self, schema: Schema, on: Mapping[str, bool], new: Callable[[], int]) -> None:
        self.schema = schema
        self.on = on
        self.new = new
        self.rows: dict[str, dict[str, Held]] = {name: {} for name in schema.tables}
        self.tombstones: dict[str, dict[str, Held]] = {name: {} for name in schema.tables}
        self.archive: list[tuple[str, str, str, Row | None, int | None]] = []
        self.clock = self.hi = self.horizon = 0
        self.id, self.incarnation = new(), new()
        self.ancestors: dict[int, int] = {}
        self.nodes: dict[str, tuple[int | None, int]] = {}
        self.history: dict[str, dict[int, tuple[int, dict[str, Verdict]]]] = {}

    def snapshot(self) -> Server:
        """Give the rows and tombstones as they are now."""
        view = Server.__new__(Server)
        view.__dict__.update(self.__dict__)
        view.rows = {name: dict(rows) for name, rows in self.rows.items()}
        view.tombstones = {name: dict(held) for name, held in self.tombstones.items()}
        return view

    def copy(self) -> Server:
        """Give all of it as it is now, as a dump does."""
        dump = self.snapshot()
        dump.archive = list(self.archive)
        dump.ancestors = dict(self.ancestors)
        dump.nodes = dict(self.nodes)
        dump.history = {node: dict(batches) for node, batches in self.history.items()}
        return dump

    def held(self, table: str, key: str) -> Held | None:
        """Give the row or the tombstone of a key."""
        return self.rows[table].get(key) or self.tombstones[table].get(key)

    def children_of(self, table: str, key: str) -> list[tuple[str, str]]:
        """Give (table, key) of the rows that refer to one."""
        return [
            (child, child_key)
            for child, column in self.schema.children[table]
            for child_key, held in self.rows[child].items()
            if (held[0] or {})[column] == key and (child_key != key or child != table)
        ]

    def take_clock(self) -> int:
        """Take a number, in a transaction that commits at once."""
        self.clock += 1
        self.hi = self.clock
        return self.clock

    def raise_clock(self, least: int) -> None:
        """Make every later number greater than one."""
        self.clock = max(self.take_clock(), least)

    def apply(
        self,
        table: Table,
        lines: list[Line],
        *,
        node: str,
        epoch: int,
        old: int | None,
        token: int,
        seq: int | None = None,
    ) -> None:
        """Judge and apply one batch, in one transaction.

        :param seq: a number that was taken before, without the lock.
        :raises Stopped: the node's token or epoch has moved.
        :raises Refused: a row that it cannot hold.
        """
        if self.nodes.get(node) != (old, epoch) and (
            self.on["epoch"] or self.nodes.get(node, (None, 0))[0] != old
        ):
            raise Stopped("the token has moved")
        for number, line in enumerate(lines):
            if line.row is not None and line.row.get("bad") == "there":
                raise Refused(number)
        if seq is None:
            seq = self.take_clock()
        self.hi = max(self.hi, seq)
        self.nodes[node] = (token, epoch)
        if lines[0].row is None:
            verdicts = self._delete(table, lines, node, token, seq)
        elif self._is_fresh(table, lines):
            rows = self.rows[table.name]
            rows.update({line.key: (line.row, token, seq, node) for line in lines})
            verdicts = {}
        else:
            verdicts = self._put(table, lines, node, token, seq)
        self.history.setdefault(node, {})[token] = (seq, verdicts)

    def _is_fresh(self, table: Table, lines: list[Line]) -> bool:
        """Tell whether a plain INSERT, which knows nothing of bases, will do."""
        name = table.name
        keys = {line.key for line in lines}
        for line in lines:
            if line.base is not None or self.held(name, line.key):
                return False
            for column, parent in table.references.items():
                at = (line.row or {})[column]
                if at is None or at in self.rows[parent] or (parent == name and at in keys):
                    continue
                return False
        return True

    def _put(
        self, table: Table, lines: list[Line], node: str, token: int, seq: int
    ) -> dict[str, Verdict]:
        rows, tombstones = self.rows[table.name], self.tombstones[table.name]
        verdicts: dict[str, Verdict] = {}
        for line, verdict in [(line, self._verdict(table, line)) for line in lines]:
            key, row = line.key, line.row
            what = verdict.what
            held = self.held(table.name, key)
            if what in ("insert", "back", "update", "forward"):
                if what == "forward" and held:
                    self._keep(table, key, "replaced by a row of another node", held[0], None)
                elif what == "back" and held:
                    self._keep(table, key, "deletion undone by a later version", None, held[3])
                kept = line.keep and what in ("insert", "forward")
                tombstones.pop(key, None)
                rows[key] = (row, line.base if kept and line.base else token, seq, node)
                if kept:
                    verdicts[key] = Verdict("kept", line.base, seq)
                elif what == "back":
                    verdicts[key] = verdict
                continue
            if what == "merged" and held and held[0] is not None and row is not None:
                merged = self.schema.combined(table.name, held[0], row)
                if merged != held[0]:
                    rows[key] = (merged, token, seq, node)
            elif what in ("lost", "suspect") and self.on["archive"]:
                self._keep(table, key, what, row, None)
            verdicts[key] = verdict
        return verdicts

    def _verdict(self, table: Table, line: Line) -> Verdict:
        name, key, row = table.name, line.key, line.row
        assert row is not None
        held = self.rows[name].get(key)
        buried = self.tombstones[name].get(key)
        if held and held[0] == row:
            what = "same" if held[1] == line.base else "adopted"
        else:
            what = self._verdict_on_news(name, line, row, held, buried)
            asks = what != "suspect" or not self.on["suspects alone"]
            if asks and self.on["along"] and self.schema.orphaned(self.rows, name, row):
                what = "orphan"
        found = held or buried
        return Verdict(
            what, found and found[1], found[2] if found else 0, line.keep, line.row or line.tag
        )

    def _verdict_on_news(
        self, table: str, line: Line, row: Row, held: Held | None, buried: Held | None
    ) -> str:
        """Judge contents that the server does not hold, but for the parents that they need."""
        found = held or buried
        if not found or found[1] == line.base:
            return "update" if held else "insert"
        if self.on["forgot"] and found[2] < line.base_seq:
            return "forward" if held else "insert"
        if held and held[0] and self.on["merge"] and self.schema.merged(table, held[0], row):
            return "merged"
        if line.suspect:
            return "suspect"
        return "lost" if held else "back"

    def _delete(
        self, table: Table, lines: list[Line], node: str, token: int, seq: int
    ) -> dict[str, Verdict]:
        name = table.name
        rows, tombstones = self.rows[name], self.tombstones[name]
        verdicts: dict[str, Verdict] = {}
        judged = [(line, self._verdict_on_deletion(name, line)) for line in lines]
        for line, verdict in judged:
            key = line.key
            if verdict.what == "delete":
                held = rows.pop(key, None)
                if held:
                    self._keep(table, key, "deleted", held[0], None)
                if not self.on["guard"]:
                    for child, child_key in self.children_of(name, key):
                        del self.rows[child][child_key]
                kept = line.keep and line.base is not None
                tombstones[key] = (None, line.base if kept and line.base else token, seq, line.tag)
                if kept:
                    verdicts[key] = Verdict("kept", line.base, seq)
                continue
            if verdict.what in ("lost", "suspect"):
                self._keep(table, key, "deletion lost", None, line.tag)
            verdicts[key] = verdict
        return verdicts

    def _verdict_on_deletion(self, table: str, line: Line) -> Verdict:
        held = self.rows[table].get(line.key)
        buried = self.tombstones[table].get(line.key)
        if not held:
            what = "gone" if buried else "delete" if line.base is not None else "nothing"
        elif held[1] != line.base and not (self.on["forgot"] and held[2] < line.base_seq):
            what = "suspect" if line.suspect else "lost"
        elif self.on["guard"] and self.children_of(table, line.key):
            what = "children"
        else:
            what = "delete"
        found = held or buried
        return Verdict(
            what, found and found[1], found[2] if found else 0, line.keep, line.row or line.tag
        )

    def _keep(self, table: Table, key: str, why: str, row: Row | None, tag: int | None) -> None:
        image = (table.name, key, why, row, tag)
        # A suspect may have to wait, and is judged again by every push until then.
        if why != "suspect" or image not in self.archive:
            self.archive.append(image)
