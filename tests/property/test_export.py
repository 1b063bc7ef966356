"""Lines of JSON from a store make an equal one, whatever it holds and wherever they go."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynostore import Store, canonical_json, fields, models
from dynostore.exporter import export_to
from dynostore.exporting.rows import Selection
from dynostore.ids import derived_id
from dynostore.importer import import_from
from dynostore.models import REPLICATED, Record, todos
from dynostore.models.base import key_field
from dynostore.models.runs import RunFilename, Sha256
from dynostore.samples.seed import seed

Made = dict[type[Record], list[Record]]

REPOSITORIES = (
    *("runs", "tasks", "sessions", "todos", "history", "memories", "conversations", "ideation"),
)


def repeatable(examples: int) -> settings:
    return settings(
        max_examples=examples,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
edges = ("", "=1+1", "'", '"', "\\", "a\r\nb", "\x1f", "null", "e\u0301", "𝄞", "\u2028", "\ufeff")
texts = st.sampled_from(edges) | st.text(characters, max_size=12)
names = st.text(characters, min_size=1, max_size=12)
reals = st.sampled_from((0.1, 1e308, 5e-324, 1e16, 1e30, -7.0)) | st.floats(
    allow_nan=False, allow_infinity=False
).map(lambda number: number + 0.0)  # jsonb has no negative zero
times = st.sampled_from(
    (dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC))
) | st.datetimes(timezones=st.just(dt.UTC))
deep = json.loads('{"inner":[' * 100 + "null" + "]}" * 100)
jsons = st.sampled_from((deep, {}, [], [None], {"": None}, 10**40, False, 0, 0.5)) | st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
somewhat = jsons.filter(lambda value: value is not None)
steps = st.fixed_dictionaries({"description": texts, "x": jsons})
plans = st.fixed_dictionaries({"items": st.lists(steps, max_size=2), "notes": texts})


def words(field: Any) -> st.SearchStrategy[str]:
    if field.allowed:
        return st.sampled_from(field.allowed)
    return names if field.primary_key else texts


VALUES: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    RunFilename: lambda field: names.map(lambda name: "f" + name.replace("/", "_")),
    Sha256: lambda field: st.just("0123456789abcdef" * 4),
    fields.TextField: words,
    fields.StringField: words,
    fields.WholeNumberField: lambda field: (
        st.sampled_from([field.low, field.high]) | st.integers(field.low, field.high)
    ),
    fields.RealField: lambda field: reals,
    fields.FlagField: lambda field: st.booleans(),
    fields.UtcTimeField: lambda field: times,
    todos.PlanField: lambda field: plans,
    fields.JsonField: lambda field: jsons if field.null else somewhat,
    fields.UuidField: lambda field: st.uuids().map(str),
}
"""What a column may hold, but for NULL and references, by the type of its field."""


@st.composite
def records(draw: Any, model: type[Record], made: Made) -> Record:
    """Give a whole record whose references fit what is made already."""
    values = {}
    for field in model._meta.sorted_fields:
        if isinstance(field, fields.ReferenceField):
            found = st.sampled_from([key_of(parent) for parent in made[field.rel_model]])
        else:
            kind = next(kind for kind in type(field).__mro__ if kind in VALUES)
            found = VALUES[kind](field)
        values[field.name] = draw(found | st.none() if field.null else found)
    if model.NATURAL_KEY is not None:
        parent, name = (str(values[field]) for field in model.NATURAL_KEY)
        values[key_field(model).name] = derived_id(str(model._meta.table_name), parent, name)
    return model(**values)


@st.composite
def filled_stores(draw: Any) -> list[Record]:
    """Give records of every table that syncs, parents before children."""
    made: Made = {}
    for model in REPLICATED:
        made[model] = draw(st.lists(records(model, made), min_size=1, max_size=2, unique_by=key_of))
    return [record for found in made.values() for record in found]


def key_of(record: Record) -> str:
    return str(record.values()[key_field(type(record)).column_name])


def put(store: Store, made: list[Record]) -> None:
    """Make the store hold these records and nothing else."""
    with store.transaction():
        for model in reversed(models.ALL):
            model.delete().execute(store.database)
    for name in REPOSITORIES:
        repository = getattr(store, name)
        mine = [record for record in made if type(record) in repository.MODELS]
        assert repository.put_many(mine) == []


def contents(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Give all records of the store by table."""
    with store.database.reading():
        return {
            str(model._meta.table_name): [
                record.values()
                for record in model.select().order_by(key_field(model)).execute(store.database)
            ]
            for model in REPLICATED
        }


