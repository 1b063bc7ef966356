"""Two versions of dynostore on one server: the older one goes on where the newer only added."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dynostore import Store, errors, migrator
from dynostore.database import connect
from dynostore.sync import list_conflicts, sync
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once

# A dynostore of tomorrow: what this one has, a column more and a table that refers to an old one.
NEWER = """
import json, sys
from pathlib import Path
import dynostore
dynostore.__version__ = "9.1"
from dynostore import Store, migration_steps, migrator, models
from dynostore.fields import ReferenceField, TextField, UuidField
from dynostore.models import Record, Run

migrator.directory = migration_steps.directory = lambda: Path(sys.argv[1])
Run._meta.add_field("note", TextField(null=True))

class Remark(Record):
    id = UuidField(primary_key=True)
    run = ReferenceField(Run, column_name="run_id", on_delete="CASCADE", backref="+")

    class Meta:
        table_name = "remarks"

models.REPLICATED = (*models.REPLICATED, Remark)
models.ALL = (*models.ALL, Remark)
from dynostore.sync import sync
from dynostore.sync.verify.run import verify

store = Store.open(sys.argv[2])
for line in sys.stdin:
    try:
        answer = eval(line, globals())
        print(json.dumps({"answer": answer}), flush=True)
    except Exception as exc:
        print(json.dumps({"error": type(exc).__name__, "hint": getattr(exc, "hint", repr(exc))}),
              flush=True)
"""
ADDS = """
from dynostore.fields import ReferenceField, StringField, TextField, UuidField


def up(migrator, db):
    class Run(db.Model):
        id = StringField(max_length=64, primary_key=True)

        class Meta:
            legacy_table_names = False
            table_name = "runs"

    class Remark(db.Model):
        id = UuidField(primary_key=True)
        run = ReferenceField(Run, column_name="run_id", on_delete="CASCADE", backref="+")

        class Meta:
            legacy_table_names = False
            table_name = "remarks"

    migrator.migrate(migrator.add_column("runs", "note", TextField(null=True)))
    db.create_tables([Remark])
"""


class Tomorrow:
    """A node whose program is newer, in a process of its own."""

    def __init__(self, process: Any, url: str) -> None:
        self._process = process
        self._url = url

    def __call__(self, expression: str) -> Any:
        """Evaluate an expression there; an error is given as its name and hint."""
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.stderr.read()
        answer = json.loads(line)
        return (answer["error"], answer["hint"]) if "error" in answer else answer["answer"]

    def sync(self, **options: Any) -> Any:
        words = "".join(f", {name}={value!r}" for name, value in options.items())
        return self(f"sync(store, {self._url!r}, direction='both'{words}).exit_code")

    def sql(self, statement: str) -> Any:
        return self(f"[tuple(r) for r in store.database.execute_sql({statement!r}).fetchall()]")

    def differences(self) -> Any:
        return self(f"verify(store, {self._url!r}, deep=True, delay_s=0.01).total")


@pytest.fixture
def tomorrow(
    empty_remote: Any, tmp_path: Path, start_python: Callable[..., Any]
) -> Callable[[str], Tomorrow]:
    """Give a function that starts a newer node, whose one step more has the given name."""

    def start(step: str) -> Tomorrow:
        steps = tmp_path / "steps"
        shutil.copytree(migrator.directory(), steps)
        (steps / f"{step}.py").write_text(ADDS)
        process = start_python(NEWER, steps, tmp_path / "tomorrow.db")
        return Tomorrow(process, empty_remote.url)

    return start


@pytest.fixture
def today(tmp_path: Path) -> Iterator[Store]:
    """Give a node of this version."""
    with Store.open(tmp_path / "today.db") as store:
        yield store
        assert store.check() == []


def test_an_older_node_goes_on_both_ways_and_leaves_alone_what_a_newer_one_added(
    tomorrow: Callable[..., Tomorrow], today: Store, empty_remote: Any
) -> None:
    url = empty_remote.url
    for name in ("r1", "r2", "r3", "r4"):
        today.runs.create(run_id=name, source="manual")
    sync(today, url)
    newer = tomorrow("0006_add_remarks")
    assert newer.sync() == (
        "SchemaBehind",
        "dynostore sync --upgrade-server, once every node can be upgraded too",
    )
    assert newer.sync(upgrade_server=True) == 0
    newer.sql("UPDATE runs SET note = 'noted in ' || id")
    newer.sql("INSERT INTO remarks VALUES ('00000000-0000-0000-0000-000000000001', 'r4')")
    assert newer.sync() == 0

    sync(today, url, direction="both")
    today.runs.update("r1", current_stage="by the older")
    today.runs.create(run_id="r5", source="manual")
    today.runs.delete("r2")
    assert sync(today, url, direction="both").exit_code == 0
    newer.sql("UPDATE runs SET current_stage = 'by the newer' WHERE id = 'r3'")
    assert newer.sync() == 0
    sync(today, url, direction="both")
    assert newer.sql("SELECT id, note, current_stage FROM runs ORDER BY id") == [
        ["r1", "noted in r1", "by the older"],
        ["r3", "noted in r3", "by the newer"],
        ["r4", "noted in r4", None],
        ["r5", None, None],
    ]
    assert today.runs.get("r3").current_stage == "by the newer"
    assert empty_remote.archive("r2")[-1][1]["note"] == "noted in r2"

    # A deletion by who cannot know of the remark: the run comes back, and is listed.
    today.runs.delete("r4")
    assert sync(today, url, direction="both").exit_code == 3
    assert [c.key for c in list_conflicts(today).items] == ["r4"]
    assert today.runs.get("r4").id == "r4"
    assert newer.sync() == 0
    assert newer.sql("SELECT run_id FROM remarks") == [["r4"]]
    assert newer.differences() == 0
    assert verify(today, url, deep=True, delay_s=0.01).total == 0


def test_a_newer_server_that_changed_what_was_there_names_the_version_to_install(
    tomorrow: Callable[..., Tomorrow], today: Store, empty_remote: Any, tmp_path: Path
) -> None:
    today.runs.create(run_id="r1", source="manual")
    sync(today, empty_remote.url)
    newer = tomorrow("0006_remarks")  # its name does not say that it only adds
    assert newer.sync(upgrade_server=True) == 0
    today.runs.create(run_id="r2", source="manual")
    before = empty_remote.state()
    with pytest.raises(errors.SchemaTooNew, match="0006_remarks") as caught:
        sync(today, empty_remote.url)
    assert caught.value.hint == "pip install 'dynostore>=9.1'"
    assert empty_remote.state() == before


def test_every_step_that_is_called_additive_only_adds(tmp_path: Path) -> None:
    def schema(path: Path) -> dict[str, dict[str, tuple[Any, ...]]]:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(
                'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk'
                " FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
            ).fetchall()
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        for table, column, *rest in rows:
            found.setdefault(table, {})[column] = tuple(rest)
        return found

    steps = tmp_path / "steps"
    shutil.copytree(migrator.directory(), steps)
    (steps / "0006_add_remarks.py").write_text(ADDS)
    path = tmp_path / "store.db"
    database = connect(str(path))
    before: dict[str, dict[str, tuple[Any, ...]]] = {}
    for number, name in enumerate(migrator.step_names(steps), 1):
        migrator.Migrator(database, steps).upgrade(number)
        after = schema(path)
        if migrator.is_additive(name):
            for table, columns in before.items():
                assert {c: after[table][c] for c in columns} == columns
                added = [after[table][c] for c in after[table] if c not in columns]
                assert [must for _, must, _, _ in added if must] == []
        before = after
    database.shut()
