"""The protocol holds in the model, and each of its rules is there for something that goes wrong."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.once

SLOW_RUNS = int(os.environ.get("DYNOSTORE_MODEL_RUNS", "1000"))
FAST_RUNS = 80

SCENARIOS = (
    "plain rows",
    "late batches",
    "plain SQL",
    "rejects",
    "merges",
    "families",
    "families and SQL",
    "families and rejects",
    "self references",
    "purges",
    "purged families",
    "some tables",
    "rebuilt tables",
    "copied files",
    "restored files",
    "restored servers",
    "one file and restored servers",
    "servers restored again and again",
    "copies and restored servers",
    "restored servers, purged",
    "restored servers of families",
    "emptied servers",
    "everything",
)

FOUND_AT_RANDOM = {
    "archive": "plain rows",
    "children": "families",
    "clock": "plain SQL",
    "cursors": "some tables",
    "cut": "restored servers",
    "dirty": "plain rows",
    "echo": "copied files",
    "guard": "families",
    "horizon": "purges",
    "along": "families and rejects",
    "later base": "plain SQL",
    "later row": "plain SQL",
    "marker": "plain SQL",
    "merge": "merges",
    "pending": "plain SQL",
    "rejects": "rejects",
    "snapshot": "late batches",
    "suspect": "rebuilt tables",
    "upsert": "families",
}
"""Rules without which some random history goes wrong soon, and the scenario that shows it."""


def _write(who: str, table: str, key: str, value: int, **more: Any) -> tuple[Any, ...]:
    return ("write", who, table, key, {"value": value, **more})


def _go(
    name: str, direction: str = "both", steps: int = 99, *, rows: int = 2, tables: Any = None
) -> tuple[Any, ...]:
    return ("go", name, direction, tables, rows, False, steps)


def _tally(who: str, value: int, number: int) -> tuple[Any, ...]:
    row = {"high": number, "low": -number, "tags": frozenset((number,))}
    return _write(who, "tallies", "t0", value, **row)


def _kill(name: str, *, late: bool = False) -> tuple[Any, ...]:
    return ("kill", name, late)


BACK_UP, BACK_UP_FILE = ("back up server", "", 0.0), ("back up file", "one", 0.0)
RESTORE, RESTORE_FILE = ("restore server", "", 0.0), ("restore file", "one", 0.0)
FAMILY = [_write("one", "shelves", "s0", 1), _write("one", "boxes", "b0", 2, parent="s0")]
SHARED = [*FAMILY, _go("one"), _go("two")]
"""Two files that hold a shelf with a box."""

STORIES: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    # A batch that was given up arrives while the next sync is past the fence.
    "epoch": (
        "late batches",
        [
            *(_write("one", "notes", "n0", 1), _go("one", "push", 5), _kill("one", late=True)),
            *(_write("one", "notes", "n0", 2), _go("one", "push", 4), ("deliver", 0.0)),
        ],
    ),
    # A server that was restored does not hold what the change was made on top of.
    "forgot": (
        "one file and restored servers",
        [
            *(_write("one", "notes", "n0", 1), _go("one"), BACK_UP),
            *(_write("one", "notes", "n0", 2), _go("one"), _write("one", "notes", "n0", 3)),
            RESTORE,
        ],
    ),
    # Numbers were handed out twice, as the restored server was not known for one.
    "own cut": (
        "restored servers, purged",
        [
            *(BACK_UP, _write("three", "notes", "n0", 1), _go("three"), RESTORE),
            *(_write("two", "notes", "n1", 2), _go("two", "push")),
            *(BACK_UP, _write("two", "notes", "n0", 3), _go("two", "push")),
            ("restore server", "", 0.9),
        ],
    ),
    # The server is restored to a time that knows this file, from one that numbered others' rows.
    "branch": (
        "restored servers",
        [
            *(BACK_UP, _write("three", "notes", "n0", 1), _go("three", "push"), BACK_UP),
            *(_go("one"), RESTORE, _write("sql", "notes", "n1", 2), _go("one", "both", 7)),
            *(_go("three"), ("restore server", "", 0.9)),
        ],
    ),
    # Another's row came back before this file compared itself with the server; then it went again.
    "turn": (
        "servers restored again and again",
        [
            *(BACK_UP_FILE, _go("one", "push"), _go("two", "push"), BACK_UP),
            *(_write("one", "notes", "n0", 1), _go("one"), _go("two"), RESTORE),
            *(_go("one", "both", 2), BACK_UP, _go("one"), _go("two", "push")),
            *(RESTORE_FILE, ("restore server", "", 0.9)),
        ],
    ),
    # What was pulled is durable, and the server forgets it; others hide that.
    "pull token": (
        "servers restored again and again",
        [
            *(_write("two", "notes", "n0", 1), _go("two"), BACK_UP),
            *(_write("sql", "notes", "n1", 2), _go("two", "pull", 5), _kill("two"), RESTORE),
            *(_write("sql", "notes", "n2", 3), _write("sql", "notes", "n3", 4)),
        ],
    ),
    # The same by way of an acknowledgement.
    "limit": (
        "servers restored again and again",
        [
            *(_write("sql", "notes", "n0", 1), _write("two", "notes", "n0", 2)),
            *(_go("two", "pull"), _go("two", "push", 4), BACK_UP, _write("sql", "notes", "n0", 3)),
            *(_go("two", "push", 2), _kill("two"), RESTORE),
            *(_write("sql", "notes", "n1", 4), _write("sql", "notes", "n2", 5)),
        ],
    ),
    # A copy that has sent nothing under its new name looks like a file that never synced.
    "born": (
        "copies and restored servers",
        [
            *(BACK_UP_FILE, BACK_UP, _write("one", "notes", "n0", 1), _go("one", "push")),
            *(("copy", "one", "copy"), _write("one", "notes", "n1", 2), _go("one", "push")),
            *(_go("copy", "push"), RESTORE_FILE, RESTORE),
        ],
    ),
    # Something is deleted and purged after its table was compared, and before the pull's view.
    "purged meanwhile": (
        "purged families",
        [
            *(*SHARED, _write("sql", "shelves", "s1", 3), ("delete", "sql", "shelves", "s1")),
            *(("purge", 1.0), ("delete", "one", "boxes", "b0"), _go("one", "push")),
            *(_go("two", "both", 3), ("purge", 1.0), _go("two")),
        ],
    ),
    # What won is deleted, and its tombstone purged, before the loser hears of it.
    "again": (
        "purges",
        [
            *(_write("sql", "notes", "n0", 1), _write("one", "notes", "n0", 2)),
            *(_go("one", "push", 6), _kill("one"), ("delete", "sql", "notes", "n0")),
            ("purge", 1.0),
        ],
    ),
    # Another changed the row, and deleted it, before the dead sync was finished.
    "crash bases": (
        "purges",
        [
            *(_write("one", "notes", "n0", 1), _go("one", "push", 6), _kill("one")),
            *(_write("sql", "notes", "n0", 2), _go("one", "push")),
            *(("delete", "sql", "notes", "n0"), ("purge", 1.0)),
        ],
    ),
    # The shelf's deletion is sent without its boxes', which are of a table left out.
    "mine": (
        "families",
        [*SHARED, ("delete", "one", "shelves", "s0"), _go("one", "push", tables=("shelves",))],
    ),
    # A parent comes before its child in the order of the keys.
    "self": (
        "self references",
        [
            _write("one", "folders", "f0", 1, parent=None),
            _write("one", "folders", "f1", 2, parent="f0"),
            *(_go("one"), ("delete", "one", "folders", "f0"), _go("one", "push", rows=1)),
        ],
    ),
    "parents": (
        "families",
        [
            *(*SHARED, ("delete", "two", "shelves", "s0")),
            *(_write("one", "boxes", "b1", 3, parent="s0"), _go("one"), _go("two", "pull")),
        ],
    ),
    "recursion": (
        "families",
        [
            *(*SHARED, ("delete", "two", "shelves", "s0")),
            *(_write("one", "items", "i0", 3, parent="b0"), _go("one"), _go("two", "pull")),
        ],
    ),
    # A shelf that came back with its box, which goes again before the shelf's deletion is sent.
    "withdrawn": (
        "families",
        [
            *(_write("one", "shelves", "s0", 1), _write("one", "shelves", "s1", 2)),
            *(_go("one"), _go("two"), _write("one", "boxes", "b0", 3, parent="s0"), _go("one")),
            ("delete", "two", "shelves", "s0"),
            *(_write("two", "boxes", "b0", 4, parent="s1"), _go("two", "push", 6)),
            *(("delete", "one", "boxes", "b0"), _go("one", "push"), _go("two", "push")),
        ],
    ),
    # The shelf's tombstone is pulled without its boxes', which are of a table left out.
    "children along": (
        "families",
        [
            *(*SHARED, ("delete", "one", "shelves", "s0"), _go("one")),
            *(_go("two", "pull", tables=("shelves",)), _go("two")),
        ],
    ),
    # Boxes that may have been changed unseen, of a shelf that was deleted with them.
    "suspects alone": (
        "rebuilt tables",
        [
            *(*SHARED, ("delete", "one", "shelves", "s0"), _go("one", "push")),
            *(("rebuild", "two", "boxes"), _go("two", "push")),
        ],
    ),
    "clean parent": (
        "rebuilt tables",
        [
            *(*SHARED, ("delete", "one", "shelves", "s0"), _go("one", "push")),
            *(("rebuild", "two", "boxes"), _go("two", "pull")),
        ],
    ),
    # One box that was set aside keeps its new shelf, and puts the deletion of its old one off.
    "kept waits": (
        "families and rejects",
        [
            *(_write("one", "shelves", "s1", 3), *SHARED),
            _write("two", "boxes", "b0", 4, parent="s1", bad="there"),
            *(("delete", "two", "shelves", "s0"), _go("two")),
            ("delete", "sql", "shelves", "s1"),
        ],
    ),
    # Something is written between a rebuild and the rows that arrive.
    "triggers": (
        "rebuilt tables",
        [
            *(
                _write("sql", "shelves", "s0", 1),
                _go("one", "both", 1),
                ("rebuild", "one", "shelves"),
            ),
            *(_write("one", "shelves", "s0", 2), _go("one")),
        ],
    ),
}
"""Histories that only go well because of one rule; the scenario says who is asked in the end."""


# Echoes known by node do no harm for as long as no two files share an identity; a clean parent in
# the way of its tombstone none for as long as it is no change.
SHELTERS = {"echo": "copy", "children along": "clean parent"}
"""Rules in whose shelter the lack of another one does not show."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_random_histories_violate_nothing(name: str, model: Any) -> None:
    _run_many(model, name, range(FAST_RUNS))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_many_random_histories_violate_nothing(name: str, model: Any) -> None:
    _run_many(model, name, range(FAST_RUNS, FAST_RUNS + SLOW_RUNS))


