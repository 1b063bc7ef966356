"""The contract of ``Runs``, on every database; it knows no backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynostore import errors
from dynostore.ids import derived_id
from dynostore.models import Run, RunFile
from dynostore.models.runs import STATUSES
from dynostore.store import Store

T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SHA = "ab" * 32
EVERYTHING: dict[str, Any] = {
    "status": "processing",
    "source": "jetstream",
    "jetstream_id": "JS-ALPHA-001",
    "current_stage": "Validating VE tables",
    "progress_percent": 40,
    "results_summary": {"avg_correction": 1.5, "cells": [1, 2, {"é": None}]},
    "error_info": {"code": "VE-CSV-42"},
    "input_filename": "dynoai_input.csv",
    "config_snapshot": {"args": {"clamp": 15}},
    "metadata": {"vehicle": "Märklin 🏍"},
}


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def whole_run(run_id: str, **values: Any) -> Run:
    row = {"status": "pending", "source": "manual", "created_at": T0, "updated_at": T0}
    return Run(id=run_id, **row | values)


def whole_file(run_id: str, filename: str, **values: Any) -> RunFile:
    key = derived_id("run_files", run_id, filename)
    return RunFile(id=key, run=run_id, filename=filename, **{"created_at": T0} | values)


@contextlib.contextmanager
def refused(field: str, value: Any) -> Iterator[None]:
    """Expect a refusal that names the field; on failure say which value was let through."""
    found = None
    try:
        yield
    except errors.InvalidValue as exc:
        found = exc.field
    assert found == field, f"{field}={value!r}"


# create


def test_a_new_run_is_pending_and_manual_and_just_now(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    run = store.runs.create()
    after = dt.datetime.now(dt.UTC)
    assert (run.status, run.source) == ("pending", "manual")
    assert before <= run.created_at == run.updated_at <= after
    assert len(run.id) == 36


def test_what_create_gives_is_what_get_gives(store: Store) -> None:
    run = store.runs.create(run_id="r-1", created_at=T0, **EVERYTHING)
    assert store.runs.get("r-1").values() == run.values()
    assert run.values() == {"id": "r-1", "created_at": T0, "updated_at": T0, **EVERYTHING}


def test_what_create_gives_has_the_json_that_a_read_gives(store: Store) -> None:
    run = store.runs.create(metadata={1: ("a", "b")})
    assert run.metadata == store.runs.get(run.id).metadata == {"1": ["a", "b"]}


def test_created_at_may_have_any_offset_and_is_given_in_utc(store: Store) -> None:
    tokyo = dt.timezone(dt.timedelta(hours=9))
    run = store.runs.create(created_at=dt.datetime(2026, 1, 1, 9, tzinfo=tokyo))
    for given in (run, store.runs.get(run.id)):
        assert given.created_at == T0
        assert given.created_at.utcoffset() == dt.timedelta(0)


def test_a_taken_id_is_refused_and_its_run_unchanged(store: Store) -> None:
    store.runs.create(run_id="r", source="first")
    with pytest.raises(errors.AlreadyExists, match="'r'"):
        store.runs.create(run_id="r", source="second")
    assert store.runs.get("r").source == "first"


def test_ids_that_differ_in_case_or_accent_are_different_runs(store: Store) -> None:
    for run_id in ("run", "RUN", "rün", "ru\u0308n"):
        store.runs.create(run_id=run_id)
    assert store.runs.count() == 4


def test_every_status_may_follow_every_other(store: Store) -> None:
    run = store.runs.create()
    for status in (*STATUSES, *reversed(STATUSES)):
        assert store.runs.set_status(run.id, status).status == status
        assert store.runs.get(run.id).status == status


BAD_VALUES = [
    ("status", "queued"),
    ("status", None),
    ("status", 3),
    ("source", None),
    ("source", "s" * 65),
    ("source", "nul\0"),
    ("jetstream_id", "j" * 256),
    ("current_stage", "lone \ud800"),
    ("current_stage", b"bytes"),
    ("progress_percent", -1),
    ("progress_percent", 101),
    ("progress_percent", 50.5),
    ("progress_percent", True),
    ("progress_percent", "50"),
    ("results_summary", {"x": float("nan")}),
    ("results_summary", {"x": float("inf")}),
    ("error_info", {"x": "\0"}),
    ("error_info", {"\0": 1}),
    ("error_info", {"x": "\udfff"}),
    ("input_filename", 5),
    ("config_snapshot", {"x": object()}),
    ("metadata", {"x": {1, 2}}),
    ("nonsense", 1),
    ("updated_at", T0),
    ("id", "other"),
]


def test_create_refuses_a_bad_value_by_its_field_and_writes_nothing(store: Store) -> None:
    for field, value in BAD_VALUES:
        values: Any = {field: value}
        with refused(field, value):
            store.runs.create(**values)
        assert store.runs.count() == 0


def test_update_refuses_a_bad_value_by_its_field_and_writes_nothing(store: Store) -> None:
    run = store.runs.create(**EVERYTHING)
    for field, value in [*BAD_VALUES, ("created_at", T0)]:
        changes: Any = {"input_filename": "changed", field: value}
        with refused(field, value):
            store.runs.update(run.id, **changes)
        assert store.runs.get(run.id) == run


def test_an_id_that_cannot_be_stored_is_refused(store: Store) -> None:
    impossible: list[Any] = ["", "i" * 65, "nul\0", "\ud800", 5, b"r"]
    for run_id in impossible:
        with refused("id", run_id):
            store.runs.create(run_id=run_id)


def test_an_id_of_64_characters_of_any_script_is_stored(store: Store) -> None:
    run_id = "走🏍" * 32
    store.runs.create(run_id=run_id)
    assert store.runs.get(run_id).id == run_id


def test_a_created_at_without_zone_or_of_another_type_is_refused(store: Store) -> None:
    impossible: list[Any] = [dt.datetime(2026, 1, 1), "2026-01-01", 0.0001, 0, ""]
    for value in impossible:
        with refused("created_at", value):
            store.runs.create(created_at=value)


# get, update


def test_every_verb_says_that_a_run_is_unknown(store: Store) -> None:
    verbs: list[Callable[[Any], object]] = [
        lambda run_id: store.runs.get(run_id),
        lambda run_id: store.runs.update(run_id, source="x"),
        lambda run_id: store.runs.set_status(run_id, "error"),
        lambda run_id: store.runs.delete(run_id),
        lambda run_id: store.runs.add_file(run_id, "a"),
        lambda run_id: store.runs.add_files(run_id, []),
        lambda run_id: store.runs.files(run_id),
        lambda run_id: store.runs.file(run_id, "a"),
    ]
    for verb in verbs:
        for run_id in ("none", "", "nul\0", "\ud800", "i" * 500, 5, None):
            with pytest.raises(errors.RunNotFound):
                verb(run_id)


def test_update_changes_what_is_passed_and_nothing_else(store: Store) -> None:
    run = store.runs.create(**EVERYTHING)
    replacements: dict[str, Any] = {
        "status": "complete",
        "source": "upload",
        "jetstream_id": "other",
        "current_stage": "",
        "progress_percent": 0,
        "results_summary": [],
        "error_info": False,
        "input_filename": "x",
        "config_snapshot": 0,
        "metadata": "text",
    }
    for field, value in replacements.items():
        changes: Any = {field: value}
        before = store.runs.get(run.id).values()
        changed = store.runs.update(run.id, **changes)
        after = store.runs.get(run.id)
        assert changed == after
        assert after.updated_at >= before["updated_at"]
        assert after.values() == before | {field: value, "updated_at": after.updated_at}


def test_none_clears_every_field_that_may_be_empty(store: Store) -> None:
    run = store.runs.create(**EVERYTHING)
    optional = set(EVERYTHING) - {"status", "source"}
    cleared: Any = dict.fromkeys(optional)
    store.runs.update(run.id, **cleared)
    values = store.runs.get(run.id).values()
    assert {field for field, value in values.items() if value is None} == optional


def test_update_moves_updated_at_and_no_clock_that_was_set_back_moves_it_back(store: Store) -> None:
    future = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    store.runs.put_many([whole_run("r", updated_at=future)])
    assert store.runs.update("r", source="x").updated_at == future
    assert store.runs.get("r").updated_at == future
    older = store.runs.create(created_at=T0)
    assert store.runs.update(older.id).updated_at > T0


def test_set_status_takes_further_changes(store: Store) -> None:
    run = store.runs.create()
    store.runs.set_status(run.id, "error", error_info={"code": 1}, progress_percent=7)
    found = store.runs.get(run.id)
    assert (found.status, found.error_info, found.progress_percent) == ("error", {"code": 1}, 7)


def test_two_writers_of_different_fields_lose_nothing(store: Store) -> None:
    run = store.runs.create()
    failures: list[BaseException] = []

    def write(field: str) -> None:
        try:
            for number in range(25):
                store.runs.update(run.id, **{field: str(number)})  # type: ignore[arg-type]
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(f,)) for f in ("source", "current_stage")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.runs.get(run.id)
    assert (failures, found.source, found.current_stage) == ([], "24", "24")


def test_update_gives_the_run_as_it_is_after_the_writers_before_it(store: Store) -> None:
    store.runs.create(run_id="r")
    started, given = threading.Event(), []

    def write() -> None:
        started.set()
        given.append(store.runs.update("r", current_stage="second"))

    thread = threading.Thread(target=write)
    with store.transaction():
        first = store.runs.update("r", source="first")
        thread.start()
        started.wait()
        thread.join(timeout=0.3)  # it waits for us; longer than it needs to begin
    thread.join()
    assert given == [store.runs.get("r")]
    assert (given[0].source, given[0].current_stage) == ("first", "second")
    assert given[0].updated_at >= first.updated_at


def test_a_record_is_a_value(store: Store) -> None:
    run = store.runs.create(metadata={"a": 1})
    run.source = "changed"
    run.metadata["a"] = 2
    assert (store.runs.get(run.id).source, store.runs.get(run.id).metadata) == ("manual", {"a": 1})


# resolve


def test_a_unique_beginning_finds_the_id_and_a_whole_id_itself(store: Store) -> None:
    for run_id in ("run", "run_2", "rum", "Run_3"):
        store.runs.create(run_id=run_id)
    assert store.runs.resolve("rum") == "rum"
    assert store.runs.resolve("run_") == "run_2"
    assert store.runs.resolve("run") == "run"
    assert store.runs.resolve("R") == "Run_3"
    with pytest.raises(errors.AmbiguousId, match="rum, run, run_2"):
        store.runs.resolve("ru")


def test_a_beginning_of_no_id_is_unknown_and_no_pattern(store: Store) -> None:
    store.runs.create(run_id="run-1")
    for prefix in ("x", "ru%", "r_n", "RUN", "run-1x", "走"):
        with pytest.raises(errors.RunNotFound):
            store.runs.resolve(prefix)


def test_a_beginning_that_no_id_can_have_is_refused(store: Store) -> None:
    store.runs.create(run_id="run-1")
    for prefix in ("", "nul\0", "\ud800"):
        with refused("id", prefix):
            store.runs.resolve(prefix)


def test_an_ambiguous_beginning_shows_some_ids_of_many(store: Store) -> None:
    store.runs.put_many(whole_run(f"run-{n:02}") for n in range(30))
    with pytest.raises(errors.AmbiguousId, match=r"run-00, .*run-04, \.\.\."):
        store.runs.resolve("run-")


# list, stream, count


@pytest.fixture
def forty_runs(store: Store) -> list[Run]:
    """Runs at ten moments, four at each, in the list's order."""
    runs = [
        whole_run(f"r{n:02}", created_at=at(n % 10), status=STATUSES[n % 3], source=f"s{n % 2}")
        for n in range(40)
    ]
    assert store.runs.put_many(runs) == []
    return sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)


