"""One bad row stops one row: it is set aside with the reason, and sent when it is mended."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.once

LONG = "x" * 65

# name: what plain SQL did to the run 'bad', the column at fault, SQLSTATE, the value as shown,
# words of the message. The server itself refuses those that do not begin with 22000.
POISON: dict[str, tuple[str, str, str, str, str]] = {
    "NUL": ("source = 'a' || char(0) || 'b'", "source", "22000", "x'610062'", "NUL"),
    "no UTF-8": ("source = CAST(x'61ff' AS TEXT)", "source", "22000", "x'61ff'", "UTF-8"),
    "too long": (f"source = '{LONG}'", "source", "22000", LONG, "65 characters; 64 fit"),
    "text for an integer": (
        "progress_percent = 'many'", "progress_percent", "22000", "many", "integer",
    ),
    "a fraction": ("progress_percent = 1.5", "progress_percent", "22000", "1.5", "integer"),
    "beyond 64 bits": (
        "progress_percent = 9223372036854775808",
        "progress_percent", "22000", "9.223372036854776e+18", "integer",
    ),
    "BLOB for text": ("source = x'00ff'", "source", "22000", "x'00ff'", "text expected"),
    "BLOB for JSON": ("metadata = x'7b7d'", "metadata", "22000", "{}", "JSON text expected"),
    "naive time": (
        "created_at = '2024-01-01T00:00:00'",
        "created_at", "22000", "2024-01-01T00:00:00", "UTC time",
    ),
    "endless time": ("created_at = 'infinity'", "created_at", "22000", "infinity", "UTC time"),
    "year 0": (
        "created_at = '0000-01-01T00:00:00.000000+00:00'",
        "created_at", "22000", "0000-01-01T00:00:00.000000+00:00", "UTC time",
    ),
    "no such day": (
        "created_at = '2024-02-31T00:00:00.000000+00:00'",
        "created_at", "22008", "2024-02-31T00:00:00.000000+00:00", "",
    ),
    "garbage of a time's length": (
        "created_at = 'tomorrow at noon, or later+00:00'",
        "created_at", "22000", "tomorrow at noon, or later+00:00", "",
    ),
    "broken JSON": ("metadata = '{\"a\":\t'", "metadata", "22P02", '{"a":\t', ""),
    "JSON with NUL": ("metadata = '\"\\u0000\"'", "metadata", "22P05", '"\\u0000"', ""),
    "JSON's NaN": ("metadata = '{\"a\": NaN}'", "metadata", "22P02", '{"a": NaN}', ""),
    "half a character in JSON": (
        "metadata = '\"\\ud800\"'", "metadata", "22P02", '"\\ud800"', "",
    ),
    "JSON too deep": (
        "metadata = (WITH RECURSIVE n(t, i) AS (SELECT '[', 1 UNION ALL SELECT t || '[', i + 1"
        " FROM n WHERE i < 30000) SELECT t FROM n ORDER BY i DESC LIMIT 1)",
        "metadata", "54001", "[" * 200 + "...", "",
    ),
}  # fmt: skip


def _insert_many(node: Any, count: int) -> None:
    node.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO runs (id, status, source, created_at, updated_at)"
        " SELECT printf('run-%05d', i), 'pending', 'plain', '2024-01-01T00:00:00.000000+00:00',"
        " '2024-01-01T00:00:00.000000+00:00' FROM n",
        (count,),
    )


def _rejected(report: Any) -> int:
    return sum(table.rejected for table in report.tables)


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_bad_row_is_set_aside_and_sent_when_it_is_mended(
    name: str, known: bool, node: Any, check: Any
) -> None:
    change, column, state, value, words = POISON[name]
    node.fill(["a", "bad", "c"])
    if known:
        node.sync()
    node.sql("UPDATE runs SET current_stage = 'changed'")
    node.sql(f"UPDATE runs SET {change} WHERE id = 'bad'")
    before = node.sql("SELECT * FROM runs WHERE id = 'bad'") if "UTF-8" not in words else None

    report = node.sync()
    assert report.exit_code == 3
    table, at, shown, code, message = node.rejects()["bad"]
    assert (table, at, shown) == ("runs", column, value)
    assert code == state if words or state[:3] != "220" else code[:2] == "22"
    assert words in message
    assert _rejected(report) == (1 if known else 2)  # a new one keeps its file waiting
    assert node.remote.count("runs") == (3 if known else 2)
    stages = node.remote.sql("SELECT id, current_stage FROM runs WHERE id <> 'bad' ORDER BY id")
    assert stages == [("a", "changed"), ("c", "changed")]
    if before is not None:
        assert node.sql("SELECT * FROM runs WHERE id = 'bad'") == before

    again = node.sync()
    assert (again.exit_code, again.up_to_date) == (0, True)
    assert "bad" in node.rejects()

    node.sql(
        "UPDATE runs SET source = 's', progress_percent = 1, metadata = NULL,"
        " created_at = updated_at WHERE id = 'bad'"
    )
    assert node.sync().exit_code == 0
    check.all(node)


@pytest.mark.parametrize("place", ["run-00000", "run-05000x", "run-99999"])
def test_wherever_the_bad_rows_are_among_ten_thousand_all_good_ones_arrive(
    place: str, node: Any, check: Any
) -> None:
    _insert_many(node, 10_000)
    for number, (change, *_) in enumerate(POISON.values()):
        node.sql(
            "INSERT INTO runs (id, status, source, created_at, updated_at) SELECT ?,"
            " status, source, created_at, updated_at FROM runs WHERE id = 'run-00001'",
            (f"{place}-{number}",),
        )
        node.sql(f"UPDATE runs SET {change} WHERE id = ?", (f"{place}-{number}",))
    report = node.sync()
    assert report.exit_code == 3
    assert _rejected(report) == len(POISON) == len(node.rejects())
    assert node.remote.sql("SELECT count(*), count(DISTINCT id) FROM runs") == [(10_000, 10_000)]
    node.sql("DELETE FROM runs WHERE id LIKE ? || '-%'", (place,))
    assert node.sync().exit_code == 0
    check.all(node)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["run-00000", "run-05000x", "run-99999"])
@pytest.mark.parametrize(
    "name", ["NUL", "no UTF-8", "BLOB for text", "no such day", "broken JSON", "JSON too deep"]
)
def test_one_bad_row_first_in_the_middle_or_last_among_ten_thousand(
    name: str, place: str, node: Any, check: Any
) -> None:
    _insert_many(node, 10_000)
    node.sql("UPDATE runs SET id = ? WHERE id = 'run-05000'", (place,))
    node.sql(f"UPDATE runs SET {POISON[name][0]} WHERE id = ?", (place,))
    assert node.sync(rows=2_500).exit_code == 3
    assert list(node.rejects()) == [place]
    assert node.remote.count("runs") == 9_999


# Keys that no other database could ask for.
BAD_KEYS = {
    "BLOB": "x'0102'",
    "NUL": "'k' || char(0)",
    "no UTF-8": "CAST(x'6bff' AS TEXT)",
    "too long": f"'{LONG}'",
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_set_aside_until_its_row_is_gone(name: str, node: Any, check: Any) -> None:
    node.fill(["a", "z"])
    node.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        f" SELECT {BAD_KEYS[name]}, status, source, created_at, updated_at FROM runs LIMIT 1"
    )
    report = node.sync()
    assert (report.exit_code, _rejected(report)) == (3, 1)
    [(table, column, *_)] = node.rejects().values()
    assert (table, column) == ("runs", "id")
    assert node.count("runs") == 3
    assert node.remote.count("runs") == 2
    assert node.sync().up_to_date

    node.sql(f"UPDATE runs SET source = 'changed' WHERE id = {BAD_KEYS[name]}")
    assert node.sync().exit_code == 3
    node.sql(f"UPDATE runs SET id = 'good' WHERE id = {BAD_KEYS[name]}")
    assert node.sync().exit_code == 0
    check.all(node)


@pytest.mark.parametrize(
    "key",
    [
        "not a uuid",
        "E48F4E4B-1A6B-4C2A-9C5E-000000000001",
        "{48f4e4b1-a6b4-c2a9-c5e0-0000000001}",
        "48f4e4b11a6b-4c2a-9c5e-0000-00000001",
        "48f4e4b1-a6b4-c2a9-c5e0-00000000000g",
    ],
)
def test_a_uuid_in_another_form_is_set_aside(key: str, node: Any, check: Any) -> None:
    node.fill(["a"], files=3)
    node.sql("UPDATE run_files SET id = ? WHERE filename = 'output/1.csv'", (key,))
    report = node.sync()
    assert (report.exit_code, _rejected(report)) == (3, 1)
    assert node.rejects()[key][:3] == ("run_files", "id", key)
    assert node.remote.count("run_files") == 2
    node.sql("DELETE FROM run_files WHERE id = ?", (key,))
    assert node.sync().exit_code == 0
    check.all(node)


def test_two_forms_of_one_uuid_stop_nothing(node: Any) -> None:
    node.fill(["a"], files=2)
    [(key,)] = node.sql("SELECT id FROM run_files WHERE filename = 'output/0.csv'")
    node.sql("UPDATE run_files SET id = ? WHERE filename = 'output/1.csv'", (key.upper(),))
    assert node.sync().exit_code == 3
    assert list(node.rejects()) == [key.upper()]
    assert node.remote.sql("SELECT id::text FROM run_files") == [(key,)]


def test_a_child_without_a_parent_waits_and_goes_with_it(node: Any, check: Any) -> None:
    node.fill(["a", "b"], files=2)
    node.sql("UPDATE run_files SET run_id = 'late' WHERE run_id = 'b'", foreign_keys=False)
    report = node.sync()
    assert (report.exit_code, _rejected(report)) == (3, 2)
    assert {r[:3] for r in node.rejects().values()} == {("run_files", "run_id", "late")}
    assert {r[3] for r in node.rejects().values()} == {"23503"}
    assert node.remote.count("run_files") == 2
    assert node.sync().up_to_date
    node.store.runs.create(run_id="late")
    assert node.sync().exit_code == 0
    check.all(node)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_the_children_of_a_bad_parent_wait_and_come_with_it(
    rows: int, node: Any, check: Any
) -> None:
    node.fill(["a", "bad", "c"], files=3)
    node.sql("UPDATE runs SET metadata = '{' WHERE id = 'bad'")
    report = node.sync(rows=rows)
    assert (report.exit_code, _rejected(report)) == (3, 4)
    assert node.remote.count("run_files") == 6
    node.store.runs.add_file("bad", "later.csv")
    assert _rejected(node.sync(rows=rows)) == 1
    node.store.runs.update("bad", metadata={})
    assert node.sync(rows=rows).exit_code == 0
    check.all(node)


def test_waiting_children_come_too_when_somebody_else_brings_the_parent(
    make_node: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["p"], files=2)
    one.sql("UPDATE runs SET metadata = '{'")
    assert one.sync().exit_code == 3
    two.sql("ATTACH ? AS one", (str(one.path),))
    values = list(one.sql("SELECT * FROM runs")[0])
    values[-1] = "{}"
    two.sql(f"INSERT INTO runs VALUES ({', '.join('?' * len(values))})", values)
    two.sync()
    one.store.runs.update("p", metadata={})
    one.sql("UPDATE runs SET updated_at = ?", (values[4],))
    report = one.sync()
    assert report.exit_code == 0
    assert [t.adopted for t in report.tables if t.name == "runs"] == [1]
    check.equal(one)
    check.settled(one)


def test_a_bad_row_that_is_deleted_is_forgotten(node: Any, check: Any) -> None:
    node.fill(["a", "bad"])
    node.sync()
    node.sql("UPDATE runs SET metadata = '{' WHERE id = 'bad'")
    assert node.sync().exit_code == 3
    node.store.runs.delete("bad")
    assert node.sync().exit_code == 0
    check.all(node)


def test_a_row_that_fails_twice_is_counted_twice_and_listed_once(node: Any) -> None:
    node.fill(["a"], files=0)
    node.sql("UPDATE runs SET metadata = '{'")
    for tries in (1, 2, 3):
        assert node.sync().exit_code == 3
        assert node.sql("SELECT tries FROM sync_reject") == [(tries,)]
        node.sql("UPDATE runs SET current_stage = ?", (str(tries),))


def test_a_row_that_is_too_large_is_set_aside(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynostore.sync.wire.MAX_ROW_BYTES", 1_000_000)
    node.fill(["a", "huge", "z"], files=0)
    node.sql("UPDATE runs SET current_stage = hex(zeroblob(600000)) WHERE id = 'huge'")
    assert node.sync().exit_code == 3
    assert node.rejects()["huge"][3] == "54000"
    assert node.remote.count("runs") == 2
    node.sql("UPDATE runs SET current_stage = '' WHERE id = 'huge'")
    assert node.sync().exit_code == 0
    assert node.rejects() == {}
