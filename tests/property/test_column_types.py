"""What a column accepts comes back from both databases; what one of them cannot hold is refused."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynostore import database
from dynostore.canonical_json import json_text, storable_json, stored_value
from dynostore.errors import InvalidValue
from dynostore.field_writers import writer_of
from dynostore.fields import (
    INT64_MAX,
    INT64_MIN,
    FlagField,
    JsonField,
    RealField,
    StringField,
    TextField,
    UtcTimeField,
    UuidField,
    WholeNumberField,
    time_text,
)
from dynostore.ids import new_id
from dynostore.importing.columns import column_writer_of
from dynostore.models.base import Record, checked


class Sample(Record):
    """One column of each type."""

    id = UuidField(primary_key=True)
    text = TextField(null=True)
    string = StringField(max_length=20, null=True)
    number = WholeNumberField(null=True)
    real = RealField(null=True)
    flag = FlagField(null=True)
    time = UtcTimeField(null=True)
    json = JsonField(null=True)
    uuid = UuidField(null=True)

    class Meta:
        table_name = "sample"


EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
LATEST = dt.datetime.max.replace(tzinfo=dt.UTC)

repeatable = settings(max_examples=100)

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters)
whole_numbers = st.integers(INT64_MIN, INT64_MAX)
reals = st.floats(allow_nan=False, allow_infinity=False)
offsets = st.timedeltas(
    dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59)
).map(dt.timezone)
times = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=offsets)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**60), 10**60) | reals | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def sample_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    if request.param == "sqlite":
        url = str(tmp_path_factory.mktemp("samples") / "s.db")
    else:
        server = request.getfixturevalue("postgres")
        name = server.create()
        url = server.url_of(name)
    db: Any = database.connect(url)
    with db.bind_ctx([Sample]):
        db.create_tables([Sample])
    yield db
    db.shut()
    if request.param == "postgres":
        server.drop(name)


def round_trip(db: Any, column: str, value: Any) -> Any:
    """Write the value through the check at the door; give what is read."""
    row = checked(Sample, {"id": new_id(), column: value})
    with db.writing():
        Sample.insert(row).execute(db)
    with db.reading():
        (found,) = Sample.select().where(Sample.id == row["id"]).execute(db)
        # Equal in the database's eyes too, or no filter would find it.
        if column != "json":
            where = (Sample.id == row["id"]) & (getattr(Sample, column) == row[column])
            assert Sample.select().where(where).count(db) == 1
    assert getattr(found, column) == row[column]
    return getattr(found, column)


@repeatable
@given(value=texts)
def test_every_text_comes_back(sample_database: Any, value: str) -> None:
    assert round_trip(sample_database, "text", value) == value


@repeatable
@given(value=st.text(characters, max_size=20))
def test_every_string_that_fits_comes_back(sample_database: Any, value: str) -> None:
    assert round_trip(sample_database, "string", value) == value


@repeatable
@given(value=whole_numbers)
def test_every_64_bit_integer_comes_back(sample_database: Any, value: int) -> None:
    found = round_trip(sample_database, "number", value)
    assert (type(found), found) == (int, value)


@pytest.mark.parametrize("value", [INT64_MIN, INT64_MAX, 2**53 + 1, -1, 0])
def test_the_ends_of_the_integers_come_back(sample_database: Any, value: int) -> None:
    assert round_trip(sample_database, "number", value) == value


@repeatable
@given(value=reals)
def test_every_double_comes_back(sample_database: Any, value: float) -> None:
    found = round_trip(sample_database, "real", value)
    assert (type(found), found) == (float, value)


@pytest.mark.parametrize("value", [1e308, 5e-324, -0.0, 0.1, 1 / 3, 2.2250738585072014e-308, 7])
def test_doubles_at_the_edges_come_back(sample_database: Any, value: float) -> None:
    assert round_trip(sample_database, "real", value) == value


@pytest.mark.parametrize("value", [True, False])
def test_both_flags_come_back(sample_database: Any, value: bool) -> None:
    assert round_trip(sample_database, "flag", value) is value


@repeatable
@given(value=times)
def test_every_instant_comes_back_in_utc(sample_database: Any, value: dt.datetime) -> None:
    found = round_trip(sample_database, "time", value)
    assert found == value
    assert found.utcoffset() == dt.timedelta(0)


@pytest.mark.parametrize("value", [EARLIEST, LATEST, EARLIEST.replace(year=1969)])
def test_the_first_and_last_instants_come_back(sample_database: Any, value: dt.datetime) -> None:
    assert round_trip(sample_database, "time", value) == value


@repeatable
@given(first=times, second=times)
def test_the_order_of_time_texts_is_the_order_of_times(
    first: dt.datetime, second: dt.datetime
) -> None:
    assert (time_text(first) < time_text(second)) == (first < second)
    assert len(time_text(first)) == len("2026-01-01T00:00:00.000000+00:00")


def same_json(left: Any, right: Any) -> bool:
    """Equality that tells 1 from 1.0 and from True; jsonb knows no negative zero."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(same_json(left[key], right[key]) for key in left)
        )
    if isinstance(left, list):
        return (
            isinstance(right, list) and len(left) == len(right) and all(map(same_json, left, right))
        )
    return type(left) is type(right) and left == right


