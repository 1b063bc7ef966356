"""Two files and one server: who wins, who is told, and that nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from dynostore.errors import SyncRunning

pytestmark = pytest.mark.once


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that hold the run ``a`` with two files of its own, both in sync."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], files=2, source="first", progress_percent=10)
    one.sync()
    two.write_rows_of(one)
    report = two.sync()
    assert [(t.sent, t.adopted, t.conflicts) for t in report.tables] == [(0, 1, 0), (0, 2, 0)]
    assert two.sync().up_to_date
    return one, two


def _figures(report: Any, table: str = "runs") -> tuple[int, int, int, int]:
    [found] = [t for t in report.tables if t.name == table]
    return found.sent, found.adopted, found.conflicts, found.rejected


def _source(remote: Any) -> Any:
    return remote.sql("SELECT source FROM runs WHERE id = 'a'")


def test_equal_rows_of_two_nodes_are_one_row(pair: Any, remote: Any, check: Any) -> None:
    for node in pair:
        check.equal(node)
        check.settled(node)
        check.quiet(node)
    assert remote.count("dynostore_sync.node") == 2


def test_of_two_new_rows_under_one_key_the_first_stays_and_the_second_is_kept(
    make_node: Any, remote: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="one")
    two.fill(["a"], source="two", metadata={"mine": True})
    assert one.sync().exit_code == 0
    report = two.sync()
    assert report.exit_code == 3
    assert _figures(report) == (0, 0, 1, 0)
    assert _source(remote) == [("one",)]
    [(why, image)] = remote.archive("a")
    assert (why, image["source"], image["metadata"]) == (
        "lost to a newer version", "two", {"mine": True},
    )  # fmt: skip
    assert two.store.runs.get("a").source == "one"
    [conflict, _] = two.conflicts()  # the other is of the file's created_at
    assert (conflict["tbl"], conflict["key"], conflict["image"]["source"]) == ("runs", "a", "two")
    assert conflict["revision"] == remote.stamps()["runs", "a"][0]
    assert (two.sync().exit_code, two.sync().up_to_date) == (0, True)
    assert len(two.conflicts()) == 2
    check.equal(two)
    check.settled(two)
    check.all(one) if not remote.archive("a") else check.equal(one)


def test_a_row_changed_by_both_keeps_the_first_change_and_archives_the_second(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    two.store.runs.update("a", source="two")
    assert one.sync().exit_code == 0
    report = two.sync()
    assert (report.exit_code, _figures(report)) == (3, (0, 0, 1, 0))
    assert _source(remote) == [("one",)]
    assert [i["source"] for _, i in remote.archive("a")] == ["two"]
    assert two.sync().up_to_date
    check.equal(two)
    check.settled(two)
    two.store.runs.update("a", source="two after all")
    assert two.sync().exit_code == 0
    assert _source(remote) == [("two after all",)]
    check.settled(two)


def test_the_same_change_by_both_is_no_conflict(pair: Any, check: Any) -> None:
    one, two = pair
    for node in pair:
        node.sql("UPDATE runs SET source = 'both'")
    assert one.sync().exit_code == 0
    assert _figures(two.sync()) == (0, 1, 0, 0)
    check.quiet(two)
    check.settled(two)
    two.store.runs.update("a", source="two")
    assert two.sync().exit_code == 0
    check.all(two)


def test_columns_that_merge_make_no_conflict(pair: Any, remote: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.update("a", progress_percent=60)
    two.store.runs.update("a", progress_percent=40)
    latest = two.store.runs.get("a").updated_at
    one.sync()
    report = two.sync()
    assert (report.exit_code, _figures(report)) == (0, (1, 0, 0, 0))
    merged = two.store.runs.get("a")
    assert (merged.progress_percent, merged.updated_at) == (60, latest)
    check.all(two)
    two.store.runs.update("a", progress_percent=70)
    assert two.sync().exit_code == 0
    check.all(two)


def test_a_merge_that_is_what_the_server_holds_already_writes_nothing_there(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    two.sql("UPDATE runs SET progress_percent = 40")
    one.store.runs.update("a", progress_percent=60)
    one.sync()
    before = remote.stamps()
    assert two.sync().exit_code == 0
    assert remote.stamps() == before
    check.all(two)


def test_a_merge_with_an_empty_value_keeps_the_other(pair: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.update("a", progress_percent=None)
    two.store.runs.update("a", progress_percent=5)
    one.sync()
    assert two.sync().exit_code == 0
    assert two.store.runs.get("a").progress_percent == 5
    check.all(two)


def test_a_merging_column_does_not_hide_a_conflict(pair: Any, remote: Any) -> None:
    one, two = pair
    one.store.runs.update("a", progress_percent=60)
    two.store.runs.update("a", progress_percent=40, source="two")
    one.sync()
    assert two.sync().exit_code == 3
    assert _source(remote) == [("first",)]


def test_an_update_beats_a_deletion_that_comes_later(pair: Any, remote: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    two.store.runs.delete("a")
    one.sync()
    report = two.sync()
    assert report.exit_code == 3
    assert _figures(report) == (0, 0, 1, 0)
    assert _source(remote) == [("one",)]
    assert ("deletion lost to a newer version", None) in remote.archive("a")
    assert two.store.runs.get("a").source == "one"
    assert [c["why"] for c in two.conflicts()] == [
        "another node changed the row that was deleted here; the row stays"
    ]
    assert two.sync().up_to_date
    check.equal(two)
    check.settled(two)


def test_an_update_brings_back_what_was_deleted_before(pair: Any, remote: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.delete("a")
    two.store.runs.update("a", source="two")
    one.sync()
    report = two.sync()
    assert report.exit_code == 3
    assert _source(remote) == [("two",)]
    assert [why for why, _ in remote.archive("a")] == [
        "deleted", "deletion undone by a later version",
    ]  # fmt: skip
    assert [c["key"] for c in two.conflicts()] == ["a"]
    assert two.sync().up_to_date
    two.store.runs.update("a", source="two again")
    assert two.sync().exit_code == 0


def test_both_delete_and_nobody_is_told(pair: Any, remote: Any, check: Any) -> None:
    _, two = pair
    for node in pair:
        node.store.runs.delete("a")
        assert node.sync().exit_code == 0
    check.all(two)
    assert remote.count("runs") == 0
    two.fill(["a"], source="again")
    assert two.sync().exit_code == 0
    check.all(two)


def test_a_key_made_again_after_a_deletion_elsewhere_is_a_new_row(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    one.sync()
    one.fill(["a"], source="one again")
    two.store.runs.delete("a")
    two.fill(["a"], source="two again")
    assert one.sync().exit_code == 0
    assert two.sync().exit_code == 3
    assert _source(remote) == [("one again",)]
    check.equal(two)


def test_a_child_of_a_parent_that_was_deleted_elsewhere_brings_it_back(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    two.store.runs.add_file("a", "new.csv")
    one.sync()
    two.sync()
    assert two.sync().up_to_date
    assert _source(remote) == [("first",)]
    assert remote.sql("SELECT filename FROM run_files") == [("new.csv",)]
    assert ("deletion undone by a later version", None) in remote.archive("a")


def test_a_parent_with_a_child_that_the_deleter_never_saw_stays(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    two.store.runs.add_file("a", "new.csv")
    two.sync()
    one.store.runs.delete("a")
    report = one.sync()
    assert report.exit_code == 3
    assert _figures(report) == (0, 0, 1, 0)
    assert _source(remote) == [("first",)]
    assert remote.sql("SELECT filename FROM run_files") == [("new.csv",)]
    assert one.store.runs.get("a").source == "first"
    assert [c["key"] for c in one.conflicts()] == ["a"]
    assert one.sync().up_to_date
    assert one.remote.count("runs") == 1


@pytest.mark.parametrize("rows", [1, 100])
def test_a_child_that_moved_to_another_parent_does_not_hold_its_old_one(
    rows: int, pair: Any, check: Any
) -> None:
    one, _ = pair
    one.fill(["b"], files=0)
    one.sql("UPDATE run_files SET run_id = 'b'")
    one.store.runs.delete("a")
    assert one.sync(rows=rows).exit_code == 0
    check.all(one)


def test_a_parent_waits_for_a_child_that_cannot_be_sent_away(pair: Any, remote: Any) -> None:
    one, _ = pair
    one.fill(["b"], files=0)
    one.sql("UPDATE run_files SET run_id = 'b', metadata = '{'")
    one.store.runs.delete("a")
    assert one.sync().exit_code == 3
    assert remote.count("runs") == 2
    assert one.conflicts() == []
    one.sql("UPDATE run_files SET metadata = NULL")
    assert one.sync().exit_code == 0
    assert remote.sql("SELECT id FROM runs") == [("b",)]


def test_a_sync_started_while_another_runs_says_so(pair: Any) -> None:
    one, _ = pair
    one.fill(["b"])
    refused = []

    def again(*_: Any) -> None:
        with pytest.raises(SyncRunning) as caught:
            one.sync()
        refused.append(caught.value.exit_code)

    one.sync(progress=again)
    assert set(refused) == {5}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_many_conflicts_among_many_rows_are_each_listed_once(
    rows: int, make_node: Any, remote: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    ids = [f"r{n}" for n in range(12)]
    one.fill(ids, files=0, source="same")
    one.sync()
    two.write_rows_of(one)
    two.sync()
    one.sql("UPDATE runs SET source = 'one' WHERE id IN ('r0', 'r3', 'r6', 'r9')")
    one.sql("DELETE FROM runs WHERE id IN ('r1', 'r4')")
    one.sync()
    two.sql("UPDATE runs SET source = 'two' WHERE id IN ('r0', 'r4', 'r6', 'r7')")
    two.sql("DELETE FROM runs WHERE id IN ('r1', 'r9', 'r2')")
    assert two.sync(rows=rows).exit_code == 3
    assert sorted(c["key"] for c in two.conflicts()) == ["r0", "r4", "r6", "r9"]
    assert two.sync(rows=rows).up_to_date
    sources = dict(remote.sql("SELECT id, source FROM runs"))
    assert {k: sources.get(k) for k in ("r0", "r1", "r2", "r3", "r4", "r6", "r7", "r9")} == {
        "r0": "one", "r1": None, "r2": None, "r3": "one", "r4": "two", "r6": "one", "r7": "two",
        "r9": "one",
    }  # fmt: skip


def test_a_row_changed_while_its_conflict_travels_is_judged_again(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    two.fill(["b"], files=0)
    one.store.runs.update("a", source="one")
    one.sync()
    two.store.runs.update("a", source="two")
    changed: list[bool] = []

    def change(*_: Any) -> None:
        if not changed:  # after the snapshot, before the batch with the conflict is judged
            two.store.runs.update("a", source="two, later")
            changed.append(True)

    with_trigger = two.sync  # the first batch is b's, which sorts after a: one row each
    two.sql("UPDATE runs SET id = '0' WHERE id = 'b'")
    assert with_trigger(rows=1, progress=change).exit_code == 3
    assert two.store.runs.get("a").source == "two, later"
    assert two.sync().exit_code == 3
    assert two.store.runs.get("a").source == "one"
    assert [c["image"]["source"] for c in two.conflicts()] == ["two", "two, later"]
    assert [i["source"] for _, i in remote.archive("a")] == ["two", "two, later"]
    assert two.sync().up_to_date
    check.equal(two)