def _run_many(model: Any, name: str, seeds: range) -> None:
    """Run histories; a failure says how to run the one again that went wrong."""
    scenario = model.histories.SCENARIOS[name]
    for seed in seeds:
        try:
            found, _ = model.histories.run(seed, scenario)
        except BaseException as exc:
            exc.add_note(f"scenario {name!r}, seed {seed}")
            raise
        assert not found, f"scenario {name!r}, seed {seed}: {found}"


def test_all_scenarios_are_run(model: Any) -> None:
    assert tuple(model.histories.SCENARIOS) == SCENARIOS


def test_every_rule_has_its_control(model: Any) -> None:
    controlled = {*FOUND_AT_RANDOM, *STORIES, "keep", "children first", "later merge", "copy"}
    assert controlled == set(model.RULES)


@pytest.mark.parametrize("rule", FOUND_AT_RANDOM)
def test_without_a_rule_some_random_history_goes_wrong(rule: str, model: Any) -> None:
    scenario = model.histories.SCENARIOS[FOUND_AT_RANDOM[rule]]
    for seed in range(1000):
        if _goes_wrong(model, scenario, model.histories.script(seed, scenario), rule):
            return
    raise AssertionError(f"nothing went wrong without {rule!r}")


def test_files_that_share_an_identity_converge_as_echoes_are_known_by_revision(model: Any) -> None:
    scenario = model.histories.SCENARIOS["copied files"]
    for seed in range(FAST_RUNS):
        assert model.histories.run(seed, scenario, ["copy"])[0] == [], f"seed {seed}"


