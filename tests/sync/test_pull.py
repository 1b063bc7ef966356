"""Pull: what others wrote comes into the file, once, whole, and never over what waits here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dynostore.errors import ConfigError, NotFound
from dynostore.samples.seed import seed
from dynostore.sync.local import changes
from dynostore.sync.pull import pull


@pytest.fixture
def one(make_node: Any) -> Any:
    return make_node("one")


@pytest.fixture
def two(make_node: Any) -> Any:
    return make_node("two")


@pytest.fixture
def pair(one: Any, two: Any) -> tuple[Any, Any]:
    """Give two files that are in sync and hold the run ``a`` with a file of its own."""
    one.fill(["a"], source="first")
    both(one, two)
    return one, two


def both(*nodes: Any, rounds: int = 1) -> list[Any]:
    """Sync each node both ways, in turn."""
    return [node.sync(direction="both") for _ in range(rounds) for node in nodes]


def received(report: Any) -> dict[str, int]:
    return {table.name: table.received for table in report.tables if table.received}


def test_a_new_machine_gets_the_whole_file(one: Any, two: Any, check: Any) -> None:
    seed(one.store)
    one.sync()
    report = two.sync(direction="pull", rows=100)
    assert sum(received(report).values()) == sum(one.count(table) for table in received(report))
    assert len(received(report)) == 17
    check.all(two)
    assert check.records(two.store) == check.records(one.store)
    assert two.sync(direction="both").up_to_date


def test_a_pull_with_nothing_to_do_writes_nothing_on_either_side(pair: Any, remote: Any) -> None:
    one, two = pair
    both(one, two)
    before = [one.state(), two.state(), remote.state()]
    for node in (one, two):
        for direction in ("pull", "both"):
            assert node.sync(direction=direction).up_to_date
    assert [one.state(), two.state(), remote.state()] == before


def test_two_nodes_see_each_others_changes(pair: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.update("a", current_stage="by one")
    two.fill(["b"], files=2)
    two.store.runs.add_file("a", "by/two.csv")
    both(one, two, one)
    one.store.runs.delete("b")
    both(one, two)
    for node in (one, two):
        check.all(node)
    assert two.store.runs.get("a").current_stage == "by one"
    assert {f.filename for f in one.store.runs.files("a")} == {"output/0.csv", "by/two.csv"}
    with pytest.raises(NotFound):
        two.store.runs.get("b")


def test_what_this_file_sent_is_known_again_by_its_revision(pair: Any) -> None:
    one, _ = pair
    one.fill(["mine"])
    one.sync()
    assert one.sync(direction="pull").up_to_date
    assert one.sync(direction="pull").up_to_date


def test_a_copied_file_gets_what_the_original_sent_under_the_same_name(
    pair: Any, make_node: Any, tmp_path: Any, check: Any
) -> None:
    one, _ = pair
    copy = one.copied(tmp_path / "copy.db")
    one.store.runs.update("a", current_stage="by the original")
    one.fill(["original"])
    one.sync()
    assert received(copy.sync(direction="both")) == {"runs": 2, "run_files": 1}
    assert copy.identity()[0] != one.identity()[0]
    check.all(copy)
    copy.close()


def test_what_waits_here_is_left_to_push(pair: Any, remote: Any) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    one.sync()
    two.store.runs.update("a", source="two")
    assert two.sync(direction="pull").up_to_date
    assert two.store.runs.get("a").source == "two"
    assert two.sync(direction="both").exit_code == 3
    assert two.store.runs.get("a").source == "one"
    assert [image["source"] for _, image in remote.archive("a")] == ["two"]


def test_a_change_made_while_a_pull_is_under_way_is_not_written_over(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    one.sync()
    copying = pull.Pull._copy

    def with_a_writer(self: Any, sql: str, put: Callable[..., None]) -> None:
        if two.store.runs.get("a").source == "first":
            two.store.runs.update("a", source="two")
        copying(self, sql, put)

    monkeypatch.setattr(pull.Pull, "_copy", with_a_writer)
    two.sync(direction="pull")
    assert two.store.runs.get("a").source == "two"
    assert two.logged() == [("runs", "a", "p")]


def test_without_looking_at_the_log_a_pull_writes_over_what_waits(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    one.sync()
    two.store.runs.update("a", source="two")
    monkeypatch.setattr(changes.DirtyKeys, "among", lambda *_: set())
    two.sync(direction="pull")
    assert two.store.runs.get("a").source == "one"


# -- parents and children --------------------------------------------------------------------


def test_a_deletion_takes_the_children_that_were_there(pair: Any, check: Any) -> None:
    one, two = pair
    one.store.runs.delete("a")
    report = both(one, two)[1]
    assert received(report) == {"runs": 1, "run_files": 1}
    assert (two.count("runs"), two.count("run_files")) == (0, 0)
    check.all(two)


def test_a_parent_that_was_deleted_here_comes_back_with_a_child_from_elsewhere(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.add_file("a", "unseen.csv")
    one.sync()
    two.store.runs.delete("a")
    report = two.sync(direction="pull")
    assert report.exit_code == 3
    assert [(c["tbl"], c["key"]) for c in two.conflicts()] == [("runs", "a")]
    assert two.store.runs.get("a").source == "first"
    both(two, one, rounds=2)
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert [f.filename for f in node.store.runs.files("a")] == ["unseen.csv"]


def test_a_parent_deleted_elsewhere_comes_back_for_a_child_added_here(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    one.sync()
    two.store.runs.add_file("a", "new.csv")
    two.sync(direction="pull")
    assert ("runs", "a", "s") in two.logged()
    assert two.count("runs") == 1
    both(two, one, rounds=2)
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert [f.filename for f in node.store.runs.files("a")] == ["new.csv"]
    assert [c["key"] for c in two.conflicts()] == ["a"]


def test_a_key_that_is_made_again_after_its_deletion_was_seen_is_no_conflict(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    both(one, two)
    two.fill(["a"], source="again")
    both(two, one)
    for node in (one, two):
        check.all(node)
        assert node.store.runs.get("a").source == "again"


def test_a_deletion_of_what_this_file_never_had_is_remembered_too(
    pair: Any, make_node: Any, check: Any
) -> None:
    one, _ = pair
    one.store.runs.delete("a")
    one.sync()
    three = make_node("three")
    three.sync(direction="pull")
    three.fill(["a"], source="made again")
    three.sync(direction="both")
    check.all(three)


# -- plain SQL on the server -----------------------------------------------------------------


def test_what_plain_sql_writes_on_the_server_reaches_every_node(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    remote.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        " VALUES ('s', 'pending', 'psql', now(), now()), ('t', 'pending', 'psql', now(), now())"
    )
    remote.sql("UPDATE runs SET source = 'psql' WHERE id = 'a'")
    remote.sql("DELETE FROM run_files WHERE run_id = 'a'")
    both(one, two)
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert {r.id: r.source for r in node.store.runs.list()} == dict.fromkeys("ast", "psql")
    remote.sql("UPDATE runs SET id = 'moved' WHERE id = 's'")
    remote.sql("BEGIN; DELETE FROM runs WHERE id = 't'; TRUNCATE run_files; COMMIT")
    both(one, two)
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert {r.id for r in node.store.runs.list()} == {"a", "moved"}


def test_a_transaction_that_is_open_while_others_commit_is_not_passed_by(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    with remote.session() as early:
        with early.cursor() as cursor:
            cursor.execute("BEGIN; UPDATE runs SET source = 'early' WHERE id = 'a'")
        one.fill(["late"])
        one.sync()
        two.sync(direction="pull")
        assert two.store.runs.get("a").source == "first"
        with early.cursor() as cursor:
            cursor.execute("COMMIT")
    two.sync(direction="pull")
    assert two.store.runs.get("a").source == "early"
    check.all(two)


# -- values ----------------------------------------------------------------------------------


def test_what_no_file_can_hold_is_set_aside_until_it_fits(
    pair: Any, remote: Any, check: Any
) -> None:
    one, _ = pair
    remote.sql("UPDATE runs SET updated_at = 'infinity' WHERE id = 'a'")
    remote.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at) VALUES"
        " ('good', 'pending', 's', now(), now()), ('bc', 'pending', 's', '0044-03-15 BC', now())"
    )
    assert one.sync(direction="pull").exit_code == 3
    assert {k: r[:3] for k, r in one.rejects().items()} == {
        "a": ("runs", "updated_at", "infinity"),
        "bc": ("runs", "created_at", "0044-03-15 00:00:00+00 BC"),
    }
    assert one.store.runs.get("a").source == "first"
    assert one.store.runs.get("good").source == "s"
    remote.sql("UPDATE runs SET updated_at = now(), created_at = now() WHERE id IN ('a', 'bc')")
    one.sync(direction="pull")
    assert one.rejects() == {}
    check.equal(one)
    check.settled(one)


@pytest.mark.parametrize("place", [0, 60, 119])
def test_odd_values_come_through_first_middle_and_last(
    pair: Any, remote: Any, check: Any, place: int
) -> None:
    one, two = pair
    odd = {
        "source": "\\N",
        "current_stage": "tab\t, newline\n, return\r, backslash \\ \b\f\v\x01, \\N, 'ü' \U0001f600",
        "input_filename": "",
        "results_summary": {"a": [1, 1.0, 1e300, None, "\\N\n"], "\\": {}},
        "error_info": [],
        "metadata": "\\N",
    }
    for number in range(120):
        one.store.runs.create(run_id=f"n{number:03}", **(odd if number == place else {}))
    both(one, two)
    check.all(two)
    got = two.store.runs.get(f"n{place:03}")
    assert {name: getattr(got, name) for name in odd} == odd


# -- tables ----------------------------------------------------------------------------------


def test_a_pull_may_be_restricted_to_tables_and_goes_on_where_each_was(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["b"])
    one.store.memories.add("context", "lesson", tool_name="tool")
    one.sync()
    assert received(two.sync(direction="pull", tables=["memories"])) == {"memories": 1}
    assert received(two.sync(direction="pull", skip=["run_files"])) == {"runs": 1}
    assert received(two.sync(direction="pull", tables=["run_files"])) == {"run_files": 1}
    check.all(two)


def test_a_restricted_sync_takes_what_its_tables_refer_to(pair: Any) -> None:
    one, two = pair
    one.fill(["b"])
    one.store.memories.add("context", "lesson", tool_name="tool")
    one.sync(tables=["run_files"])
    assert {table for table, _, _ in one.logged()} == {"memories"}
    assert received(two.sync(direction="pull", tables=["run_files"])) == {"runs": 1, "run_files": 1}


def test_a_restricted_pull_applies_a_parents_deletion_with_its_children(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    one.sync()
    two.sync(direction="pull", tables=["runs"])
    assert (two.count("runs"), two.count("run_files"), two.logged()) == (0, 0, [])
    two.sync(direction="pull")
    check.all(two)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": ["nothing"]}, "nothing: no such table"),
        ({"skip": ["runs"]}, "runs: run_files refers to it"),
        ({"direction": "sideways"}, "direction: 'sideways' is none of push, pull, both"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(node: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        node.sync(**options)


def test_a_table_that_gained_columns_is_read_once_more(pair: Any, remote: Any) -> None:
    one, _ = pair
    remote.sql(
        "BEGIN; SET LOCAL dynostore_sync.apply = 'on';"
        " UPDATE runs SET input_filename = 'written by a newer program'; COMMIT"
    )
    one.sql("UPDATE sync_table SET columns = replace(columns, '\"input_filename\", ', '')")
    one.sync(direction="pull")
    assert one.store.runs.get("a").input_filename == "written by a newer program"
    assert one.sync(direction="pull").up_to_date


# -- going wrong -----------------------------------------------------------------------------


def _prepare(one: Any, two: Any) -> None:
    one.fill([f"r{n}" for n in range(6)], files=2)
    both(one, two)
    for number in (0, 1):
        one.store.runs.update(f"r{number}", source="changed")
    one.store.runs.delete("r2")
    one.fill(["new"], files=2)
    two.store.runs.delete("r3")
    two.store.runs.update("r4", source="two")
    one.store.runs.add_file("r3", "unseen.csv")
    one.sync()


def _kill_a_pull(
    one: Any, two: Any, doomed: Any, check: Any, numbers: Iterable[int], **options: Any
) -> None:
    """Kill a copy of the second file's sync at each of some statements, and go on with it."""
    _prepare(one, two)
    for at in numbers:
        path = two.path.with_name(f"killed-{at}.db")
        copy = two.copied(path)
        died = doomed.push(path, two.remote.url, at=at, rows=3, **options)["died"]
        copy.sync(direction="both", rows=3)
        copy.sync(direction="both", rows=3)
        check.equal(copy)
        check.settled(copy)
        assert {c["key"] for c in copy.conflicts()} <= {"r3"}
        copy.close()
        if not died:
            break


