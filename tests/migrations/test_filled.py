"""Each step goes down and up again over full tables: what is not its own stays as it was."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import fields, models
from dynostore.migrator import HISTORY_TABLE, Migrator, step_names
from dynostore.models.base import Record, key_field
from dynostore.sqlite_dependents import CAPTURE_PREFIX
from dynostore.store import Store
from dynostore.sync import sync

pytestmark = pytest.mark.once

SchemaOf = Callable[[Any], dict[str, Any]]
Rows = dict[str, list[tuple[Any, ...]]]

ROWS = 12
T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NUMBERS = [int(name[:4]) for name in step_names()]
TEXTS = ("", "'quoted' \"twice\"", "é 𝄞 \\N", "x" * 5000)
JSONS: tuple[Any, ...] = ({"a": [1, 2.5, None]}, [], "", 0, False, {"é": "'"})
REALS = (0.5, -1e308, 5e-324, 0.1)

VALUES: dict[type, Callable[[Any, int], Any]] = {
    fields.ReferenceField: lambda field, n: value_of(key_field(field.rel_model), n),
    fields.TextField: lambda field, n: TEXTS[n % 4],
    fields.StringField: lambda field, n: f"{n:05}"[-field.max_length :],
    fields.WholeNumberField: lambda field, n: field.high - n if n % 2 else field.low + n,
    fields.RealField: lambda field, n: REALS[n % 4],
    fields.FlagField: lambda field, n: bool(n % 2),
    fields.UtcTimeField: lambda field, n: T0 - dt.timedelta(days=n * 50_000, microseconds=n),
    fields.JsonField: lambda field, n: JSONS[n % 6],
    fields.UuidField: lambda field, n: str(uuid.UUID(int=n)),
}


def value_of(field: Any, number: int) -> Any:
    return next(VALUES[kind] for kind in type(field).__mro__ if kind in VALUES)(field, number)


def rows_of(model: type[Record]) -> list[dict[str, Any]]:
    """Give rows whose columns are all filled in one half, and NULL where they may be in the other.

    Some parents have several children, and some none.
    """
    made = []
    for number in range(ROWS):
        row = {f.name: value_of(f, number) for f in model._meta.sorted_fields}
        for field in model._meta.sorted_fields:
            if field.null and number >= ROWS // 2:
                row[field.name] = None
            elif isinstance(field, fields.ReferenceField) and not field.primary_key:
                row[field.name] = value_of(field, number // 3)
        made.append(row)
    return made


def fill(db: Any, tables: tuple[type[Record], ...] = models.ALL) -> None:
    with db.writing():
        for model in tables:
            db.execute(model.insert_many(rows_of(model)))


def all_rows(db: Any) -> Rows:
    """Give every row of every table of ours, with the columns as the database shows them."""
    with db.reading():
        found = {}
        for table in db.get_tables():
            if table != HISTORY_TABLE and not table.startswith("sync_"):
                cursor = db.execute_sql(f'SELECT * FROM "{table}"')
                found[table] = sorted(cursor.fetchall(), key=repr)
        return found


def broken_references(db: Any) -> list[Any]:
    """Give the rows whose parents are missing, counted here: nothing must be taken on trust."""
    found: list[Any] = []
    with db.reading():
        tables = set(db.get_tables())
        for model in models.ALL:
            for field in model._meta.sorted_fields:
                if isinstance(field, fields.ReferenceField) and model._meta.table_name in tables:
                    parent = field.rel_model
                    orphan = field.is_null(False) & field.not_in(parent.select(key_field(parent)))
                    found += model.select().where(orphan).tuples().execute(db)
    return found


@pytest.fixture
def full(blank: Any) -> Any:
    """Give a database at the last version with rows in each table."""
    Migrator(blank).upgrade()
    fill(blank)
    return blank


def test_the_rows_of_the_tests_below_fill_every_column_of_every_table(full: Any) -> None:
    found = all_rows(full)
    assert set(found) == {model._meta.table_name for model in models.ALL}
    for model in models.ALL:
        rows = found[model._meta.table_name]
        assert len(rows) == ROWS
        names = list(model._meta.columns)
        for place, name in enumerate(names):
            values = {repr(row[place]) for row in rows}
            assert len(values - {"None"}) > 1
            assert ("None" in values) == model._meta.columns[name].null


@pytest.mark.parametrize("number", NUMBERS)
def test_no_other_table_s_rows_change_where_a_step_goes_down_and_up(
    full: Any, schema_of: SchemaOf, number: int
) -> None:
    before, schema = all_rows(full), schema_of(full)
    migrator = Migrator(full)
    assert len(migrator.downgrade(to=number - 1)) == NUMBERS[-1] - number + 1
    below = all_rows(full)
    assert below == {table: rows for table, rows in before.items() if table in below}
    assert len(below) < len(before)
    assert broken_references(full) == []
    assert len(migrator.upgrade()) == NUMBERS[-1] - number + 1
    again = all_rows(full)
    assert again == {table: below.get(table, []) for table in before}
    assert schema_of(full) == schema
    assert broken_references(full) == []
    fill(full, tuple(m for m in models.ALL if m._meta.table_name not in below))
    assert all_rows(full) == before


@pytest.mark.parametrize("number", NUMBERS)
def test_references_hold_and_cascade_after_a_step_went_down_and_up(full: Any, number: int) -> None:
    migrator = Migrator(full)
    migrator.downgrade(to=number - 1)
    below = set(all_rows(full))
    migrator.upgrade()
    fill(full, tuple(m for m in models.ALL if m._meta.table_name not in below))
    for model in models.ALL:
        for field in _references(model):
            parent, key = field.rel_model, value_of(key_field(field.rel_model), 0)
            mine = model.select().where(field == key)
            with contextlib.suppress(Undo), full.writing():
                assert mine.count(full) > 0
                parent.delete().where(key_field(parent) == key).execute(full)
                assert mine.count(full) == 0
                raise Undo


class Undo(Exception):
    """Ends a transaction whose work is not to stay."""


def _references(model: type[Record]) -> list[Any]:
    return [f for f in model._meta.sorted_fields if isinstance(f, fields.ReferenceField)]


# with the sync


def plain(path: Path, sql: str) -> list[Any]:
    """Run one statement as any program would that opens the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        return connection.execute(sql).fetchall()


