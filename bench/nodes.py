"""Several files that sync with one server at once, and few changes among many rows."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.run_files import fill, fill_quickly, run_files
from bench.server import Server

if TYPE_CHECKING:
    from dynostore.sync.exchange import Limits

_RUNS_EACH = 10


def few_among_many(
    directory: Path, server: Server, changed: int, sizes: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Time the push of some changed rows in files of different sizes, in turns."""
    from dynostore import Store
    from dynostore.sync import sync

    urls = {rows: server.database() for rows in sizes}
    times: dict[int, list[float]] = {rows: [] for rows in sizes}
    for rows, url in urls.items():
        fill_quickly(directory / f"{rows}.db", rows)
        with Store.open(directory / f"{rows}.db") as store:
            sync(store, url)
        server.psql(url, "VACUUM ANALYZE")
    server.settle()
    for number in range(rounds):
        for rows, url in urls.items():
            path = directory / f"{rows}.db"
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(
                    "UPDATE run_files SET storage_path = ? WHERE rowid % ? = 0",
                    (f"round {number}", rows // changed),
                )
            with Store.open(path) as store:
                started = time.perf_counter()
                assert sync(store, url).tables[0].sent == changed
                times[rows].append(time.perf_counter() - started)
    few, *_, many = (statistics.median(times[rows]) for rows in sizes)
    return {
        "changed_rows": changed,
        "among": list(sizes),
        "changed_ms": [round(statistics.median(seconds) * 1000, 1) for seconds in times.values()],
        "ratio_changed": round(many / few, 2),
    }


def all_at_once(
    directory: Path, server: Server, nodes: int, rows: int, rounds: int
) -> dict[str, Any]:
    """Compare nodes that push at once with one that pushes as many rows as they all."""
    alone, together = [], []
    ready = _set_up(directory, server)
    for number in range(rounds):
        urls = [server.database(like=ready) for _ in range(2)]
        alone.append(_rows_per_s(directory / f"one-{number}", server, urls[0], 1, nodes * rows))
        together.append(_rows_per_s(directory / f"all-{number}", server, urls[1], nodes, rows))
    one, all_of_them = statistics.median(alone), statistics.median(together)
    return {
        "nodes": nodes,
        "rows_each": rows,
        "one_node_rows_per_s": round(one),
        "nodes_rows_per_s": round(all_of_them),
        "ratio_nodes": round(all_of_them / one, 2),
    }


def growing(
    directory: Path, server: Server, nodes: Sequence[int], cells: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Measure what nodes that push at once do for each other, by the size of their batches.

    Somebody else changes one row after the other meanwhile: what he waits for is the clock.

    :param cells: rows of a batch, and rows that each node pushes.
    """
    from dynostore.sync.exchange import Limits

    figures, ready = [], _set_up(directory, server)
    for batch_rows, rows in cells:
        alone = 0.0
        for count in nodes:
            waits: list[float] = []
            place = directory / f"{batch_rows}-{count}"
            url, limits = server.database(like=ready), Limits(rows=batch_rows)
            speed = _rows_per_s(place, server, url, count, rows, limits, waits)
            alone = alone or speed
            figures.append(
                {
                    "batch_rows": batch_rows,
                    "nodes": count,
                    "rows_per_s": round(speed),
                    "times_one_node": round(speed / alone, 2),
                    "bystander_ms": round(statistics.median(waits) * 1000, 1),
                    "bystander_longest_ms": round(max(waits) * 1000, 1),
                }
            )
    return figures


def _set_up(directory: Path, server: Server) -> str:
    """Give the URL of a database that a first sync has set up."""
    from dynostore import Store
    from dynostore.sync import sync

    url = server.database()
    with Store.open(directory / "set-up.db") as store:
        sync(store, url)
    return url


def _rows_per_s(
    directory: Path,
    server: Server,
    url: str,
    nodes: int,
    rows: int,
    limits: Limits | None = None,
    waits: list[float] | None = None,
) -> float:
    """Let nodes push new rows at once, each a thread with a file of its own.

    :param waits: gets the seconds of a bystander's syncs of one row meanwhile.
    """
    from dynostore import Store
    from dynostore.sync import sync

    directory.mkdir()
    names = [f"node-{number}" for number in range(nodes)]
    with ExitStack() as stack:
        stores = []
        for name in [*names, "bystander"]:
            fill(directory / f"{name}.db", 0, prefix=name, runs=_RUNS_EACH)
            stores.append(stack.enter_context(Store.open(directory / f"{name}.db")))
            sync(stores[-1], url)
        bystander = stores.pop()
        for store, name in zip(stores, names, strict=True):
            store.runs.put_many(run_files(rows, name, _RUNS_EACH))
        server.settle()
        done = threading.Event()

        def stand_by() -> None:
            while waits is not None and not done.is_set():
                bystander.runs.update("bystander-0000", current_stage=str(len(waits)))
                waits.append(sync(bystander, url).seconds)

        pushes = [partial(sync, store, url, limits=limits) for store in stores]
        seconds = _run_at_once(pushes, stand_by, done)
    assert int(server.psql(url, "SELECT count(*) FROM run_files")) == nodes * rows
    return nodes * rows / seconds


def _run_at_once(
    acts: Sequence[Callable[[], object]], beside: Callable[[], None], done: threading.Event
) -> float:
    """Begin all together, and give the seconds to the end of the last.

    :param beside: runs until ``done``, and is not waited for.
    """
    ready = threading.Barrier(len(acts) + 1)

    def run(act: Callable[[], object]) -> None:
        ready.wait()
        act()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    bystander = threading.Thread(target=beside)
    for thread in (*threads, bystander):
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    done.set()
    bystander.join()
    return seconds