@pytest.mark.parametrize("direction", ["pull", "both"])
def test_a_pull_killed_at_some_statements_is_finished_by_the_next(
    one: Any, two: Any, doomed: Any, check: Any, direction: str
) -> None:
    _kill_a_pull(one, two, doomed, check, range(12, 120, 23), direction=direction)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["pull", "both"])
def test_a_pull_killed_around_and_within_every_transaction_is_finished_by_the_next(
    one: Any, two: Any, doomed: Any, check: Any, direction: str
) -> None:
    _kill_a_pull(one, two, doomed, check, itertools.count(1), direction=direction, telling=True)


def test_a_file_put_back_from_before_a_pull_goes_on_as_a_node_of_its_own(
    pair: Any, tmp_path: Any, check: Any
) -> None:
    one, two = pair
    backup = two.copied(tmp_path / "backup.db")
    one.fill(["b"])
    both(one, two)
    backup.sync(direction="both")
    assert backup.identity()[0] != two.identity()[0]
    check.all(backup)
    backup.close()


def test_writers_go_on_while_a_pull_writes(pair: Any, check: Any) -> None:
    one, two = pair
    one.fill([f"from-one-{n}" for n in range(300)])
    one.sync()
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            key = f"from-two-{len(written)}"
            two.store.runs.create(run_id=key)
            written.append(key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        two.sync(direction="pull", rows=20)
    finally:
        stop.set()
        writer.join()
    both(two, one)
    check.all(one)
    check.all(two)
    assert {f"runs/{key}" for key in written} <= {f"{t}/{k}" for t, k in check.records(one.store)}


def test_a_file_behind_the_horizon_of_what_was_purged_resurrects_nothing(
    pair: Any, remote: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["kept"])
    both(one, two)
    one.store.runs.delete("a")
    one.sync()
    remote.sql(
        "DELETE FROM dynostore_sync.tombstone;"
        " UPDATE dynostore_sync.server"
        " SET horizon = (SELECT max(seq) FROM dynostore_sync.tick)"
    )
    two.fill(["new"])
    two.sync(direction="both")
    assert {run.id for run in two.store.runs.list()} == {"kept", "new"}
    one.sync(direction="both")
    for node in (one, two):
        check.equal(node)
        assert (node.conflicts(), node.rejects(), node.logged()) == ([], {}, [])
    assert two.sync(direction="both").up_to_date


# -- rules that the model of the protocol found --------------------------------------------------


def test_a_restricted_pull_takes_children_that_moved_to_another_parent_along(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.fill(["b"], files=0)
    both(one, two)
    one.sql("UPDATE run_files SET run_id = 'b' WHERE run_id = 'a'")
    one.store.runs.delete("a")
    one.sync()
    two.sync(direction="pull", tables=["runs"])
    assert [run.id for run in two.store.runs.list()] == ["b"]
    assert two.logged() == []
    two.sync(direction="pull")
    check.all(two)


def test_a_deletion_that_is_withdrawn_while_it_is_on_its_way_stays_withdrawn(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.update("a", source="newer")
    one.store.runs.add_file("a", "unseen.csv")
    one.sync()
    # The file's row is a conflict, comes back, and needs the run whose deletion goes after it.
    two.sql("UPDATE run_files SET size_bytes = 9 WHERE run_id = 'a'")
    two.sql("DELETE FROM runs WHERE id = 'a'", foreign_keys=False)
    both(two, one, rounds=3)
    for node in (one, two):
        check.equal(node)
        check.settled(node)
    assert one.count("runs") == 1


def test_what_is_not_in_a_restricted_push_still_waits_and_puts_its_parent_off(
    pair: Any, check: Any
) -> None:
    one, two = pair
    one.store.runs.delete("a")
    report = one.sync(tables=["runs"])
    assert report.exit_code == 0
    assert one.conflicts() == []
    one.sync()
    both(two)
    for node in (one, two):
        check.all(node)
        assert node.count("runs") == 0


def test_a_copy_is_known_on_the_server_before_it_first_pushes(
    pair: Any, tmp_path: Any, remote: Any
) -> None:
    one, _ = pair
    copy = one.copied(tmp_path / "copy.db")
    one.fill(["b"])
    one.sync()
    copy.sync(direction="push")
    node_id, _, _, token, _ = copy.identity()
    assert token is not None
    assert remote.sql("SELECT token FROM dynostore_sync.node WHERE id = %s", (node_id,)) == [
        (token,)
    ]
    copy.close()


def test_the_token_changes_before_the_first_row_is_written(
    pair: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    one.fill(["b"])
    one.sync()
    before = two.identity()[3]
    seen = []
    copying = pull.Pull._copy

    def looking(self: Any, sql: str, put: Callable[..., None]) -> None:
        seen.append((two.identity()[3], two.count("runs")))
        copying(self, sql, put)

    monkeypatch.setattr(pull.Pull, "_copy", looking)
    two.sync(direction="pull")
    (token, runs), *_ = seen
    assert runs == 1
    assert token not in (None, before)
    (clock,) = two.sql("SELECT clock FROM sync_history WHERE token = ?", (token,))[0]
    assert remote.sql("SELECT max(seq) FROM dynostore_sync.tick") == [(clock,)]
    assert two.identity()[3] == token


def test_a_table_that_is_rebuilt_during_a_pull_loses_nothing(
    pair: Any, monkeypatch: pytest.MonkeyPatch, check: Any
) -> None:
    one, two = pair
    one.store.runs.update("a", source="one")
    one.sync()
    copying = pull.Pull._copy
    rebuilt: list[bool] = []

    def rebuilding(self: Any, sql: str, put: Callable[..., None]) -> None:
        if not rebuilt:
            rebuilt.append(True)
            for (name,) in two.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                two.sql(f'DROP TRIGGER "{name}"')
            two.sql("UPDATE runs SET source = 'behind the back' WHERE id = 'a'")
        copying(self, sql, put)

    monkeypatch.setattr(pull.Pull, "_copy", rebuilding)
    two.sync(direction="pull")
    assert two.store.runs.get("a").source == "behind the back"
    both(two, one)
    for node in (one, two):
        check.equal(node)
        check.settled(node)


def test_rows_whose_parent_fits_no_file_come_when_it_does(
    pair: Any, remote: Any, check: Any
) -> None:
    one, _ = pair
    remote.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        " VALUES ('bc', 'pending', 's', '0044-03-15 BC', now());"
        " INSERT INTO run_files (id, run_id, filename, created_at)"
        " VALUES (gen_random_uuid(), 'bc', 'f.csv', now())"
    )
    assert one.sync(direction="pull").exit_code == 3
    assert sorted(reject[0] for reject in one.rejects().values()) == ["run_files", "runs"]
    remote.sql("UPDATE runs SET created_at = now() WHERE id = 'bc'")
    one.sync(direction="pull")
    assert one.rejects() == {}
    check.equal(one)
    check.settled(one)
