"""One comparison of some tables: all rows in bulk, then what seems to differ, key by key."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dynostore.sync.exchange import Progress
from dynostore.sync.tables import Column, Table
from dynostore.sync.verify.judge import Difference, Horizons, Sighting, judge
from dynostore.sync.verify.lines import Line, aligned, differing, odd_ones, summed
from dynostore.sync.verify.pages import Peculiar
from dynostore.sync.verify.repair import Repairs
from dynostore.sync.verify.sides import Here, There, compared

_SECOND_LOOK_ROWS = 200  # whole rows of both sides, which may be long


@dataclasses.dataclass
class TableCheck:
    """What was found in one table; rows.

    :ivar rows: rows of the file, and rows that only the server has.
    :ivar unsent: wait to be sent; ``set_aside`` are rejects; ``behind`` come with the next pull.
    """

    name: str
    rows: int = 0
    unsent: int = 0
    set_aside: int = 0
    behind: int = 0
    differences: int = 0


class Look:
    """Compares some tables once.

    :ivar checks: what was found, by table, parents first.
    :ivar found: the first differences, by table and key.
    :ivar repairs: what would settle all of them.
    """

    def __init__(
        self,
        here: Here,
        there: There,
        scope: Sequence[Table],
        *,
        deep: bool,
        limit: int,
        progress: Progress | None,
    ) -> None:
        self._here = here
        self._there = there
        self._scope = scope
        self._deep = deep
        self._limit = limit
        self._progress = progress
        self._cursors = here.cursors()
        self.checks = {table.name: TableCheck(table.name) for table in scope}
        self.found: list[Difference] = []
        self.repairs = Repairs()

    def run(self, delay_s: float) -> None:
        """Compare all tables; read what seems to differ again after a delay."""
        with self._here.view(), self._there.view():
            for table in self._scope:
                self._compare_rows(table)
                self._compare_graves(table)
        suspected = [t for t in self._scope if next(self._here.suspects(t, 1), None)]
        if not suspected:
            return
        time.sleep(delay_s)
        with self._here.view(), self._there.view():
            for table in suspected:
                for keys in self._here.suspects(table, _SECOND_LOOK_ROWS):
                    self._look_again(table, keys)

    def _horizons(self, table: Table) -> Horizons:
        return Horizons(self._cursors[table.name], self._there.horizon)

    # -- in bulk -----------------------------------------------------------------------------

    def _compare_rows(self, table: Table) -> None:
        check, horizons = self.checks[table.name], self._horizons(table)
        waiting = self._here.waiting(table)
        check.unsent, check.set_aside = waiting.get("unsent", 0), waiting.get("set aside", 0)
        columns = compared(table, deep=self._deep)
        if not waiting and self._deep and self._sum_is_equal(table, columns):
            columns = ()
        theirs = self._there.rows(table, columns)
        for mine, held in aligned(self._here.rows(table, columns), theirs):
            check.rows += len(mine)
            suspects = []
            for key, here, there in odd_ones(mine, held):
                check.rows += here is None
                if _agree(columns, here, there) or (waiting and self._here.waits(table, key)):
                    continue
                if _is_stale(horizons, here, there):
                    check.behind += 1
                else:
                    suspects.append(key)
            self._here.suspect(table, suspects)
            if self._progress:
                self._progress(table.name, check.rows)

    def _sum_is_equal(self, table: Table, columns: Sequence[Column]) -> bool:
        """Tell whether all rows are equal, whatever their versions; if not, that may mean nothing.

        Read in the order in which they lie, on both sides at once: a fraction of the time that it
        takes along the keys.
        """
        ours = self._here.in_any_order(table, columns)
        try:
            first = next(ours, [])  # most peculiar tables show at once that they are
            with ThreadPoolExecutor(1, "dynostore-verify") as pool:
                theirs = pool.submit(summed, self._there.in_any_order(table, columns))
                return summed(itertools.chain([first], ours)) == theirs.result()
        except Peculiar:
            return False

    def _compare_graves(self, table: Table) -> None:
        """Compare what was deleted."""
        if not self._here.has_graves(table):
            return
        horizons = self._horizons(table)
        ours, theirs = self._here.graves(table), self._there.graves(table)
        for mine, held in aligned(ours, theirs):
            self._here.suspect(
                table,
                [
                    key
                    for key, here, there in odd_ones(mine, held)
                    if here
                    and not (there and here.version[0] == there.version[0])
                    and not self._here.waits(table, key)
                    and (there or (here.version[1] or 0) > horizons.purged)
                ],
            )

    # -- key by key --------------------------------------------------------------------------

    def _look_again(self, table: Table, keys: list[bytes]) -> None:
        check, horizons = self.checks[table.name], self._horizons(table)
        columns = compared(table, deep=True)
        rows, bases = self._here.find(table, keys, columns)
        held, stones = self._there.find(table, keys, columns)
        for key in keys:
            if self._here.waits(table, key):
                continue
            seen = Sighting(rows.get(key), bases.get(key), held.get(key), stones.get(key))
            finding = judge(
                seen, horizons, columns, deep=self._deep, same_json=self._there.same_json
            )
            # What is only there was counted already, as coming with the next pull.
            check.behind += finding.behind - (
                seen.here is None and _is_stale(horizons, None, seen.there)
            )
            if finding.kind is not None:
                check.differences += 1
                self.repairs.add(table, key, finding.kind, seen, self._there.high)
                if not self._limit or len(self.found) < self._limit:
                    shown = key.decode("utf-8", "replace")
                    self.found.append(Difference(table.name, shown, finding.kind, finding.columns))


def _agree(columns: Sequence[Column], here: Line | None, there: Line | None) -> bool:
    """Tell whether two lines that are not the same to the byte say the same."""
    if here is None or there is None or here.version[0] != there.version[0]:
        return False
    return here.version[0] is not None and not differing(columns, here, there)


def _is_stale(horizons: Horizons, here: Line | None, there: Line | None) -> bool:
    """Tell whether the next pull brings the server's row, and that is all there is to it."""
    if there is None or not horizons.is_news(there.version):
        return False
    return here is None or here.version[0] != there.version[0]
