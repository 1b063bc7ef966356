"""Random histories of several files, people with plain SQL, and kills: nothing is lost.

Every written version knows the versions that its writer had seen. At the end each one is on the
server, or in its archive, or was seen by the writer of another.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

pytestmark = pytest.mark.once

RUNS = ("shared-0", "shared-1", "own-0", "own-1", "sql")
FILES = ("x", "y")
TAGS = {"runs": "source", "run_files": "storage_path"}
WHEN = "'2024-01-01T00:00:00.000000+00:00'"


class _History:
    def __init__(self, nodes: list[Any], remote: Any, seed: int) -> None:
        self.nodes = nodes
        self.remote = remote
        self.dice = random.Random(seed)
        self.seen: dict[str, frozenset[str]] = {}
        self.writers: dict[str, set[str]] = {}
        self.deletions: set[str] = set()
        self.last: dict[tuple[str, str], str] = {}
        self.trace: list[str] = []

    def version(self, who: str, key: str, current: str | None, *, deletion: bool = False) -> str:
        """Make a version on top of what the writer sees, or saw last."""
        tag = f"v{len(self.seen)}"
        before = current or self.last.get((who, key))
        self.seen[tag] = self.seen[before] | {before} if before else frozenset()
        self.last[who, key] = tag
        self.writers.setdefault(key, set()).add(who)
        if deletion:
            self.deletions.add(tag)
        return tag

    def change(self, who: str, place: Any) -> None:
        """Let one writer change one row, with plain SQL, in a file or on the server."""
        allowed = [r for r in RUNS if r.startswith("shared") or r == who]
        run = self.dice.choice(allowed)
        file_id = f"00000000-0000-7000-8000-{RUNS.index(run):06d}{self.dice.randrange(2):06d}"
        at_run = _tag(place, "runs", run)
        at_file = _tag(place, "run_files", file_id)
        what = self.dice.choice(("put", "put", "put", "file", "file", "delete", "delete file"))
        self.trace.append(f"{who} {what} {run}")
        if what == "put" or (what == "file" and at_run is None):
            tag = self.version(who, run, at_run)
            place.sql(
                "INSERT INTO runs (id, status, source, created_at, updated_at) VALUES"
                f" ('{run}', 'pending', '{tag}', {WHEN}, {WHEN})"
                f" ON CONFLICT (id) DO UPDATE SET source = '{tag}'"
            )
        elif what == "file":
            tag = self.version(who, file_id, at_file)
            place.sql(
                "INSERT INTO run_files (id, run_id, filename, created_at, storage_path) VALUES"
                f" ('{file_id}', '{run}', 'f', {WHEN}, '{tag}')"
                f" ON CONFLICT (id) DO UPDATE SET storage_path = '{tag}'"
            )
        elif what == "delete file" and at_file:
            self.version(who, file_id, at_file, deletion=True)
            place.sql(f"DELETE FROM run_files WHERE id = '{file_id}'")
        elif what == "delete" and at_run:
            children = place.sql(f"SELECT id, storage_path FROM run_files WHERE run_id = '{run}'")
            for child, child_tag in children:
                self.version(who, str(child), child_tag, deletion=True)
            self.version(who, run, at_run, deletion=True)
            place.sql(f"DELETE FROM runs WHERE id = '{run}'")

    def sync(self, number: int, doomed: Any) -> None:
        node, rows = self.nodes[number], self.dice.choice((1, 2, 100))
        if self.dice.random() < 0.4:
            at = self.dice.randrange(1, 160)
            self.trace.append(f"own-{number} sync, dies at {at}, rows {rows}")
            doomed.push(node.path, self.remote.url, at=at, rows=rows)
        else:
            self.trace.append(f"own-{number} sync, rows {rows}")
            node.sync(rows=rows)

    def assert_nothing_is_lost(self) -> None:
        kept = set()
        for table, column in TAGS.items():
            kept |= {tag for (tag,) in self.remote.sql(f"SELECT {column} FROM {table}")}
            images = self.remote.sql(
                "SELECT image FROM dynostore_sync.archive WHERE tbl = %s AND image IS NOT NULL",
                (table,),
            )
            kept |= {json.loads(image)[column] for (image,) in images}
        superseded = frozenset().union(*self.seen.values())
        assert set(self.seen) - self.deletions - kept - superseded == set()

    def assert_no_conflict_that_nobody_made(self) -> None:
        for node in self.nodes:
            for conflict in node.conflicts():
                if conflict["tbl"] == "runs" and conflict["key"].startswith(("own", "sql")):
                    raise AssertionError(conflict)


def _tag(place: Any, table: str, key: str) -> str | None:
    rows = place.sql(f"SELECT {TAGS[table]} FROM {table} WHERE id = '{key}'")
    return str(rows[0][0]) if rows else None


def _run(seed: int, steps: int, make_node: Any, remote: Any, doomed: Any, check: Any) -> None:
    nodes = [make_node(f"{seed}-{number}") for number in range(2)]
    history = _History(nodes, remote, seed)
    try:
        for _ in range(steps):
            number = history.dice.randrange(2)
            move = history.dice.random()
            if move < 0.6:
                history.change(f"own-{number}", nodes[number])
            elif move < 0.72:
                history.change("sql", remote)
            else:
                history.sync(number, doomed)
        for _ in range(2):
            for node in nodes:
                node.sync()
        for node in nodes:
            assert node.sync().up_to_date
            assert node.logged() == []
            assert node.rejects() == {}
            assert node.sql("PRAGMA foreign_key_check") == []
        history.assert_nothing_is_lost()
        history.assert_no_conflict_that_nobody_made()
    except BaseException as exc:
        exc.add_note(f"seed {seed}:\n" + "\n".join(history.trace))
        raise


@pytest.mark.parametrize("seed", range(6))
def test_in_a_random_history_nothing_is_lost(
    seed: int, make_node: Any, remote: Any, doomed: Any, check: Any
) -> None:
    _run(seed, 40, make_node, remote, doomed, check)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 125))
def test_in_many_random_histories_nothing_is_lost(
    seed: int, make_node: Any, remote: Any, doomed: Any, check: Any
) -> None:
    _run(seed, 60, make_node, remote, doomed, check)
