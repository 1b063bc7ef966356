"""Random histories of files and a server, found and cut short by hypothesis: nothing is lost.

People write through verbs, plain SQL and INSERT OR REPLACE; syncs die, files are copied and put
back, the server is restored. Every version has a tag of its own, and its writer's knowledge is
known: at the end each is live, superseded by somebody who had seen it, archived or listed.

``DYNOSTORE_SOAK=10`` goes on for ten minutes, seed by seed from a random one on, and prints each;
``DYNOSTORE_SOAK_SEED=17`` begins with that seed, and without minutes ends with it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from dynostore import Store
from dynostore.fields import utc_now
from dynostore.ids import derived_id
from dynostore.sync.local.changes import LocalFile
from dynostore.sync.purge import purge
from dynostore.sync.remote import few
from dynostore.sync.remote.session import Session
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once

SOAK_MINUTES = float(os.environ.get("DYNOSTORE_SOAK", "0"))
SOAK_SEED = os.environ.get("DYNOSTORE_SOAK_SEED")
FAST_SEED, FAST_HISTORIES = 1, 3
SOAK_HISTORIES = 20
"""Histories of one seed."""

STEPS = 30
MOST_NODES = 4
ROUNDS = 6
"""Syncs of each file after which all must be quiet."""

RUNS = ("r0", "r1", "r2")
TAGS = {"runs": "source", "run_files": "storage_path"}
POISONS = {"runs": ("current_stage", "'a' || char(0)"), "run_files": ("metadata", "'{'")}
"""What no server can hold: found before it is sent, and by the server itself."""
WHEN = "'2024-01-01T00:00:00.000000+00:00'"

nodes = st.integers(0, MOST_NODES - 1)
writes = st.lists(
    st.tuples(
        st.sampled_from(("verb", "verb", "sqlite3", "replace", "psql")),
        nodes,
        st.sampled_from(RUNS),
        st.sampled_from(("x", "y")),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=6,
)
"""(by what means, in which file, which run, which of its files, what to do)."""
directions = st.sampled_from(("both", "both", "push", "pull"))
sizes = st.sampled_from((1, 2, 100))
scopes = st.sampled_from(((), (), (), ("runs",)))
looks = st.sampled_from((False, False, True))
blows = st.sampled_from(
    ("copy", "keep file", "put file back", "keep server", "put server back", "rebuild", "purge")
)


class History:
    """Who wrote which version, and what each had seen by then.

    :ivar seen: by version, those that its writer had seen.
    :ivar places: by version, (table, key).
    :ivar writers: by (table, key).
    :ivar memories: by writer and (table, key), what he wrote last.
    :ivar gone: versions whose only copy was thrown away with a file or a server.
    """

    def __init__(self) -> None:
        self.seen: dict[str, frozenset[str]] = {}
        self.places: dict[str, tuple[str, str]] = {}
        self.writers: dict[tuple[str, str], set[str]] = {}
        self.deletions: set[str] = set()
        self.gone: set[str] = set()
        self.memories: dict[str, dict[tuple[str, str], str]] = {}

    def version(
        self, who: str, table: str, key: str, current: str | None, *, deletion: bool = False
    ) -> str:
        """Make a version on top of what the writer sees, or wrote last."""
        tag = f"v{len(self.seen)}"
        memory = self.memories.setdefault(who, {})
        before = current or memory.get((table, key))
        self.seen[tag] = self.seen[before] | {before} if before else frozenset()
        self.places[tag] = (table, key)
        memory[table, key] = tag
        self.writers.setdefault((table, key), set()).add(who)
        if deletion:
            self.deletions.add(tag)
        return tag


class Death(BaseException):
    """Ends a sync as a kill does: nothing may catch it, and every connection is dropped."""


class Doom:
    """Lets a sync die at one of its events.

    :param when: ``before`` it, ``within`` it, or ``after`` it.
    """

    def __init__(self, number: int, when: str) -> None:
        self._number = number
        self._when = when
        self._counter = itertools.count(1)

    def _is_next(self) -> bool:
        hit = next(self._counter) == self._number
        if hit and self._when == "before":
            raise Death
        return hit

    def of(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function deadly."""

        def call(*arguments: Any, **options: Any) -> Any:
            hit = self._is_next()
            result = act(*arguments, **options)
            if hit:
                raise Death
            return result

        return call

    def of_transactions(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function deadly that gives a transaction's context."""

        @contextlib.contextmanager
        def context(*arguments: Any, **options: Any) -> Iterator[Any]:
            hit = self._is_next()
            with act(*arguments, **options) as writer:
                yield writer
                if hit and self._when == "within":
                    raise Death
            if hit:
                raise Death

        return context


@contextlib.contextmanager
def dying(side: str, number: int, when: str) -> Iterator[None]:
    """Let what runs inside die at its ``number``-th local transaction, or call of the server."""
    doom = Doom(number, when)
    with pytest.MonkeyPatch.context() as patch:
        if side == "file":
            patch.setattr(LocalFile, "writing", doom.of_transactions(LocalFile.writing))
        else:
            for name in ("execute", "copy_in", "copy_out"):
                patch.setattr(Session, name, doom.of(getattr(Session, name)))
        yield


class Machine(RuleBasedStateMachine):
    """Two to four files, a server, and all that may happen to them."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        stage = self.stage
        self.remote = stage.remote
        self.remote.put_back(stage.empty)
        self.history = History()
        self.nodes: list[Any] = []
        self.numbers = itertools.count()
        self.directory = stage.directory / f"{next(stage.numbers)}"
        self.directory.mkdir()
        self.file_backups: list[tuple[int, Path, Any]] = []
        self.server_backups: list[Any] = []
        self.blows = 0
        self.patch = pytest.MonkeyPatch()
        self.odd = False  # a copy or a restore: no longer do only people know who wrote what

    def teardown(self) -> None:
        try:
            if self.nodes:
                self.settle()
        finally:
            self.patch.undo()
            for node in self.nodes:
                node.close()
            shutil.rmtree(self.directory)

    # -- the files -----------------------------------------------------------------------------

    @initialize(
        count=st.integers(2, 3), blows=st.sampled_from((0, 2, 8)), rows=st.sampled_from((0, 1, 20))
    )
    def begin(self, count: int, blows: int, rows: int) -> None:
        """Make some files, of which batches of so many rows go without being judged first."""
        self.blows = blows
        self.patch.setattr(few, "MAX_ROWS", rows)
        for _ in range(count):
            self._add(self.stage.template)

    def _add(self, source: Path) -> None:
        path = self.directory / f"node-{len(self.nodes)}.db"
        shutil.copy(source, path)
        self.nodes.append(self.stage.make_node(path=path))

    def _node(self, number: int) -> tuple[str, Any]:
        number %= len(self.nodes)
        return f"node-{number}", self.nodes[number]

    def _saved(self, node: Any) -> Path:
        node.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        path = self.directory / f"{next(self.numbers)}.bak"
        shutil.copy(node.path, path)
        return path

    # -- what people write ---------------------------------------------------------------------

    def _tag(self, place: Any, table: str, key: str) -> str | None:
        rows = place.sql(f"SELECT {TAGS[table]} FROM {table} WHERE id = '{key}'")
        return str(rows[0][0]) if rows else None

    def _bury_files(self, who: str, place: Any, run: str) -> None:
        """Account for the files that go with a run."""
        for key, tag in place.sql(f"SELECT id, storage_path FROM run_files WHERE run_id = '{run}'"):
            self.history.version(who, "run_files", str(key), tag, deletion=True)

    @rule(moves=writes)
    def write(self, moves: Any) -> None:
        """Write some rows, in files and on the server."""
        for means, number, run, name, kind in moves:
            who, node = self._node(number)
            if means == "psql":
                self._write("psql", self.remote, run, name, kind)
            elif means == "sqlite3":
                self._write(who, node, run, name, kind)
            elif means == "replace":
                self._insert_or_replace(who, node, run, name, parent=kind < 5)
            else:
                self._use_a_verb(who, node, run, name, kind)

    def _use_a_verb(self, who: str, node: Any, run: str, name: str, kind: int) -> None:
        """Record, change or delete a run, or record one of its files."""
        current = self._tag(node, "runs", run)
        verbs = node.store.runs
        if current is None:
            verbs.create(run_id=run, source=self.history.version(who, "runs", run, None))
        elif kind < 4:
            verbs.update(run, source=self.history.version(who, "runs", run, current))
        elif kind < 8:
            key = derived_id("run_files", run, name)
            if self._tag(node, "run_files", key) is None:
                tag = self.history.version(who, "run_files", key, None)
                verbs.add_file(run, name, storage_path=tag)
        elif kind == 8:  # a column that merges
            percent = verbs.get(run).progress_percent or 0
            self.history.writers.setdefault(("runs", run), set()).add(who)
            verbs.update(run, progress_percent=min(100, percent + 7))
        else:
            self._bury_files(who, node, run)
            self.history.version(who, "runs", run, current, deletion=True)
            verbs.delete(run)

    def _write(self, who: str, place: Any, run: str, name: str, kind: int) -> None:
        key = derived_id("run_files", run, name)
        at_run, at_file = self._tag(place, "runs", run), self._tag(place, "run_files", key)
        table = "runs" if at_run is None or kind < 3 else "run_files"
        column, bad = POISONS[table]
        if kind not in (2, 5) or who == "psql":
            bad = "NULL"
        if table == "runs":
            tag = self.history.version(who, "runs", run, at_run)
            place.sql(
                f"INSERT INTO runs (id, status, source, created_at, updated_at, {column}) VALUES"
                f" ('{run}', 'pending', '{tag}', {WHEN}, {WHEN}, {bad})"
                f" ON CONFLICT (id) DO UPDATE SET source = '{tag}', {column} = {bad}"
            )
        elif kind < 6:
            tag = self.history.version(who, "run_files", key, at_file)
            place.sql(
                f"INSERT INTO run_files (id, run_id, filename, created_at, storage_path, {column})"
                f" VALUES ('{key}', '{run}', '{name}', {WHEN}, '{tag}', {bad})"
                f" ON CONFLICT (id) DO UPDATE SET storage_path = '{tag}', {column} = {bad}"
            )
        elif kind < 8:
            if at_file:
                self.history.version(who, "run_files", key, at_file, deletion=True)
                place.sql(f"DELETE FROM run_files WHERE id = '{key}'")
        else:
            self._bury_files(who, place, run)
            self.history.version(who, "runs", run, at_run, deletion=True)
            place.sql(f"DELETE FROM runs WHERE id = '{run}'")

    def _insert_or_replace(self, who: str, node: Any, run: str, name: str, *, parent: bool) -> None:
        """Replace a run, which takes its files along, or a file."""
        at_run = self._tag(node, "runs", run)
        if parent or at_run is None:
            self._bury_files(who, node, run)
            tag = self.history.version(who, "runs", run, at_run)
            node.sql(
                "INSERT OR REPLACE INTO runs (id, status, source, created_at, updated_at)"
                f" VALUES ('{run}', 'pending', '{tag}', {WHEN}, {WHEN})"
            )
        else:
            key = derived_id("run_files", run, name)
            tag = self.history.version(who, "run_files", key, self._tag(node, "run_files", key))
            node.sql(
                "INSERT OR REPLACE INTO run_files (id, run_id, filename, created_at, storage_path)"
                f" VALUES ('{key}', '{run}', '{name}', {WHEN}, '{tag}')"
            )

    # -- syncs ---------------------------------------------------------------------------------

    @rule(number=nodes, direction=directions, rows=sizes, tables=scopes, close=looks)
    def sync(self, number: int, direction: str, rows: int, tables: Any, close: bool) -> None:
        """Sync a file from beginning to end, and perhaps compare it with the server after that."""
        _, node = self._node(number)
        node.sync(direction=direction, rows=rows, tables=tables, adopt=True)
        if close:
            self._verify(node)

    @rule(
        number=nodes,
        moves=writes,
        direction=directions,
        rows=st.integers(1, 2),
        side=st.sampled_from(("file", "server")),
        at=st.integers(1, 16),
        when=st.sampled_from(("before", "within", "after")),
    )
    def sync_and_die(
        self, number: int, moves: Any, direction: str, rows: int, side: str, at: int, when: str
    ) -> None:
        """Write to a file, sync it, and die on the way, if it is long enough."""
        self.write([(means, number, *what) for means, _, *what in moves])
        _, node = self._node(number)
        with contextlib.suppress(Death), dying(side, at, when):
            node.sync(direction=direction, rows=rows, adopt=True)

    def _verify(self, node: Any) -> None:
        found = verify(node.store, self.remote.url, deep=True, delay_s=0)
        assert found.differences == []

    # -- what befalls files and the server -----------------------------------------------------

    @precondition(lambda self: self.blows)
    @rule(number=nodes, blow=blows, which=st.integers(0, 1))
    def suffer(self, number: int, blow: str, which: int) -> None:
        """Let something befall a file, or the server."""
        self.blows -= 1
        who, node = self._node(number)
        if blow == "copy":
            self._copy_file(who, node)
        elif blow == "keep file":
            memory = dict(self.history.memories.get(who, {}))
            self.file_backups.append((number % len(self.nodes), self._saved(node), memory))
        elif blow == "put file back" and self.file_backups:
            self._restore_file(*self.file_backups[which % len(self.file_backups)])
        elif blow == "keep server":
            self.server_backups.append(self.remote.back_up(*TAGS))
        elif blow == "put server back" and self.server_backups:
            self._restore_server(self.server_backups[which % len(self.server_backups)])
        elif blow == "rebuild":
            self._rebuild(node, ("runs", "run_files")[which])
        elif blow == "purge":
            self.remote.sql("UPDATE dynostore_sync.tick SET at = now() - interval '2 days'")
            purge(self.remote.url, utc_now() - dt.timedelta(days=1))

    def _copy_file(self, who: str, node: Any) -> None:
        """Take a copy of a file to another machine."""
        if len(self.nodes) < MOST_NODES:
            self.odd = True
            memories = self.history.memories
            memories[f"node-{len(self.nodes)}"] = dict(memories.get(who, {}))
            self._add(self._saved(node))

    def _restore_file(self, number: int, backup: Path, memory: dict[Any, str]) -> None:
        """Put an older copy in a file's place."""
        self.odd = True
        who, node = self._node(number)
        held = self._held_by(node)
        node.close()
        for end in ("-wal", "-shm"):
            Path(f"{node.path}{end}").unlink(missing_ok=True)
        shutil.copy(backup, node.path)
        self.nodes[number] = self.stage.make_node(path=node.path)
        self.history.memories[who] = dict(memory)
        self._throw_away(held)

    def _restore_server(self, backup: Any) -> None:
        """Put an older copy in the server's place."""
        self.odd = True
        held = self._held_by_server()
        self.remote.put_back(backup)
        self._throw_away(held)

    def _rebuild(self, node: Any, table: str) -> None:
        """Rebuild a table as it was, by which it loses its triggers."""
        [(sql,)] = node.sql(f"SELECT sql FROM sqlite_master WHERE name = '{table}'")
        new = sql.replace(f'"{table}"', f'"new_{table}"', 1)
        assert new != sql
        for statement in (
            new,
            f"INSERT INTO new_{table} SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE new_{table} RENAME TO {table}",
        ):
            node.sql(statement, foreign_keys=False)

    def _held_by(self, node: Any) -> set[str]:
        """Give the versions that a file holds, those on its list of conflicts included."""
        held = set()
        for table, column in TAGS.items():
            held |= {tag for (tag,) in node.sql(f"SELECT {column} FROM {table}")}
        return held | self._listed(node)

    def _listed(self, node: Any) -> set[str]:
        known = node.sql("SELECT 1 FROM sqlite_master WHERE name = 'sync_conflict'")
        listed = node.conflicts() if known else []
        return {c["image"][TAGS[c["tbl"]]] for c in listed if c["image"]}

    def _held_by_server(self) -> set[str]:
        """Give the versions that the server holds, live or archived."""
        held = set()
        for table, column in TAGS.items():
            held |= {tag for (tag,) in self.remote.sql(f"SELECT {column} FROM {table}")}
            images = self.remote.sql(
                "SELECT image FROM dynostore_sync.archive WHERE tbl = %s AND image IS NOT NULL",
                (table,),
            )
            held |= {json.loads(image)[column] for (image,) in images}
        return held

    def _throw_away(self, lost: set[str]) -> None:
        kept = self._held_by_server()
        for node in self.nodes:
            kept |= self._held_by(node)
        self.history.gone |= lost - kept

    # -- the end -------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everybody sync both ways until all is quiet, and look at what has become of it.

        On the way somebody mends what was set aside.
        """
        for number in range(ROUNDS):
            for node, (table, (column, bad)) in itertools.product(self.nodes, POISONS.items()):
                if number == 1:
                    node.sql(f"UPDATE {table} SET {column} = NULL WHERE {column} = {bad}")
            done = [node.sync(direction="both", adopt=True) for node in self.nodes]
            if number > 1 and all(report.up_to_date for report in done):
                break
        else:
            raise AssertionError(f"not quiet after {ROUNDS} rounds")
        for node in self.nodes:
            assert node.logged() == []
            assert node.rejects() == {}
            assert node.sql("SELECT * FROM sync_pending WHERE tbl <> ''") == []
            assert node.sql("PRAGMA foreign_key_check") == []
            self.stage.check.equal(node)
            self._verify(node)
        self._assert_nothing_is_lost()
        if not self.odd:
            self._assert_that_nothing_came_back()
            self._assert_no_conflict_that_nobody_made()

    def _assert_nothing_is_lost(self) -> None:
        history = self.history
        kept = self._held_by_server().union(*[self._listed(node) for node in self.nodes])
        superseded = frozenset().union(*history.seen.values())
        lost = set(history.seen) - history.deletions - history.gone - kept - superseded
        assert lost == set()

    def _assert_that_nothing_came_back(self) -> None:
        """No version stands where a later one was written, unless somebody was told.

        That can be right: of two changes on top of one version one may have been to a column that
        has no part in the versions.
        """
        history = self.history
        live = {
            (table, str(key)): tag
            for table, column in TAGS.items()
            for key, tag in self.remote.sql(f"SELECT id, {column} FROM {table}")
        }
        told = {(c["tbl"], c["key"]) for node in self.nodes for c in node.conflicts()}
        archived = self.remote.sql(
            "SELECT tbl, key FROM dynostore_sync.archive WHERE why LIKE 'deletion%%'", ()
        )
        told.update(archived)
        superseded = frozenset().union(*history.seen.values())
        for tag, seen in history.seen.items():
            place = history.places[tag]
            if tag not in superseded and live.get(place) in seen:
                assert place in told, f"{tag} was lost to an older one, and nobody was told"

    def _assert_no_conflict_that_nobody_made(self) -> None:
        for node in self.nodes:
            for conflict in node.conflicts():
                who = set(self.history.writers.get((conflict["tbl"], conflict["key"]), ()))
                if conflict["tbl"] == "runs":
                    for (table, _), others in self.history.writers.items():
                        who |= others if table == "run_files" else set()
                assert len(who) > 1, conflict


# -- the tests -------------------------------------------------------------------------------------


class Stage:
    """What every history needs and none changes.

    :ivar empty: what the server holds at first.
    :ivar template: a file that nobody has written to.
    """

    def __init__(self, remote: Any, check: Any, make_node: Any, directory: Path) -> None:
        self.remote = remote
        self.empty = remote.back_up(*TAGS)
        self.check = check
        self.make_node = make_node
        self.directory = directory
        self.numbers = itertools.count(1)
        self.template = directory / "template.db"
        Store.open(self.template).close()


@pytest.fixture
def stage(remote: Any, check: Any, make_node: Any, tmp_path: Path) -> Stage:
    return Stage(remote, check, make_node, tmp_path)


def _run(stage: Stage, seed: int, histories: int, *, shrink: bool = True) -> None:
    """Run the histories of one seed; hypothesis shows a failing one as a program."""

    class Staged(Machine):
        pass

    Staged.stage = stage
    hypothesis.seed(seed)(Staged)
    settings = hypothesis.settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        derandomize=False,  # the seed decides
        phases=(hypothesis.Phase.generate, *((hypothesis.Phase.shrink,) if shrink else ())),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        run_machine(Staged, settings=settings)
    except BaseException as exc:
        exc.add_note(f"DYNOSTORE_SOAK_SEED={seed}")
        raise


def test_in_some_random_histories_nothing_is_lost(stage: Stage) -> None:
    _run(stage, FAST_SEED, FAST_HISTORIES, shrink=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 102))
def test_in_many_random_histories_nothing_is_lost(stage: Stage, seed: int) -> None:
    _run(stage, seed, SOAK_HISTORIES)


@pytest.mark.skipif(not (SOAK_MINUTES or SOAK_SEED), reason="DYNOSTORE_SOAK names no minutes")
def test_for_as_long_as_was_asked_for_nothing_is_lost(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    first = int(SOAK_SEED) if SOAK_SEED else random.SystemRandom().randrange(10**9)
    end = time.monotonic() + 60 * SOAK_MINUTES
    for seed in itertools.count(first):
        with capsys.disabled():
            sys.stderr.write(f"\nDYNOSTORE_SOAK_SEED={seed} ")
        _run(stage, seed, SOAK_HISTORIES)
        if time.monotonic() >= end:
            break
