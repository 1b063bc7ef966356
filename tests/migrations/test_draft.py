"""A draft of the next step comes from the models."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playhouse.schema_diff import diff_models

from dynostore import database, fields, models
from dynostore.config import Settings
from dynostore.migration_runner import draft
from dynostore.migrator import Migrator, directory, main
from dynostore.models.base import Record
from dynostore.models.runs import Run


@pytest.fixture
def real_steps(tmp_path: Path) -> Path:
    """Give a copy of the real steps."""
    import shutil

    return Path(
        shutil.copytree(
            directory(), tmp_path / "real", ignore=shutil.ignore_patterns("__pycache__")
        )
    )


def test_nothing_is_drafted_while_models_and_migrations_agree(real_steps: Path) -> None:
    before = sorted(real_steps.glob("*.py"))
    assert draft("nothing", real_steps) is None
    assert sorted(real_steps.glob("*.py")) == before


def test_a_new_column_an_index_and_a_new_table_are_drafted_and_bring_agreement(
    real_steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: dict[str, Any] = {n: f.clone() for n, f in Run._meta.fields.items()}
    columns["note"] = fields.TextField(null=True)
    columns["rating"] = fields.WholeNumberField(default=3, index=True)
    meta = type("Meta", (), {"table_name": "runs", "indexes": Run._meta.indexes})
    changed = type("Run", (Record,), columns | {"Meta": meta})
    label_meta = type("Meta", (), {"table_name": "labels", "indexes": ((("name",), False),)})
    body = {
        "id": fields.UuidField(primary_key=True),
        "name": fields.StringField(max_length=20),
        "Meta": label_meta,
    }
    label = type("Label", (Record,), body)
    everything = (changed, models.RunFile, models.Import, label)
    monkeypatch.setattr(models, "ALL", everything)

    path = draft("add notes", real_steps)
    assert path is not None
    assert path.parent == real_steps
    assert path.name.endswith("_add_notes.py")
    compile(path.read_text(encoding="utf-8"), path, "exec")

    db: Any = database.MemoryDatabase(Settings())
    migrator = Migrator(db, real_steps)
    steps = migrator.upgrade()
    assert steps[-1] == path.stem
    with db.reading():
        assert not diff_models(db, list(everything))
        assert "labels" in db.get_tables()
    assert migrator.downgrade(to=len(steps) - 1) == [path.stem]
    with db.reading():
        assert "labels" not in db.get_tables()
    db.shut()
    assert draft("again", real_steps) is None


def test_the_command_says_that_there_is_nothing_to_draft(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["draft", "nothing"]) == 0
    assert "nothing to draft" in capsys.readouterr().out


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["draft"], ["nonsense", "x"]):
        assert main(arguments) == 2
        assert "usage:" in capsys.readouterr().err


def test_the_command_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "dynostore.migrator", "draft", "nothing"]
    found = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    assert "nothing to draft" in found.stdout