@pytest.mark.parametrize("rule", STORIES)
def test_a_story_goes_well_because_of_one_rule(rule: str, model: Any) -> None:
    name, ops = STORIES[rule]
    scenario = model.histories.SCENARIOS[name]
    assert model.histories.History(scenario, ops).run() == []
    assert _goes_wrong(model, scenario, ops, rule)


def _goes_wrong(model: Any, scenario: Any, ops: Any, rule: str) -> bool:
    without = [rule, SHELTERS[rule]] if rule in SHELTERS else [rule]
    try:
        return bool(model.histories.History(scenario, ops, without).run())
    except (KeyError, AssertionError):  # such as a parent that the model's server has lost
        return True


def _run(model: Any, name: str, ops: list[Any], without: list[str]) -> Any:
    history = model.histories.History(model.histories.SCENARIOS[name], ops, without)
    history.run()
    return history.model


@pytest.mark.parametrize(("without", "conflicts"), [([], 0), (["keep"], 1)])
def test_what_a_restored_server_gets_again_is_what_others_built_on(
    without: list[str], conflicts: int, model: Any
) -> None:
    ops = [
        *(_go("one", "push"), _go("two", "push"), BACK_UP),
        *(_write("one", "notes", "n0", 1), _go("one"), _go("two"), RESTORE, _go("one")),
        *(_write("two", "notes", "n0", 2), _go("two")),
    ]
    after = _run(model, "restored servers", ops, without)
    assert len(after.files["two"].conflicts) == conflicts


