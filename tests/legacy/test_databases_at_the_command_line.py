"""Importing Chiffon's and Haia's samples as people do: found, counted, and the same again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynostore.cli import main

REAL = Path(__file__).resolve().parents[3] / "shared" / "legacy-samples"


def command(store: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    with CliRunner().isolation() as (out, err, _):
        code = main(["--db", str(store), "--json", "import", *arguments])
        sys.stdout.flush()
        sys.stderr.flush()
        text = (out.getvalue() or err.getvalue()).decode()
    return code, json.loads(text)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not beside the checkout")
@pytest.mark.parametrize(("kind", "records", "files"), [("chiffon", 14, 7), ("haia", 9, 2)])
def test_samples_are_taken_over_and_are_the_same_again(
    tmp_path: Path, kind: str, records: int, files: int
) -> None:
    store, source = tmp_path / "x.db", str(REAL / kind)
    for outcome in ("created", "same"):
        code, report = command(store, source)
        assert (code, report["kind"], report["differences"]) == (0, kind, [])
        assert (report["records"]["found"], report["records"][outcome]) == (records, records)
        assert (report["files"]["found"], report["files"][outcome]) == (files, files)
    code, report = command(store, source, "--dry-run", "--update")
    assert (code, report["records"]["same"]) == (0, records)


def test_an_invented_database_is_found_by_what_is_in_it(
    chiffon: Any, haia: Any, tmp_path: Path
) -> None:
    chiffon.add("tasks", chiffon.task(1), chiffon.task(2, status="odd"))
    haia.add("conversations", haia.talk(1))
    code, report = command(tmp_path / "x.db", str(chiffon.path.parent))
    assert (code, report["kind"]) == (3, "chiffon, haia")
    assert (report["records"]["created"], report["records"]["invalid"]) == (2, 1)
    assert (report["files"]["found"], report["files"]["created"]) == (2, 2)
