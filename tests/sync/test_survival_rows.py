"""Every value of docs/sync.md's table among ten thousand rows; two writers in every order."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once

ROWS = 10_000
PLACES = {"first": "00000", "middle": "05000m", "last": "99999"}

# By name: the table, the column and the value as SQLite stores it. The BLOBs of the table are in
# models of users' own alone.
HELD: dict[str, tuple[str, str, Any]] = {
    "an empty text": ("runs", "current_stage", ""),
    "no text": ("runs", "current_stage", None),
    "what COPY takes for NULL": ("runs", "current_stage", "\\N"),
    "what ends COPY": ("runs", "current_stage", "\\."),
    "escapes that are none": ("runs", "current_stage", "\\n\\\\t\\\\\\r\\"),
    "control characters": ("runs", "current_stage", "".join(map(chr, range(1, 32))) + "\x7f"),
    "text beyond ASCII": ("runs", "current_stage", "ü\U0001d11e\u2028\ufeff\U0010ffff"),
    "a text that fills its column": ("runs", "source", "ü" * 64),
    "the greatest integer": ("runs", "progress_percent", 2**63 - 1),
    "the least integer": ("runs", "progress_percent", -(2**63)),
    "JSON's order and exponents": ("runs", "metadata", '{"b" :1e2, "a":[ 1, 2.50 ], "b":3}'),
    "JSON's null": ("runs", "metadata", "null"),
    "JSON with every escape": ("runs", "metadata", json.dumps('\\"\b\f\n\r\t\x01/ü\u2028')),
    "the first moment": ("runs", "created_at", "0001-01-01T00:00:00.000000+00:00"),
    "the last moment": ("runs", "created_at", "9999-12-31T23:59:59.999999+00:00"),
    "a microsecond": ("runs", "created_at", "2024-02-29T12:00:00.000001+00:00"),
    "minus zero": ("ideation_messages", "maturity_delta", -0.0),
    "a sum that is not 0.3": ("ideation_messages", "maturity_delta", 0.1 + 0.2),
    "the greatest float": ("ideation_messages", "maturity_delta", 1.7976931348623157e308),
    "the least float": ("ideation_messages", "maturity_delta", 5e-324),
    "seventeen digits": ("ideation_messages", "maturity_delta", 2.2250738585072011e-308),
    "an endless float": ("ideation_messages", "maturity_delta", math.inf),
    "an integer for a float": ("ideation_messages", "maturity_delta", 7),
    "yes": ("ideation_maturity", "can_submit", 1),
}

# Those of runs are in test_poison.py.
REFUSED_BY_THE_SERVER: dict[str, tuple[str, str, Any]] = {
    "a boolean that is 2": ("ideation_maturity", "can_submit", 2),
    "text for a boolean": ("ideation_maturity", "can_submit", "yes"),
    "text for a float": ("ideation_messages", "maturity_delta", "much"),
    "a BLOB for a float": ("ideation_messages", "maturity_delta", b"\x00"),
    "a surrogate, in the bytes of one": ("ideation_messages", "content", b"\xed\xa0\x80"),
}

REFUSED_BY_THE_FILE: dict[str, tuple[str, str, str]] = {
    "an endless time": ("runs", "updated_at", "infinity"),
    "a time without beginning": ("runs", "updated_at", "-infinity"),
    "a time before our era": ("runs", "updated_at", "0044-03-15 00:00+00 BC"),
    "a time after the year 9999": ("runs", "updated_at", "10000-01-01 00:00+00"),
    "no number": ("ideation_messages", "maturity_delta", "NaN"),
}

KEYS = {"runs": "id", "ideation_messages": "id", "ideation_maturity": "session_id"}


def _multiply(node: Any, table: str, key: str) -> None:
    """Make ten thousand rows of a table's only one, with keys from 00001 on."""
    columns = [name for (name,) in node.sql(f"SELECT name FROM pragma_table_info('{table}')")]
    others = ", ".join(name for name in columns if name != key)
    node.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        f" INSERT INTO {table} ({key}, {others})"
        f" SELECT printf('%05d', i), {others} FROM n, {table}",
        (ROWS,),
    )


