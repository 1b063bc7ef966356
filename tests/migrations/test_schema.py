"""The migrations and the models say the same, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from dynostore import database, fields, models
from dynostore.migrator import HISTORY_TABLE, Migrator, directory, step_names
from dynostore.models.base import Record

pytestmark = pytest.mark.once

SchemaOf = Callable[[Any], dict[str, Any]]


@pytest.fixture
def blank_too(blank_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a second database of the same kind."""
    if not blank_url.startswith("postgres"):
        db: Any = database.connect(str(tmp_path / "blank-too.db"))
        yield db
        db.shut()
        return
    server = request.getfixturevalue("postgres")
    name = server.create()
    db = database.connect(server.url_of(name))
    yield db
    db.shut()
    server.drop(name)


def from_models(db: Any, tables: tuple[Any, ...]) -> None:
    with db.reading(), db.bind_ctx(tables, bind_refs=False, bind_backrefs=False):
        db.create_tables(tables)


def migrated(db: Any, schema_of: SchemaOf) -> dict[str, Any]:
    Migrator(db).upgrade()
    schema = schema_of(db)
    del schema[HISTORY_TABLE]
    return schema


def test_all_migrations_make_what_the_models_say(
    blank: Any, blank_too: Any, schema_of: SchemaOf
) -> None:
    from_models(blank_too, models.ALL)
    assert migrated(blank, schema_of) == schema_of(blank_too)


def test_text_has_the_collation_that_sorts_as_sqlite_does(
    postgres_url: str, schema_of: SchemaOf
) -> None:
    # Said of the schema, since a server without other collations would sort alike by chance.
    db: Any = database.connect(postgres_url)
    for table in migrated(db, schema_of).values():
        for name, kind, _, _, collation in table["columns"]:
            assert (collation == "C") == kind.startswith(("text", "character")), name
    db.shut()


def changed_runs(**changes: Any) -> type[Record]:
    """Give the model of runs with other fields; None takes one away."""
    columns = {name: field.clone() for name, field in models.Run._meta.fields.items()} | changes
    meta = type("Meta", (), {"table_name": "runs", "indexes": models.Run._meta.indexes})
    body: dict[str, Any] = {n: f for n, f in columns.items() if f is not None}
    return type("Run", (Record,), body | {"Meta": meta})


@pytest.mark.parametrize(
    "changes",
    [
        {"note": fields.TextField(null=True)},
        {"input_filename": None},
        {"input_filename": fields.TextField()},
        {"input_filename": fields.StringField(max_length=99, null=True)},
        {"progress_percent": fields.RealField(null=True)},
        {"current_stage": fields.TextField(null=True, index=True)},
        {"current_stage": fields.TextField(null=True, constraints=[peewee.SQL("DEFAULT 'x'")])},
    ],
    ids=["added", "removed", "not null", "type", "number", "index", "default"],
)
def test_a_change_of_a_model_alone_would_be_seen(
    blank: Any, blank_too: Any, schema_of: SchemaOf, changes: dict[str, Any]
) -> None:
    from_models(blank_too, (changed_runs(**changes),))
    assert migrated(blank, schema_of)["runs"] != schema_of(blank_too)["runs"]


def test_an_unchanged_copy_of_a_model_is_the_control_of_the_test_above(
    blank: Any, blank_too: Any, schema_of: SchemaOf
) -> None:
    from_models(blank_too, (changed_runs(),))
    assert migrated(blank, schema_of)["runs"] == schema_of(blank_too)["runs"]


def sample_values(db: Any, table: str) -> dict[str, Any]:
    """Make a row of any table from its schema; every key is the same, so that references fit."""
    keys = {"UUID": "00000000-0000-0000-0000-000000000000"}
    types = {
        "BIGINT": 1,
        "JSON": "{}",
        "JSONB": "{}",
        "UTCTIME": "2026-01-01T00:00:00.000000+00:00",
    }
    types |= {"TIMESTAMP WITH TIME ZONE": types["UTCTIME"]} | keys
    return {
        column.name: types.get(column.data_type.upper().partition("(")[0], "k")
        for column in db.get_columns(table)
    }


def insert_samples(db: Any) -> None:
    """Put a row into each table, parents first."""
    waiting = [name for name in db.get_tables() if name != HISTORY_TABLE]
    while waiting:
        parents = {name: {k.dest_table for k in db.get_foreign_keys(name)} for name in waiting}
        table = next(name for name in waiting if not parents[name] & set(waiting) - {name})
        values = sample_values(db, table)
        columns = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join([db.param] * len(values))
        db.execute_sql(
            f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', tuple(values.values())
        )
        waiting.remove(table)


@pytest.mark.parametrize("number", [int(name[:4]) for name in step_names()])
def test_each_step_goes_up_down_and_up_again_over_rows(
    blank: Any, schema_of: SchemaOf, number: int
) -> None:
    migrator = Migrator(blank)
    if number > 1:
        migrator.upgrade(to=number - 1)
        with blank.reading():
            insert_samples(blank)
    below = schema_of(blank) if number > 1 else {}
    assert len(migrator.upgrade(to=number)) == 1
    above = schema_of(blank)
    if number == 1:
        with blank.reading():
            insert_samples(blank)
    assert len(migrator.downgrade(to=number - 1)) == 1
    found = schema_of(blank)
    assert (
        found if number > 1 else {n: t for n, t in found.items() if n != HISTORY_TABLE}
    ) == below
    assert len(migrator.upgrade(to=number)) == 1
    assert schema_of(blank) == above


def test_steps_are_numbered_without_gaps_and_stand_alone() -> None:
    names = step_names()
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (directory() / f"{name}.py").read_text(encoding="utf-8")
        assert "dynostore.models" not in text, f"{name}: models move on, a step does not"