@pytest.mark.parametrize(("without", "left"), [([], set()), (["children first"], {"s0"})])
def test_a_file_behind_the_horizon_removes_families_whole(
    without: list[str], left: set[str], model: Any
) -> None:
    ops = [*SHARED, ("delete", "one", "shelves", "s0"), _go("one"), ("purge", 1.0)]
    after = _run(model, "purged families", ops, without)
    assert set(after.state()["server"]["shelves"]) == left


@pytest.mark.parametrize(("without", "conflicts"), [([], 0), (["later merge"], 1)])
def test_a_file_does_not_quarrel_with_its_own_merge(
    without: list[str], conflicts: int, model: Any
) -> None:
    ops = [
        *(_tally("one", 1, 2), _go("one"), _go("two")),
        *(("touch", "two", "tallies", "t0", 3), _go("two", "push")),
        *(("touch", "one", "tallies", "t0", 4), _go("one", "push", 4)),
        *(_tally("one", 5, 6), _go("one", "push")),
    ]
    after = _run(model, "merges", ops, without)
    assert len(after.files["one"].conflicts) == conflicts


@pytest.mark.parametrize("order", [("shelf", "label"), ("label", "shelf")])
def test_a_sync_ends_where_one_parent_cannot_come_and_the_other_one_moves(
    order: tuple[str, str], model: Any
) -> None:
    parents = {"shelf": "shelves", "label": "labels"}
    boxes = model.Table("boxes", {column: parents[column] for column in order})
    world = model.Model([model.Table("shelves"), model.Table("labels"), boxes], ["one"])

    def sync() -> None:
        world.start("one", "both")
        steps = 0
        while "one" in world.running:
            world.step("one")
            steps += 1
            assert steps < 100, "it goes round and round"

    one = world.files["one"]
    box = {"value": 3, "shelf": "s0", "label": "l0"}
    world.write("one", "shelves", "s0", {"value": 1})
    world.write("one", "labels", "l0", {"value": 2, "bad": "here"})
    world.write("one", "boxes", "b0", box)
    sync()
    assert not [entry for entry in one.log if entry[1]], "the box was set aside, its shelf has come"
    for change, *arguments in (
        (world.write, "one", "shelves", "s0", {"value": 4}),
        (world.write, "one", "boxes", "b0", {**box, "value": 5}),
        (world.sql_delete, "shelves", "s0"),
    ):
        change(*arguments)
        world.retry("one")
        sync()
        sync()
        assert one.rejects == {("labels", "l0"): "value", ("boxes", "b0"): "parent"}
    world.write("one", "labels", "l0", {"value": 6})
    sync()
    state = world.state()
    assert state["one"] == state["server"]
    assert not one.rejects
    assert list(state["server"]["boxes"]) == ["b0"]


