"""Each of the doctor's checks finds what it is there for, and says what mends it."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import Store, config, errors
from dynostore.doctor import machine
from dynostore.doctor.server import look_at_remote
from dynostore.own_models import OwnModels
from dynostore.sync import sync
from dynostore.sync.remote.session import Session

pytestmark = pytest.mark.once

Call = Callable[..., Any]


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_warning_ends_with_1_only_if_asked(call: Call, filled: Path) -> None:
    run_sql(filled, "PRAGMA journal_mode = DELETE")
    done = call("--json", "doctor")
    assert (done.code, json.loads(done.out)["worst"]) == (0, "warning")
    assert json.loads(done.out)["ok"] is True
    assert done.finding("log")["mend"].endswith(" init")
    assert call("doctor", "--strict").code == 1
    assert call(*shlex.split(done.finding("log")["mend"])[1:]).code == 0
    assert call("--json", "doctor").finding("log")["severity"] == "ok"


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ((3, 40, 1), "warning"),
        ((3, 44, 5), "warning"),
        ((3, 44, 6), "ok"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "warning"),
        ((3, 51, 3), "ok"),
        ((3, 53, 0), "ok"),
    ],
)
def test_the_versions_of_sqlite_with_the_wal_reset_defect_are_known(
    call: Call,
    filled: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, ...],
    severity: str,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert machine.look_at_machine(filled)[0].severity == severity


def test_a_network_file_system_is_an_error(
    call: Call, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = [("/", "ext4"), (str(filled.parent), "nfs4"), (f"{filled.parent}/other", "ext4")]
    monkeypatch.setattr(machine, "_linux_mounts", lambda: mounts)
    monkeypatch.setattr(sys, "platform", "linux")
    done = call("--json", "doctor")
    assert (done.code, done.finding("file system")["severity"]) == (1, "error")
    assert "nfs4" in done.finding("file system")["message"]


def test_free_pages_and_rights_of_others_are_notes(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "dynostore.db"
    Store.open(path).close()
    run_sql(
        path,
        "CREATE TABLE own (x)",
        "INSERT INTO own VALUES (zeroblob(40000000))",
        "DROP TABLE own",
    )
    path.chmod(0o644)
    done = call("--json", "doctor")
    assert (done.code, done.finding("free pages")["severity"]) == (0, "note")
    assert done.finding("rights")["severity"] == "note"
    assert call(*shlex.split(done.finding("free pages")["mend"])[1:]).code == 0
    assert call("--json", "doctor").finding("free pages")["severity"] == "ok"


def test_tables_that_are_not_those_of_the_models_are_told_with_what_mends_them(
    call: Call, filled: Path
) -> None:
    run_sql(
        filled,
        "DROP INDEX runs_status_created_at",
        "ALTER TABLE tasks ADD COLUMN mine TEXT",
    )
    done = call("--json", "doctor")
    found = [item for item in json.loads(done.out)["items"] if item["check"] == "tables"]
    assert [(item["severity"], item["mend"] is not None) for item in found] == [
        ("warning", True),
        ("note", False),
        ("ok", False),
    ]
    program, name, statement = shlex.split(found[0]["mend"])
    assert (program, Path(name)) == ("sqlite3", filled)
    run_sql(filled, statement)
    assert call("--json", "doctor").finding("tables")["severity"] == "note"
    run_sql(filled, "ALTER TABLE runs DROP COLUMN input_filename")
    done = call("--json", "doctor")
    assert (done.code, done.finding("tables")["severity"]) == (1, "error")


def test_a_full_text_index_that_is_not_kept_current_is_told(call: Call, filled: Path) -> None:
    assert "first search" in call("--json", "doctor").finding("search")["message"]
    assert call("search", "a").code == 0
    assert "is whole" in call("--json", "doctor").finding("search")["message"]
    run_sql(filled, "DROP TRIGGER dynostore_search_runs_insert")
    finding = call("--json", "doctor").finding("search")
    assert finding["severity"] == "warning"
    assert call(*shlex.split(finding["mend"])[1:]).code == 0
    assert call("--json", "doctor").finding("search")["severity"] == "ok"


@pytest.fixture
def synced(filled: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that has synced, with its server in the environment."""
    monkeypatch.setenv("DYNOSTORE_REMOTE", postgres_url)
    with Store.open(filled) as store:
        sync(store, postgres_url)
    return filled


