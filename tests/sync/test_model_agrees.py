"""The model and the real code agree: one script drives both, and whatever shows is the same.

What the model's scripts say happens in the model and, on real tables of the same shape, in real
files and on a real server: writes, plain SQL, INSERT OR REPLACE, deaths at the same points, copies,
backups put back, rebuilt tables, purges. After every move the two are compared.

``DYNOSTORE_MODEL_SEED="everything:17"`` runs that one; with ``;`` between them, some. A failure
shows the steps of the model.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest

from dynostore import Store
from dynostore.fields import JsonField, utc_now
from dynostore.sync import fence, retry_rejects, sync
from dynostore.sync.exchange import Limits
from dynostore.sync.local.changes import LocalFile
from dynostore.sync.pull.pull import Pull
from dynostore.sync.purge import purge
from dynostore.sync.push import push as pushing
from dynostore.sync.remote import few
from dynostore.sync.remote.few import MAX_ROWS
from dynostore.sync.remote.server import Server
from dynostore.sync.review.conflicts import REASONS
from dynostore.sync.tables import describe

pytestmark = pytest.mark.once

SEEDS = (("emptied servers", 3), ("families and rejects", 3), ("merges", 10))
"""Histories that went apart until a rule was mended, on one side or the other."""
SLOW_SEEDS = range(100, 101)
ASKED_FOR = [seed.rpartition(":") for seed in os.environ.get("DYNOSTORE_MODEL_SEED", "").split(";")]

NAMES = {"value": "n", "bad": "x", "parent": "t", "high": "seen", "low": "fresh", "key": "key"}
"""The real columns, of names that the sync's own SQL might take for something else."""

_ROW: dict[str, str] = {"value": "BIGINT", "bad": "JSON"}
_COLUMNS = {
    "shelves": _ROW,
    "boxes": {"parent": "shelves", **_ROW},
    "items": {"parent": "boxes", **_ROW},
    "notes": _ROW,
    "tallies": {"high": "BIGINT", "low": "BIGINT", **_ROW},
    "folders": {"parent": "folders", **_ROW},
}
BAD = {"here": 5, "there": "{"}
"""What stands in a JSON column that the sync itself refuses, or that only the server does."""

WHY = {words: "lost" if why == "delete" else why for why, words in REASONS.items()}
ARCHIVED = {
    "lost to a newer version": "lost",
    "deletion lost to a newer version": "deletion lost",
    "not captured, if it was a change; the server has a newer version": "suspect",
}
EVENTS: dict[str, list[tuple[Any, str]]] = {
    "snapshot": [(LocalFile, "snapshot")],
    "announced": [(pushing.Push, "_announce")],
    "answered": [(pushing.Push, "_transmit")],
    "acknowledged": [(pushing, "acknowledge"), (fence, "acknowledge_after_crash")],
    "token turned": [(Server, "turn_token")],
    "cursors moved": [(Pull, "_move_cursors")],
}
"""Steps of the model behind which a sync may die, and what takes them in the real code."""

DEATHS = tuple(EVENTS)
EAGER = ("announced", "acknowledged")
"""Deaths at which the real code has one more batch on its way."""


class Death(BaseException):
    """Ends a sync as a kill does: nothing may catch it, and every connection is dropped."""


def _models() -> list[type[peewee.Model]]:
    made: dict[str, type[peewee.Model]] = {}
    for name, columns in _COLUMNS.items():
        fields: dict[str, Any] = {"key": peewee.TextField(primary_key=True)}
        for column, kind in columns.items():
            if kind in _COLUMNS:
                target: Any = made.get(kind, "self")
                fields[column] = peewee.ForeignKeyField(
                    target, column_name=NAMES[column], null=True, on_delete="CASCADE"
                )
            else:
                field = JsonField if kind == "JSON" else peewee.BigIntegerField
                fields[column] = field(column_name=NAMES[column], null=True)
        meta = type("Meta", (), {"table_name": name, "legacy_table_names": False})
        merges = {NAMES["high"]: "max", NAMES["low"]: "min"} if "high" in columns else {}
        made[name] = type(name, (peewee.Model,), {**fields, "Meta": meta, "MERGES": merges})
    return list(made.values())


