"""Taking over what older tools left, beside a straight script that does no more than it must.

The script is the floor: it reads and hashes the same content, parses the same JSON, writes the same
number of rows in one transaction and reads them back; it merges, checks and reports nothing. To add
a kind: write a module with ``RECORDS``, ``FLOOR``, ``generate`` and ``script`` as
:mod:`bench.import_store` has them, and name it in :data:`KINDS`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from dynostore import Store
from dynostore.importer import import_from

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
    options = parser.parse_args(arguments)
    kinds = options.kind or [*KINDS]
    return {"cores": os.cpu_count(), "imports": [_measure(k, options.records) for k in kinds]}


def _measure(kind: str, records: int | None) -> dict[str, Any]:
    module = importlib.import_module(KINDS[kind])
    records = records or module.RECORDS
    with tempfile.TemporaryDirectory(prefix="dynostore-bench-") as name:
        place = Path(name)
        source = module.generate(place, records)
        started_s = time.process_time()
        rows = module.script(source, place / "script.db")
        script_s = time.process_time() - started_s
        with Store.open(place / "store.db") as store:
            # Nobody says the kind: to find it out is a part of the work.
            started_s = time.process_time()
            first = import_from(source, store)
            import_s = time.process_time() - started_s
            again = import_from(source, store)
        is_known = first.kind == kind.partition("-")[0]
        is_whole = first.records.created >= records and again.records.same == first.records.found
        if not (is_known and is_whole):
            raise SystemExit(f"{kind}: the import is wrong: {first.records}, {again.records}")
    return {
        "kind": kind,
        "records": first.records.created,
        "rows": rows,
        "import_s": round(first.seconds, 3),
        "again_s": round(again.seconds, 3),
        "records_per_s": round(first.records.created / first.seconds),
        "rows_per_s": round(rows / first.seconds),
        # Of the processor's time, which what else runs on the machine changes least.
        "import_cpu_s": round(import_s, 3),
        "script_cpu_s": round(script_s, 3),
        "ratio_script": round(script_s / import_s, 3),
        "floor": module.FLOOR,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
