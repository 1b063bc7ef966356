"""Whatever is wrong with a file is said by the doctor and by every command, with its exit code."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store
from dynostore.config import Place
from dynostore.doctor import contents, diagnose

Call = Callable[..., Any]
_NOBODY = 65534


def test_a_sound_store_has_no_errors_and_is_left_as_it_is(call: Call, filled: Path) -> None:
    before = {path.name: path.read_bytes() for path in filled.parent.iterdir()}
    done = call("--json", "doctor")
    assert done.code == 0
    assert done.finding("pages")["severity"] == "ok"
    assert {path.name: path.read_bytes() for path in filled.parent.iterdir()} == before
    text = call("doctor").out
    assert text.count("\nok ") >= 9
    assert "error" not in text


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_inside_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def flip(path: Path, first: int, count: int) -> None:
    content = bytearray(path.read_bytes())
    content[first : first + count] = bytes(b ^ 0xFF for b in content[first : first + count])
    path.write_bytes(content)


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO dynostore_migration VALUES"
            " ('0099_later', '2026-01-01T00:00:00.000000+00:00')"
        )


def make_foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")


@pytest.mark.parametrize(
    ("damage", "check", "said", "codes"),
    [
        (cut_in_half, "file", "was truncated", (7, 7)),
        (cut_inside_a_page, "file", "was truncated", (7, 7)),
        (lambda path: flip(path, 0, 100), "file", "no SQLite database", (7, 7)),
        (lambda path: flip(path, 4096 * 3, 4096), "pages", "", (7, 7)),
        (lambda path: path.write_text("notes " * 100), "file", "no SQLite database", (7, 7)),
        (lambda path: path.write_bytes(b""), "file", "is empty", (7, 6)),
        (make_newer, "schema", "newer dynostore", (0, 0)),
        (make_foreign, "schema", "dynostore did not make", (6, 6)),
    ],
    ids=["half", "page cut", "header", "page", "text", "empty", "newer", "foreign"],
)
def test_a_damaged_file_is_named_with_what_mends_it(
    call: Call,
    filled: Path,
    damage: Callable[[Path], object],
    check: str,
    said: str,
    codes: tuple[int, int],
) -> None:
    damage(filled)
    before = filled.read_bytes()
    done = call("--json", "doctor")
    finding = done.finding(check)
    assert (done.code, finding["severity"]) == (1, "error")
    assert said in finding["message"]
    assert finding["mend"]
    found = call("db", "check").code, call("db", "backup", "copy.db").code
    assert found == codes
    assert filled.read_bytes() == before
    assert Path("copy.db").exists() == (codes[1] == 0)


def test_a_deleted_log_is_noticed_and_what_was_in_the_file_is_there(
    call: Call, filled: Path, leave_log: Callable[[Path], None]
) -> None:
    leave_log(filled)
    assert call("--json", "doctor").finding("log")["severity"] == "ok"
    filled.with_name("dynostore.db-wal").unlink()
    done = call("--json", "doctor")
    assert (done.code, done.finding("log")["severity"]) == (1, "error")
    assert "what was written last" in done.finding("log")["message"]
    assert call("db", "check", "--full").code == 0
    assert call("runs", "show", "late").code == 4
    assert call("runs", "show", "r59").code == 0
    assert call("doctor").code == 0


def test_a_full_disk_is_an_error_and_room_ends_it(call: Call, small_disk: Path) -> None:
    store = small_disk / "s.db"
    assert call("--db", store, "init").code == 0
    assert call("--db", store, "runs", "create", "--id", "before").code == 0
    with contextlib.suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    done = call("--json", "--db", store, "runs", "create", "--id", "during")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "full" in done.error["message"] or "I/O" in done.error["message"]
    done = call("--json", "--db", store, "doctor")
    assert (done.code, done.finding("room")["severity"]) == (1, "error")
    refused = call("--json", "--db", store, "db", "backup", small_disk / "copy.db")
    assert (refused.code, refused.error["code"]) == (1, "unwritable")
    assert {path.name for path in small_disk.iterdir()} <= {
        "s.db", "s.db-wal", "s.db-shm", "s.db.lock", "filler"
    }  # fmt: skip
    (small_disk / "filler").unlink()
    assert call("--db", store, "runs", "create", "--id", "after").code == 0
    with Store.open(store) as opened:
        assert {run.id for run in opened.runs.stream()} == {"before", "after"}
        assert opened.check() == []


def test_a_read_only_directory_lets_the_store_be_read(
    call_unprivileged: Call, filled: Path, open_to_all: Path
) -> None:
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    store.chmod(0o444)
    open_to_all.chmod(0o555)
    done = call_unprivileged("--json", "--db", store, "doctor")
    assert (done.code, done.finding("rights")["severity"]) == (0, "warning")
    assert done.finding("pages")["severity"] == "ok"
    assert "chmod" in done.finding("rights")["mend"]
    done = call_unprivileged("--json", "--db", store, "runs", "create")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert [path.name for path in open_to_all.iterdir()] == ["s.db"]


def test_a_file_that_may_not_be_read_is_named(
    call_unprivileged: Call, filled: Path, open_to_all: Path
) -> None:
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    store.chmod(0)
    done = call_unprivileged("--json", "--db", store, "doctor")
    assert (done.code, done.finding("rights")["severity"]) == (1, "error")
    assert "may not be read" in done.finding("rights")["message"]
    mend = f"chmod u+rw {store}"
    if os.geteuid() == 0:  # it is root's, and the user is another one
        mend = f"sudo chown {_NOBODY} {store} && {mend}"
    assert done.finding("rights")["mend"] == mend
    done = call_unprivileged("--json", "--db", store, "runs", "list")
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "dynostore doctor" in done.error["hint"]


def test_of_an_own_file_without_rights_it_is_not_said_that_it_is_somebody_elses(
    call_unprivileged: Call, filled: Path, open_to_all: Path
) -> None:
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    store.chmod(0)
    if os.geteuid() == 0:
        os.chown(store, _NOBODY, _NOBODY)
    done = call_unprivileged("--json", "--db", store, "doctor")
    assert done.finding("rights")["mend"] == f"chmod u+rw {store}"


def test_a_place_that_may_not_be_written_to_is_refused_with_a_way_out(
    call_unprivileged: Call, filled: Path, open_to_all: Path
) -> None:
    store = Path(shutil.copy(filled, open_to_all / "s.db"))
    store.chmod(0o644)
    closed = open_to_all / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    words = ("--json", "--db", store, "export", "--yes", "-o", closed / "all.jsonl")
    done = call_unprivileged(*words)
    assert (done.code, done.error["code"]) == (1, "unwritable")
    assert "chmod" in done.error["hint"]


def test_of_a_large_file_a_sample_is_looked_at(
    call: Call, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_SMALL_BYTES", 0)
    done = call("--json", "doctor")
    assert done.code == 0
    assert "a sample of" in done.finding("pages")["message"]
    with closing(sqlite3.connect(filled)) as connection, connection:
        connection.execute("DELETE FROM runs WHERE id >= 'r3'")
    done = call("--json", "doctor")
    assert (done.code, done.finding("references")["severity"]) == (1, "error")
    with closing(sqlite3.connect(filled)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'run_files'")
        flip(filled, (root.fetchone()[0] - 1) * 4096, 4096)
    assert call("--json", "doctor").finding("pages")["severity"] == "error"


def test_there_is_nothing_to_look_at_where_there_is_no_store(call: Call, tmp_path: Path) -> None:
    done = call("--json", "doctor")
    assert (done.code, done.error["code"]) == (4, "store_not_found")
    assert "init" in done.error["hint"]
    assert call("--db", ":memory:", "doctor").code == 2
    assert call("--db", tmp_path, "doctor").code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there a lock belongs to who opened the file")
def test_no_look_drops_the_locks_of_a_store_that_is_open(
    filled: Path, start_python: Callable[..., Any]
) -> None:
    script = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 512, 0x40000000)
        print("free")
    except OSError:
        print("held")
"""

    def lock() -> str:
        return str(start_python(script, filled).communicate()[0]).strip()

    with Store.open(filled) as store:
        store.runs.count()
        assert lock() == "held"
        diagnose(Place(str(filled), "argument"))
        store.check()
        store.backup(filled.with_name("copy.db"))
        assert lock() == "held"
        filled.read_bytes()  # the control: whoever closes the file drops them all
        assert lock() == "free"
