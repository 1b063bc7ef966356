from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynostore.backup import bytes_of
from dynostore.in_use import refuse_database_in_use, refuse_itself
from dynostore.sqlite_header import cut_bytes

FLICKER = """
import os, sys

logs = [sys.argv[1] + suffix for suffix in ("-wal", "-shm", "-journal")]
print("going", flush=True)
while True:
    for log in logs:
        os.close(os.open(log, os.O_CREAT))
    for log in logs:
        os.unlink(log)
"""
CALLS = 3000


def test_logs_may_come_and_go_while_they_are_looked_at(
    tmp_path: Path, start_python: Callable[..., Any]
) -> None:
    store, copy = tmp_path / "s.db", tmp_path / "copy.db"
    for path in (store, copy):
        path.write_bytes(b"-" * 100)
    flicker = start_python(FLICKER, store)
    assert flicker.stdout.readline() == "going\n"
    for _ in range(CALLS):
        refuse_itself(copy, store)
        refuse_database_in_use(store)
        assert bytes_of(store) == 100
        assert cut_bytes(store, announced=101) == 1
    assert flicker.poll() is None