def sync_state(path: Path, tables: set[str]) -> list[Any]:
    """Give what the sync has noted in the file, and its triggers of these tables."""
    names = plain(
        path, "SELECT name FROM sqlite_master WHERE name LIKE 'sync_%' AND type = 'table'"
    )
    triggers = plain(
        path,
        "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'"
        f" AND name LIKE '{CAPTURE_PREFIX}%' ORDER BY 1, 2",
    )
    notes = [(name, plain(path, f"SELECT * FROM {name} ORDER BY 1")) for (name,) in sorted(names)]
    return [*notes, [trigger for trigger in triggers if trigger[0] in tables]]


@pytest.mark.parametrize("number", NUMBERS[1:])
def test_a_file_that_syncs_keeps_what_it_has_not_sent_through_an_upgrade(
    number: int, tmp_path: Path, postgres_url: str
) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        fill(store.database)
        sync(store, postgres_url)
        # A file of an older version that has synced.
        store.migrator.downgrade(to=number - 1)
        below = all_rows(store.database)
    plain(path, "UPDATE runs SET source = 'changed' WHERE id <= '00003'")
    plain(path, "DELETE FROM runs WHERE id = '00000'")
    before = sync_state(path, set(below))
    assert len(plain(path, "SELECT * FROM sync_log WHERE tbl IS NOT NULL")) >= 7
    with Store.open(path) as store:
        assert sync_state(path, set(below)) == before
        with Store.open(postgres_url, warm=False) as server:
            known = {model: keys(server, model) for model in models.REPLICATED}
            assert sync(store, postgres_url).exit_code == 0
            for model, before_it in known.items():
                table = model._meta.table_name
                if table in below:
                    assert keys(server, model) == keys(store, model)
                else:
                    # Taking the step back dropped the file's rows, which deleted nobody's.
                    assert keys(server, model) == before_it
            sources = server.database.execute_sql("SELECT source FROM runs ORDER BY id LIMIT 3")
            assert sources.fetchall() == [("changed",)] * 3
            sync(store, postgres_url, direction="pull")
            for model in models.REPLICATED:
                assert keys(server, model) == keys(store, model)
        assert sync(store, postgres_url).up_to_date
        assert store.check() == []


def keys(store: Store, model: type[Record]) -> list[tuple[str]]:
    with store.database.reading():
        query = model.select(key_field(model)).order_by(key_field(model))
        return [(str(key),) for (key,) in query.tuples().execute(store.database)]


@pytest.mark.parametrize("number", NUMBERS[1:])
def test_a_server_that_files_sync_with_is_upgraded_and_takes_the_new_tables(
    number: int, tmp_path: Path, postgres_url: str
) -> None:
    with Store.open(tmp_path / "s.db") as store:
        fill(store.database, models.REPLICATED[:2])
        sync(store, postgres_url)
        with Store.open(postgres_url, warm=False) as server:
            before = all_rows(server.database)
            # A server of an older version that has synced.
            server.migrator.downgrade(to=number - 1)
            server.migrator.upgrade()
            assert all_rows(server.database) == before
        fill(store.database, models.REPLICATED[2:])
        store.runs.update("00001", source="changed")
        assert sync(store, postgres_url).exit_code == 0
        with Store.open(postgres_url, warm=False) as server:
            for model in models.REPLICATED:
                with store.database.reading(), server.database.reading():
                    query = model.select().order_by(key_field(model))
                    here = [record.values() for record in query.execute(store.database)]
                    there = [record.values() for record in query.execute(server.database)]
                assert there == here
        assert sync(store, postgres_url).up_to_date
