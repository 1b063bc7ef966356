"""``db check``, ``db backup`` and ``db vacuum``: what they find, refuse and gain."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import filelock
import pytest

from dynostore import Store, errors
from dynostore.backup import UNFINISHED, backup_file

Call = Callable[..., Any]


def test_a_sound_store_passes_both_checks(call: Call, filled: Path) -> None:
    before = filled.read_bytes()
    for words in (["db", "check"], ["db", "check", "--full"]):
        assert call("--json", *words).item["problems"] == []
        assert call(*words).code == 0
    assert filled.read_bytes() == before


def test_flipped_bytes_are_found_with_exit_7(
    call: Call, filled: Path, flip: Callable[[Path, int], None]
) -> None:
    pages = filled.stat().st_size // 4096
    flip(filled, pages - 20)
    done = call("--json", "db", "check")
    assert (done.code, bool(done.out)) == (7, True)
    assert done.item["problems"]


def test_a_row_whose_parent_is_missing_is_found(call: Call, filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("DELETE FROM runs WHERE id = 'r7'")
    done = call("db", "check")
    assert done.code == 7
    assert "refers to a missing row of runs" in done.out


def test_only_the_full_check_compares_an_index_with_its_table(call: Call, filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '\"source\"', '\"status\"')"
            " WHERE name = 'runs_source'"
        )
    assert call("db", "check").code == 0
    done = call("db", "check", "--full")
    assert done.code == 7
    assert "runs_source" in done.out


def test_on_postgres_the_full_check_looks_for_orphans(
    call: Call, migrated_postgres_url: str
) -> None:
    with Store.open(migrated_postgres_url, warm=False) as store:
        store.runs.create(run_id="r")
        store.runs.add_file("r", "a")
        assert store.check() == []
        with store.transaction():
            store.database.execute_sql("SET LOCAL session_replication_role = replica")
            store.database.execute_sql("DELETE FROM runs")
    done = call("--db", migrated_postgres_url, "db", "check", "--full")
    assert done.code == 7
    assert "run_files: 1 rows refer to missing rows of runs" in done.out


def test_a_backup_is_said_to_be_good_and_replaces_another_only_after_a_yes(
    call: Call, filled: Path
) -> None:
    done = call("--json", "db", "backup", "copy.db")
    assert done.item["size_bytes"] == Path("copy.db").stat().st_size
    assert call("--db", "copy.db", "db", "check", "--full").code == 0
    assert call("db", "backup", "copy.db").code == 2
    assert call("db", "backup", "copy.db", "--yes").code == 0
    header = Path("copy.db").read_bytes()[:20]
    assert header[18:20] == b"\1\1"  # no log belongs to it
    for words, code in (
        (["--db", "none.db", "db", "backup", "x.db"], 4),
        (["--db", "postgresql://localhost/x", "db", "backup", "x.db"], 2),
        (["--db", "dir:.", "db", "backup", "x.db"], 2),
        (["db", "backup", "none/x.db"], 1),
    ):
        assert call(*words).code == code
    assert not Path("x.db").exists()


def test_two_backups_to_one_place_do_not_meet(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with (
        filelock.FileLock(f"{copy}{UNFINISHED}.lock"),
        pytest.raises(errors.StoreLocked, match="another backup"),
    ):
        backup_file(filled, copy)
    backup_file(filled, copy)
    assert copy.exists()


def test_a_vacuum_gives_back_what_was_deleted_and_says_how_much(call: Call, filled: Path) -> None:
    with Store.open(filled) as store:
        for number in range(50):
            store.runs.delete(f"r{number}")
    done = call("--json", "db", "vacuum")
    assert done.item["gained_bytes"] > 100_000
    assert done.item["after_bytes"] == filled.stat().st_size
    assert call("db", "check", "--full").code == 0


def test_a_vacuum_says_that_the_old_content_is_there_while_somebody_reads_it(
    call: Call, filled: Path
) -> None:
    with Store.open(filled) as store:
        store.runs.create(run_id="gone", metadata={"text": "my number is 555-0199"})
    (filled.parent / "dynostore.yaml").write_text(
        "default: quick\nprofiles: {quick: {busy_timeout_s: 0.1}}\n", encoding="utf-8"
    )
    with closing(sqlite3.connect(filled, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        with Store.open(filled) as store:
            store.runs.delete("gone")
        done = call("--json", "db", "vacuum")
        assert (done.code, done.error["code"]) == (5, "locked")
        assert "still reads the old content" in done.error["message"]
        assert "close the programs" in done.error["hint"]
    assert call("db", "vacuum").code == 0
    files = [path for path in filled.parent.iterdir() if path.name.startswith(filled.name)]
    assert not any(b"555-0199" in path.read_bytes() for path in files)


def test_a_vacuum_without_room_is_refused(
    call: Call, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    done = call("--json", "db", "vacuum")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "needed for a vacuum, 1,000 free" in done.error["message"]


def test_postgres_is_vacuumed_and_others_are_refused(
    call: Call, migrated_postgres_url: str
) -> None:
    assert call("--json", "--db", migrated_postgres_url, "db", "vacuum").code == 0
    assert call("--db", "dir:.", "db", "vacuum").code == 2
    assert call("--db", ":memory:", "db", "vacuum").code == 2


def test_the_bytes_of_each_table_are_told_where_they_are_asked_for(
    call: Call, filled: Path, migrated_postgres_url: str
) -> None:
    assert call("--json", "info").item["bytes"] is None
    sizes = call("--json", "info", "--bytes").item["bytes"]
    assert next(iter(sizes)) == "runs"
    assert 0 < sum(sizes.values()) <= filled.stat().st_size
    assert sizes["runs"] > 60 * 2400
    assert "bytes of runs" in call("info", "--bytes").out
    on_server = call("--json", "--db", migrated_postgres_url, "info", "--bytes").item["bytes"]
    assert on_server["runs"] > 0
