"""Verify finds what was changed behind the triggers' back, and nothing else; repair settles it."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import uuid
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynostore import Store
from dynostore.errors import ConfigError, IdentityMismatch, StoreUnwritable, SyncRunning
from dynostore.fields import utc_now
from dynostore.migrator import file_lock
from dynostore.samples.seed import seed
from dynostore.sync.purge import purge
from dynostore.sync.verify import pages, repair
from dynostore.sync.verify.lines import aligned, escaped, odd_ones
from dynostore.sync.verify.run import verify as run_verify

pytestmark = pytest.mark.once

HERE, THERE = "here", "there"
SIDES = (HERE, THERE)


def verify(node: Any, **options: Any) -> Any:
    return run_verify(node.store, node.remote.url, **{"delay_s": 0.0, **options})


def tamper(node: Any, side: str, statement: str) -> None:
    """Run one statement that no trigger sees."""
    if side == THERE:
        node.remote.sql(f"SET dynostore_sync.apply = 'on'; {statement}")
        return
    with closing(sqlite3.connect(node.path, isolation_level=None)) as connection:
        connection.execute("UPDATE sync_meta SET applying = 1")
        connection.execute(statement)
        connection.execute("UPDATE sync_meta SET applying = 0")


def key_of(node: Any, table: str) -> str:
    """Give the name of a table's key."""
    [(name,)] = node.sql("SELECT name FROM pragma_table_info(?) WHERE pk", (table,))
    return str(name)


def found(report: Any) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(d.table, d.key, str(d.kind), d.columns) for d in report.differences]


def check_of(report: Any, table: str) -> Any:
    return next(check for check in report.tables if check.name == table)


@pytest.fixture
def seeded(node: Any) -> Any:
    """Give a file with records in all tables, in sync."""
    seed(node.store)
    assert node.sync(direction="both").exit_code == 0
    return node


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that are in sync and hold the runs ``a`` to ``c`` with two files each."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a", "b", "c"], files=2, source="first")
    for node in (one, two, one):
        node.sync(direction="both")
    return one, two


# equal sides


def test_all_families_are_equal_to_the_last_value(seeded: Any) -> None:
    before = seeded.state(), seeded.remote.state()
    for deep in (False, True):
        report = verify(seeded, deep=deep)
        assert (report.exit_code, found(report)) == (0, [])
        assert {c.name: c.rows for c in report.tables} == {
            c.name: seeded.count(c.name) for c in report.tables
        }
        assert len(report.tables) == 17
    assert (seeded.state(), seeded.remote.state()) == before


TEXTS = (
    "",
    "\\N",
    "\\.",
    "\\",
    "\\?",
    "C:\\New\\table",
    "a\tb\nc\rd",
    "\x01",
    "\x08\x0b\x0c\x7f",
    "é𝄞",
)
ODD = {
    ("run_files", "storage_path"): TEXTS,
    ("run_files", "size_bytes"): (0, -(2**63), 2**63 - 1, None),
    ("runs", "metadata"): (
        '{"b" :1e2, "a":[ 1, 2.50 ], "b":3}',
        "[1e308, -0.0, 10000000000000000000000000000000000000000]",
        '"\\u00e9\\\\u0000"',
        '{"t\\u0009": "\\\\N"}',
        '{"deep":' * 2000 + "1" + "}" * 2000,
        None,
    ),
    ("runs", "created_at"): (
        "0001-01-01T00:00:00.000000+00:00",
        "9999-12-31T23:59:59.999999+00:00",
        "2024-02-29T24:00:00.000000+00:00",
        "2016-12-31T23:59:60.000000+00:00",
    ),
    ("ideation_messages", "maturity_delta"): (
        0.1,
        -0.0,
        1e308,
        5e-324,
        1 / 3,
        2.0**53 + 2,
        1e16,
        -7,
    ),
}


def add_row_with(node: Any, table: str, column: str, value: Any, number: int) -> None:
    """Copy a row under a new key, with another value in one column."""
    key = key_of(node, table)
    names = [n for (n,) in node.sql("SELECT name FROM pragma_table_info(?)", (table,))]
    given = {key: str(uuid.UUID(int=number)), column: value}
    chosen = ", ".join(f":{name}" if name in given else name for name in names)
    node.sql(f"INSERT INTO {table} SELECT {chosen} FROM {table} LIMIT 1", given)


