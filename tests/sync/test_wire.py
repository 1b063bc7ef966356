"""Values on the wire: the quick way and the careful one agree, and what is refused is explained."""

from __future__ import annotations

import math
import re
from typing import Any

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynostore.errors import ConfigError
from dynostore.fields import RealField, StringField, TextField
from dynostore.models.base import Record
from dynostore.sync.tables import Column, describe, literal, quoted
from dynostore.sync.wire import (
    MISFIT,
    Poison,
    copy_lines,
    copy_lines_carefully,
    explain,
    local_values,
    shown,
    stored_values,
)

repeatable = settings(max_examples=200)
pieces = st.sampled_from(
    [b"a", b"\\", b"\\N", b"\t", b"\n", b"\r", b"\0", b"\xff", "é".encode(), b"", b"\\t", b"N"]
)
values = st.none() | st.lists(pieces, max_size=4).map(b"".join) | st.just(0)
rows = st.lists(st.tuples(values, values, values), min_size=1, max_size=5)
NAMES = ("x", "y", "z")


@repeatable
@given(rows)
def test_both_ways_give_the_same_lines_and_the_careful_one_names_the_rest(table: Any) -> None:
    lines, poisons = copy_lines_carefully(table, NAMES, [])
    quick = copy_lines(table, [])
    if quick is not None:
        assert (quick.split(b"\n"), poisons) == (lines, [])
    bad = {poison.index for poison in poisons}
    good = [row for index, row in enumerate(table) if index not in bad]
    assert [tuple(stored_values(line)) for line in lines] == good
    for poison in poisons:
        value = table[poison.index][NAMES.index(str(poison.column))]
        assert value == 0 or b"\0" in value or b"\xff" in value


@repeatable
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_float_keeps_every_digit(numbers: list[float]) -> None:
    body = copy_lines([(number,) for number in numbers], [0])
    assert body is not None
    assert [float(line) for line in body.split(b"\n")] == numbers


@pytest.mark.parametrize(
    ("stored", "kind", "limit", "words"),
    [
        (None, "text", None, "must not be empty"),
        (b"abc", "text", 2, "3 characters; 2 fit"),
        (b"abc", "integer", None, "an integer expected"),
        (1.5, "integer", None, "an integer expected"),
        (b"ab", "text", 64, "text expected"),
        (7, "boolean", None, "0 or 1 expected"),
    ],
)
def test_a_refused_value_is_explained(stored: Any, kind: str, limit: Any, words: str) -> None:
    column = Column("c", kind, null=False, max_length=limit)
    poison = explain(column, stored, Poison(0, "c", None, "the wrong type of value"))
    assert poison.message == words


def test_values_are_shown_whole_or_cut_or_in_hexadecimal_digits() -> None:
    assert shown(None) is None
    assert shown("é".encode()) == "é"
    assert shown(b"\xff\x00") == "x'ff00'"
    assert shown(b"a\0") == "x'6100'"
    assert shown(b"x" * 300) == "x" * 200 + "..."
    assert shown(math.pi) == repr(math.pi)
    # Cut between the bytes of a character.
    assert (shown("é".encode() * 1000) or "").startswith("é")


def test_a_time_that_no_file_can_hold_is_refused() -> None:
    class Timed(Record):
        id = StringField(primary_key=True)

    [table] = describe([Timed]).values()
    assert local_values(table, ["k"]) == ["k"]
    column = Column("t", "time", null=True)
    timed = type(table)("timed", table.key, (table.key, column), ())
    assert local_values(timed, ["k", None]) == ["k", None]
    for text in ("infinity", "0044-03-15 00:00:00.123456+00 BC", "12000-01-01 00:00:00+00"):
        with pytest.raises(ValueError, match=f"t: no file can hold {re.escape(text)}"):
            local_values(timed, ["k", MISFIT + text])


def test_a_table_is_described_by_its_model() -> None:
    class Parent(Record):
        id = StringField(max_length=8, primary_key=True)
        weight = RealField(null=True)

        class Meta:
            table_name = 'odd "name"'

    class Child(Record):
        id = TextField(primary_key=True)
        parent = peewee.ForeignKeyField(Parent, column_name="of")

    tables = describe([Child, Parent])
    assert list(tables) == ['odd "name"', "child"]
    assert tables['odd "name"'].quoted == '"odd ""name"""'
    assert tables['odd "name"'].children == (("child", "of"),)
    [reference] = tables["child"].references
    assert (reference.parent, reference.parent_key, reference.kind) == ('odd "name"', "id", "text")
    assert reference.max_length == 8
    assert (quoted("a"), literal("a'b")) == ('"a"', "'a''b'")


def test_a_column_that_cannot_replicate_is_refused_by_name() -> None:
    class Odd(Record):
        id = TextField(primary_key=True)
        day = peewee.TimeField()

    with pytest.raises(ConfigError, match="day"):
        describe([Odd])
