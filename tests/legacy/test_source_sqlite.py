"""Somebody else's SQLite file: whatever state it was left in, it is read and stays as it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynostore import Store, errors
from dynostore.importer import import_from
from dynostore.legacy import Finding, ReadOptions, SourceRecord, source_sqlite
from dynostore.legacy.chiffon import ChiffonReader
from dynostore.legacy.haia import HaiaReader
from dynostore.legacy.source_sqlite import opened_sqlite

ROWS = 1500
LEAF_OF_A_TABLE = 0x0D  # SQLite's file format, "B-tree Pages"


def read(path: Path) -> tuple[int, list[Finding]]:
    """Give the number of messages that were read, and the findings."""
    found = [*HaiaReader().read(str(path), ReadOptions())]
    records = [item for item in found if isinstance(item, SourceRecord)]
    messages = sum(len(r.children) + (r.values.get("role") is not None) for r in records)
    return messages, [item for item in found if isinstance(item, Finding)]


@pytest.fixture
def filled(haia: Any) -> Any:
    """Give a database of Haia with one long conversation."""
    haia.add("conversations", haia.talk(1))
    haia.add("messages", *(haia.message(n, 1) for n in range(ROWS)))
    return haia


def begin(path: Path, mode: str) -> sqlite3.Connection:
    """Open it as its own program would, and write a message."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(
        "INSERT INTO messages VALUES (?, 1, 'user', 'late', '2026-01-20 11:00:00')", (ROWS,)
    )
    return connection


@pytest.mark.parametrize("missing", ["nothing", "-shm", "-wal"])
def test_a_write_ahead_log_is_read_and_nothing_is_made_beside_it(
    filled: Any, tmp_path: Path, missing: str
) -> None:
    with closing(begin(filled.path, "wal")):
        shutil.copytree(filled.path.parent, tmp_path / "copy")
        assert read(filled.path)[0] == ROWS + 1
    filled.path = tmp_path / "copy" / filled.path.name
    Path(f"{filled.path}{missing}").unlink(missing_ok=True)
    before = filled.files()
    messages, findings = read(filled.path.parent)
    assert messages == ROWS + (missing != "-wal")
    assert filled.files() == before
    assert {f.outcome for f in findings} <= {"skipped"}
    assert len(findings) == len(before) - 1


def test_a_database_in_wal_mode_without_a_log_gets_none(filled: Any) -> None:
    begin(filled.path, "wal").close()
    before = filled.files()
    assert [*before] == [filled.path.name]
    assert read(filled.path) == (ROWS + 1, [])
    assert filled.files() == before


def test_a_truncated_database_alone_is_called_broken_whosever_it_is(
    filled: Any, target: Store, tmp_path: Path
) -> None:
    size_bytes = filled.path.stat().st_size
    os.truncate(filled.path, 16384)
    archive = tmp_path / "archive"
    archive.mkdir()
    with pytest.raises(errors.StoreCorrupt) as broken:
        import_from(filled.path, target, archive=archive)
    assert broken.value.message.startswith(f"{filled.path}: cannot be read: the database is broken")
    assert f"{size_bytes - 16384:,} bytes are missing at its end" in broken.value.message
    assert import_from(filled.path, target, kind="haia").exit_code == 3


