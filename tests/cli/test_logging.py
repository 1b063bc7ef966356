"""What is written down beside the results: under ``dynostore.*`` alone, and nobody's data."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest

from dynostore import Store, fields, models
from dynostore.cli import cli
from dynostore.samples.seed import seed

MARK = "s3cr3t-of-kim"
FREE = {
    (model._meta.table_name, field.column_name)
    for model in models.REPLICATED
    for field in model._meta.sorted_fields
    if type(field) in (fields.TextField, fields.JsonField)
}
"""Every column that takes what a person or a tool likes to say."""


@pytest.fixture
def marked(call: Callable[..., Any], workplace: Path) -> str:
    """Give a file of sample records of every family, each of whose free columns is marked."""
    with closing(Store.open("plain.db")) as store:
        seed(store)
    lines = []
    for line in call("--db", "plain.db", "export").out.splitlines():
        entry = json.loads(line)
        for column, value in entry.get("row", {}).items():
            if (entry.get("table"), column) in FREE and value is not None:
                entry["row"][column] = {"k": MARK} if isinstance(value, dict) else value
                if isinstance(value, str):
                    entry["row"][column] = f"{MARK} {value}"
        lines.append(json.dumps(entry))
    Path("marked.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return "marked.jsonl"


def lists(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give every command that lists something and needs no argument."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from lists(below, (*path, name))
    elif path[-1] == "list" and not any(param.required for param in command.params):
        yield path


def test_nobodys_data_is_logged_whatever_is_done_with_it(
    call: Callable[..., Any],
    marked: str,
    migrated_postgres_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    level = logging.getLogger("dynostore").level
    said: list[str] = []

    def do(*words: str, code: int = 0) -> None:
        done = call("-v", *words)
        assert done.code == code, (words, done.err)
        said.extend(line for line in done.err.splitlines() if " dynostore." in line)

    do("import", marked)
    for words in lists(cli):
        do(*words, "--limit", "0")
    do("runs", "list", "--source", MARK)
    do("runs", "create", "--id", "x", "--metadata", json.dumps({"k": MARK}))
    do("runs", "update", "x", "--current-stage", MARK)
    do("tasks", "create", MARK, "--created-by", MARK)
    do("tasks", "list", "--created-by", MARK)
    do("memories", "search", MARK)
    do("conversations", "create", "--id", "talk", "--title", MARK)
    do("conversations", "add", "talk", MARK)
    do("query", "SELECT count(*) FROM tasks WHERE created_by = :who", "-p", "who", MARK)
    do("query", f"SELECT count(*) FROM tasks WHERE created_by = '{MARK}'")
    do("export", "-o", "all.jsonl")
    do("sync", "--to", migrated_postgres_url, "--direction", "both")
    do("--db", "other.db", "init")
    do("--db", "other.db", "sync", "--to", migrated_postgres_url, "--direction", "pull")
    do("sync", "verify", "--deep", "--to", migrated_postgres_url)
    do("--db", migrated_postgres_url, "tasks", "list", "--created-by", MARK)
    do("query", f"SELECT {MARK}", code=2)
    do("runs", "create", "--id", "x", "--source", MARK, code=1)
    do("runs", "rm", "x", "--yes")

    assert len(said) > 100
    assert any("INSERT INTO" in line for line in said)
    # Peewee's own log of statements has the values in it; its pool counts connections.
    others = {r.name for r in caplog.records if not r.name.startswith("dynostore.")}
    assert others <= {
        "asyncio",
        "concurrent.futures",
        "filelock",
        "peewee.migrations",
        "peewee.pool",
    }
    whole = [f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records]
    assert [line for line in (*said, *whole) if MARK in line] == []
    assert logging.getLogger("dynostore").level == level  # a program that calls main() has its own
