"""Whoever writes to the file, and whenever: what changed is sent, and nothing else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import pytest

WRITER = """
import sqlite3, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
c = sqlite3.connect(path, isolation_level=None, timeout=60)
c.execute("PRAGMA foreign_keys = ON")
for n in range(count):
    c.execute("BEGIN IMMEDIATE")
    c.execute(
        "INSERT INTO runs (id, status, source, created_at, updated_at) VALUES (?, 'pending', ?,"
        " '2024-01-01T00:00:00.000000+00:00', '2024-01-01T00:00:00.000000+00:00')",
        (f"{name}-{n}", name),
    )
    if n % 3 == 0:
        c.execute("UPDATE runs SET current_stage = current_stage || '+' WHERE id = 'shared'")
        c.execute("UPDATE runs SET current_stage = ? WHERE id = ?", (str(n), f"{name}-{n // 2}"))
    if n % 5 == 4:
        c.execute("DELETE FROM runs WHERE id = ?", (f"{name}-{n - 2}",))
    c.execute("COMMIT")
c.close()
"""


@pytest.fixture
def synced(node: Any) -> Any:
    """Give a file with some runs and files, in sync."""
    node.fill(["a", "b", "c"], files=2)
    node.sync()
    return node


CHANGES = {
    "an insert": "INSERT INTO runs SELECT 'new', status, source, created_at, updated_at,"
    " jetstream_id, current_stage, progress_percent, results_summary, error_info, input_filename,"
    " config_snapshot, metadata FROM runs WHERE id = 'a'",
    "an update": "UPDATE runs SET source = 'changed' WHERE id = 'a'",
    "an update of all": "UPDATE run_files SET size_bytes = size_bytes + 1",
    "a deletion with its children": "DELETE FROM runs WHERE id = 'a'",
    "a deletion of children": "DELETE FROM run_files WHERE run_id = 'b'",
    "a deletion of all": "DELETE FROM runs",
    "a replacement of a child": "REPLACE INTO run_files SELECT id, run_id, 'replaced', file_type,"
    " 5, sha256, storage_path, created_at, metadata FROM run_files WHERE run_id = 'a'",
    "a replacement of a parent, which deletes its children": "REPLACE INTO runs SELECT id, status,"
    " 'replaced', created_at, updated_at, jetstream_id, current_stage, progress_percent,"
    " results_summary, error_info, input_filename, config_snapshot, metadata FROM runs"
    " WHERE id = 'a'",
    "a changed key": "UPDATE run_files SET id = '00000000-0000-7000-8000-000000000001'"
    " WHERE run_id = 'a' AND filename = 'output/0.csv'",
    "a key that takes another's place": "UPDATE OR REPLACE run_files SET id = (SELECT id FROM"
    " run_files WHERE run_id = 'b' LIMIT 1) WHERE run_id = 'a' AND filename = 'output/0.csv'",
    "an upsert": "INSERT INTO runs SELECT * FROM runs WHERE true"
    " ON CONFLICT (id) DO UPDATE SET source = 'upserted'",
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("recursive", [False, True], ids=["", "recursive triggers"])
def test_what_plain_sql_changes_is_sent(
    name: str, recursive: bool, synced: Any, check: Any
) -> None:
    with closing(sqlite3.connect(synced.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA recursive_triggers = {int(recursive)}")
        connection.execute(CHANGES[name])
    assert synced.sync().exit_code == 0
    check.all(synced)
    assert synced.sync().up_to_date


def test_what_is_rolled_back_is_not_sent(synced: Any, remote: Any) -> None:
    def fail() -> None:
        with synced.store.transaction():
            synced.fill(["x"])
            synced.store.runs.delete("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    before = remote.state()
    assert synced.sync().up_to_date
    assert remote.state() == before


def test_the_users_own_triggers_are_captured_too(synced: Any, check: Any) -> None:
    synced.sql(
        "CREATE TRIGGER own AFTER UPDATE OF status ON runs BEGIN"
        " UPDATE run_files SET metadata = '1' WHERE run_id = NEW.id; END"
    )
    synced.store.runs.set_status("a", "complete")
    assert synced.sync().exit_code == 0
    check.all(synced)


@pytest.mark.parametrize("rows", [5, 1000])
def test_eight_processes_write_while_it_is_pushed(rows: int, synced: Any, check: Any) -> None:
    synced.fill(["shared"], current_stage="")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(synced.path), f"w{n}", "30"])
        for n in range(8)
    ]
    codes = []
    while any(writer.poll() is None for writer in writers):
        codes.append(synced.sync(rows=rows).exit_code)
    assert [writer.wait() for writer in writers] == [0] * 8
    assert (synced.rejects(), synced.conflicts()) == ({}, [])
    assert set(codes) == {0}
    assert synced.sync(rows=rows).exit_code == 0
    check.all(synced)
    assert synced.store.runs.get("shared").current_stage == "+" * 80


def test_eight_threads_write_through_one_store_while_it_is_pushed(synced: Any, check: Any) -> None:
    failures: list[Exception] = []

    def write(name: str) -> None:
        try:
            for number in range(15):
                key = f"{name}-{number}"
                synced.store.runs.create(run_id=key)
                synced.store.runs.add_file(key, "x.csv")
                synced.store.runs.update("a", current_stage=key)
                if number % 4 == 3:
                    synced.store.runs.delete(f"{name}-{number - 1}")
        except Exception as exc:  # raised again below
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert synced.sync(rows=7).exit_code == 0
    for thread in threads:
        thread.join()
    assert failures == []
    assert synced.sync().exit_code == 0
    check.all(synced)


def test_a_row_changed_while_it_is_sent_keeps_its_newest_value(
    synced: Any, remote: Any, check: Any
) -> None:
    synced.fill([f"n{i}" for i in range(9)], files=1)
    synced.sql("UPDATE runs SET source = 'first'")
    calls: list[int] = []

    def change(*_: Any) -> None:
        calls.append(len(calls))
        synced.sql("UPDATE runs SET source = ?", (f"change {len(calls)}",))
        if len(calls) == 2:
            synced.store.runs.delete("n0")
            synced.store.runs.delete("n8")
            synced.store.runs.delete("b")
        if len(calls) == 3:
            synced.fill(["n0", "b"], files=2, source="made again")

    assert synced.sync(rows=2, progress=change).exit_code == 0
    assert len(calls) > 4
    assert synced.sync(rows=2).exit_code == 0
    check.all(synced)


def test_applying_is_never_left_on(make_node: Any, check: Any) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="one")
    two.fill(["a"], source="two")
    one.sync()
    assert two.sync().exit_code == 3  # the server's row was written here
    for node in (one, two):
        assert node.identity()[4] == 0
    two.store.runs.update("a", source="captured")
    assert two.logged() == [("runs", "a", "p")]


def test_capture_goes_on_when_the_sync_s_own_row_is_gone(synced: Any) -> None:
    synced.sql("DELETE FROM sync_meta")
    synced.store.runs.update("a", source="changed")
    assert ("runs", "a", "p") in synced.logged()


@pytest.mark.parametrize("event", ["insert", "update", "delete", "rekey"])
def test_triggers_that_somebody_dropped_are_made_again_and_what_they_missed_is_sent(
    event: str, synced: Any, check: Any
) -> None:
    before = synced.remote.stamps()
    synced.sql(f"DROP TRIGGER dynostore_capture_runs_{event}")
    synced.sql("UPDATE runs SET source = 'unseen' WHERE id = 'a'")
    synced.sql("DELETE FROM runs WHERE id = 'b'")
    synced.fill(["unseen"])
    report = synced.sync()
    assert report.exit_code == 0
    check.all(synced)
    after = synced.remote.stamps()
    assert after["runs", "c"] == before["runs", "c"], "an unchanged row was written again"
    synced.store.runs.update("c", source="seen")
    synced.sync()
    check.all(synced)


def test_triggers_of_another_wording_are_replaced(synced: Any, check: Any) -> None:
    synced.sql("DROP TRIGGER dynostore_capture_runs_update")
    synced.sql(
        "CREATE TRIGGER dynostore_capture_runs_update AFTER UPDATE ON runs BEGIN SELECT 1; END"
    )
    synced.store.runs.update("a", source="unseen")
    assert synced.sync().exit_code == 0
    check.all(synced)


def test_a_table_that_somebody_rebuilt_is_noticed(synced: Any, check: Any) -> None:
    [(schema,)] = synced.sql("SELECT sql FROM sqlite_master WHERE name = 'run_files'")
    with closing(sqlite3.connect(synced.path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA foreign_keys = OFF; BEGIN;"
            f"{schema.replace('run_files', 'rebuilt', 1)};"
            " INSERT INTO rebuilt SELECT * FROM run_files WHERE run_id <> 'a';"
            " DROP TABLE run_files; ALTER TABLE rebuilt RENAME TO run_files; COMMIT;"
        )
    synced.store.runs.add_file("b", "unseen.csv")
    before = synced.remote.stamps()
    assert synced.sync().exit_code == 0
    check.all(synced)
    after = synced.remote.stamps()
    kept = {key for key, (rev, _) in before.items() if after[key][0] == rev}
    assert len(kept) == len(before) - 2
    synced.store.runs.add_file("c", "seen.csv")
    synced.sync()
    check.all(synced)


def test_a_vacuum_changes_nothing(synced: Any, check: Any) -> None:
    synced.fill(["d"])
    synced.sql("VACUUM")
    assert synced.sync().exit_code == 0
    synced.sql("VACUUM")
    assert synced.sync().up_to_date
    check.all(synced)


def test_a_change_never_gets_a_number_that_an_earlier_push_has_used(
    synced: Any, doomed: Any, remote: Any, check: Any
) -> None:
    for round_number in range(3):
        marker = synced.sql("SELECT marker FROM sync_meta")[0][0]
        assert synced.sql("SELECT seq FROM sync_log") == [(marker,)]
        synced.store.runs.update("a", current_stage=str(round_number))
        assert synced.sql("SELECT min(seq) FROM sync_log WHERE tbl NOT NULL")[0][0] > marker
        synced.sync()
    check.all(synced)


def test_what_is_about_this_machine_does_not_replicate(node: Any, remote: Any) -> None:
    node.fill(["a"])
    node.sync()
    node.sql(
        "INSERT INTO imports (id, kind, source_path, status, imported_at)"
        " VALUES ('x', 'k', '/p', 's', 't')"
    )
    assert node.sync().up_to_date
    assert remote.count("imports") == 0
