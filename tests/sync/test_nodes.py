"""Files that become another node, servers that are adopted, and what a purge leaves behind."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dynostore.errors import IdentityMismatch, InvalidValue, SchemaError
from dynostore.fields import utc_now
from dynostore.sync.fork import fork
from dynostore.sync.purge import purge


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that are in sync and hold the run ``a`` with a file of its own."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="first")
    one.sync()
    two.sync(direction="pull")
    return one, two


# -- fork ------------------------------------------------------------------------------------


def test_a_forked_copy_is_a_node_of_its_own_and_offers_its_changes_once(
    pair: Any, tmp_path: Any, remote: Any, check: Any
) -> None:
    one, _ = pair
    copy = one.copied(tmp_path / "copy.db")
    copy.fill(["unsent"])
    node_id = fork(copy.store, remote.url)
    assert node_id == copy.identity()[0] != one.identity()[0]
    assert copy.logged()
    one.fill(["by the original"])
    for node in (one, copy, one):
        node.sync(direction="both")
    for node in (one, copy):
        check.all(node)
    assert node_id == copy.identity()[0]
    copy.close()


def test_a_fork_of_a_file_that_died_in_a_push_finishes_that_push_first(
    pair: Any, doomed: Any, remote: Any, check: Any
) -> None:
    one, _ = pair
    one.fill([f"n{n}" for n in range(6)])
    at = 0
    while one.sql("SELECT * FROM sync_pending") == []:
        at += 4
        doomed.push(one.path, remote.url, at=60 + at, rows=2)
    fork(one.store, remote.url)
    one.sync()
    check.all(one)


# -- another server --------------------------------------------------------------------------


def test_another_server_is_refused_until_it_is_adopted(
    pair: Any, empty_remote: Any, check: Any
) -> None:
    one, _ = pair
    before = one.state()
    with pytest.raises(IdentityMismatch) as caught:
        one.sync(url=empty_remote.url)
    assert caught.value.hint is not None
    assert "--adopt" in caught.value.hint
    assert empty_remote.tables() == []
    unchanged = [rows for name, rows in before if name != "sync_meta"]
    assert [rows for name, rows in one.state() if name != "sync_meta"] == unchanged
    old = one.identity()[0]
    one.sync(url=empty_remote.url, adopt=True)
    assert one.identity()[0] != old
    one.remote = empty_remote
    check.all(one)
    assert one.sync(url=empty_remote.url).up_to_date


def test_adopting_the_server_that_is_known_already_changes_nothing(pair: Any) -> None:
    one, _ = pair
    before = one.state()
    assert one.sync(adopt=True).up_to_date
    assert one.state() == before


def test_a_server_that_forgot_a_file_is_adopted_and_what_it_holds_stays(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    two.store.runs.update("a", source="two")
    two.sync()
    remote.sql("DELETE FROM dynostore_sync.node_history; UPDATE dynostore_sync.node SET token = 1")
    with pytest.raises(IdentityMismatch):
        one.sync(direction="both")
    assert one.sync(direction="both", adopt=True).exit_code == 3  # both wrote the run
    assert one.store.runs.get("a").source == "two"
    check.equal(one)


def test_deletions_that_an_adoption_gives_up_are_counted(
    pair: Any, remote: Any, check: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = pair
    one.fill(["never sent"])
    for key in ("a", "never sent"):
        one.store.runs.delete(key)
    remote.sql("DELETE FROM dynostore_sync.node_history; UPDATE dynostore_sync.node SET token = 1")
    assert one.sync(direction="both", adopt=True).exit_code == 0
    assert one.store.runs.get("a")
    files = two.count("run_files")
    assert f"{1 + files} deletions that were not sent are given up" in caplog.text
    check.all(one)


# -- lost triggers ---------------------------------------------------------------------------


def _without_triggers(node: Any) -> None:
    for (name,) in node.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        node.sql(f'DROP TRIGGER "{name}"')


def test_a_table_that_was_rebuilt_and_not_changed_quarrels_with_nobody(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["deleted", "same"])
    for node in (one, two):
        node.sync(direction="both")
    one.store.runs.update("a", source="one")
    one.store.runs.delete("deleted")
    one.sync()
    _without_triggers(two)
    two.sync(direction="both")
    assert two.conflicts() == []
    for node in (one, two):
        node.sync(direction="both")
        check.equal(node)
        check.settled(node)
    assert {r.id: r.source for r in two.store.runs.list()} == {
        "a": "one",
        "same": "manual",
    }


def test_what_was_changed_behind_lost_triggers_is_sent_or_archived(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["b", "c"], source="first")
    for node in (one, two):
        node.sync(direction="both")
    one.store.runs.update("a", source="one")
    one.sync()
    _without_triggers(two)
    two.sql("UPDATE runs SET source = 'behind' WHERE id IN ('a', 'b')")
    two.sql("DELETE FROM runs WHERE id = 'c'")
    two.fill(["new"])
    two.sync(direction="both")
    for node in (one, two):
        node.sync(direction="both")
        check.equal(node)
        check.settled(node)
    assert {r.id: r.source for r in one.store.runs.list()} == {
        "a": "one",
        "b": "behind",
        "new": "manual",
    }
    assert [image["source"] for _, image in remote.archive("a")] == ["behind"]


# -- comparing in full -----------------------------------------------------------------------


def test_a_full_sync_finds_what_the_cursors_passed_by(pair: Any, remote: Any, check: Any) -> None:
    one, two = pair
    one.fill(["b"])
    one.sync()
    [(clock,)] = remote.sql("SELECT max(seq) FROM dynostore_sync.tick")
    two.sql("UPDATE sync_table SET cursor = ?", (clock,))
    assert two.sync(direction="pull").up_to_date
    two.sync(direction="both", full=True)
    check.all(two)


# -- purge -----------------------------------------------------------------------------------


def test_a_purge_forgets_what_is_old_and_brings_nothing_back(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["b"])
    for node in (one, two):
        node.sync(direction="both")
    one.store.runs.delete("a")
    one.sync()
    early = utc_now() - dt.timedelta(hours=1)
    assert purge(remote.url, early).tombstones == 0
    remote.sql("UPDATE dynostore_sync.tick SET at = now() - interval '1 day'")
    remote.sql("UPDATE dynostore_sync.archive SET at = now() - interval '1 day'")
    planned = purge(remote.url, early, dry_run=True)
    assert (planned.done, planned.tombstones, planned.archived) == (False, 2, 2)
    assert [node.node_id for node in planned.left_behind] == [two.identity()[0]]
    assert remote.count("dynostore_sync.tombstone") == 2
    done = purge(remote.url, early)
    assert (done.done, done.tombstones, done.archived) == (True, 2, 2)
    assert remote.count("dynostore_sync.tombstone") == 0
    assert remote.count("dynostore_sync.tick") == 1
    two.fill(["new"])
    for node in (two, one):
        node.sync(direction="both")
    for node in (one, two):
        check.equal(node)
        assert {run.id for run in node.store.runs.list()} == {"b", "new"}
        assert (node.conflicts(), node.logged()) == ([], [])


def test_a_node_that_has_seen_everything_is_not_left_behind(pair: Any, remote: Any) -> None:
    one, two = pair
    one.store.runs.delete("a")
    one.sync()
    two.sync(direction="both")
    remote.sql("UPDATE dynostore_sync.tick SET at = now() - interval '1 day'")
    assert purge(remote.url, utc_now() - dt.timedelta(hours=1)).left_behind == []
    assert two.sync(direction="both").up_to_date


@pytest.mark.parametrize(
    "before",
    [utc_now() + dt.timedelta(days=1), dt.datetime(2020, 1, 1)],
    ids=["ahead", "no zone"],
)
def test_a_purge_wants_a_moment_of_the_past(remote: Any, before: dt.datetime) -> None:
    with pytest.raises(InvalidValue, match="no moment of the past"):
        purge(remote.url, before)


def test_a_server_that_nobody_synced_with_has_nothing_to_purge(empty_remote: Any) -> None:
    with pytest.raises(SchemaError, match="nobody has synced with this server"):
        purge(empty_remote.url, utc_now())
