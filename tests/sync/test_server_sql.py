"""People who write to the server with plain SQL: captured, and judged like any other node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.once

INSERT = (
    "INSERT INTO runs (id, status, source, created_at, updated_at)"
    " VALUES (%s, 'pending', %s, now(), now())"
)


@pytest.fixture
def synced(node: Any) -> Any:
    """Give a file with some runs and files, in sync."""
    node.fill(["a", "b", "c"], files=2, source="file")
    node.sync()
    return node


def _clock(remote: Any) -> int:
    return int(remote.sql("SELECT max(seq) FROM dynostore_sync.tick")[0][0])


def _assert_numbered(remote: Any) -> None:
    """Every row and tombstone has a revision and a number of the clock, and nothing is pending."""
    stamps = remote.stamps()
    assert all(rev is not None and seq is not None for rev, seq in stamps.values())
    assert {seq for _, seq in stamps.values()} <= {
        seq for (seq,) in remote.sql("SELECT seq FROM dynostore_sync.tick")
    }
    assert remote.sql("SELECT * FROM dynostore_sync.touched") == []


def test_an_insert_an_update_and_a_deletion_get_revisions_and_numbers(
    synced: Any, remote: Any
) -> None:
    before, clock = remote.stamps(), _clock(remote)
    remote.sql(INSERT, ("new", "sql"))
    remote.sql("UPDATE runs SET source = 'sql' WHERE id = 'a'")
    remote.sql("DELETE FROM runs WHERE id = 'b'")
    after = remote.stamps()
    _assert_numbered(remote)
    assert after["runs", "c"] == before["runs", "c"]
    assert after["runs", "a"][0] != before["runs", "a"][0]
    assert (after["runs", "new"][1], after["runs", "a"][1]) == (clock + 1, clock + 2)
    assert after["runs", "b"][1] == clock + 3
    buried = remote.sql("SELECT tbl, key FROM dynostore_sync.tombstone ORDER BY tbl")
    assert [table for table, _ in buried] == ["run_files", "run_files", "runs"]
    assert [image["source"] for _, image in remote.archive("b")] == ["file"]
    assert remote.sql("SELECT DISTINCT sync_node FROM runs WHERE id IN ('a', 'new')") == [(0,)]


def test_the_owner_of_a_database_sets_it_up_without_being_a_superuser(
    postgres: Any, make_node: Any, remote: Any, check: Any
) -> None:
    name = postgres.create()
    postgres.execute("CREATE ROLE owner LOGIN")
    try:
        postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
        theirs = type(remote)(postgres.url_of(name, user="owner"))
        node = make_node(to=theirs)
        node.fill(["a"], files=2)
        assert node.sync().exit_code == 0
        theirs.sql(INSERT, ("new", "sql"))
        theirs.sql("DELETE FROM run_files")
        _assert_numbered(theirs)
        assert node.sync(direction="pull").exit_code == 0
        check.equal(node)
    finally:
        postgres.drop(name)
        postgres.execute("DROP ROLE owner")


def test_what_is_written_while_a_transaction_is_numbered_is_captured_as_well(
    synced: Any, remote: Any
) -> None:
    """A user's own deferred trigger runs after ours, and what it writes is plain SQL again."""
    remote.sql(
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE run_files SET file_type = 'marked' WHERE run_id = NEW.id; RETURN NULL; END $$;"
        " CREATE CONSTRAINT TRIGGER zzz AFTER UPDATE ON runs DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION mark()"
    )
    try:
        before = remote.stamps()
        remote.sql(
            "BEGIN; UPDATE run_files SET file_type = 'first' WHERE run_id = 'b';"
            " UPDATE runs SET source = 'sql' WHERE id = 'a'; COMMIT"
        )
        _assert_numbered(remote)
        marked = remote.sql("SELECT id::text FROM run_files WHERE file_type = 'marked'")
        assert len(marked) == 2
        after = remote.stamps()
        assert all(after["run_files", key][0] != before["run_files", key][0] for (key,) in marked)
    finally:
        remote.sql("DROP FUNCTION mark CASCADE")


