"""Rows that one side cannot hold: listed with the reason, tried again, or given up aloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import AmbiguousId, InvalidValue, RejectNotFound, SyncRunning
from dynostore.migrator import step_names
from dynostore.sync import sync, sync_status
from dynostore.sync.local.alone import alone
from dynostore.sync.local.changes import require_file
from dynostore.sync.review.rejects import (
    RejectedRow,
    drop_rejects,
    get_reject,
    list_rejects,
    retry_rejects,
    rows_in_danger,
)

pytestmark = pytest.mark.once


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that are in sync and hold the run ``a`` with a file of its own."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="first")
    for node in (one, two):
        node.sync(direction="both")
    return one, two


def both(*nodes: Any) -> list[int]:
    return [node.sync(direction="both").exit_code for node in nodes]


def converge(nodes: Any, check: Any) -> None:
    assert both(*nodes, *nodes) == [0] * (2 * len(nodes))
    for node in nodes:
        check.all(node)
        assert sync_status(node.store).exit_code == 0


def spoil(node: Any, key: str = "a") -> None:
    """Make a row that the server cannot hold, unseen by the verbs."""
    node.sql("UPDATE runs SET metadata = '{', source = 'spoilt' WHERE id = ?", (key,))


def only_reject(node: Any) -> RejectedRow:
    [found] = list_rejects(node.store).items
    assert isinstance(found, RejectedRow)
    return found


# -- the list --------------------------------------------------------------------------------


def test_a_reject_says_what_is_wrong_with_it_and_since_when(pair: Any) -> None:
    one, _ = pair
    spoil(one)
    assert one.sync().exit_code == 3
    first = only_reject(one)
    assert (first.table, first.key, first.column, first.value) == ("runs", "a", "metadata", "{")
    assert (first.sqlstate, first.tries, first.origin, first.wish) == ("22P02", 1, "file", None)
    assert first.reason
    one.sql("UPDATE runs SET current_stage = 'still bad'")
    assert one.sync().exit_code == 3
    again = only_reject(one)
    assert (again.tries, again.since) == (2, first.since)


def test_the_list_is_paged_by_table_and_key(node: Any) -> None:
    ids = [f"r{n}" for n in range(5)]
    node.fill(ids, files=1)
    node.sql("UPDATE runs SET metadata = '{'")
    node.sync()
    found, after = [], None
    while True:
        page = list_rejects(node.store, limit=3, after=after)
        found += [(row.table, row.key) for row in page]
        after = page.next
        if after is None:
            break
    assert found == sorted(found)
    assert len(set(found)) == len(found) == 10
    with pytest.raises(InvalidValue, match="not a cursor"):
        list_rejects(node.store, after="x")


def test_a_key_may_be_shortened_while_it_is_one(node: Any) -> None:
    node.fill(["run-1", "run-2", "run-20"], files=0)
    node.sql("UPDATE runs SET metadata = '{'")
    node.sync()
    assert get_reject(node.store, "runs", "run-1").key == "run-1"
    assert get_reject(node.store, "runs", "run-2").key == "run-2"
    with pytest.raises(AmbiguousId):
        get_reject(node.store, "runs", "run-")
    for table, key in (("runs", "x"), ("tasks", "run-1"), ("no such", "run-1")):
        with pytest.raises(RejectNotFound) as caught:
            get_reject(node.store, table, key)
        assert caught.value.exit_code == 4


def test_a_file_that_never_synced_has_none(node: Any) -> None:
    assert list_rejects(node.store).items == []
    assert (retry_rejects(node.store), drop_rejects(node.store)) == (0, 0)
    assert rows_in_danger(node.store) == {}


# -- tried again -----------------------------------------------------------------------------


def test_a_row_is_tried_again_when_the_server_can_hold_it(
    empty_remote: Any, make_node: Any
) -> None:
    node = make_node(to=empty_remote)
    node.fill(["long"], source="short")
    node.sync()
    empty_remote.sql("ALTER TABLE runs ALTER COLUMN source TYPE varchar(5)")
    node.store.runs.update("long", source="longer than five")
    assert node.sync().exit_code == 3
    assert only_reject(node).sqlstate == "22001"
    assert retry_rejects(node.store, [only_reject(node)]) == 1
    assert node.sync().exit_code == 3
    assert only_reject(node).tries == 2
    empty_remote.sql("ALTER TABLE runs ALTER COLUMN source TYPE varchar(64)")
    assert node.sync().up_to_date
    assert retry_rejects(node.store) == 1
    assert sync_status(node.store).waiting == {"runs": 1}
    assert node.sync().exit_code == 0
    assert list_rejects(node.store).items == []
    assert empty_remote.sql("SELECT source FROM runs") == [("longer than five",)]


def test_rejects_of_an_earlier_schema_are_tried_again_once(pair: Any) -> None:
    one, _ = pair
    spoil(one)
    assert one.sync().exit_code == 3
    assert one.sync().up_to_date
    one.sql("UPDATE sync_reject SET schema_version = '0001_initial'")
    assert one.sync().exit_code == 3
    assert only_reject(one).tries == 2
    assert one.sql("SELECT schema_version FROM sync_reject") == [(step_names()[-1],)]
    assert one.sync().up_to_date


def test_a_file_of_an_earlier_version_gets_the_columns_that_it_lacks(pair: Any) -> None:
    one, _ = pair
    spoil(one)
    one.sync()
    for column in ("origin", "schema_version", "wish", "wish_seq"):
        one.sql(f"ALTER TABLE sync_reject DROP COLUMN {column}")
    one.sql("ALTER TABLE sync_conflict DROP COLUMN node")
    one.sql("ALTER TABLE sync_pending DROP COLUMN scope")
    assert one.sync().exit_code == 3
    assert (only_reject(one).origin, only_reject(one).tries) == ("file", 2)


def test_a_row_of_the_servers_is_asked_for_again(pair: Any, remote: Any, check: Any) -> None:
    one, two = pair
    remote.sql("UPDATE runs SET created_at = '0044-03-15 BC'")
    assert two.sync(direction="pull").exit_code == 3
    reject = only_reject(two)
    assert (reject.origin, reject.column) == ("server", "created_at")
    assert "BC" in str(reject.value)
    with pytest.raises(InvalidValue, match="the server's row"):
        drop_rejects(two.store, [reject])
    assert drop_rejects(two.store) == 0
    assert retry_rejects(two.store) == 1
    assert only_reject(two).wish == "retry"
    assert two.sync(direction="pull").exit_code == 3
    assert (only_reject(two).tries, only_reject(two).wish) == (2, None)
    assert two.sync(direction="pull").up_to_date
    # Mended without a new number, as a restored backup would be.
    remote.sql(
        "BEGIN; SET LOCAL dynostore_sync.apply = 'on';"
        " UPDATE runs SET created_at = updated_at; COMMIT"
    )
    assert two.sync(direction="pull").up_to_date
    retry_rejects(two.store)
    assert two.sync(direction="pull").exit_code == 0
    one.sync(direction="both")
    converge(pair, check)


def test_a_servers_row_that_is_deleted_is_no_reject_any_more(
    pair: Any, remote: Any, check: Any
) -> None:
    _, two = pair
    remote.sql("UPDATE runs SET created_at = '0044-03-15 BC'")
    assert two.sync(direction="pull").exit_code == 3
    remote.sql("DELETE FROM runs")
    assert two.sync(direction="pull").exit_code == 0
    assert list_rejects(two.store).items == []


def test_a_row_that_fits_no_file_takes_nothing_from_one_that_waits_here(
    pair: Any, remote: Any
) -> None:
    one, _ = pair
    spoil(one)
    assert one.sync().exit_code == 3
    remote.sql("UPDATE runs SET created_at = 'infinity'")
    one.sync(direction="both")
    assert only_reject(one).origin == "file"
    assert one.sql("SELECT source FROM runs") == [("spoilt",)]


# -- given up --------------------------------------------------------------------------------


def test_what_was_changed_here_is_given_up_for_the_servers_version(pair: Any, check: Any) -> None:
    one, two = pair
    spoil(one)
    two.store.runs.update("a", current_stage="by two")
    assert both(one, two) == [3, 0]
    assert drop_rejects(one.store, [only_reject(one)]) == 1
    assert only_reject(one).wish == "drop"
    assert sync_status(one.store).exit_code == 1
    assert one.sql("SELECT source FROM runs") == [("spoilt",)]
    converge(pair, check)
    assert one.store.runs.get("a").current_stage == "by two"


def test_a_push_leaves_what_was_given_up_to_the_next_pull(pair: Any, check: Any) -> None:
    one, _ = pair
    spoil(one)
    one.sync()
    drop_rejects(one.store)
    assert one.sync().up_to_date
    assert only_reject(one).wish == "drop"
    assert one.sync(direction="pull").exit_code == 0
    converge(pair, check)


def test_a_row_that_the_server_never_had_goes_with_all_that_refers_to_it(
    pair: Any, check: Any
) -> None:
    one, _ = pair
    one.fill(["new", "good"], files=2)
    spoil(one, "new")
    assert one.sync().exit_code == 3
    one.store.runs.add_file("new", "later.csv")
    reject = get_reject(one.store, "runs", "new")
    assert rows_in_danger(one.store, [reject]) == {"runs": 1, "run_files": 3}
    assert rows_in_danger(one.store) == {"runs": 1, "run_files": 3}
    drop_rejects(one.store, [reject])
    one.sync(direction="both")
    assert {r.id for r in one.store.runs.list()} == {"a", "good"}
    assert one.count("run_files") == 3
    converge(pair, check)


def test_children_that_waited_for_the_row_are_sent_when_the_servers_comes_back(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["p"], files=0)
    spoil(one, "p")
    one.store.runs.add_file("p", "child.csv")
    assert both(one) == [3]
    assert [r.table for r in list_rejects(one.store)] == ["run_files", "runs"]
    two.fill(["p"], files=0, source="by two")
    assert two.sync().exit_code == 0
    drop_rejects(one.store, [get_reject(one.store, "runs", "p")])
    converge(pair, check)
    assert one.store.runs.get("p").source == "by two"
    assert [f.filename for f in two.store.runs.files("p")] == ["child.csv"]


def test_a_child_that_the_server_has_elsewhere_goes_back_there(pair: Any, check: Any) -> None:
    one, _ = pair
    one.fill(["new"], files=0)
    spoil(one, "new")
    one.sql("UPDATE run_files SET run_id = 'new'")
    assert both(one) == [3]
    drop_rejects(one.store, [get_reject(one.store, "runs", "new")])
    converge(pair, check)
    assert one.sql("SELECT run_id FROM run_files") == [("a",)]


def test_a_row_that_was_deleted_on_the_server_is_gone_here_too(pair: Any, check: Any) -> None:
    one, two = pair
    spoil(one)
    assert both(one) == [3]
    two.store.runs.delete("a")
    both(two, one)
    assert [r.key for r in list_rejects(one.store)] == ["a"]
    drop_rejects(one.store)
    converge(pair, check)
    assert one.count("runs") == one.count("run_files") == 0


def test_a_row_that_changes_after_the_decision_is_kept(pair: Any, check: Any) -> None:
    one, two = pair
    spoil(one)
    assert both(one) == [3]
    drop_rejects(one.store)
    one.sql("UPDATE runs SET metadata = '{}' WHERE id = 'a'")
    assert one.sync(direction="pull").exit_code == 0
    assert only_reject(one).wish is None
    converge(pair, check)
    assert two.store.runs.get("a").source == "spoilt"


def test_a_child_that_is_added_after_the_decision_keeps_its_parent(pair: Any) -> None:
    one, _ = pair
    one.fill(["new"], files=0)
    spoil(one, "new")
    assert both(one) == [3]
    drop_rejects(one.store)
    one.store.runs.add_file("new", "after.csv")
    one.sync(direction="pull")
    assert one.count("runs") == 2
    assert only_reject(one).wish is None


def test_a_decision_is_taken_back_by_trying_again(pair: Any) -> None:
    one, _ = pair
    spoil(one)
    both(one)
    drop_rejects(one.store)
    retry_rejects(one.store)
    assert only_reject(one).wish is None
    assert both(one) == [3]
    assert one.sql("SELECT source FROM runs") == [("spoilt",)]


def test_a_drop_wins_over_a_retry_that_was_asked_for_before_it(pair: Any, check: Any) -> None:
    one, _ = pair
    one.fill(["new"], files=1)
    for key in ("a", "new"):
        spoil(one, key)
    both(one)
    retry_rejects(one.store)
    drop_rejects(one.store, [get_reject(one.store, "runs", key) for key in ("a", "new")])
    assert {r.key: r.wish for r in list_rejects(one.store) if r.table == "runs"} == {
        "a": "drop",
        "new": "drop",
    }
    both(one)
    assert list_rejects(one.store).items == []
    assert one.sql("SELECT id, source FROM runs") == [("a", "first")]
    converge(pair, check)


@pytest.mark.parametrize("table", ["run_files", "runs"])
def test_a_key_that_is_no_uuid_is_one_that_the_server_never_had(
    table: str, pair: Any, check: Any
) -> None:
    one, _ = pair
    one.fill(["new"], files=1)
    one.sql("UPDATE run_files SET id = 'not-uuid' WHERE run_id = 'new'")
    spoil(one, "new")
    assert both(one) == [3]
    key = {"run_files": "not-uuid", "runs": "new"}[table]
    drop_rejects(one.store, [get_reject(one.store, table, key)])
    one.sync(direction="pull")
    assert one.count("run_files") == 1
    drop_rejects(one.store)
    one.sync(direction="pull")
    converge(pair, check)


BAD_KEYS = ["x'0102'", "'k' || char(0)", "CAST(x'6bff' AS TEXT)", f"'{'x' * 65}'"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_rows_whose_keys_no_server_could_be_asked_for_are_tried_and_dropped(
    key: str, pair: Any, check: Any
) -> None:
    one, _ = pair
    one.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        f" SELECT {key}, status, source, created_at, updated_at FROM runs LIMIT 1"
    )
    assert both(one) == [3]
    retry_rejects(one.store)
    assert both(one) == [3]
    assert only_reject(one).tries == 2
    assert rows_in_danger(one.store) == {"runs": 1}
    drop_rejects(one.store)
    assert one.sync(direction="pull").exit_code == 0
    assert one.count("runs") == 1
    converge(pair, check)


def test_nothing_is_dropped_while_a_sync_runs(pair: Any) -> None:
    one, _ = pair
    spoil(one)
    both(one)
    with alone(require_file(one.store)), pytest.raises(SyncRunning):
        drop_rejects(one.store)
    assert only_reject(one).wish is None


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_local_statement_a_drop_is_done_or_still_wished(
    stride: int, pair: Any, killed_at: Callable[[int, Callable[[], object]], bool]
) -> None:
    one, _ = pair
    one.fill(["new"], files=2)
    spoil(one, "new")
    both(one)
    drop_rejects(one.store, [get_reject(one.store, "runs", "new")])
    path, url = one.path, one.remote.url
    one.store.close()

    def pull() -> None:
        with Store.open(path) as store:
            sync(store, url, direction="pull")

    at = 1
    while killed_at(at, pull):
        wished = one.sql("SELECT count(*) FROM sync_reject WHERE wish = 'drop'") == [(1,)]
        rows = (one.count("runs"), one.count("run_files"))
        assert rows == ((2, 3) if wished else (1, 1))
        at += stride
    assert at > 20
    assert (one.count("runs"), one.count("run_files")) == (1, 1)
    assert one.sql("SELECT * FROM sync_reject") == []