@repeatable
@given(value=json_values)
def test_every_json_value_comes_back(sample_database: Any, value: Any) -> None:
    assert same_json(round_trip(sample_database, "json", value), value)


@pytest.mark.parametrize(
    "value",
    [
        1e308,
        -1.5e300,
        1e16,
        1e22,
        5e-324,
        -0.0,
        10**400,
        "1e+30",
        'a "quoted" 1e+30 \\',
        {"1e+5": ["1e+5", 1e30]},
        "\\u0000",
        "\\\\u0000",
        {"\\u0000": "\\\\\\u0000"},
        "\x1f\x7f\u2028",
        [],
        {},
        "",
        0,
        False,
        {"b": 1, "a": {"d": [], "c": None}},
    ],
    ids=repr,
)
def test_json_at_the_edges_comes_back(sample_database: Any, value: Any) -> None:
    assert same_json(round_trip(sample_database, "json", value), value)


def test_no_json_value_is_null(sample_database: Any) -> None:
    assert round_trip(sample_database, "json", None) is None
    with sample_database.reading():
        query = Sample.select().where(Sample.json.is_null() & Sample.text.is_null())
        assert query.count(sample_database) > 0


@repeatable
@given(value=json_values)
def test_json_text_is_one_text_for_one_value(value: Any) -> None:
    text = json_text(value)
    assert same_json(json.loads(text), value)
    assert json_text(json.loads(text)) == text


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Words(str):
    __slots__ = ()


odd_values = st.recursive(
    st.none() | st.floats() | st.floats(-1, 1) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=12,
)
others = st.sampled_from(
    [Colour.RED, Level.HIGH, Words("w"), b"x", {1}, 1j, EARLIEST, uuid.UUID(int=1)]
)


@repeatable
@given(value=odd_values | st.tuples(odd_values, others))
@example(value=[9.9e-5, 1e-4, 1e15])
@example(value=[5e-324, -1e-7])
@example(value=[None, math.nan])
@example(value={"a": [None, 0.5, -math.inf]})
def test_json_text_is_what_the_standard_library_writes(value: Any) -> None:
    try:
        expected = json.dumps(
            value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
        )
    except (TypeError, ValueError) as exc:
        with pytest.raises(type(exc)):
            json_text(value)
        return
    if "e+" in expected:  # a great float, or text: the test above says what these become
        assert same_json(json.loads(json_text(value)), json.loads(expected))
    else:
        assert json_text(value) == expected


@repeatable
@given(value=st.uuids(), form=st.integers(0, 5))
def test_every_form_of_a_uuid_comes_back_as_36_characters(
    sample_database: Any, value: uuid.UUID, form: int
) -> None:
    forms = [value, str(value), value.hex, str(value).upper(), f"{{{value}}}", value.urn]
    assert round_trip(sample_database, "uuid", forms[form]) == str(value)


BAD: dict[str, list[Any]] = {
    "text": ["\0", "a\0b", "\ud800", "é\udfff", 5, b"x", ["x"]],
    "string": ["x" * 21, "é" * 21, "\0", "\udc00", 5],
    "number": [INT64_MAX + 1, INT64_MIN - 1, 1.0, "1", True, math.nan],
    "real": [math.nan, math.inf, -math.inf, 10**400, "1", True],
    "flag": [0, 1, 2, "true", "", 1.0],
    "time": [dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), "2026-01-01T00:00:00+00:00", 0],
    "json": [
        math.nan,
        [math.inf],
        {"a": {"b": -math.inf}},
        "\0",
        ["a\0"],
        {"\0": 1},
        "\\\0",
        "\ud800",
        {"\udfff": 1},
        object(),
        {1, 2},
        b"x",
        dt.datetime(2026, 1, 1),
        {("a",): 1},
        {1: 1, "a": 2},
    ],
    "uuid": ["", "x", "0" * 31, "0" * 33, "\0" * 36, "\ud800", 5, b"0" * 32],
}