def test_a_whole_transaction_gets_one_number(synced: Any, remote: Any) -> None:
    clock = _clock(remote)
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(INSERT, ("x", "sql"))
        cursor.execute("UPDATE runs SET source = 'sql'; DELETE FROM run_files")
        cursor.execute("SAVEPOINT s")
        cursor.execute(INSERT, ("y", "sql"))
        cursor.execute("ROLLBACK TO s; COMMIT")
    assert _clock(remote) == clock + 1
    assert {seq for _, seq in remote.stamps().values()} == {clock + 1}
    _assert_numbered(remote)


def test_a_key_change_is_a_deletion_and_a_new_row(synced: Any, remote: Any) -> None:
    remote.sql("DELETE FROM run_files WHERE run_id = 'a'; UPDATE runs SET id = 'z' WHERE id = 'a'")
    assert remote.sql("SELECT 1 FROM dynostore_sync.tombstone WHERE key = 'a'")
    remote.sql("UPDATE runs SET id = 'a' WHERE id = 'z'")
    assert remote.sql("SELECT key FROM dynostore_sync.tombstone WHERE tbl = 'runs'") == [("z",)]
    _assert_numbered(remote)


def test_truncate_leaves_tombstones_and_images(synced: Any, remote: Any) -> None:
    remote.sql("TRUNCATE runs CASCADE")
    assert remote.sql("SELECT key FROM dynostore_sync.tombstone WHERE tbl = 'runs'"
                      " ORDER BY key") == [("a",), ("b",), ("c",)]  # fmt: skip
    assert remote.count("dynostore_sync.tombstone") == 9
    assert [(why, image["source"]) for why, image in remote.archive("a")] == [("truncated", "file")]
    _assert_numbered(remote)


def test_what_runs_with_apply_on_is_not_captured(synced: Any, remote: Any) -> None:
    clock = _clock(remote)
    remote.sql(
        "SET dynostore_sync.apply = 'on'; UPDATE runs SET source = 'restored';"
        " DELETE FROM run_files; TRUNCATE run_files"
    )
    assert _clock(remote) == clock
    assert remote.count("dynostore_sync.tombstone") == 0


