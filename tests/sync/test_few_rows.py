"""What most syncs are, nothing to do or a few rows, takes few round trips and the same rules."""

from __future__ import annotations

import collections
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from dynostore.sync.exchange import Limits
from dynostore.sync.push.batches import Pace
from dynostore.sync.remote.session import Session


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[str]:
    """Count what the sync's sessions ask the server, by the way it is asked."""
    counted: collections.Counter[str] = collections.Counter()
    for name in ("execute", "copy_in"):
        act = getattr(Session, name)

        def counting(self: Any, *arguments: Any, name: str = name, act: Any = act) -> Any:
            counted[name] += 1
            return act(self, *arguments)

        monkeypatch.setattr(Session, name, counting)
    return counted


def test_a_sync_asks_the_server_little(node: Any, calls: collections.Counter[str]) -> None:
    node.fill(["a", "b"], files=1)
    node.sync()
    calls.clear()
    assert node.sync().up_to_date
    assert calls["execute"] <= 4
    calls.clear()
    node.store.runs.update("a", source="changed")
    node.sync()
    assert calls["execute"] <= 6
    assert calls["copy_in"] == 0


def test_an_empty_server_is_set_up_in_few_statements(node: Any, monkeypatch: Any) -> None:
    import psycopg2.extensions

    seen = []

    class Counting(psycopg2.extensions.cursor):
        def execute(self, query: Any, values: Any = None) -> None:
            seen.append(query)
            super().execute(query, values)

    connect = psycopg2.connect
    monkeypatch.setattr(
        psycopg2, "connect", lambda *a, **k: connect(*a, **{**k, "cursor_factory": Counting})
    )
    node.fill(["a"])
    node.sync()
    assert len(seen) < 45


ODD = [
    "'",
    "\\",
    "\\'",
    "''; DROP TABLE runs; --",
    "$push$",
    "%s %% {0}",
    "E'\\x41'",
    "\\N",
    "a\tb\n",
]


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_odd_texts_arrive_as_they_are_without_a_copy(
    conforming: str, node: Any, remote: Any, check: Any, calls: collections.Counter[str]
) -> None:
    [(name,)] = remote.sql("SELECT quote_ident(current_database())")
    remote.sql(f"ALTER DATABASE {name} SET standard_conforming_strings = {conforming}")
    node.store.runs.create(run_id="before")
    node.sync()
    calls.clear()
    for number, text in enumerate(ODD):
        node.store.runs.create(run_id=f"r{number}", source=text, metadata={"text": text})
    node.sync()
    for number, text in enumerate(ODD):
        node.store.runs.update(f"r{number}", current_stage=text)
    node.sync()
    assert calls["copy_in"] == 0
    check.all(node)


@pytest.mark.parametrize(
    "key", ["changed there", "deleted there", "made and deleted there", "made"]
)
def test_a_batch_of_which_one_row_must_be_judged_is_judged_as_a_whole(
    key: str, make_node: Any, remote: Any, check: Any, calls: collections.Counter[str]
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["changed there", "deleted there", "untouched"], files=0)
    one.sync()
    two.sync(direction="both")
    two.store.runs.update("changed there", source="two")
    two.store.runs.delete("deleted there")
    two.fill(["made", "made and deleted there"], files=0, source="two")
    two.sync()
    two.store.runs.delete("made and deleted there")
    two.sync()
    if key in ("made", "made and deleted there"):
        one.fill([key], files=0, source="one")
    else:
        one.store.runs.update(key, source="one")
    one.store.runs.update("untouched", source="one")
    one.fill(["new"], files=0)
    calls.clear()
    assert one.sync().exit_code == 3
    assert calls["copy_in"] == 1
    assert [c["key"] for c in one.conflicts()] == [key]
    for node in (two, one):
        node.sync(direction="both")
        check.holds(node)
    check.equal(one)


def test_nothing_is_written_where_the_contents_are_equal(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a"], files=0)
    node.sync()
    before = remote.stamps()
    with closing(sqlite3.connect(node.path)) as connection, connection:
        connection.execute("UPDATE runs SET source = source")
    node.sync()
    assert remote.stamps() == before
    check.settled(node)


def test_batches_grow_while_the_server_is_quick_and_shrink_while_others_are_at_it() -> None:
    pace = Pace(Limits(rows=25_000))
    sizes = []
    for seconds in (0.1, 0.1, 0.1, 0.7, 3, 3, 3, 3, 3, 0.1):
        sizes.append(pace.rows)
        pace.note(seconds)
    assert sizes == [5000, 10_000, 20_000, 25_000, 25_000, 12_500, 6250, 3125, 2500, 2500]
    assert pace.rows == 5000
    few = Pace(Limits(rows=3))
    for seconds in (3, 0.1, 3):
        few.note(seconds)
        assert few.rows == 3