def test_a_file_that_syncs_is_looked_at_with_its_server(
    call: Call, synced: Path, postgres: Any, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("--json", "doctor")
    assert done.code == 0
    for check in ("capture", "sync", "server", "clock", "identity", "rights"):
        assert done.finding(check)["severity"] == "ok", check

    with Store.open(synced) as store:
        store.runs.create()
    run_sql(synced, "UPDATE sync_meta SET last_success_at = '2026-01-01T00:00:00.000000+00:00'")
    run_sql(synced, "DROP TRIGGER dynostore_capture_runs_insert")
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    done = call("--json", "doctor")
    assert done.code == 0
    assert "1 changes wait, and nothing was sent since" in done.finding("sync")["message"]
    assert "not caught in: runs;" in done.finding("capture")["message"]
    assert done.finding("clock")["severity"] == "warning"

    database = urlsplit(postgres_url).path[1:]
    postgres.execute("UPDATE dynostore_sync.server SET id = gen_random_uuid()", database)
    done = call("--json", "doctor")
    assert (done.code, done.finding("identity")["severity"]) == (1, "error")
    mend = done.finding("identity")["mend"]
    assert re.search(r"right server .*--to.* backup .* dynostore sync --adopt$", mend)
    assert call("doctor", "--offline").code == 0

    assert call("sync").code == 6  # and again: what it said is now the last error
    done = call("--json", "doctor", "--offline")
    assert "is not the server that this file was synced with" in done.finding("sync")["message"]
    assert done.finding("sync")["mend"] == mend
    assert call("sync", "--adopt").code == 0
    done = call("--json", "doctor")
    assert {done.finding(check)["severity"] for check in ("sync", "identity")} == {"ok"}


def test_rights_that_are_missing_on_the_server_are_named(
    call: Call, synced: Path, postgres: Any, postgres_url: str
) -> None:
    database = urlsplit(postgres_url).path[1:]
    role = f"few_{database}"
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    try:
        for grant in (
            "USAGE ON SCHEMA public, dynostore_sync",
            "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, dynostore_sync",
        ):
            postgres.execute(f"GRANT {grant} TO {role}", database)
        postgres.execute(f"REVOKE INSERT, DELETE ON runs FROM {role}", database)
        done = call("--json", "doctor", "--to", postgres.url_of(database, user=role))
        assert (done.code, done.finding("rights")["severity"]) == (1, "error")
        message = done.finding("rights")["message"]
        assert "DELETE, INSERT on runs" in message
        assert "EXECUTE on dynostore_sync.take()" in message
    finally:
        postgres.execute(f"DROP OWNED BY {role}", database)
        postgres.execute(f"DROP ROLE {role}")


def test_a_server_that_does_not_answer_is_a_warning_and_all_else_is_told(
    call: Call, filled: Path
) -> None:
    done = call("--json", "doctor", "--to", "postgresql://nobody:secret@127.0.0.1:1/x")
    assert (done.code, done.finding("server")["severity"]) == (0, "warning")
    assert "secret" not in done.out
    assert done.finding("pages")["severity"] == "ok"
    assert done.finding("sync")["severity"] == "note"


def test_a_postgres_store_is_looked_at(call: Call, postgres: Any, postgres_url: str) -> None:
    database = urlsplit(postgres_url).path[1:]
    done = call("--json", "--db", postgres_url, "doctor")
    assert (done.code, done.finding("schema")["severity"]) == (1, "error")
    assert call(*shlex.split(done.finding("schema")["mend"])[1:]).code == 0
    assert call("--db", postgres_url, "search", "a").code == 0
    done = call("--json", "--db", postgres_url, "doctor")
    assert (done.code, json.loads(done.out)["worst"]) == (0, "ok")
    postgres.execute("DROP INDEX runs_status_created_at", database)
    finding = call("--json", "--db", postgres_url, "doctor").finding("tables")
    assert finding["severity"] == "warning"
    postgres.execute(shlex.split(finding["mend"])[-1], database)
    assert call("--json", "--db", postgres_url, "doctor").finding("tables")["severity"] == "ok"
    assert call("--db", "postgresql://nobody@127.0.0.1:1/x", "doctor", "--strict").code == 1


def test_a_directory_of_an_older_tool_is_looked_at(call: Call, tmp_path: Path) -> None:
    with Store.open(f"dir:{tmp_path}/runs") as store:
        store.runs.create(run_id="r1", source="jetdrive")
    done = call("--json", "--db", f"dir:{tmp_path}/runs", "doctor")
    assert (done.code, done.finding("records")["severity"]) == (0, "ok")
    for path in (tmp_path / "runs").rglob("*.json"):
        path.write_text('{"run_id": ')
    done = call("--json", "--db", f"dir:{tmp_path}/runs", "doctor")
    assert (done.code, done.finding("records")["severity"]) == (1, "error")
    assert call("--db", f"dir:{tmp_path}/none", "doctor").code == 4


def test_a_redis_is_looked_at(call: Call, redis_url: str) -> None:
    done = call("--json", "--db", redis_url, "doctor")
    assert (done.code, done.finding("server")["severity"]) == (0, "ok")
    assert done.finding("records")["severity"] == "ok"
    done = call("--json", "--db", "redis://127.0.0.1:1/0", "doctor")
    assert done.finding("server")["severity"] == "warning"


def test_what_is_no_file_is_told(call: Call, special_files: dict[str, Path]) -> None:
    for kind, path in special_files.items():
        done = call("--db", str(path), "doctor")
        assert done.code == 1
        assert f"error   file: {path}: is {kind}, not a file" in done.out


def test_a_file_that_somebody_holds_for_himself_does_not_hold_up_the_look(
    call: Call, filled: Path
) -> None:
    run_sql(filled, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        done = call("--json", "doctor")
    assert (done.code, done.finding("schema")["severity"]) == (0, "warning")
    assert "another process is writing" in done.finding("schema")["message"]


@pytest.mark.parametrize("address", ["postgres", "sqlite:///other.db", "mysql://host/db"])
def test_what_is_no_server_is_said_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = config.Place(address, "argument")
    [finding] = look_at_remote(place, OwnModels(), None)
    assert (finding.severity, "a Postgres server" in finding.message) == ("error", True)
    with pytest.raises(errors.ConfigError, match="a Postgres server"):
        Session(place)
    assert list(tmp_path.iterdir()) == []