# What plain SQL did to the row 'a', what was done to it here, and then: exit code, what the server
# holds, and what the archive keeps of the loser.
TABLE: dict[str, tuple[str, str | None, str, int, str | None, list[str]]] = {
    "update, update": ("UPDATE runs SET source = 'sql' WHERE id = 'a'", None,
                       "UPDATE runs SET source = 'here' WHERE id = 'a'", 3, "sql", ["here"]),
    "update, the same": ("UPDATE runs SET source = 'same' WHERE id = 'a'", None,
                         "UPDATE runs SET source = 'same' WHERE id = 'a'", 0, "same", []),
    "update, delete": ("UPDATE runs SET source = 'sql' WHERE id = 'a'", None,
                       "DELETE FROM runs WHERE id = 'a'", 3, "sql", []),
    "delete, update": ("DELETE FROM runs WHERE id = 'a'", None,
                       "UPDATE runs SET source = 'here' WHERE id = 'a'", 3, "here", ["file"]),
    "delete, delete": ("DELETE FROM runs WHERE id = 'a'", None,
                       "DELETE FROM runs WHERE id = 'a'", 0, None, ["file"]),
    "a merging column": ("UPDATE runs SET progress_percent = 70 WHERE id = 'a'", None,
                         "UPDATE runs SET progress_percent = 30 WHERE id = 'a'", 0, "file", []),
    "delete and again, update": ("DELETE FROM runs WHERE id = 'a'", "sql again",
                                 "UPDATE runs SET source = 'here' WHERE id = 'a'", 3,
                                 "sql again", ["file", "here"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_push_over_plain_sql_is_judged_as_documented(
    name: str, node: Any, remote: Any, check: Any
) -> None:
    theirs, again, ours, code, holds, archived = TABLE[name]
    node.fill(["a", "b"], files=0, source="file")
    node.sync()
    remote.sql(theirs)
    if again:
        remote.sql(INSERT, ("a", again))
    node.sql(ours)
    assert node.sync().exit_code == code
    assert len(node.conflicts()) == (code == 3)
    found = remote.sql("SELECT source FROM runs WHERE id = 'a'")
    assert found == ([(holds,)] if holds else [])
    assert [i["source"] for _, i in remote.archive("a") if i] == archived
    assert node.sync().up_to_date
    check.equal(node)
    check.settled(node)
    _assert_numbered(remote)


def test_a_time_that_no_file_can_hold_stops_only_its_own_row(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a", "b", "c", "d"], files=0)
    node.sync()
    remote.sql("UPDATE runs SET created_at = 'infinity' WHERE id = 'a'")
    remote.sql("UPDATE runs SET created_at = '0044-03-15 BC' WHERE id = 'b'")
    remote.sql("UPDATE runs SET created_at = '12000-01-01' WHERE id = 'c'")
    before = {key: node.store.runs.get(key).created_at for key in "abc"}
    node.sql("UPDATE runs SET source = 'here'")
    assert node.sync().exit_code == 3
    assert remote.sql("SELECT source FROM runs WHERE id = 'd'") == [("here",)]
    assert sorted(c["key"] for c in node.conflicts()) == ["a", "b", "c"]
    assert {key: node.store.runs.get(key).created_at for key in "abc"} == before


@pytest.fixture
def analyst(postgres: Any, remote: Any) -> Iterator[Any]:
    """Give the server as seen by somebody with rights on the tables and none on the sync's."""
    postgres.execute("CREATE ROLE analyst LOGIN")
    remote.sql("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON runs, run_files TO analyst")
    name = urlsplit(remote.url).path.strip("/")
    yield type(remote)(postgres.url_of(name, user="analyst"))
    remote.sql("DROP OWNED BY analyst")
    postgres.execute("DROP ROLE analyst")


def test_who_has_rights_on_the_tables_alone_can_write_them(
    synced: Any, remote: Any, analyst: Any
) -> None:
    import psycopg2

    analyst.sql(INSERT, ("new", "sql"))
    analyst.sql("UPDATE runs SET source = 'sql' WHERE id = 'a'")
    analyst.sql("DELETE FROM runs WHERE id = 'b'")
    analyst.sql("UPDATE runs SET id = 'newer' WHERE id = 'new'")
    _assert_numbered(remote)
    analyst.sql("TRUNCATE run_files")
    _assert_numbered(remote)
    for refused in (
        "SELECT * FROM dynostore_sync.archive",
        "SELECT dynostore_sync.take()",
        "DELETE FROM dynostore_sync.tombstone",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            analyst.sql(refused)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transactions_of_other_people_beside_a_push_do_not_fail(
    level: str, synced: Any, remote: Any, check: Any
) -> None:
    synced.fill(["d"])
    synced.store.runs.update("a", source="here")
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM runs WHERE id = 'b'")
        synced.sync()
        cursor.execute(INSERT, ("theirs", "sql"))
        cursor.execute("UPDATE runs SET source = 'theirs' WHERE id = 'c'; COMMIT")
    _assert_numbered(remote)
    assert remote.sql("SELECT id, source FROM runs ORDER BY id") == [
        ("a", "here"), ("b", "file"), ("c", "theirs"), ("d", "manual"), ("theirs", "sql"),
    ]  # fmt: skip


def test_numbers_follow_the_order_of_commits(synced: Any, remote: Any) -> None:
    with remote.session() as slow, slow.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(INSERT, ("began first", "sql"))
        remote.sql(INSERT, ("committed first", "sql"))
        synced.fill(["pushed second"], files=0)
        synced.sync()
        cursor.execute("COMMIT")
    stamps = remote.stamps()
    order = sorted(
        ("began first", "committed first", "pushed second"), key=lambda k: stamps["runs", k][1]
    )
    assert order == ["committed first", "pushed second", "began first"]


def test_a_pushed_child_meets_a_parent_that_plain_sql_is_deleting(
    synced: Any, remote: Any, check: Any
) -> None:
    remote.sql("DELETE FROM runs WHERE id = 'a'")
    synced.store.runs.add_file("a", "new.csv")
    synced.sync()
    assert remote.sql("SELECT filename FROM run_files WHERE run_id = 'a'") == [("new.csv",)]
    assert synced.sync().up_to_date