def _ddl(name: str, json_type: str, table: str | None = None) -> str:
    columns = [
        f"{NAMES[column]} TEXT REFERENCES {kind} ON DELETE CASCADE"
        if kind in _COLUMNS
        else f"{NAMES[column]} {json_type if kind == 'JSON' else kind}"
        for column, kind in _COLUMNS[name].items()
    ]
    return f"CREATE TABLE {table or name} (key TEXT NOT NULL PRIMARY KEY, {', '.join(columns)})"


def _plain(table: str, row: Any) -> dict[str, Any]:
    """Give a row of the model's with the columns of the real table."""
    return {column: row.get(column) for column in _COLUMNS[table]}


class Real:
    """Real files and a real server, with the methods that the model has.

    :ivar clock: the server's, when it was last looked at.
    """

    def __init__(self, directory: Path, template: Path, remote: Any, empty: Any) -> None:
        self._directory = directory
        self._template = template
        self.remote = remote
        self._empty = empty
        self._numbers = itertools.count(1)
        self._stores: dict[str, Store] = {}
        self.clock = 0
        remote.put_back(empty)
        self._stack = contextlib.ExitStack()
        self._connection = self._stack.enter_context(remote.session())

    def close(self) -> None:
        self._stack.close()
        for store in self._stores.values():
            store.close()

    # -- files -------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.db"

    def make(self, name: str, source: Path | None = None) -> None:
        """Put a file in its place, as a person would who copies it."""
        if name in self._stores:
            self._stores.pop(name).close()
        for end in ("", "-wal", "-shm"):
            Path(f"{self._path(name)}{end}").unlink(missing_ok=True)
        shutil.copy(source or self._template, self._path(name))
        self._stores[name] = Store.open(self._path(name))

    def saved(self, name: str) -> Path:
        """Copy a file to where nobody writes."""
        self._file(name, "PRAGMA wal_checkpoint(TRUNCATE)")
        target = self._directory / f"{next(self._numbers)}.bak"
        shutil.copy(self._path(name), target)
        return target

    def _file(self, name: str, *statements: str, foreign_keys: bool = True) -> list[Any]:
        with closing(sqlite3.connect(self._path(name), isolation_level=None)) as connection:
            connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
            for statement in statements:
                rows = connection.execute(statement).fetchall()
        return rows

    def rebuild(self, name: str, table: str) -> None:
        """Rebuild a table as SQLite's manual says; its triggers go with the old one."""
        self._file(
            name,
            "BEGIN",
            _ddl(table, "JSON", f"new_{table}"),
            f"INSERT INTO new_{table} SELECT * FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE new_{table} RENAME TO {table}",
            "COMMIT",
            foreign_keys=False,
        )

    # -- the server --------------------------------------------------------------------------

    def back_up_server(self) -> Any:
        return self.remote.back_up(*_COLUMNS)

    def restore_server(self, backup: Any) -> None:
        self.remote.put_back(backup)

    def empty_server(self) -> None:
        """Put one in its place that was set up anew."""
        self.remote.put_back(self._empty)
        self.remote.sql(
            "UPDATE dynostore_sync.server SET id = gen_random_uuid(), incarnation = incarnation + 1"
        )

    def purge(self, number: int) -> None:
        """Let everything up to a number be old, and purge what is."""
        self.remote.sql(
            f"UPDATE dynostore_sync.tick SET at = now() - interval '2 days' WHERE seq <= {number}"
        )
        purge(self.remote.url, utc_now() - dt.timedelta(days=1))

    # -- what people write, in a file or on the server ---------------------------------------

    def _sql(self, who: str, statement: str) -> None:
        if who == "sql":
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
        else:
            self._file(who, statement)

    def write(self, who: str, table: str, key: str, row: Any) -> None:
        values = _literals({"key": key, **_plain(table, row)})
        names = ", ".join(values)
        changes = ", ".join(f"{name} = excluded.{name}" for name in values if name != "key")
        self._sql(
            who,
            f"INSERT INTO {table} ({names}) VALUES ({', '.join(values.values())})"
            f" ON CONFLICT (key) DO UPDATE SET {changes}",
        )

    def replace(self, who: str, table: str, key: str, row: Any) -> None:
        values = _literals({"key": key, **_plain(table, row)})
        self._sql(
            who,
            f"INSERT OR REPLACE INTO {table} ({', '.join(values)})"
            f" VALUES ({', '.join(values.values())})",
        )

    def delete(self, who: str, table: str, key: str) -> None:
        self._sql(who, f"DELETE FROM {table} WHERE key = '{key}'")

    def rekey(self, who: str, table: str, old: str, new: str, row: Any) -> None:
        values = _literals({"key": new, **_plain(table, row)})
        changes = ", ".join(f"{name} = {value}" for name, value in values.items())
        self._sql(who, f"UPDATE {table} SET {changes} WHERE key = '{old}'")

    # -- syncs -------------------------------------------------------------------------------

    def sync(self, name: str, death: tuple[str, int] | None = None, **options: Any) -> bool:
        """Sync a file; tell whether it lived."""
        try:
            with _dying(*death) if death else contextlib.nullcontext():
                sync(self._stores[name], self.remote.url, **options)
        except Death:
            return False
        return True

    def retry(self, name: str, table: str, key: str) -> None:
        with Store.open(self._path(name)) as store:
            rows = [r for r in list_all(store) if (r.table, r.key) == (table, key)]
            retry_rejects(store, rows)

    # -- what shows --------------------------------------------------------------------------

    def view(self, tables: Iterable[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        with self._connection.cursor() as cursor:

            def ask(statement: str) -> list[Any]:
                cursor.execute(statement)
                return list(cursor.fetchall())

            rows: dict[str, Any] = {}
            held: dict[tuple[str, str], int] = {}
            for table in tables:
                names = ", ".join(NAMES[column] for column in _COLUMNS[table])
                rows[table] = {}
                for key, revision, *values in ask(f"SELECT key, sync_rev, {names} FROM {table}"):
                    rows[table][key] = dict(zip(_COLUMNS[table], values, strict=True))
                    held[table, key] = revision
            shown["server"] = rows
            graves = {
                (t, k): r for t, k, r in ask("SELECT tbl, key, rev FROM dynostore_sync.tombstone")
            }
            assert not graves.keys() & held.keys(), "a key is in its table and a tombstone"
            shown["tombstones"] = set(graves)
            [(self.clock,)] = ask("SELECT coalesce(max(seq), 0) FROM dynostore_sync.tick")
            shown["archive"] = collections.Counter(
                (t, k, ARCHIVED.get(w, w), _value(image))
                for t, k, w, image in ask("SELECT tbl, key, why, image FROM dynostore_sync.archive")
            )
        for name in self._stores:
            shown[name] = self._view_of(name, tables, held | graves)
        return shown

    def _view_of(self, name: str, tables: Iterable[str], held: Any) -> dict[str, Any]:
        with closing(sqlite3.connect(self._path(name), isolation_level=None)) as connection:

            def ask(statement: str) -> list[Any]:
                return connection.execute(statement).fetchall()

            rows = {}
            for table in tables:
                names = ", ".join(NAMES[column] for column in _COLUMNS[table])
                rows[table] = {
                    key: dict(zip(_COLUMNS[table], values, strict=True))
                    for key, *values in ask(f"SELECT key, {names} FROM {table}")
                }
            known = ask("SELECT 1 FROM sqlite_master WHERE name = 'sync_meta'")
            if not known:
                return {"rows": rows, **dict.fromkeys(("conflicts", "rejects", "log", "known"))}
            conflicts = collections.Counter(
                (t, k, WHY[w], _value(image) if w == REASONS["lost"] else None)
                for t, k, w, image in ask("SELECT tbl, key, why, image FROM sync_conflict")
            )
            bases = ask("SELECT tbl, key, revision FROM sync_base")
            return {
                "rows": rows,
                "conflicts": conflicts,
                "rejects": set(ask("SELECT tbl, key FROM sync_reject")),
                "log": set(ask("SELECT tbl, key FROM sync_log WHERE tbl IS NOT NULL")),
                "known": {(t, k) for t, k, rev in bases if held.get((t, k)) == rev},
            }


def list_all(store: Store) -> list[Any]:
    from dynostore.sync import list_rejects

    return list(list_rejects(store, limit=1000).items)


def _literals(row: dict[str, Any]) -> dict[str, str]:
    return {
        NAMES[name]: "NULL"
        if value is None
        else f"'{value}'"
        if isinstance(value, str)
        else str(value)
        for name, value in row.items()
    }


def _value(image: str | None) -> int | None:
    return None if image is None else json.loads(image)[NAMES["value"]]


@contextlib.contextmanager
def _dying(kind: str, number: int) -> Iterator[None]:
    """Let what runs inside die behind the ``number``-th event of a kind, from 1."""
    left = number

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return act(*arguments, **options)
            with contextlib.suppress(Exception):
                done = act(*arguments, **options)
                if kind == "snapshot":
                    with done:
                        raise Death
            raise Death

        return call

    with pytest.MonkeyPatch.context() as patch:
        for place, name in EVENTS[kind]:
            patch.setattr(place, name, counted(getattr(place, name)))
        yield


class Twins:
    """The model and the real code, which go through the same.

    :ivar trace: what happened, for who looks into a difference.
    """

    def __init__(self, package: Any, what: Any, real: Real) -> None:
        self._package = package
        self.what = what
        self.tables = [name for name in describe(_models()) if name in what.tables]
        tables = [package.scripts.TABLES[name] for name in self.tables]
        self._tables = [
            t._replace(merges={"high": "max", "low": "min"}) if t.merges else t for t in tables
        ]
        self.model = package.Model(self._tables, what.files)
        self.real = real
        for name in what.files:
            real.make(name)
        self._files: list[tuple[str, Any, Path]] = []
        self._servers: list[tuple[Any, str, list[tuple[int, int]]]] = []
        self._clocks: list[tuple[int, int]] = []
        self._last = 100_000
        self.trace: list[str] = []

    def run(self, ops: Iterable[Any]) -> None:
        try:
            for op in ops:
                verb, *arguments = op
                act = getattr(self, "_" + verb.replace(" ", "_"), None)
                self.trace.append(" ".join(map(str, op)))
                if act is not None:
                    act(*arguments)
                if act == self._go:
                    self._compare()
            self._settle()
        except BaseException as exc:
            exc.add_note("\n".join(self.trace))
            raise

    def _compare(self) -> None:
        shown, real = self._view(), self.real.view(self.tables)
        for place, expected in shown.items():
            if isinstance(expected, dict) and place != "server":
                for what, value in expected.items():
                    found = real[place][what]
                    if found is not None:
                        assert found == value, f"{place}: {what}"
            else:
                assert real[place] == expected, place
        assert shown.keys() == real.keys()
        self._clocks.append((self.model.server.hi, self.real.clock))

    def _view(self) -> dict[str, Any]:
        """Give of the model what :meth:`Real.view` gives of the real code."""
        server = self.model.server
        held = {
            (table, key): item[1]
            for places in (server.rows, server.tombstones)
            for table, items in places.items()
            for key, item in items.items()
        }
        shown: dict[str, Any] = {
            "server": {
                table: {key: _plain(table, item[0]) for key, item in rows.items()}
                for table, rows in server.rows.items()
            },
            "tombstones": {(t, k) for t, stones in server.tombstones.items() for k in stones},
            "archive": collections.Counter(
                (table, key, why, row and row["value"])
                for table, key, why, row, _ in server.archive
            ),
        }
        for name, file in self.model.files.items():
            shown[name] = {
                "rows": {
                    table: {key: _real_row(table, row) for key, row in rows.items()}
                    for table, rows in file.rows.items()
                },
                "conflicts": collections.Counter(
                    (t, k, why, mine["value"] if why == "lost" and type(mine) is dict else None)
                    for t, k, why, mine in file.conflicts
                ),
                "rejects": set(file.rejects),
                "log": {(table, key) for _, table, key, _ in file.log if table},
                "known": {
                    (table, key)
                    for table, bases in file.base.items()
                    for key, (revision, _) in bases.items()
                    if held.get((table, key)) == revision
                },
            }
        return shown

    # -- the moves, by their names in the scripts ----------------------------------------------

    def _write(self, who: str, table: str, key: str, values: Any) -> None:
        row = self._row(who, table, values)
        if self._in_model(who, "write", table, key, row):
            self.real.write(who, table, key, _real_row(table, row))

    def _replace(self, who: str, table: str, key: str, values: Any) -> None:
        row = self._row(who, table, values)
        if self._in_model(who, "replace", table, key, row):
            self.real.replace(who, table, key, _real_row(table, row))

    def _delete(self, who: str, table: str, key: str) -> None:
        if self._in_model(who, "delete", table, key):
            self.real.delete(who, table, key)

    def _rekey(self, who: str, table: str, old: str, new: str, values: Any) -> None:
        row = self._row(who, table, values)
        if self._in_model(who, "rekey", table, old, new, row):
            self.real.rekey(who, table, old, new, _real_row(table, row))

    def _touch(self, who: str, table: str, key: str, number: int) -> None:
        """Change only what merges."""
        held = self.model.server.rows[table].get(key)
        row = held and held[0] if who == "sql" else self.model.files[who].rows[table].get(key)
        if row:
            high, low = max(row["high"], number), min(row["low"], -number)
            self._write(who, table, key, {**row, "high": high, "low": low})

    def _in_model(self, who: str, verb: str, *arguments: Any) -> bool:
        if who == "sql":
            return bool(getattr(self.model, f"sql_{verb}")(*arguments))
        return bool(getattr(self.model, verb)(who, *arguments))

    def _row(self, who: str, table: str, values: Any) -> dict[str, Any]:
        row = {name: value for name, value in values.items() if name != "tags"}
        if who == "sql":  # Postgres would refuse it at once
            row.pop("bad", None)
        return row

    def _go(self, name: str, direction: str, tables: Any, rows: int, _: bool, steps: int) -> None:
        death = None if steps == 99 else (DEATHS[steps % len(DEATHS)], 1 + steps // len(DEATHS))
        scope = tables and self._with_parents(tables)
        self._both(name, direction, scope, rows, death)

    def _with_parents(self, tables: Any) -> tuple[str, ...]:
        wanted = set(tables)
        for table in reversed(self._tables):
            if table.name in wanted:
                wanted.update(table.references.values())
        return tuple(table.name for table in self._tables if table.name in wanted)

    def _both(
        self, name: str, direction: str, tables: Any, rows: int, death: tuple[str, int] | None
    ) -> None:
        lived = self._sync_model(name, direction, tables, rows, death)
        options: dict[str, Any] = {"tables": tables or self.tables, "limits": Limits(rows=rows)}
        adopt = bool({"server", "empty"} & self.what.faults)
        assert lived == self.real.sync(name, death, direction=direction, adopt=adopt, **options), (
            f"{name}: death at {death}"
        )

    def _sync_model(
        self, name: str, direction: str, tables: Any, rows: int, death: tuple[str, int] | None
    ) -> bool:
        kind, left = death or ("", 0)
        model = self.model
        options = {"tables": tables, "rows": rows, "eager": kind in EAGER}
        model.start(name, direction, **options)
        while name in model.running:
            try:
                step = model.step(name)
            except self._package.IdentityMismatch:
                model.adopt(name)
                model.start(name, direction, **options)
                continue
            self.trace.append(f"    {name}: {step}")
            left -= step == kind
            if step == kind and not left:
                model.kill(name)
                return False
        return True

    def _copy(self, name: str, new: str) -> None:
        self.model.copy(name, new)
        self.real.make(new, self.real.saved(name))

    def _back_up_file(self, name: str, _: float) -> None:
        self._files.append((name, self.model.files[name].copy(name), self.real.saved(name)))

    def _restore_file(self, _: str, which: float) -> None:
        if self._files:
            name, backup, path = self._files[int(which * len(self._files))]
            self.model.restore(name, backup)
            self.real.make(name, path)

    def _back_up_server(self, *_: Any) -> None:
        backup = self.model.server.copy(), self.real.back_up_server(), list(self._clocks)
        self._servers.append(backup)

    def _restore_server(self, _: str, which: float) -> None:
        if self._servers:
            server, database, clocks = self._servers[int(which * len(self._servers))]
            self.model.restore_server(server)
            self.real.restore_server(database)
            self._clocks = list(clocks)

    def _empty_server(self) -> None:
        self.model.empty_server()
        self.real.empty_server()
        self._clocks = []

    def _rebuild(self, name: str, table: str) -> None:
        self.model.rebuild(name, table)
        self.real.rebuild(name, table)

    def _purge(self, share: float) -> None:
        """Purge up to a moment at which both clocks are known."""
        if self._clocks:
            model, real = self._clocks[int(share * len(self._clocks))]
            self.model.purge(model)
            self.real.purge(real)

    # -- the end -----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let everybody sync both ways, with the rejects mended, until nothing moves any more."""
        for number in range(8):
            before = self.model.server.hi, dict(self.model.server.nodes)
            for name in self.model.files:
                if number in (1, 3):
                    self._mend(name)
                self.trace.append(f"{name} settles")
                self._both(name, "both", None, 2, None)
                self._compare()
            rejects = any(file.rejects for file in self.model.files.values())
            if not rejects and before == (self.model.server.hi, self.model.server.nodes):
                break
        state = self.real.view(self.tables)
        for name in self.model.files:
            assert state[name]["rows"] == state["server"]
            assert not state[name]["log"]
            assert not state[name]["rejects"]

    def _mend(self, name: str) -> None:
        file = self.model.files[name]
        for table, key in list(file.rejects):
            row = file.rows[table].get(key)
            if row is not None and "bad" in row:
                self._last += 1
                whole = {column: value for column, value in row.items() if column != "bad"}
                self._write(name, table, key, {**whole, "value": self._last})
            else:
                file.note(table, key, "p")
                self.real.retry(name, table, key)


def _real_row(table: str, row: Any) -> dict[str, Any]:
    plain = _plain(table, row)
    return {**plain, "bad": BAD.get(plain["bad"])}


# -- the tests -------------------------------------------------------------------------------------


def _replicate(patch: pytest.MonkeyPatch) -> None:
    """Let the sync see to our tables instead of the store's own."""
    patch.setattr("dynostore.models.REPLICATED", tuple(_models()))


@pytest.fixture(scope="module")
def start(
    postgres: Any, make_remote: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Any, Any]]:
    """Give a file that never synced, a server, and what that holds before anybody did."""
    path = tmp_path_factory.mktemp("start") / "start.db"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        for name in _COLUMNS:
            connection.execute(_ddl(name, "JSON"))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = postgres.create()
    remote = make_remote(postgres.url_of(database))
    Store.open(remote.url, warm=False).close()
    remote.sql("; ".join(_ddl(name, "JSONB") for name in _COLUMNS))
    nobody = shutil.copy(path, path.with_name("nobody.db"))
    with pytest.MonkeyPatch.context() as patch, Store.open(nobody) as store:
        _replicate(patch)
        sync(store, remote.url)
    remote.sql("TRUNCATE dynostore_sync.node, dynostore_sync.node_history, dynostore_sync.tick")
    yield path, remote, remote.back_up(*_COLUMNS)
    postgres.drop(database)


@pytest.fixture
def run(
    start: tuple[Path, Any, Any], model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], None]:
    """Give a function that runs one seed of a scenario."""
    _replicate(monkeypatch)

    def run(scenario: str, seed: int) -> None:
        what = model.histories.SCENARIOS[scenario]
        monkeypatch.setattr(few, "MAX_ROWS", MAX_ROWS * (seed % 2))  # either way, in turns
        directory = tmp_path / f"{seed}"
        directory.mkdir()
        real = Real(directory, *start)
        try:
            Twins(model, what, real).run(model.histories.script(seed, what))
        except BaseException as exc:
            exc.add_note(f"DYNOSTORE_MODEL_SEED='{scenario}:{seed}'")
            raise
        finally:
            real.close()
            shutil.rmtree(directory)

    return run


@pytest.mark.parametrize(("scenario", "seed"), SEEDS)
def test_the_model_and_the_code_agree_at_every_move(scenario: str, seed: int, run: Any) -> None:
    run(scenario, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_they_agree_in_every_scenario(seed: int, model: Any, run: Any) -> None:
    for scenario in model.histories.SCENARIOS:
        run(scenario, seed)


@pytest.mark.skipif(not ASKED_FOR[0][0], reason="DYNOSTORE_MODEL_SEED names none")
def test_they_agree_in_the_histories_that_were_asked_for(run: Any) -> None:
    for scenario, _, seed in ASKED_FOR:
        run(scenario, int(seed))


def test_what_a_truncation_removes_is_archived_whole(
    start: tuple[Path, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replicate(monkeypatch)
    with contextlib.closing(Real(tmp_path, *start)) as real:
        real.make("one")
        real.write("one", "shelves", "s0", {"value": 1})
        real.write("one", "boxes", "b0", {"value": 2, "parent": "s0"})
        real.sync("one")
        real.remote.sql("TRUNCATE boxes CASCADE")
        [(_, image)] = real.remote.archive("b0")
        assert (image[NAMES["value"]], image[NAMES["parent"]]) == (2, "s0")
