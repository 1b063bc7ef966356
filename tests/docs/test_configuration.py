"""docs/configuration.md names what the program reads, all of it and with its defaults."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from dynostore.config import Settings, locate

# Of other programs: read to say what they were, and by what the shell runs to complete a word.
_READ_BY_OTHERS = {"PGHOST", "PGPORT", "PGUSER", "_DYNOSTORE_COMPLETE"}


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/configuration.md").read_text(encoding="utf-8")


def rows(page: str, heading: str) -> dict[str, str]:
    """Give the last cell of each row of the table below a heading, by each name in the first."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = {}
    for line in re.findall(r"^\|( `.*)\|$", section, re.M):
        cells = line.split("|")
        for name in re.findall(r"`(\w+)`", cells[0]):
            found[name] = cells[-1].strip()
    return found


def test_every_key_is_there_with_its_default(page: str, tmp_path: Path) -> None:
    keys = rows(page, "dynostore.yaml")
    said = {"None": {"all", ""}, "5": {"5, at most `pool_max`"}, "NORMAL": {"`NORMAL`"}}
    for field in dataclasses.fields(Settings):
        default = re.sub(r"\.0$", "", str(field.default))
        assert keys.pop(field.name) in said.get(default, {default}), field.name
    assert set(keys) == {"url", "remote"}
    config = tmp_path / "dynostore.yaml"
    config.write_text("profiles: {default: {url: x.db, remote: postgresql://host/x}}")
    assert locate(config=config, environ={}).url == "x.db"


def test_every_environment_variable_that_the_code_reads_is_there(page: str, root: Path) -> None:
    named = set(rows(page, "Environment variables"))
    for path in sorted((root / "dynostore").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call | ast.Subscript) and "environ" in ast.unparse(node):
                text = ast.unparse(node)
                read = set(re.findall(r"environ(?:\.get\(|\[)'([A-Z_]+)'", text))
                assert read <= named | _READ_BY_OTHERS, f"{path}: {text}"


def test_the_variables_win_in_the_order_of_the_page(page: str, tmp_path: Path) -> None:
    order = re.findall(r"^\d\. (?:`(\w+)`$)?", page.partition("## Where the shared")[0], re.M)
    assert [name for name in order if name] == ["DYNOSTORE_URL", "DATABASE_URL"]
    config = tmp_path / "dynostore.yaml"
    config.write_text("default: a\nprofiles: {a: {url: a.db}, b: {url: b.db}}")
    environ = {"DYNOSTORE_URL": "one.db", "DATABASE_URL": "two.db"}
    silent = tmp_path / "silent.yaml"
    silent.write_text("")
    found = [
        locate("x.db", profile="b", config=config, environ=environ).url,
        locate(profile="b", config=config, environ=environ).url,
        locate(config=config, environ=environ).url,
        locate(config=config, environ=environ | {"DYNOSTORE_URL": ""}).url,
        locate(config=config, environ={}).url,
        locate(config=silent, environ={}).url,
    ]
    assert found == ["x.db", "b.db", "one.db", "two.db", "a.db", "sqlite:///./dynostore.db"]
