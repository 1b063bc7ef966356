"""What a store holds is counted without changing it, whatever its version."""

from __future__ import annotations

from pathlib import Path

from peewee import Model, TextField

from dynostore import database, models
from dynostore.inventory import take_inventory
from dynostore.migrator import Migrator, step_names
from dynostore.store import Store


def test_every_table_is_counted_parents_before_children(store: Store) -> None:
    store.runs.create(run_id="r")
    store.runs.add_file("r", "out/VE.csv")
    store.tasks.create("Deploy")
    found = take_inventory(store.database)
    assert list(found.rows) == [model._meta.table_name for model in models.ALL]
    assert {t: n for t, n in found.rows.items() if n} == {"runs": 1, "run_files": 1, "tasks": 1}
    assert (found.schema_version, found.pending) == (len(step_names()), [])
    assert found.engine.startswith("SQLite" if store.database.dialect == "sqlite" else "Postgres")
    assert found.size_bytes > 0


def test_tables_of_the_users_own_models_are_counted_too(tmp_path: Path) -> None:
    class Note(Model):
        text = TextField(primary_key=True)

        class Meta:
            table_name = "my notes"

    with Store.open(tmp_path / "s.db", models=[Note]) as store:
        ours = take_inventory(store.database).rows
        with store.bound():
            Note.create(text="a")
        assert take_inventory(store.database).rows == {**ours, "my notes": 1}
        assert list(ours)[-1] == "my notes"


def test_a_store_that_is_behind_is_counted_as_far_as_it_has_come(tmp_path: Path) -> None:
    db = database.connect(str(tmp_path / "s.db"))
    try:
        Migrator(db).upgrade(to=1)
        found = take_inventory(db)
        assert found.schema_version == 1
        assert found.pending == step_names()[1:]
        assert set(found.rows) == {"runs", "run_files", "imports"}
        assert take_inventory(db) == found
    finally:
        db.shut()