def test_values_that_the_two_sides_print_in_their_own_way_are_equal(seeded: Any) -> None:
    for (table, column), values in ODD.items():
        for number, value in enumerate(values):
            add_row_with(seeded, table, column, value, number + 1000 * len(column))
    assert seeded.sync(direction="both").exit_code == 0
    assert seeded.rejects() == {}
    report = verify(seeded, deep=True)
    assert found(report) == []
    assert all(check.unsent == 0 for check in report.tables)


def test_another_spelling_of_the_same_value_is_no_difference(seeded: Any) -> None:
    seeded.sql('UPDATE runs SET metadata = \'{"a":1,"b":[2.50,0]}\'')
    seeded.sql("UPDATE ideation_messages SET maturity_delta = 0.0")
    seeded.sync(direction="both")
    tamper(seeded, THERE, 'UPDATE runs SET metadata = \'{"b": [25e-1, -0.0], "a": 1.0}\'')
    tamper(seeded, THERE, "UPDATE ideation_messages SET maturity_delta = '-0'")
    assert found(verify(seeded, deep=True)) == []
    tamper(seeded, THERE, 'UPDATE runs SET metadata = \'{"b": [2.5, 0], "a": true}\'')
    assert {d.columns for d in verify(seeded, deep=True).differences} == {("metadata",)}


