"""Conflicts are listed with both sides, settled by a person, and settled for every node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from dynostore import Store
from dynostore.errors import ConflictNotFound, ConstraintFailed, InvalidValue
from dynostore.sync import sync_status
from dynostore.sync.review.conflicts import Conflict, get_conflict, list_conflicts
from dynostore.sync.review.resolve import resolve_all, resolve_conflict

pytestmark = pytest.mark.once

EVERYTHING: dict[str, Any] = {
    "source": "two",
    "progress_percent": 40,
    "metadata": {"deep": [1.5, None, True, "\N{SNOWMAN}"], "e": 1e-300},
    "error_info": "a string",
    "current_stage": "tab\tnewline\nbackslash\\",
}


@pytest.fixture
def nodes(make_node: Any) -> list[Any]:
    """Give three files, named after themselves, that hold the run ``a`` with a file of its own."""
    made = [make_node(name) for name in ("one", "two", "three")]
    made[0].fill(["a"], source="first")
    for node in made:
        node.sync(direction="both")
        node.sql("UPDATE sync_meta SET node_name = ?", (node.path.stem,))
        node.remote.sql(
            "UPDATE dynostore_sync.node SET name = %s WHERE id = %s",
            (node.path.stem, node.identity()[0]),
        )
    return made


def both(*nodes: Any) -> list[int]:
    """Sync each node both ways, in turn; give the exit codes."""
    return [node.sync(direction="both").exit_code for node in nodes]


def converge(nodes: list[Any], check: Any) -> None:
    """Sync all until they hold the same, without a new conflict."""
    assert both(*nodes, *nodes) == [0] * (2 * len(nodes))
    for node in nodes:
        check.equal(node)
        check.settled(node)
        assert list_conflicts(node.store).items == []
        assert sync_status(node.store).exit_code == 0


def only_conflict(node: Any) -> Conflict:
    [found] = list_conflicts(node.store).items
    assert isinstance(found, Conflict)
    return found


# -- one of each kind ------------------------------------------------------------------------


def _put_put(one: Any, two: Any) -> None:
    one.store.runs.update("a", source="one")
    two.store.runs.update("a", **EVERYTHING)


def _delete_after_put(one: Any, two: Any) -> None:
    one.store.runs.update("a", source="one")
    two.sql("DELETE FROM runs WHERE id = 'a'")


def _put_after_delete(one: Any, two: Any) -> None:
    one.store.runs.delete("a")
    two.store.runs.update("a", **EVERYTHING)


def _unseen_children(one: Any, two: Any) -> None:
    one.store.runs.add_file("a", "unseen.csv")
    two.store.runs.delete("a")


KINDS: dict[str, Callable[[Any, Any], None]] = {
    "lost": _put_put,
    "delete": _delete_after_put,
    "back": _put_after_delete,
    "children": _unseen_children,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", ["mine", "server"])
def test_whichever_side_is_kept_all_nodes_come_to_hold_it(
    kind: str, keep: Any, nodes: list[Any], check: Any
) -> None:
    one, two, _ = nodes
    KINDS[kind](one, two)
    mine = check.records(two.store).get(("runs", "a"))
    assert both(one, two) == [0, 3]
    conflict = next(c for c in list_conflicts(two.store) if c.table == "runs")
    assert (conflict.key, conflict.node) == ("a", "one")
    assert conflict.mine == mine
    assert sync_status(two.store).exit_code == 1
    theirs = check.records(two.store).get(("runs", "a"))
    assert conflict.server == theirs

    for found in list_conflicts(two.store):
        resolve_conflict(two.store, found.id, keep=keep)
    assert list_conflicts(two.store).items == []
    converge(nodes, check)
    kept = mine if keep == "mine" else theirs
    for node in nodes:
        held = check.records(node.store).get(("runs", "a"))
        if kept is not None and held is not None and keep == "mine":
            # Columns that merge go on merging: what one had got further is not undone.
            merged = {"updated_at": max, "progress_percent": max}
            for name in merged:
                held.pop(name), kept.pop(name, None)
        assert held == kept
        if kept is None:
            assert node.count("run_files") == 0


def test_a_deletion_withdrawn_by_a_pull_can_be_made_again(nodes: list[Any], check: Any) -> None:
    one, two, _ = nodes
    one.store.runs.add_file("a", "unseen.csv")
    both(one)
    two.store.runs.delete("a")
    assert two.sync(direction="pull").exit_code == 3
    conflict = only_conflict(two)
    assert (conflict.table, conflict.key, conflict.mine, conflict.node) == (
        "runs", "a", None, "one",
    )  # fmt: skip
    assert "needs it" in conflict.why
    assert conflict.server is not None
    assert two.store.runs.get("a").source == "first"
    resolve_conflict(two.store, conflict.id, keep="mine")
    converge(nodes, check)
    assert one.remote.count("runs") == one.remote.count("run_files") == 0


def test_a_deletion_is_listed_once_however_much_stands_against_it(
    nodes: list[Any], check: Any
) -> None:
    one, two, _ = nodes
    one.sql("UPDATE run_files SET size_bytes = 99")
    both(one)
    two.store.runs.delete("a")
    assert both(two) == [3]
    listed = [(c.table, c.mine) for c in list_conflicts(two.store)]
    assert sorted(listed, key=str) == [("run_files", None), ("runs", None)]
    assert resolve_all(two.store, keep="mine").resolved == 2
    converge(nodes, check)
    assert one.remote.count("runs") == 0


def test_what_plain_sql_wrote_is_said_to_be_plain_sql(nodes: list[Any]) -> None:
    _, two, _ = nodes
    two.remote.sql("UPDATE runs SET source = 'psql'")
    two.store.runs.update("a", source="two")
    assert both(two) == [3]
    assert only_conflict(two).node == "plain SQL"


def test_the_winner_is_known_after_a_crash_behind_the_servers_commit(
    nodes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = nodes
    _put_put(one, two)
    both(one)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dynostore.sync.push.push.acknowledge", die)
        with pytest.raises(KeyboardInterrupt):
            two.sync()
    two.store.runs.update("a", source="changed after the crash")
    two.sync()
    oldest = list_conflicts(two.store).items[-1]
    assert (oldest.node, oldest.mine and oldest.mine["source"]) == ("one", "two")
    assert oldest.mine is not None
    assert {name: oldest.mine[name] for name in EVERYTHING} == EVERYTHING


# -- the list --------------------------------------------------------------------------------


def test_the_list_is_paged_newest_first_and_shows_times_and_json_as_values(
    nodes: list[Any],
) -> None:
    one, two, _ = nodes
    ids = [f"r{n}" for n in range(5)]
    one.fill(ids, files=0, source="one")
    two.fill(ids, files=0, source="two", metadata={"n": 1})
    both(one, two)
    first = list_conflicts(two.store, limit=2)
    second = list_conflicts(two.store, limit=2, after=first.next)
    third = list_conflicts(two.store, limit=2, after=second.next)
    numbers = [c.id for page in (first, second, third) for c in page]
    assert numbers == sorted(numbers, reverse=True)
    assert (len(numbers), third.next) == (5, None)
    found = get_conflict(two.store, numbers[0])
    assert found == first.items[0]
    assert found.mine is not None
    assert found.server is not None
    assert isinstance(found.mine["created_at"], dt.datetime)
    assert found.mine["metadata"] == {"n": 1}
    assert set(found.differing) >= {"source", "metadata"}
    assert "status" not in found.differing
    assert found.to_json()["differing"] == found.differing


def test_a_file_that_never_synced_has_an_empty_list(node: Any) -> None:
    assert list_conflicts(node.store).items == []
    assert resolve_all(node.store, keep="mine").resolved == 0
    with pytest.raises(ConflictNotFound) as caught:
        resolve_conflict(node.store, 1, keep="server")
    assert caught.value.exit_code == 4
    assert node.sql("SELECT name FROM sqlite_master WHERE name LIKE 'sync%'") == []


def test_a_wrong_choice_is_refused(node: Any) -> None:
    wrong: Any = "theirs"
    with pytest.raises(InvalidValue, match="mine, server"):
        resolve_all(node.store, keep=wrong)
    with pytest.raises(InvalidValue, match="not a cursor"):
        list_conflicts(node.store, after="x")


# -- settling --------------------------------------------------------------------------------


def test_where_the_server_has_moved_on_my_version_is_judged_once_more(
    nodes: list[Any], check: Any
) -> None:
    one, two, three = nodes
    _put_put(one, two)
    assert both(one, two) == [0, 3]
    both(three)
    three.store.runs.update("a", source="three")
    assert both(three) == [0]
    resolve_conflict(two.store, only_conflict(two).id, keep="mine")
    assert both(two) == [3]
    conflict = only_conflict(two)
    assert conflict.node == "three"
    assert conflict.mine is not None
    assert conflict.mine["source"] == "two"
    resolve_conflict(two.store, conflict.id, keep="mine")
    converge(nodes, check)
    assert {node.store.runs.get("a").source for node in nodes} == {"two"}


def test_a_row_that_the_server_deleted_meanwhile_comes_back(nodes: list[Any], check: Any) -> None:
    one, two, _ = nodes
    _put_put(one, two)
    assert both(one, two) == [0, 3]
    one.store.runs.delete("a")
    both(one, two)
    conflict = only_conflict(two)
    assert conflict.server is None
    resolve_conflict(two.store, conflict.id, keep="mine")
    converge(nodes, check)
    assert {node.store.runs.get("a").source for node in nodes} == {"two"}


def test_a_child_whose_parent_is_gone_is_refused_with_the_way_out(nodes: list[Any]) -> None:
    one, two, _ = nodes
    one.sql("UPDATE run_files SET size_bytes = 1")
    two.sql("UPDATE run_files SET size_bytes = 2")
    assert both(one, two) == [0, 3]
    one.store.runs.delete("a")
    both(one, two)
    conflict = only_conflict(two)
    before = two.state()
    with pytest.raises(ConstraintFailed, match="'a' of runs, which is gone") as caught:
        resolve_conflict(two.store, conflict.id, keep="mine")
    assert caught.value.hint == f"dynostore sync conflicts resolve {conflict.id} --keep server"
    assert two.state() == before
    done = resolve_all(two.store, keep="mine")
    assert (done.resolved, [r.id for r in done.refused]) == (0, [conflict.id])
    assert resolve_all(two.store, keep="server").resolved == 1


def test_all_at_once_brings_parents_before_children_and_the_newest_version(
    nodes: list[Any], check: Any
) -> None:
    one, two, _ = nodes
    both(*nodes)
    for value in (1, 2):  # two conflicts of each row
        one.sql("UPDATE run_files SET size_bytes = ?", (value,))
        one.store.runs.update("a", source=f"one {value}")
        two.sql("UPDATE run_files SET size_bytes = ?", (10 * value,))
        two.store.runs.update("a", source=f"two {value}")
        assert both(one, two) == [0, 3]
    one.store.runs.delete("a")
    both(one, two)
    assert len(list_conflicts(two.store)) == 4
    done = resolve_all(two.store, keep="mine")
    assert (done.resolved, done.refused) == (4, [])
    converge(nodes, check)
    for node in nodes:
        assert node.store.runs.get("a").source == "two 2"
        assert node.sql("SELECT size_bytes FROM run_files") == [(20,)]


def test_settling_is_captured_and_asks_no_server(nodes: list[Any]) -> None:
    one, two, _ = nodes
    _put_put(one, two)
    both(one, two)
    before = two.remote.state()
    resolve_conflict(two.store, only_conflict(two).id, keep="mine")
    assert two.logged() == [("runs", "a", "p")]
    assert two.remote.state() == before
    assert sync_status(two.store).waiting == {"runs": 1}


@pytest.mark.slow
def test_killed_at_any_statement_a_conflict_is_settled_or_open(
    nodes: list[Any], killed_at: Callable[[int, Callable[[], object]], bool]
) -> None:
    one, two, _ = nodes
    _put_put(one, two)
    both(one, two)
    number = only_conflict(two).id
    path = two.path
    two.store.close()

    def settle() -> None:
        with Store.open(path) as store:
            resolve_conflict(store, number, keep="mine")

    at = 1
    while killed_at(at, settle):
        listed = two.sql("SELECT count(*) FROM sync_conflict")
        [(source,)] = two.sql("SELECT source FROM runs")
        assert (listed, source, two.logged()) == ([(1,)], "one", [])
        at += 1
    assert at > 5
    assert two.sql("SELECT count(*) FROM sync_conflict") == [(0,)]
    assert two.sql("SELECT source FROM runs") == [("two",)]
    assert two.logged() == [("runs", "a", "p")]


def test_a_winner_that_fits_no_file_is_named_and_set_aside(nodes: list[Any], remote: Any) -> None:
    _, two, _ = nodes
    remote.sql("UPDATE runs SET created_at = 'infinity'")
    two.store.runs.update("a", source="two")
    assert two.sync().exit_code == 3
    conflict = only_conflict(two)
    assert conflict.mine is not None
    assert (conflict.node, conflict.mine["source"]) == ("plain SQL", "two")
    assert two.rejects()["a"][:3] == ("runs", "created_at", "infinity")
    assert two.sql("SELECT origin FROM sync_reject") == [("server",)]
    remote.sql("UPDATE runs SET created_at = updated_at, source = 'mended'")
    assert both(two) == [0]
    assert two.rejects() == {}
    assert two.store.runs.get("a").source == "mended"