@pytest.mark.parametrize(
    ("column", "value"), [(column, value) for column, values in BAD.items() for value in values]
)
def test_what_postgres_cannot_hold_is_refused_by_column(column: str, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked(Sample, {column: value})
    assert caught.value.field == column


def test_an_instant_beyond_the_calendar_is_refused() -> None:
    east, west = dt.timezone(dt.timedelta(hours=5)), dt.timezone(dt.timedelta(hours=-5))
    for value in (EARLIEST.replace(tzinfo=east), LATEST.replace(tzinfo=west)):
        with pytest.raises(InvalidValue, match="years 1 to 9999"):
            checked(Sample, {"time": value})


def test_json_that_is_nested_too_deeply_or_in_a_circle_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    for value in (deep, circle):
        with pytest.raises(InvalidValue, match=r"^json: "):
            checked(Sample, {"json": value})


@repeatable
@given(value=st.text())
def test_a_text_is_accepted_exactly_when_postgres_can_hold_it(value: str) -> None:
    storable = "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    for column in ("text", "json"):
        try:
            checked(Sample, {column: value})
        except InvalidValue:
            assert not storable
        else:
            assert storable


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=24)
    | st.binary(max_size=3)
    | st.uuids()
    | st.uuids().map(str)
    | st.datetimes(timezones=st.none() | offsets),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers() | reals, inner, max_size=4)
    ),
    max_leaves=10,
)


def outcome(make: Any, value: Any) -> Any:
    try:
        made = make(value)
    except ValueError as exc:
        return str(exc)
    return type(made), made


@settings(repeatable, max_examples=500)
@given(value=anything.filter(lambda value: value is not None))
def test_bulk_writing_accepts_and_stores_what_a_single_write_does(value: Any) -> None:
    for field in Sample._meta.sorted_fields:
        single = outcome(lambda given, field=field: field.db_value(field.check(given)), value)
        assert outcome(writer_of(field), value) == single, field.name


ROLE = StringField(choices=("user", "tool"))
utc_times = st.datetimes(timezones=st.just(dt.UTC))
roles = st.sampled_from(["user", "tool"])
columns = st.sampled_from(
    (texts, utc_times, st.uuids().map(str), roles, json_values, anything)
).flatmap(lambda kind: st.lists(kind, min_size=1) | st.lists(kind | st.none(), min_size=1))


@settings(repeatable, max_examples=500)
@given(values=columns)
@example(values=[EARLIEST, LATEST, EARLIEST.replace(year=999, microsecond=1)])
@example(values=["a", "a\0"])
@example(values=["a", "\ud800"])
@example(values=["a", "b" * 21])
def test_a_column_is_written_as_its_values_are_one_by_one(values: list[Any]) -> None:
    for field in (*Sample._meta.sorted_fields, ROLE):
        write = writer_of(field)
        try:
            single = [None if value is None else write(value) for value in values]
        except ValueError:
            single = None
        if None in values and not field.null:
            single = None
        together = column_writer_of(field)
        if single is None:
            with pytest.raises(ValueError, match=r"."):
                together(values)
        else:
            assert [*map(repr, together(values))] == [*map(repr, single)], field.name


@settings(repeatable, max_examples=500)
@given(value=json_values)
@example(value=[2**63, 2**64, -(2**63) - 1, 10**30, -0.0, 1e16, 5e-324, 1.7976931348623157e308])
def test_a_checked_document_is_what_its_text_says(value: Any) -> None:
    assert same_json(stored_value(value), json.loads(storable_json(value)))


def test_json_has_one_text_whatever_its_keys_are_made_of() -> None:
    value = {9: "i", 10: {2.5: "f", 10.5: [{-1: 0, 1: 0}]}}
    text = '{"10":{"10.5":[{"-1":0,"1":0}],"2.5":"f"},"9":"i"}'
    assert writer_of(Sample.json)(value) == Sample.json.checked_text(value) == text
