from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Any

import pytest

from dynostore.canonical_json import json_text
from dynostore.fields import (
    JsonField,
    ReferenceField,
    StringField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
    time_after,
    time_text,
    utc_now,
)
from dynostore.models import Run, RunFile

NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


def test_now_is_aware_and_utc() -> None:
    assert utc_now().utcoffset() == dt.timedelta(0)


def test_a_time_after_another_is_now_or_the_next_microsecond_and_never_before_it() -> None:
    before = utc_now()
    assert before <= time_after(NOON.replace(year=2020)) <= utc_now()
    future = utc_now() + dt.timedelta(days=400)
    assert time_after(future) == future + dt.timedelta(microseconds=1)
    latest = dt.datetime.max.replace(tzinfo=dt.UTC)
    assert time_after(latest) == latest


def test_time_text_is_utc_with_microseconds_and_offset() -> None:
    paris = dt.timezone(dt.timedelta(hours=1))
    assert time_text(NOON.astimezone(paris)) == "2026-01-02T12:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("2026-01-02T12:00:00.000000+00:00", NOON),
        ("2026-01-02 12:00:00Z", NOON),
        ("2026-01-02T13:00:00+01:00", NOON),
        (NOON.astimezone(dt.timezone(dt.timedelta(hours=-3))), NOON),
        (None, None),
        # What plain SQL put there and no one can read as an instant stays as it is.
        ("2026-01-02T12:00:00", "2026-01-02T12:00:00"),
        ("2026-01-02", "2026-01-02"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00+05:00"),
        ("yesterday", "yesterday"),
        (5, 5),
    ],
)
def test_a_stored_time_is_read_in_utc_and_never_guessed(stored: Any, read: Any) -> None:
    assert UtcTimeField().python_value(stored) == read


def test_json_text_has_sorted_keys_and_no_spaces() -> None:
    value = {"b": [1, 2.5, None], "a": {"é": True}}
    assert json_text(value) == '{"a":{"é":true},"b":[1,2.5,null]}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e16, "10000000000000000.0"),
        (-1.5e17, "-150000000000000000.0"),
        ("1e+16", '"1e+16"'),
        ('"1e+16', '"\\"1e+16"'),
        ("\\", '"\\\\"'),
        (["\\", 1e16, "e+"], '["\\\\",10000000000000000.0,"e+"]'),
        (1e-7, "1e-07"),
        ({"a": 1e-7}, '{"a":1e-07}'),
        ([1e-7, "e-1"], '[1e-07,"e-1"]'),
        ("1e-7", '"1e-7"'),
    ],
)
def test_json_text_writes_great_floats_so_that_they_stay_floats(value: Any, text: str) -> None:
    assert json_text(value) == text


def test_stored_json_that_plain_sql_broke_is_read_as_text() -> None:
    field = JsonField()
    assert field.python_value('{"a": 1}') == {"a": 1}
    assert field.python_value("{broken") == "{broken"
    assert field.python_value(None) is None
    assert field.python_value(5) == 5


def test_json_says_what_it_cannot_say() -> None:
    with pytest.raises(ValueError, match=r"not JSON: .*bytes"):
        JsonField().check([b"x"])
    with pytest.raises(ValueError, match=r"not JSON: .*Out of range float"):
        JsonField().check(float("nan"))


def test_a_uuid_that_is_none_goes_to_the_database_as_it_is_and_matches_nothing() -> None:
    field = UuidField()
    value = uuid.uuid4()
    assert field.db_value(value) == field.db_value(value.hex.upper()) == str(value)
    assert field.db_value("no uuid") == "no uuid"
    assert field.db_value(None) is None
    assert field.python_value(value) == str(value)


def test_a_choice_names_those_that_there_are() -> None:
    field = StringField(choices=("a", "b"))
    assert field.check("a") == "a"
    with pytest.raises(ValueError, match="'c'; one of a, b"):
        field.check("c")


def test_numbers_keep_to_their_bounds() -> None:
    field = WholeNumberField(low=0, high=100)
    assert [field.check(n) for n in (0, 100)] == [0, 100]
    for bad in (-1, 101):
        with pytest.raises(ValueError, match="is not between 0 and 100"):
            field.check(bad)


def test_an_enum_member_is_its_value() -> None:
    class Status(enum.StrEnum):
        PENDING = "pending"

    assert Run.status.check(Status.PENDING) == "pending"


def test_a_reference_accepts_what_its_key_accepts() -> None:
    assert isinstance(RunFile.run, ReferenceField)
    assert RunFile.run.check("r") == "r"
    with pytest.raises(ValueError, match="at most 64"):
        RunFile.run.check("r" * 65)