@pytest.fixture
def crowd(node: Any) -> Any:
    """Give a file with more than ten thousand rows in each of four tables."""
    node.store.runs.create(run_id="00000", source="plain")
    session = node.store.ideation.sessions.create(session_id="00000", user_id="kim")
    node.store.ideation.messages.create(session.id, role="user", content="hello")
    node.store.ideation.maturity.save(session.id, score=1.5, level="low")
    node.sql("UPDATE ideation_messages SET id = '00000'")
    for table, key in (("runs", "id"), ("ideation_messages", "id"), ("ideation_sessions", "id")):
        _multiply(node, table, key)
    _multiply(node, "ideation_maturity", "session_id")
    return node


def _put(node: Any, cases: dict[str, tuple[str, str, Any]]) -> list[str]:
    """Give each case a row of its own at the beginning, in the middle and at the end."""
    put = []
    for place, (number, case) in itertools.product(PLACES.values(), enumerate(cases.values())):
        table, column, value = case
        name = f"{place}-{number}"
        if table == "ideation_maturity":
            _copy_row(node, "ideation_sessions", "id", name)
        _copy_row(node, table, KEYS[table], name)
        as_text = isinstance(value, bytes) and column == "content"
        node.sql(
            f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if as_text else '?'}"
            f" WHERE {KEYS[table]} = ?",
            (value, name),
        )
        put.append(name)
    return put


def _copy_row(node: Any, table: str, key: str, name: str) -> None:
    columns = [c for (c,) in node.sql(f"SELECT name FROM pragma_table_info('{table}')")]
    others = ", ".join(column for column in columns if column != key)
    node.sql(
        f"INSERT INTO {table} ({key}, {others}) SELECT ?, {others} FROM {table}"
        f" WHERE {key} = '00001'",
        (name,),
    )


@pytest.mark.slow
def test_every_value_comes_through_both_ways_wherever_it_is_among_ten_thousand(
    crowd: Any, make_node: Any, remote: Any, check: Any
) -> None:
    _put(crowd, HELD)
    assert crowd.sync().exit_code == 0
    check.all(crowd)
    other = make_node("other")
    assert other.sync(direction="pull").exit_code == 0
    for table, key in KEYS.items():
        for column in {column for name, column, _ in HELD.values() if name == table}:
            same = "json(a.{c}) IS json(b.{c})" if column == "metadata" else "a.{c} IS b.{c}"
            kind = "typeof(a.{c}) = typeof(b.{c})"
            sql = f"SELECT count(*) FROM {table} a JOIN other.{table} b USING ({key}) WHERE "
            counted = _beside(crowd, other, sql + f"{same} AND {kind}".format(c=column))
            if column != "metadata":
                assert counted == crowd.count(table), column
    check.all(other)
    for node in (crowd, other):
        assert verify(node.store, remote.url, deep=True).exit_code == 0


def _beside(node: Any, other: Any, sql: str) -> int:
    with closing(sqlite3.connect(node.path)) as connection:
        connection.execute("ATTACH ? AS other", (str(other.path),))
        return int(connection.execute(sql).fetchone()[0])


@pytest.mark.slow
def test_what_the_server_cannot_hold_stops_its_own_row_wherever_it_is_among_ten_thousand(
    crowd: Any, remote: Any
) -> None:
    crowd.sync()
    put = _put(crowd, REFUSED_BY_THE_SERVER)
    assert crowd.sync().exit_code == 3
    assert sorted(crowd.rejects()) == sorted(put)
    named = [reject[:2] for _, reject in sorted(crowd.rejects().items())]
    cases = [case[:2] for case in REFUSED_BY_THE_SERVER.values()]
    assert named == cases * len(PLACES)
    assert [remote.count(table) for table in KEYS] == [ROWS + 1] * len(KEYS)