def test_lists_are_newest_first_then_by_descending_id(store: Store, forty_runs: list[Run]) -> None:
    assert list(store.runs.list()) == forty_runs
    assert list(store.runs.stream()) == forty_runs
    assert store.runs.list().next is None


def test_pages_give_each_run_once_in_order(store: Store, forty_runs: list[Run]) -> None:
    for limit in (1, 3, 7, 39, 40, 41):
        page = store.runs.list(limit=limit)
        found = page.items
        while page.next is not None:
            page = store.runs.list(limit=limit, after=page.next)
            assert 0 < len(page) <= limit
            found = found + page.items
        assert found == forty_runs


def test_pages_miss_and_repeat_nothing_while_runs_are_added_and_deleted(
    store: Store, forty_runs: list[Run]
) -> None:
    found, after = [], None
    for number in range(100):
        page = store.runs.list(limit=3, after=after)
        found += ids(page)
        after = page.next
        if after is None:
            break
        store.runs.create(run_id=f"newer-{number}", created_at=at(1000 + number))
        store.runs.create(run_id=f"older-{number}", created_at=at(-1000 - number))
        store.runs.delete(page.items[-1].id)  # where the cursor stands
    old = [run_id for run_id in found if run_id.startswith("r")]
    assert old == ids(forty_runs)
    assert not any(run_id.startswith("newer") for run_id in found)
    assert len(found) == len(set(found))


