from __future__ import annotations

import threading
import time
import uuid

from dynostore.ids import NAMESPACE, derived_id, new_id


def test_a_new_id_is_a_uuid7_of_this_moment_in_lower_case() -> None:
    before_ms = time.time_ns() // 1_000_000
    text = new_id()
    found = uuid.UUID(text)
    assert text == str(found)
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    # Up to a second ahead: an id made in the same millisecond takes the next one.
    assert before_ms <= found.int >> 80 <= before_ms + 1000 + 10_000


def test_new_ids_of_one_process_rise() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_new_ids_of_several_threads_differ() -> None:
    made: list[str] = []

    def make() -> None:
        made.extend([new_id() for _ in range(500)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4000


def test_derived_ids_are_file_format_and_never_change() -> None:
    assert str(NAMESPACE) == "7f1d2c52-6d0c-5b6e-9a3e-0d9a54b3c1f7"
    assert derived_id("run_files", "r-1", "output/VE.csv") == "5aefc85e-9143-588b-95d2-538774f1c73c"


def test_derived_ids_differ_by_table_parent_and_key() -> None:
    ids = {
        derived_id(table, parent, key)
        for table in ("run_files", "tasks")
        for parent in ("a", "b", "")
        for key in ("x", "X", "é", "")
    }
    assert len(ids) == 24


def test_a_derived_id_is_the_uuid5_of_a_key_in_the_uuid5_of_its_table_and_parent() -> None:
    for number in range(200):
        table, parent, key = "run_files", f"run-{number % 7}", f"ö{number}.csv"
        space = uuid.uuid5(NAMESPACE, f"{table}\x1f{parent}")
        assert derived_id(table, parent, key) == str(uuid.uuid5(space, key))