# -- deaths --------------------------------------------------------------------------------------


def _lives(model: Any, deaths: dict[str, int]) -> tuple[Any, Any, Any]:
    """Let two files live through the same changes, with a death at some step of a file's sync."""
    tables = [model.Table("shelves"), model.Table("boxes", {"parent": "shelves"})]
    world = model.Model(tables, ["one", "two"])

    def sync(name: str, direction: str) -> list[str]:
        steps = world.sync(name, direction, die_at=deaths.get(name), rows=1)
        if name in deaths:
            steps += world.sync(name, direction, rows=1)
        return list(steps)

    world.write("one", "shelves", "s0", {"value": 1})
    world.write("one", "boxes", "b0", {"value": 2, "parent": "s0"})
    world.write("one", "boxes", "b1", {"value": 3, "parent": "s0"})
    world.sync("one", "both")
    world.sync("two", "both")
    world.write("one", "boxes", "b0", {"value": 4, "parent": "s0"})
    world.delete("one", "boxes", "b1")
    world.write("one", "shelves", "s1", {"value": 5})
    world.write("two", "boxes", "b0", {"value": 6, "parent": "s0"})
    world.write("two", "boxes", "b2", {"value": 7, "parent": "s0"})
    world.delete("two", "boxes", "b1")
    taken = {name: len(sync(name, "both")) for name in ("one", "two")}
    world.delete("one", "shelves", "s0")
    for name in ("one", "two", "one"):
        sync(name, "both")
    listed = {name: [item[:3] for item in file.conflicts] for name, file in world.files.items()}
    archived = sorted(item[:3] for item in world.server.archive)
    return world.state(), (listed, archived), taken


def test_a_death_at_any_step_changes_nothing_of_the_outcome(model: Any) -> None:
    state, told, taken = _lives(model, {})
    assert state["one"] == state["two"] == state["server"]
    assert sorted(told[1]) == [
        ("boxes", "b0", "deleted"), ("boxes", "b0", "lost"), ("boxes", "b1", "deleted"),
    ]  # fmt: skip
    assert told[0] == {"one": [("shelves", "s0", "children")], "two": [("boxes", "b0", "lost")]}
    for first in range(1, taken["one"] + 1):
        for second in range(1, taken["two"] + 1):
            after = _lives(model, {"one": first, "two": second})
            assert after[:2] == (state, told), f"deaths at {first} and {second}"


def test_a_script_is_the_same_for_the_same_seed(model: Any) -> None:
    for scenario in model.histories.SCENARIOS.values():
        assert model.histories.script(5, scenario) == model.histories.script(5, scenario)


def test_the_model_stands_alone(model: Any) -> None:
    imported = {
        name.partition(".")[0]
        for module in [sys.modules[m] for m in sys.modules if m.startswith(model.__name__)]
        for name in [getattr(value, "__module__", "") or "" for value in vars(module).values()]
    }
    assert "dynostore" not in imported