def test_filters_combine_and_count_agrees(store: Store, forty_runs: list[Run]) -> None:
    for status in (None, "pending", "downloading", "partial"):
        for source in (None, "s0", "s1", "none"):
            for since, until in ((None, None), (at(2), None), (None, at(7)), (at(2), at(7))):
                wanted = [
                    run
                    for run in forty_runs
                    if status in (None, run.status)
                    and source in (None, run.source)
                    and (since is None or since <= run.created_at)
                    and (until is None or run.created_at < until)
                ]
                window: Any = {"status": status, "source": source, "since": since, "until": until}
                assert list(store.runs.list(**window)) == wanted
                assert list(store.runs.stream(**window)) == wanted
                assert store.runs.count(**window) == len(wanted)


def test_offset_leaves_out_runs_also_after_a_cursor(store: Store, forty_runs: list[Run]) -> None:
    assert list(store.runs.list(limit=5, offset=10)) == forty_runs[10:15]
    after = store.runs.list(limit=10).next
    assert list(store.runs.list(limit=5, after=after, offset=2)) == forty_runs[12:17]
    assert list(store.runs.list(offset=40)) == []


def test_the_default_page_has_fifty_runs_and_a_stream_all(store: Store) -> None:
    store.runs.put_many(whole_run(f"{n:04}", created_at=at(n // 3)) for n in range(2500))
    page = store.runs.list()
    assert (len(page), page.next is None) == (50, False)
    assert ids(store.runs.stream()) == [f"{n:04}" for n in reversed(range(2500))]


def test_microseconds_order_runs(store: Store) -> None:
    moments = [T0, at(0.000001), at(0.1), at(0.999999), at(1)]
    store.runs.put_many(whole_run(str(n), created_at=time) for n, time in enumerate(moments))
    assert ids(store.runs.list()) == ["4", "3", "2", "1", "0"]
    assert ids(store.runs.list(since=at(0.000001), until=at(1))) == ["3", "2", "1"]


def test_list_refuses_a_bad_argument_by_its_name(store: Store) -> None:
    arguments: list[tuple[str, Any]] = [
        ("limit", 0),
        ("limit", -1),
        ("limit", 10**30),
        ("limit", "5"),
        ("limit", None),
        ("offset", -1),
        ("offset", 10**30),
        ("after", "nonsense"),
        ("after", "W10"),  # []
        ("after", "WyIyMDI2LTAxLTAxIiwiYSJd"),  # a time without zone
        ("after", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwiXHUwMDAwIl0"),  # an id with NUL
        ("after", "é"),
        ("after", 5),
        ("status", "queued"),
        ("source", "nul\0"),
        ("since", dt.datetime(2026, 1, 1)),
        ("until", "2026-01-01"),
    ]
    for argument, value in arguments:
        with refused(argument, value):
            store.runs.list(**{argument: value})


# delete, files


def test_delete_takes_the_files_along_and_no_other(store: Store) -> None:
    for run_id in ("a", "b"):
        store.runs.create(run_id=run_id)
        store.runs.add_files(run_id, [{"filename": "x"}, {"filename": "y"}])
    store.runs.delete("a")
    with pytest.raises(errors.RunNotFound):
        store.runs.files("a")
    assert [file.filename for file in store.runs.files("b")] == ["x", "y"]
    store.runs.create(run_id="a")
    assert store.runs.files("a") == []


def test_a_file_is_found_by_its_path_below_the_run(store: Store) -> None:
    store.runs.create(run_id="r")
    facts: dict[str, Any] = {
        "file_type": "csv",
        "size_bytes": 2**40,
        "sha256": SHA.upper(),
        "storage_path": "C:\\data\\VE.csv",
        "created_at": T0,
        "metadata": {"rows": 12},
    }
    made = store.runs.add_file("r", "output/VE.csv", **facts)
    other = store.runs.add_file("r", "input/VE.csv")
    found = store.runs.file("r", "output/VE.csv")
    assert found == made != other
    assert found.values() == {
        "id": derived_id("run_files", "r", "output/VE.csv"),
        "run_id": "r",
        "filename": "output/VE.csv",
        **facts,
        "sha256": SHA,
    }


def test_files_come_by_name_in_code_point_order(store: Store) -> None:
    store.runs.create(run_id="r")
    names = ["B", "a", "a/b", "a-b", "é", "Z", "b", "10", "9", "_", "走", "🏍"]
    store.runs.add_files("r", ({"filename": name} for name in names))
    assert [file.filename for file in store.runs.files("r")] == sorted(names)


def test_add_files_is_all_or_nothing(store: Store) -> None:
    store.runs.create(run_id="r")
    store.runs.add_file("r", "taken")
    with pytest.raises(errors.AlreadyExists, match="'taken'"):
        store.runs.add_files("r", [{"filename": "new"}, {"filename": "taken"}])
    with pytest.raises(errors.AlreadyExists, match="'twice'"):
        store.runs.add_files("r", [{"filename": "twice"}, {"filename": "twice"}])
    with refused("size_bytes", -1):
        store.runs.add_files("r", [{"filename": "new"}, {"filename": "bad", "size_bytes": -1}])
    assert [file.filename for file in store.runs.files("r")] == ["taken"]


def test_a_refused_file_does_not_end_the_callers_transaction(store: Store) -> None:
    store.runs.create(run_id="r")
    with store.transaction():
        store.runs.add_file("r", "a")
        with pytest.raises(errors.AlreadyExists):
            store.runs.add_file("r", "a")
        with pytest.raises(errors.AlreadyExists):
            store.runs.create(run_id="r")
        store.runs.add_file("r", "b")
    assert [file.filename for file in store.runs.files("r")] == ["a", "b"]


def test_add_files_refuses_a_bad_value_by_its_field(store: Store) -> None:
    store.runs.create(run_id="r")
    facts: list[tuple[str, Any]] = [
        ("filename", ""),
        ("filename", None),
        ("filename", "/absolute"),
        ("filename", "a//b"),
        ("filename", "../out"),
        ("filename", "a/./b"),
        ("filename", "a/"),
        ("filename", "nul\0"),
        ("filename", "\ud800"),
        ("filename", 5),
        ("file_type", "t" * 33),
        ("size_bytes", -1),
        ("size_bytes", 2**63),
        ("size_bytes", 1.5),
        ("sha256", "ab"),
        ("sha256", "g" * 64),
        ("storage_path", "\0"),
        ("created_at", dt.datetime(2026, 1, 1)),
        ("metadata", {"x": float("nan")}),
        ("id", "00000000-0000-0000-0000-000000000000"),
        ("run_id", "r"),
        ("run", "r"),
        ("nonsense", 1),
    ]
    for field, value in facts:
        with refused(field, value):
            store.runs.add_files("r", [{"filename": "a"} | {field: value}])
    assert store.runs.files("r") == []


def test_a_file_that_the_run_does_not_have_is_unknown(store: Store) -> None:
    store.runs.create(run_id="r")
    store.runs.add_file("r", "a")
    names: list[Any] = ["none", "", "nul\0", "\ud800", "../r", None]
    for filename in names:
        with pytest.raises(errors.RunFileNotFound):
            store.runs.file("r", filename)


# put_many


def test_put_many_writes_whole_records_as_they_are(store: Store) -> None:
    run = whole_run("r", **EVERYTHING, updated_at=at(-500))
    file = whole_file("r", "a", size_bytes=5, sha256=SHA, metadata=[1])
    assert store.runs.put_many([run, file]) == []
    assert store.runs.get("r") == run
    assert store.runs.files("r") == [file]


def test_put_many_replaces_by_key_and_clears_what_is_not_given(store: Store) -> None:
    store.runs.put_many([whole_run("r", **EVERYTHING)])
    replacement = whole_run("r", status="error", created_at=at(9))
    assert store.runs.put_many([replacement]) == []
    assert store.runs.get("r") == replacement
    assert store.runs.count() == 1


def test_replacing_a_parent_leaves_its_children(store: Store) -> None:
    files = [whole_file("r", name) for name in ("a", "b")]
    store.runs.put_many([whole_run("r"), *files])
    assert store.runs.put_many([whole_run("r", status="complete")]) == []
    assert store.runs.files("r") == files


def test_of_a_key_given_twice_the_last_one_wins(store: Store) -> None:
    runs = [whole_run("r", source=str(n)) for n in range(5)]
    assert store.runs.put_many(runs) == []
    assert store.runs.get("r").source == "4"


def test_a_refused_last_one_costs_no_earlier_one(store: Store) -> None:
    good = whole_file("r", "a", size_bytes=1)
    orphan = whole_file("r", "a", size_bytes=2)
    orphan.run = "missing"
    bounced = store.runs.put_many([whole_run("r"), good, orphan])
    assert [r.record for r in bounced] == [orphan]
    assert store.runs.files("r") == [good]


def test_put_many_gives_back_bad_records_with_their_reasons_and_stores_all_others(
    store: Store,
) -> None:
    bad = {
        "status": whole_run("bad-1", status="queued"),
        "created_at": whole_run("bad-2", created_at=dt.datetime(2026, 1, 1)),
        "metadata": whole_run("bad-3", metadata={"x": float("nan")}),
        "source": whole_run("bad-4", source=None),
        "id": whole_run("i" * 65),
    }
    orphans = [whole_file("missing", "a"), whole_file("bad-1", "a")]
    good: list[Any] = [whole_run(f"good-{n}") for n in range(20)]
    good += [whole_file(f"good-{n}", "a") for n in range(20)]
    mixed = [*good[:7], *bad.values(), *good[7:31], *orphans, *good[31:]]
    bounced = store.runs.put_many(mixed)
    reasons = {id(r.record): r.reason for r in bounced}
    assert len(bounced) == len(bad) + len(orphans)
    for field, record in bad.items():
        assert reasons[id(record)].startswith(f"{field}: ")
    assert reasons[id(orphans[0])] == "run_id: there is no 'missing' in runs"
    assert reasons[id(orphans[1])] == "run_id: there is no 'bad-1' in runs"
    assert store.runs.count() == 20
    assert all(len(store.runs.files(f"good-{n}")) == 1 for n in range(20))


def test_a_child_may_stand_before_its_parent_in_the_same_batch(store: Store) -> None:
    assert store.runs.put_many([whole_file("r", "a"), whole_run("r")]) == []


def test_put_many_of_nothing_and_of_another_family(store: Store) -> None:
    from dynostore.models import Import

    assert store.runs.put_many([]) == []
    with pytest.raises(errors.InvalidValue, match="another family"):
        store.runs.put_many([Import()])


def test_put_many_takes_twenty_thousand_records_with_bad_ones_among_them(store: Store) -> None:
    def records() -> Any:
        for n in range(2000):
            yield whole_run(f"r{n}", created_at=at(n))
            for k in range(9):
                yield whole_file(
                    f"r{n}" if (n, k) != (1234, 5) else "missing", f"f{k}", size_bytes=k
                )

    assert [r.reason for r in store.runs.put_many(records())] == [
        "run_id: there is no 'missing' in runs"
    ]
    assert store.runs.count() == 2000
    assert [f.size_bytes for f in store.runs.files("r1999")] == list(range(9))
    assert len(store.runs.files("r1234")) == 8


# transactions


def test_an_exception_undoes_the_whole_transaction(store: Store) -> None:
    with contextlib.suppress(RuntimeError), store.transaction():
        store.runs.create(run_id="a")
        store.runs.put_many([whole_run("b"), whole_file("b", "x")])
        raise RuntimeError
    assert store.runs.count() == 0


def test_a_nested_transaction_is_a_savepoint(store: Store) -> None:
    with store.transaction():
        store.runs.create(run_id="kept")
        with contextlib.suppress(RuntimeError), store.transaction():
            store.runs.create(run_id="undone")
            with store.transaction():
                store.runs.create(run_id="undone too")
            raise RuntimeError
        store.runs.create(run_id="kept too")
    assert sorted(ids(store.runs.list())) == ["kept", "kept too"]


def test_inside_a_transaction_its_own_writes_are_seen_and_others_see_none(
    store: Store, store_url: str
) -> None:
    with Store.open(store_url, warm=False) as other:
        with store.transaction():
            store.runs.create(run_id="r")
            assert store.runs.get("r").id == "r"
            assert other.runs.count() == 0
        assert other.runs.count() == 1


def test_a_transaction_sees_a_generator_of_put_many_fail(store: Store) -> None:
    def broken() -> Any:
        yield whole_run("a")
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"), store.transaction():
        store.runs.put_many(broken())
    assert store.runs.count() == 0
