"""Taking over what older tools left, beside a straight script that does no more than it must.

The script is the floor: it reads and hashes the same content, parses the same JSON, writes the same
number of rows in one transaction and reads them back; it merges, checks and reports nothing. To add
a kind: write a module with ``RECORDS``, ``FLOOR``, ``generate`` and ``script`` as
:mod:`bench.import_store` has them, and name it in :data:`KINDS`.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

KINDS = {
    "dynoai": "bench.import_runs",
    "taskforce": "bench.import_states",
    "ideation": "bench.import_dump",
    "chiffon": "bench.import_tasks",
    "chiffon-files": "bench.import_task_files",
    "haia": "bench.import_talks",
    "haia-files": "bench.import_transcripts",
    "dynostore": "bench.import_store",
}


def run(arguments: list[str]) -> dict[str, Any]:
    """Generate a source of each kind, take it over twice, and give the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench import", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this; repeatable")
    parser.add_argument("--records", type=int, help="records of each kind; else as each has it")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    figures = [_measure(k, options.records, options.rounds) for k in options.kind or KINDS]
    return {"cores": os.cpu_count(), "imports": figures}


def _measure(kind: str, records: int | None, rounds: int) -> dict[str, Any]:
    """Measure both sides in turns, each in a process of its own, as both are run in earnest.

    In one process whoever came later found its memory at hand, which was half of a script's time.
    """
    module = importlib.import_module(KINDS[kind])
    records = records or module.RECORDS
    scripts: list[tuple[int, float]] = []
    imports: list[_Import] = []
    with tempfile.TemporaryDirectory(prefix="dynostore-bench-") as name:
        place = Path(name)
        source = module.generate(place, records)
        for number in range(rounds):
            scripts.append(_alone(_run_script, kind, source, place / f"script-{number}.db"))
            imports.append(_alone(_run_import, kind, source, place / f"store-{number}.db"))
    if any(done.created < records for done in imports):
        raise SystemExit(f"{kind}: the import is wrong: {imports}")
    rows = scripts[0][0]
    median = {
        field.name: statistics.median(getattr(done, field.name) for done in imports)
        for field in dataclasses.fields(_Import)
    }
    script_s = statistics.median(seconds for _, seconds in scripts)
    return {
        "kind": kind,
        "records": imports[0].created,
        "rows": rows,
        "import_s": round(median["seconds"], 3),
        "again_s": round(median["again_s"], 3),
        "records_per_s": round(imports[0].created / median["seconds"]),
        "rows_per_s": round(rows / median["seconds"]),
        # Of the processor's time, which what else runs on the machine changes least.
        "import_cpu_s": round(median["cpu_s"], 3),
        "script_cpu_s": round(script_s, 3),
        "ratio_script": round(script_s / median["cpu_s"], 3),
        "floor": module.FLOOR,
        "peak_mib": round(median["peak_mib"]),
    }


@dataclasses.dataclass(frozen=True)
class _Import:
    """What an import, and the same one again, came to."""

    created: int
    seconds: float
    cpu_s: float
    again_s: float
    peak_mib: float


def _alone(act: Callable[[str, Path, Path], Result], kind: str, source: Path, to: Path) -> Result:
    """Run something in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(act, kind, source, to).result()


def _run_script(kind: str, source: Path, database: Path) -> tuple[int, float]:
    """Give the rows that the script copied, and the seconds of the processor."""
    module = importlib.import_module(KINDS[kind])
    started_s = time.process_time()
    rows = module.script(source, database)
    return rows, time.process_time() - started_s


def _run_import(kind: str, source: Path, database: Path) -> _Import:
    from dynostore import Store
    from dynostore.importer import import_from

    with Store.open(database) as store:
        # Nobody says the kind: to find it out is a part of the work.
        started_s = time.process_time()
        first = import_from(source, store)
        cpu_s = time.process_time() - started_s
        again = import_from(source, store)
    is_known = first.kind == kind.partition("-")[0]
    if not is_known or again.records.same != first.records.found:
        raise SystemExit(f"{kind}: the import is wrong: {first.records}, {again.records}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return _Import(first.records.created, first.seconds, cpu_s, again.seconds, peak_mib)
