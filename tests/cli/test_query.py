"""``dynostore query``: the same on a file and on a server, in every form, and without any write."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors
from dynostore.query import ask

Call = Callable[..., Any]

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


@pytest.fixture
def asked(call: Call, store: Store) -> Call:
    """Give a function that asks a store with three runs, on SQLite and on Postgres."""
    for number, name in enumerate(["run_alpha", "run_beta", "other"]):
        store.runs.create(run_id=name, source="dyno" if number < 2 else "it's", metadata={"n": 1})
    return lambda *words, **more: call("--db", store.place.url, "query", *words, **more)


def test_an_answer_is_alike_on_both_databases_and_in_every_form(asked: Call) -> None:
    sql = "SELECT source, count(*) AS runs, 1.5 AS half FROM runs GROUP BY source ORDER BY runs"
    assert asked(sql).out == "source  runs  half\nit's    1     1.5\ndyno    2     1.5\n"
    items = [{"source": "it's", "runs": 1, "half": 1.5}, {"source": "dyno", "runs": 2, "half": 1.5}]
    assert json.loads(asked(sql, "--json").out) == {"ok": True, "items": items, "next": None}
    assert [json.loads(line) for line in asked(sql, "--format", "jsonl").out.splitlines()] == items
    assert asked(sql, "--format", "csv").out == "source,runs,half\nit's,1,1.5\ndyno,2,1.5\n"
    assert asked(sql, "--format", "md").out.splitlines()[2] == "| it's   | 1    | 1.5  |"
    nothing = "SELECT id, status FROM runs WHERE 1 = 0"
    assert asked(nothing).out == "id  status\n"
    assert asked(nothing, "--format", "csv").out == "id,status\n"


def test_parameters_are_values_whatever_is_in_them(asked: Call) -> None:
    sql = "SELECT id, ':no' AS \"x:y\" FROM runs WHERE source = :tool -- :comment\n LIMIT :most"
    (row,) = asked(sql, "-p", "tool", "it's", "-p", "most", "5", "--json").items
    assert row == {"id": "other", "x:y": ":no"}
    hostile = "x'; DROP TABLE runs; --\\"
    assert asked(sql, "-p", "tool", hostile, "-p", "most", "5", "--json").items == []
    assert asked("SELECT id FROM runs WHERE id = :i", "-p", "i", "0123", "--json").items == []


def test_sql_may_come_from_a_file_or_from_stdin(asked: Call, workplace: Path) -> None:
    (workplace / "count.sql").write_text("SELECT count(*) AS n\nFROM runs;\n")
    assert asked("@count.sql").out == "n\n3\n"
    assert asked("-", answer="SELECT 1 AS one").out == "one\n1\n"
    missing = asked("@nothing.sql")
    assert (missing.code, missing.out) == (2, "")
    assert "nothing.sql: No such file" in missing.err


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "UPDATE runs SET status = 'error'",
        "INSERT INTO runs (id) VALUES ('x')",
        "DROP TABLE runs",
        "CREATE TABLE mine (x TEXT)",
        "CREATE TEMPORARY TABLE mine (x TEXT)",
        "ALTER TABLE runs ADD COLUMN x TEXT",
        "BEGIN",
        "COMMIT",
        "SELECT 1; DROP TABLE runs",
        "SELECT 1; COMMIT; DROP TABLE runs",
        "VACUUM",
        "ANALYZE",
    ],
)
def test_what_does_not_read_is_refused(asked: Call, store: Store, sql: str) -> None:
    refused = asked(sql, "--json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.error["code"] == "invalid_query"
    assert "nothing was written" in refused.error["message"]
    assert store.runs.count() == 3


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA wal_checkpoint",
        "PRAGMA user_version = 3",
        "ATTACH 'other.db' AS other",
        "UPDATE sqlite_master SET sql = ''",
        "SELECT load_extension('x')",
        "REINDEX",
        "SAVEPOINT x",
    ],
)
def test_no_statement_of_sqlites_own_writes(
    call: Call, workplace: Path, three_runs: list[str], sql: str
) -> None:
    before = {path: path.read_bytes() for path in workplace.iterdir()}
    refused = call("query", sql)
    assert (refused.code, refused.out) == (2, "")
    assert {path: path.read_bytes() for path in workplace.iterdir()} == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SET default_transaction_read_only = off",
        "WITH gone AS (DELETE FROM runs RETURNING id) SELECT * FROM gone",
        "SELECT * FROM runs FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM runs",
        "COPY (SELECT 1) TO STDOUT",
        "DO $$ BEGIN DELETE FROM runs; END $$",
        "SELECT 1; COMMIT; BEGIN; DELETE FROM runs; COMMIT",
        "COMMIT AND CHAIN",
    ],
)
def test_no_statement_of_postgres_own_writes_or_leaves_the_transaction(
    call: Call, migrated_postgres_url: str, sql: str
) -> None:
    with Store.open(migrated_postgres_url, warm=False) as store:
        store.runs.create(run_id="x")
        refused = call("--db", migrated_postgres_url, "query", sql)
        assert (refused.code, refused.out) == (2, "")
        assert "nothing was written" in refused.err
        assert store.runs.count() == 1


def test_a_file_is_left_as_it_is_with_its_old_schema_and_its_log(
    call: Call, workplace: Path, three_runs: list[str]
) -> None:
    call("db", "downgrade", "--to", "1", "--yes")
    before = {path: path.read_bytes() for path in workplace.iterdir()}
    assert call("query", "SELECT count(*) AS n FROM runs").out == "n\n3\n"
    assert call("query", "PRAGMA table_info(runs)", "--json").items[0]["name"] == "id"
    assert call("query", "SELECT name FROM pragma_table_info('runs') LIMIT 1").out == "name\nid\n"
    assert {path: path.read_bytes() for path in workplace.iterdir()} == before


def test_a_query_sees_what_is_being_written_and_waits_for_nobody(
    call: Call, three_runs: list[str]
) -> None:
    with Store.open("dynostore.db") as store, store.transaction():
        store.runs.create(run_id="new")
        assert call("query", "SELECT count(*) AS n FROM runs").out == "n\n3\n"


def test_values_of_odd_types_have_a_form(call: Call, workplace: Path) -> None:
    with closing(sqlite3.connect("odd.db")) as connection:
        connection.execute("CREATE VIRTUAL TABLE found USING fts5(words)")
        connection.execute("INSERT INTO found VALUES ('knock correction')")
        connection.commit()
    odd = (
        "SELECT x'00ff' AS b, CAST(x'41ff' AS TEXT) AS t, 9e999 AS i, -9e999 AS j, NULL AS n, 1, 1"
    )
    (row,) = call("--db", "odd.db", "query", odd, "--json").items
    expected = {"b": "\\x00ff", "t": "A\\xff", "i": "Infinity", "j": "-Infinity", "n": None}
    assert row == {**expected, "1": 1, "1_2": 1}
    assert call("--db", "odd.db", "query", odd).out.splitlines()[1].split() == [
        *("\\x00ff", "A\\xff", "Infinity", "-Infinity", "-", "1", "1")
    ]
    search = "SELECT snippet(found, 0, '[', ']', '', 3) AS s FROM found WHERE found MATCH 'knock'"
    assert call("--db", "odd.db", "query", search).out == "s\n[knock] correction\n"


def test_values_of_postgres_types_have_a_form(call: Call, migrated_postgres_url: str) -> None:
    odd = (
        "SELECT 'NaN'::float8 AS nan, 12::numeric AS whole, 0.25::numeric AS part, "
        "0.12345678901234567890::numeric AS exact, '2025-12-06T10:30:00+01'::timestamptz AS t, "
        "'2025-12-06'::date AS d, '10:30'::time AS c, '\\x00ff'::bytea AS b, ARRAY[1, 2] AS a, "
        "'{\"k\": [1]}'::json AS j, 'a1b2c3d4-0000-4000-8000-000000000000'::uuid AS u, "
        "NULL AS n, '1 day'::interval AS i, int4range(1, 3) AS r"
    )
    (row,) = call("--db", migrated_postgres_url, "query", odd, "--json").items
    assert row == {
        "nan": "NaN",
        "whole": 12,
        "part": 0.25,
        "exact": "0.12345678901234567890",
        "t": "2025-12-06T09:30:00.000000+00:00",
        "d": "2025-12-06",
        "c": "10:30:00",
        "b": "\\x00ff",
        "a": [1, 2],
        "j": {"k": [1]},
        "u": "a1b2c3d4-0000-4000-8000-000000000000",
        "n": None,
        "i": "1 day, 0:00:00",
        "r": "[1, 3)",
    }


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["SELECT * FROM run"], "run", "did you mean runs?"),
        (["SELECT statu FROM runs"], "statu", "runs.status"),
        (["SELECT metadta FROM run_files"], "metadta", "metadata"),
        (["SELEC 1"], 'near "SELEC"', None),
        ([" -- nothing\n;"], "no statement is given", "dynostore query"),
        (["SELECT :a"], "the parameter :a has no value", "-p a VALUE"),
        (["SELECT :a", "-p", "b", "1", "-p", "a", "1"], "no parameter :b", "it has :a"),
    ],
)
def test_a_mistake_in_the_statement_is_said(
    asked: Call, words: list[str], message: str, hint: str | None
) -> None:
    wrong = asked(*words, "--json").error
    assert wrong["code"] == "invalid_query"
    assert message.lower() in wrong["message"].lower()
    if hint is not None:
        assert hint.rpartition(".")[2] in wrong["hint"]


def test_rows_come_while_the_query_runs_and_are_not_kept(store: Store) -> None:
    with ask(store.database, ENDLESS.format("i")) as answer:
        assert answer.columns == ["i"]
        taken = itertools.islice(answer.rows, 3000)
        assert [row[0] for row in taken] == [*range(1, 3001)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a timer that signals")
def test_ctrl_c_ends_a_query_that_gives_no_rows(store: Store) -> None:
    sqlite3.enable_callback_tracebacks(False)  # which Datasette's import turns on, for everybody
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            ask(store.database, ENDLESS.format("count(*)")),
        ):
            raise AssertionError("it came to an end")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert store.runs.count() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
@pytest.mark.usefixtures("unmeasured")
def test_ctrl_c_ends_the_program_with_130(workplace: Path, three_runs: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dynostore", "query", ENDLESS.format("i"), "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "i\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "\ninterrupted\n")
    assert not [path for path in workplace.iterdir() if path.suffix.endswith(("-wal", "-shm"))]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")
@pytest.mark.parametrize("form", ["table", "csv"])
def test_a_reader_that_has_enough_ends_a_query(
    workplace: Path, three_runs: list[str], form: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dynostore", "query", ENDLESS.format("i"), "--format", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "i\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_a_store_in_memory_or_in_another_form_says_that_it_cannot_be_asked(
    call: Call, workplace: Path
) -> None:
    for place in (":memory:", "dir:.", "redis://localhost/0"):
        refused = call("--db", place, "query", "SELECT 1")
        assert (refused.code, refused.out) == (2, ""), place
    assert call("query", "SELECT 1").code == 4
    (workplace / "no.db").write_text("no database, but long enough to look at its header" * 99)
    assert call("--db", "no.db", "query", "SELECT * FROM x").code == errors.StoreCorrupt.exit_code