@pytest.mark.slow
def test_what_no_file_can_hold_stops_its_own_row_wherever_it_is_among_ten_thousand(
    crowd: Any, make_node: Any, remote: Any
) -> None:
    plain = {n: (table, "metadata", None) for n, (table, *_) in REFUSED_BY_THE_FILE.items()}
    put = _put(crowd, plain)
    crowd.sync()
    cases = list(REFUSED_BY_THE_FILE.values())
    for name in put:
        table, column, value = cases[int(name.rpartition("-")[2])]
        remote.sql(f"UPDATE {table} SET {column} = %s WHERE id = %s", (value, name))
    other = make_node("other")
    assert other.sync(direction="pull").exit_code == 3
    assert sorted(other.rejects()) == sorted(put)
    assert {(reject[0], reject[1]) for reject in other.rejects().values()} == {
        (table, column) for table, column, _ in cases
    }
    for table in ("runs", "ideation_messages"):
        bad = sum(len(PLACES) for name, _, _ in cases if name == table)
        assert other.count(table) == crowd.count(table) - bad
    assert crowd.sync(direction="pull").exit_code == 3
    assert crowd.count("runs") == remote.count("runs"), "what was here before stays"


# -- two writers of one row ----------------------------------------------------------------------

Order = tuple[tuple[int, str], ...]

FIRST = ("change", "push", "pull")
SECOND = ("pull", "change", "push", "pull")


def _interleavings() -> Iterator[Order]:
    """Give every order in which the steps of two nodes can come."""
    for places in itertools.combinations(range(len(FIRST) + len(SECOND)), len(FIRST)):
        one, two = iter(FIRST), iter(SECOND)
        yield tuple(
            (0, next(one)) if place in places else (1, next(two))
            for place in range(len(FIRST) + len(SECOND))
        )


ORDERS = list(_interleavings())
KINDS = list(itertools.product(("update", "delete"), repeat=2))


def _play_all(nodes: list[Any], check: Any, orders: list[Order]) -> None:
    """Let two nodes change rows in some orders, each row by another pair of kinds.

    Nothing is lost, whoever must be told is told, and both come to hold the same.
    """
    keys = {kinds: [f"{kinds}-{n}" for n in range(len(orders))] for kinds in KINDS}
    for row in keys.values():
        nodes[0].fill(row, files=0, source="first")
    for node in nodes:
        node.sync(direction="both")
    changed: set[tuple[int, str]] = set()
    for number, order in enumerate(orders):
        for who, step in order:
            if step == "change":
                rows = {keys[kinds][number]: kinds[who] for kinds in KINDS}
                changed |= {(who, key) for key in _change(nodes[who], who, rows)}
            else:
                nodes[who].sync(direction=step)
    for node in (*nodes, *nodes):
        node.sync(direction="both")
    for node in nodes:
        check.equal(node)
        check.settled(node)
    told = [conflict["key"] for node in nodes for conflict in node.conflicts()]
    for number, order in enumerate(orders):
        for kinds in KINDS:
            key = keys[kinds][number]
            whose = [who for who in (0, 1) if (who, key) in changed]
            _judge(nodes[0].remote, key, order, kinds, whose, told.count(key))


def _change(node: Any, who: int, rows: dict[str, str]) -> list[str]:
    """Update or delete those of some rows that are there; give their keys."""
    there = [key for key in rows if node.sql("SELECT 1 FROM runs WHERE id = ?", (key,))]
    for key in there:
        if rows[key] == "update":
            node.store.runs.update(key, source=f"by {who}")
        else:
            node.store.runs.delete(key)
    return there


def _judge(
    remote: Any, key: str, order: Order, kinds: tuple[str, ...], changed: list[int], told: int
) -> None:
    seen = order.index((0, "push")) < order.index((1, "pull"))
    live = remote.sql("SELECT source FROM runs WHERE id = %s", (key,))
    kept = [image and image["source"] for _, image in remote.archive(key)]
    for who in changed:
        if kinds[who] == "update" and not (seen and who == 0):
            assert live == [(f"by {who}",)] or f"by {who}" in kept, (key, order)
    assert told == (len(changed) == 2 and not seen and "update" in kinds), (key, order)
    if "update" in kinds and not seen:
        assert live, f"an update beats a deletion: {key} {order}"


def test_two_nodes_change_one_row_in_some_orders(make_node: Any, check: Any, dice: Any) -> None:
    _play_all([make_node("one"), make_node("two")], check, dice.sample(ORDERS, 3))


@pytest.mark.slow
def test_two_nodes_change_one_row_in_every_order(make_node: Any, check: Any) -> None:
    _play_all([make_node("one"), make_node("two")], check, ORDERS)