def test_pages_are_cut_anywhere_and_long_ones_read_row_by_row(
    seeded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (
        ("_PAGE_ROWS", 7),
        ("_FIRST_PAGE_ROWS", 3),
        ("_PAGE_BYTES", 700),
        ("_LONGEST_PAGE_BYTES", 900),
    ):
        monkeypatch.setattr(pages, name, size)
    report = verify(seeded, deep=True)
    assert found(report) == []
    assert {c.name: c.rows for c in report.tables} == {
        c.name: seeded.count(c.name) for c in report.tables
    }
    tamper(seeded, THERE, "UPDATE messages SET content = content || '.' WHERE role = 'user'")
    changed = seeded.remote.sql("SELECT id::text FROM messages WHERE role = 'user' ORDER BY id")
    report = verify(seeded, deep=True, limit=0)
    assert [(d.key,) for d in report.differences] == changed
    assert len(changed) > 100


keys = st.binary(max_size=3).filter(lambda key: b"\0" not in key) | st.sampled_from(
    [b"", b"\\", b"\\N", b"\t", b"a\tb", b"a\n", b"\xff", b"aa", b"ab"]
)


@settings(max_examples=200)
@given(
    ours=st.dictionaries(keys, st.integers(0, 1), max_size=12),
    theirs=st.dictionaries(keys, st.integers(0, 1), max_size=12),
    page=st.integers(1, 4),
)
def test_lines_in_pages_of_any_size_are_told_apart_as_dictionaries_are(
    ours: dict[bytes, int], theirs: dict[bytes, int], page: int
) -> None:
    def pages(rows: dict[bytes, int]) -> list[list[bytes]]:
        lines = [escaped(key) + b"\t%d\t0" % value for key, value in sorted(rows.items())]
        return [lines[start : start + page] for start in range(0, len(lines), page)]

    odd = {}
    for mine, held in aligned(iter(pages(ours)), iter(pages(theirs))):
        assert len(mine) <= page
        assert len(held) <= page
        for key, here, there in odd_ones(mine, held):
            assert key not in odd
            odd[key] = (here and here.version[0], there and there.version[0])
    expected = {
        key: (ours.get(key), theirs.get(key))
        for key in ours.keys() | theirs.keys()
        if ours.get(key) != theirs.get(key)
    }
    assert odd == expected


# what was changed behind the triggers' back


CHANGES = {
    "text": ("runs", "source", "'tampered'"),
    "an empty text for NULL": ("run_files", "storage_path", "''"),
    "what COPY takes for NULL": ("run_files", "storage_path", r"'\N'"),
    "integer": ("run_files", "size_bytes", "12345"),
    "real": ("ideation_messages", "maturity_delta", "0.30000000000000004"),
    "time": ("runs", "created_at", "'2020-01-01T00:00:00.000001+00:00'"),
    "JSON": ("runs", "metadata", """'{"a":[1,{"b":null}]}'"""),
    "boolean": ("ideation_maturity", "can_submit", None),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_value_that_somebody_changed_is_found_and_repaired(
    kind: str, side: str, seeded: Any, check: Any
) -> None:
    table, column, value = CHANGES[kind]
    key_name = key_of(seeded, table)
    seeded.sql(f"UPDATE {table} SET {column} = NULL" if "NULL" in kind else "SELECT 1")
    seeded.sql(
        "UPDATE ideation_messages SET maturity_delta = 0.3" if kind == "real" else "SELECT 1"
    )
    seeded.sync(direction="both")
    key = seeded.sql(f"SELECT min({key_name}) FROM {table}")[0][0]
    if value is None:
        value = f"NOT {column}"
    tamper(seeded, side, f"UPDATE {table} SET {column} = {value} WHERE {key_name} = '{key}'")
    assert verify(seeded).exit_code == 0
    report = verify(seeded, deep=True)
    assert (report.exit_code, found(report)) == (7, [(table, key, "other contents", (column,))])

    here, there = check.raw_rows(seeded, table)
    report = verify(seeded, deep=True, repair=True)
    assert (report.exit_code, report.total, report.repaired) == (3, 0, 1)
    check.equal(seeded)
    check.settled(seeded)
    assert check.raw_rows(seeded, table)[0][key][column] == there[key][column]
    assert here[key][column] in [
        image[column] for _, image in seeded.remote.archive(key) if image
    ] or kind in ("time", "boolean")
    assert len(seeded.remote.archive(key)) == len(seeded.conflicts()) == 1


@pytest.mark.parametrize("side", SIDES)
def test_a_repaired_value_reaches_the_other_nodes(side: str, pair: Any, check: Any) -> None:
    one, two = pair
    tamper(one, side, "UPDATE runs SET source = 'tampered' WHERE id = 'b'")
    assert verify(one, deep=True, repair=True).total == 0
    two.sync(direction="both")
    for node in pair:
        assert verify(node, deep=True).exit_code == 0
        check.equal(node)
    assert two.conflicts() == []


def test_a_repair_that_dies_before_it_has_told_the_server_loses_nothing(
    pair: Any, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    tamper(one, THERE, "UPDATE runs SET source = 'there' WHERE id = 'b'")
    tamper(one, HERE, "UPDATE runs SET source = 'here' WHERE id = 'b'")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(repair, "_touch", die)
    with pytest.raises(KeyboardInterrupt):
        verify(one, deep=True, repair=True)
    assert one.sync(direction="both").exit_code == 3
    check.equal(one)
    assert one.store.runs.get("b").source == "there"
    assert [image["source"] for _, image in one.remote.archive("b")] == ["here"]


def test_a_row_missing_here_is_found_and_comes_back(pair: Any, check: Any) -> None:
    one, _ = pair
    before = check.records(one.store)
    tamper(one, HERE, "DELETE FROM run_files WHERE run_id = 'b'")
    tamper(one, HERE, "DELETE FROM runs WHERE id = 'b'")
    report = verify(one)
    assert report.exit_code == 7
    assert [(d.table, str(d.kind)) for d in report.differences] == [
        ("runs", "missing here"),
        ("run_files", "missing here"),
        ("run_files", "missing here"),
    ]
    report = verify(one, repair=True)
    assert (report.exit_code, report.repaired) == (0, 3)
    assert check.records(one.store) == before
    check.all(one)


def test_a_row_missing_there_is_found_and_sent_again_as_it_was(pair: Any, check: Any) -> None:
    one, two = pair
    stamps = one.remote.stamps()
    tamper(one, THERE, "DELETE FROM run_files WHERE run_id = 'b'; DELETE FROM runs WHERE id = 'b'")
    for node in pair:
        report = verify(node)
        assert [str(d.kind) for d in report.differences] == ["missing there"] * 3
    assert verify(one, repair=True).exit_code == 0
    assert {k: rev for k, (rev, _) in one.remote.stamps().items()} == {
        k: rev for k, (rev, _) in stamps.items()
    }
    check.all(one)
    two.sync(direction="both")
    assert verify(two, deep=True).exit_code == 0
    check.quiet(two)


def test_a_row_too_many_on_either_side_is_found_and_kept(pair: Any, check: Any) -> None:
    one, two = pair
    columns = "id, status, source, created_at, updated_at"
    for side, key in ((HERE, "x"), (THERE, "y")):
        values = "status, source, created_at, updated_at FROM runs WHERE id = 'a'"
        tamper(one, side, f"INSERT INTO runs ({columns}) SELECT '{key}', {values}")
    assert found(verify(one)) == [
        ("runs", "x", "missing there", ()),
        ("runs", "y", "missing here", ()),
    ]
    assert verify(one, repair=True).exit_code == 0
    two.sync(direction="both")
    for node in pair:
        check.all(node)
        assert {run.id for run in node.store.runs.list()} == {"a", "b", "c", "x", "y"}
        assert verify(node, deep=True).exit_code == 0


def test_a_tombstone_that_got_lost_is_found_and_made_again(pair: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.delete("b")
    one.sync(direction="both")
    assert verify(one).exit_code == 0
    tamper(one, THERE, "DELETE FROM dynostore_sync.tombstone")
    report = verify(one)
    assert [(d.key, str(d.kind)) for d in report.differences if d.table == "runs"] == [
        ("b", "tombstone missing there")
    ]
    assert report.total == 3
    assert verify(one, repair=True).total == 0
    two.sync(direction="both")
    for node in pair:
        check.equal(node)
        assert verify(node).exit_code == 0
        assert {run.id for run in node.store.runs.list()} == {"a", "c"}


def test_a_row_that_somebody_put_back_behind_a_deletion_is_found_and_kept(
    pair: Any, check: Any
) -> None:
    one, two = pair
    [row] = one.sql("SELECT * FROM runs WHERE id = 'b'")
    two.store.runs.delete("b")
    two.sync(direction="both")
    one.sync(direction="both")
    values = ", ".join("NULL" if value is None else repr(value) for value in row)
    tamper(one, HERE, f"INSERT INTO runs VALUES ({values})")
    assert found(verify(one)) == [("runs", "b", "missing there", ())]
    assert verify(one, repair=True).total == 0
    two.sync(direction="both")
    for node in pair:
        check.equal(node)
        assert node.store.runs.get("b").source == "first"


LIES = {
    "a revision": "UPDATE sync_base SET revision = 7 WHERE tbl = 'runs' AND key = 'b'",
    "a revision and a number to come": "UPDATE sync_base SET revision = 7, seq = 1 << 60"
    " WHERE tbl = 'runs' AND key = 'b'",
    "nothing": "DELETE FROM sync_base WHERE tbl = 'runs' AND key = 'b'",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("changed", [False, True])
def test_a_base_that_lies_is_found_and_repaired(
    lie: str, changed: bool, pair: Any, check: Any
) -> None:
    one, two = pair
    one.sql(LIES[lie])
    if changed:
        tamper(one, HERE, "UPDATE runs SET source = 'tampered' WHERE id = 'b'")
    columns = ("source",) if changed else ()
    assert found(verify(one)) == [("runs", "b", "other revision", columns)]
    report = verify(one, repair=True)
    assert (report.total, report.repaired) == (0, 1)
    check.equal(one)
    if changed:
        assert one.remote.archive("b")[0][1]["source"] == "tampered"
        assert one.store.runs.get("b").source == "first"
    else:
        check.all(one)
    two.sync(direction="both")
    check.equal(two)


def test_a_cursor_that_ran_ahead_is_found_and_moved_back(pair: Any, check: Any) -> None:
    one, two = pair
    one.fill(["d"])
    one.sync()
    two.sql("UPDATE sync_table SET cursor = 1 << 40")
    assert {str(d.kind) for d in verify(two).differences} == {"missing here"}
    assert verify(two, repair=True).exit_code == 0
    check.all(two)


@pytest.mark.parametrize("then", ["repair", "push"])
def test_a_server_row_without_a_revision_is_pulled_found_and_repaired(
    then: str, pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.update("a", source="news")
    one.sync()
    remote.sql(
        "BEGIN; SET LOCAL dynostore_sync.apply = 'on';"
        " UPDATE runs SET sync_rev = NULL WHERE id = 'a'; COMMIT"
    )
    assert two.sync(direction="pull").exit_code == 0
    assert two.store.runs.get("a").source == "news"
    if then == "push":
        two.sql("UPDATE runs SET source = source WHERE id = 'a'")
        assert two.sync(direction="both").exit_code == 0
    assert two.sync(direction="both").up_to_date
    assert [(d.kind, d.columns) for d in verify(two).differences] == [("other revision", ())]
    assert verify(two, repair=True).exit_code == 0
    one.sync(direction="both")
    check.all(one)
    check.all(two)


def test_a_server_row_that_no_file_can_hold_is_named(pair: Any, check: Any) -> None:
    one, _ = pair
    tamper(one, THERE, "UPDATE runs SET updated_at = 'infinity' WHERE id = 'b'")
    report = verify(one, deep=True)
    assert found(report) == [("runs", "b", "fits no file", ("updated_at",))]
    report = verify(one, deep=True, repair=True)
    assert (report.exit_code, report.total) == (3, 0)
    assert check_of(report, "runs").set_aside == 1
    assert list(one.rejects()) == ["b"]


def test_a_row_here_that_the_server_cannot_hold_is_found_and_set_aside(pair: Any) -> None:
    one, _ = pair
    tamper(one, HERE, "UPDATE run_files SET size_bytes = 'many' WHERE run_id = 'b'")
    report = verify(one, deep=True)
    assert [d.columns for d in report.differences] == [("size_bytes",)] * 2
    report = verify(one, deep=True, repair=True)
    assert (report.exit_code, report.total) == (3, 0)
    assert check_of(report, "run_files").set_aside == 2


def test_a_key_that_is_no_text_in_any_encoding_is_found(pair: Any) -> None:
    one, _ = pair
    tamper(one, HERE, "UPDATE runs SET id = CAST(x'62ff' AS TEXT) WHERE id = 'b'")
    assert [(d.key, str(d.kind)) for d in verify(one, tables=["runs"]).differences] == [
        ("b", "missing here"),
        ("b\ufffd", "missing there"),
    ]


# what is no difference


def test_what_waits_and_what_was_set_aside_is_counted_and_no_difference(
    pair: Any, remote: Any
) -> None:
    one, two = pair
    one.fill(["new"])
    one.store.runs.update("a", source="changed")
    one.store.runs.delete("b")
    one.sql("UPDATE run_files SET size_bytes = 'many' WHERE run_id = 'c'")
    one.sync(tables=["run_files"])
    assert len(one.rejects()) == 2
    two.store.runs.update("c", source="theirs")
    two.fill(["d"], files=0)
    two.sync()
    remote.sql("INSERT INTO runs SELECT * FROM runs WHERE false")
    report = verify(one, deep=True)
    assert (report.exit_code, found(report)) == (0, [])
    runs, files = (check_of(report, name) for name in ("runs", "run_files"))
    assert (runs.behind, files.set_aside) == (2, 2)
    assert runs.unsent == len({key for table, key, _ in one.logged() if table == "runs"})
    assert verify(one, repair=True).repaired == 0


def test_a_deletion_that_was_not_pulled_yet_is_no_difference(pair: Any) -> None:
    one, two = pair
    two.store.runs.delete("b")
    two.sync()
    report = verify(one, deep=True)
    assert (report.exit_code, check_of(report, "runs").behind) == (0, 1)


def test_a_deletion_that_was_forgotten_on_the_server_is_no_difference(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("b")
    one.sync(direction="both")
    assert purge(remote.url, utc_now()).tombstones == 3
    report = verify(one, deep=True)
    assert (report.exit_code, check_of(report, "runs").behind) == (0, 0)
    report = verify(two, deep=True)
    assert (report.exit_code, check_of(report, "runs").behind) == (0, 1)
    assert verify(two, repair=True).synced is None
    two.sync(direction="both")
    check.equal(two)
    assert verify(two, deep=True).exit_code == 0


def test_a_file_that_only_pushes_differs_in_nothing(make_node: Any) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"])
    two.fill(["b"])
    for node in (one, two):
        node.sync()
    report = verify(one, deep=True)
    assert (report.exit_code, check_of(report, "runs").behind) == (0, 1)


def write_here(node: Any, number: int) -> None:
    node.fill([f"n{number}"])
    node.store.runs.update("a", progress_percent=number % 100)
    if number % 2 == 0:
        node.store.runs.delete(f"n{number // 2}")


def write_there(node: Any, number: int) -> None:
    node.remote.sql(
        "UPDATE runs SET current_stage = %s WHERE id = 'b';"
        " INSERT INTO runs (id, status, source, created_at, updated_at)"
        " VALUES (%s, 'pending', 'sql', now(), now())",
        (str(number), f"s{number}"),
    )
    node.sync(direction="both")


def test_writers_at_work_make_no_difference(pair: Any) -> None:
    one, two = pair
    done = threading.Event()
    failed: list[BaseException] = []

    def keep_on(write: Any, node: Any) -> None:
        try:
            for number in itertools.takewhile(lambda _: not done.is_set(), itertools.count(1)):
                write(node, number)
        except BaseException as exc:
            failed.append(exc)

    threads = [
        threading.Thread(target=keep_on, args=job)
        for job in ((write_here, one), (write_there, two))
    ]
    for thread in threads:
        thread.start()
    try:
        reports = [verify(one, deep=True) for _ in range(8)]
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert failed == []
    assert [found(report) for report in reports] == [[]] * 8
    assert check_of(reports[-1], "runs").unsent > 0
    assert check_of(reports[-1], "runs").behind > 0


@pytest.mark.parametrize("how", ["put back", "changed here", "changed there", "deleted there"])
def test_what_is_gone_at_the_second_look_does_not_count(how: str, pair: Any) -> None:
    one, _ = pair
    tamper(one, THERE, "UPDATE runs SET source = 'tampered' WHERE id = 'b'")
    healed: list[bool] = []

    def heal(table: str, rows: int) -> None:
        if table != "run_files" or healed:
            return
        healed.append(True)
        if how == "put back":
            tamper(one, THERE, "UPDATE runs SET source = 'first' WHERE id = 'b'")
        elif how == "changed here":
            one.store.runs.update("b", source="mine")
        elif how == "changed there":
            one.remote.sql("UPDATE runs SET source = 'theirs' WHERE id = 'b'")
        else:
            one.remote.sql("DELETE FROM runs WHERE id = 'b'")

    report = verify(one, deep=True, progress=heal)
    assert (found(report), report.exit_code, healed) == ([], 0, [True])
    assert check_of(report, "runs").behind == how.endswith("there")


# what it is asked


def test_only_the_tables_that_were_named_are_compared(pair: Any) -> None:
    one, _ = pair
    tamper(one, THERE, "DELETE FROM run_files WHERE run_id = 'b'")
    assert verify(one, tables=["runs"]).exit_code == 0
    assert verify(one, skip=["run_files"]).exit_code == 0
    report = verify(one, tables=["run_files"])
    assert ([c.name for c in report.tables], report.total) == (["runs", "run_files"], 2)
    assert verify(one, tables=["run_files"], repair=True).total == 0
    with pytest.raises(ConfigError, match="no such table"):
        verify(one, tables=["nothing"])


def test_all_are_counted_and_repaired_though_few_are_listed(node: Any, check: Any) -> None:
    node.fill(["a"], files=30)
    node.sync(direction="both")
    tamper(node, THERE, "DELETE FROM run_files")
    report = verify(node, limit=4)
    assert (len(report.differences), report.total) == (4, 30)
    assert [d.key for d in report.differences] == sorted(d.key for d in report.differences)
    assert len(verify(node, limit=0).differences) == 30
    report = verify(node, limit=1, repair=True)
    assert (report.total, report.repaired) == (0, 30)
    check.all(node)


def test_a_repair_that_is_not_needed_writes_nothing(pair: Any) -> None:
    one, _ = pair
    before = one.state(), one.remote.state()
    report = verify(one, deep=True, repair=True)
    assert (report.exit_code, report.repaired, report.synced) == (0, 0, None)
    assert (one.state(), one.remote.state()) == before


def test_what_cannot_be_compared_is_refused(node: Any, pair: Any, postgres_url: str) -> None:
    with pytest.raises(IdentityMismatch, match="never synced"):
        verify(node)
    one, _ = pair
    with pytest.raises(IdentityMismatch):
        run_verify(one.store, postgres_url)
    with file_lock(one.path.absolute(), "sync-lock", 0), pytest.raises(SyncRunning):
        verify(one)
    with (
        Store.open(one.path, read_only=True) as store,
        pytest.raises(StoreUnwritable),
    ):
        run_verify(store, one.remote.url, repair=True)