def exactly(found: dict[str, list[dict[str, Any]]]) -> str:
    """Give a text that tells 1 from 1.0 and True, and does not depend on the order of keys."""
    return json.dumps(found, sort_keys=True, default=fields.time_text)


def lines(store: Store) -> list[bytes]:
    """Give an export's lines but for the first, which has the time."""
    written = io.BytesIO()
    export_to(store, written)
    return written.getvalue().splitlines()[1:]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "here.db") as store:
        yield store


@pytest.fixture(params=["sqlite", "postgres"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = tmp_path / "there.db"
    if request.param == "postgres":
        place = request.getfixturevalue("migrated_postgres_url")
    with Store.open(place, warm=False) as store:
        yield store
        assert store.check() == []


def go_there_and_back(made: list[Record], here: Store, there: Store, directory: Path) -> None:
    put(here, made)
    put(there, [])
    export_to(here, directory / "out.jsonl", replace=True)
    report = import_from(directory / "out.jsonl", there)
    assert ([*report.differences], report.exit_code, report.records.created) == ([], 0, len(made))
    assert contents(there) == contents(here)
    export_to(there, directory / "back.jsonl", replace=True)
    expected, sent = exactly(contents(here)), lines(here)
    put(here, [])
    assert import_from(directory / "back.jsonl", here).exit_code == 0
    assert exactly(contents(here)) == expected
    assert lines(here) == sent == lines(there)
    assert import_from(directory / "out.jsonl", here).records.same == len(made)


@repeatable(3)
@given(made=filled_stores())
def test_an_export_makes_an_equal_store(
    made: list[Record], here: Store, there: Store, tmp_path: Path
) -> None:
    go_there_and_back(made, here, there, tmp_path)


@pytest.mark.slow
@repeatable(30)
@given(made=filled_stores())
def test_very_many_exports_make_equal_stores(
    made: list[Record], here: Store, there: Store, tmp_path: Path
) -> None:
    go_there_and_back(made, here, there, tmp_path)


@repeatable(8)
@given(data=st.data())
def test_of_a_file_that_was_cut_anywhere_all_whole_lines_are_taken_and_the_rest_is_told(
    data: st.DataObject, here: Store, tmp_path: Path
) -> None:
    seed(here)
    whole = io.BytesIO()
    export_to(here, whole, selection=Selection(tables=["runs", "run_files", "tasks"]))
    ends = [match.end() for match in re.finditer(b"\n", whole.getvalue())][:-1]
    places = st.integers(1, len(whole.getvalue()) - 2) | st.sampled_from(ends)
    cut = whole.getvalue()[: data.draw(places)]
    (tmp_path / "cut.jsonl").write_bytes(cut)
    put(here, [])
    report = import_from(tmp_path / "cut.jsonl", here, kind="jsonl")
    # A line that has lost nothing but its line break is whole.
    rows = [line for line in whole.getvalue().splitlines() if b'"row":' in line]
    taken = sum(line in cut for line in rows)
    assert report.records.created == taken == sum(map(len, contents(here).values()))
    assert (report.exit_code, report.files.found) == (3, 1)
    assert "cut off" in " ".join(str(entry.reason) for entry in report.entries)


def cell_of(value: Any, field: Any) -> str:
    """Give what a CSV cell says of a value."""
    if value is None:
        return ""
    if isinstance(field, fields.JsonField):
        return canonical_json.json_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return fields.time_text(value) if isinstance(value, dt.datetime) else str(value)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)]


@repeatable(3)
@given(made=filled_stores())
def test_csv_says_every_value_and_no_cell_of_it_is_a_formula(
    made: list[Record], here: Store, tmp_path: Path
) -> None:
    csv.field_size_limit(10**9)
    put(here, made)
    export_to(here, tmp_path / "plain", "csv", replace=True)
    export_to(here, tmp_path / "raw", "csv", replace=True, raw=True)
    for table, rows in contents(here).items():
        model = next(m for m in REPLICATED if m._meta.table_name == table)
        columns = model._meta.columns
        expected = [[cell_of(row[name], columns[name]) for name in columns] for row in rows]
        assert read_csv(tmp_path / "raw" / f"{table}.csv") == [[*columns], *expected]
        safe = read_csv(tmp_path / "plain" / f"{table}.csv")[1:]
        for cells, plain, row in zip(safe, expected, rows, strict=True):
            for cell, value, name in zip(cells, plain, columns, strict=True):
                is_number = isinstance(row[name], int | float)
                assert cell in (value, f"'{value}")
                assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
                # To get the text back, one apostrophe is taken away.
                assert is_number or cell.removeprefix("'") == value