def test_a_locked_database_alone_is_called_locked(
    filled: Any, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_sqlite, "_BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(filled.path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.StoreLocked, match="another process keeps the database locked"):
            import_from(filled.path, target)


def test_what_a_crash_left_half_done_is_undone_in_a_copy(filled: Any, tmp_path: Path) -> None:
    with closing(begin(filled.path, "delete")) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN")
        writer.execute("UPDATE messages SET content = content || 'half done'")
        shutil.copytree(filled.path.parent, tmp_path / "crashed")
        writer.execute("ROLLBACK")
    filled.path = tmp_path / "crashed" / filled.path.name
    before = filled.files()
    assert len(before) == 2
    found = HaiaReader().read(str(filled.path), ReadOptions())
    texts = [row["content"] for r in found for _, row in getattr(r, "children", ())]
    assert len(texts) == ROWS
    assert not any("half done" in text for text in texts)
    assert read(filled.path)[0] == ROWS + 1
    assert filled.files() == before


def test_a_database_that_its_program_writes_to_is_read(filled: Any) -> None:
    with closing(begin(filled.path, "delete")) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM messages")
        assert read(filled.path) == (ROWS + 1, [])
        writer.execute("ROLLBACK")


def test_what_was_written_meanwhile_is_told(filled: Any) -> None:
    found = HaiaReader().read(str(filled.path), ReadOptions())
    first = next(found)
    assert isinstance(first, SourceRecord)
    begin(filled.path, "delete").close()
    told = [item for item in found if isinstance(item, Finding)]
    assert [(f.outcome, f.files) for f in told] == [("invalid", 0)]
    assert "written to while it was read" in told[0].reason


def test_a_locked_database_says_so(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynostore.legacy.source_sqlite._BUSY_TIMEOUT_S", 0.01)
    with closing(begin(filled.path, "delete")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        messages, (finding,) = read(filled.path)
    assert (messages, finding.outcome, finding.files) == (0, "invalid", 1)
    assert "another process keeps the database locked" in finding.reason


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user"
)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_directory_that_cannot_be_written_to_is_no_obstacle(filled: Any, mode: str) -> None:
    begin(filled.path, mode).close()
    filled.path.parent.chmod(0o500)
    try:
        assert read(filled.path) == (ROWS + 1, [])
    finally:
        filled.path.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "skipped"),
        (b"SQLite format 3\0", "invalid"),
        (b"SQLite format 3\0" + bytes(5000), "invalid"),
        (b"PGDMP", "invalid"),
    ],
)
def test_what_is_no_database_is_a_finding(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "haia.db"
    path.write_bytes(content)
    for reader in (HaiaReader(), ChiffonReader()):
        assert not reader.detect(str(path))
        (finding,) = reader.read(str(path), ReadOptions())
        assert isinstance(finding, Finding)
        assert (finding.outcome, finding.files, finding.path) == (reason, 1, "haia.db")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Give a place, and the bytes of a sound database of Chiffon."""
    path = tmp_path_factory.mktemp("damage") / "chiffon.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE tasks (task_id, request_text, status, created_at)")
        connection.execute("CREATE TABLE execution_logs (log_id, task_id, step_number, status)")
        for n in range(60):
            row = (f"{n + 1:032x}", "x" * 200, "failed", "2026-01-01 00:00:00")
            connection.execute("INSERT INTO tasks VALUES (?, ?, ?, ?)", row)
            connection.execute("INSERT INTO execution_logs VALUES (?, ?, 1, 'failed')", row[:2])
    return path, path.read_bytes()


@settings(max_examples=80, suppress_health_check=[*HealthCheck])
@given(
    length=st.none() | st.integers(0, 30_000),
    flips=st.dictionaries(st.integers(0, 30_000), st.integers(0, 255), max_size=6),
)
def test_damage_anywhere_costs_what_it_hits_and_never_more(
    sound: tuple[Path, bytes], length: int | None, flips: dict[int, int]
) -> None:
    path, whole = sound
    data = bytearray(whole[:length])
    for place, value in flips.items():
        if place < len(data):
            data[place] = value
    path.write_bytes(data)
    found = [*ChiffonReader().read(str(path), ReadOptions())]
    assert path.read_bytes() == data
    assert found
    assert sum(item.files for item in found) == 1
    tasks = [item for item in found if isinstance(item, SourceRecord)]
    if len(tasks) < 60:
        assert any(isinstance(item, Finding) for item in found)


def test_a_page_that_says_it_holds_less_than_it_does_is_told_of(sound: tuple[Path, bytes]) -> None:
    path, whole = sound
    data = bytearray(whole)
    size = int.from_bytes(data[16:18])
    leaves = [at for at in range(size, len(data), size) if data[at] == LEAF_OF_A_TABLE]
    for at in leaves:
        cells = int.from_bytes(data[at + 3 : at + 5])
        data[at + 3 : at + 5] = (cells - 1).to_bytes(2)
    path.write_bytes(data)
    found = [*ChiffonReader().read(str(path), ReadOptions())]
    tasks = [item for item in found if isinstance(item, SourceRecord)]
    assert leaves
    assert 0 < len(tasks) < 60
    told = [item.reason for item in found if isinstance(item, Finding)]
    assert any("rows may be missing" in reason for reason in told)


def test_damage_that_may_have_cost_rows_is_no_success(
    tmp_path: Path, haia: Any, target: Store
) -> None:
    haia.add("conversations", haia.talk(1))
    haia.add("messages", *(haia.message(n, 1) for n in range(60)))
    with closing(sqlite3.connect(haia.path)) as connection:
        connection.execute("CREATE TABLE notes AS SELECT content FROM messages")
        connection.execute("CREATE INDEX of_notes ON notes (content)")
        connection.commit()
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'of_notes'"
        (root,) = connection.execute(sql).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with haia.path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(bytes(size))
    report = import_from(haia.path, target)
    assert "rows may be missing" in str(report.to_json()["items"])
    assert report.exit_code == 3


def test_rows_are_read_in_flat_memory(tmp_path: Path, haia: Any) -> None:
    haia.add("conversations", haia.talk(1))
    haia.add("messages", *(haia.message(n, 1) for n in range(3000)))
    pages: list[int] = []
    with opened_sqlite(str(haia.path)) as source:
        inner: Callable[..., Any] = source._page

        def page(sql: str, values: Any) -> Any:
            rows, reason = inner(sql, values)
            pages.append(len(rows))
            return rows, reason

        source._page = page  # type: ignore[method-assign]
        assert sum(1 for _ in source.scan(source.tables["messages"])) == 3000
    assert max(pages) == 500
