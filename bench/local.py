"""Recording runs on one machine: dynostore, sqlite3 by hand, SQLAlchemy's ORM, MLflow's store.

Each peer has a file of its own with the same journal mode and the same ``synchronous``, read back
from the connection that is measured: a store that syncs less often would win by promising less.
sqlite3 by hand is the floor: the same rows in the same tables, and nothing checked.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dynostore import Run, Store
from dynostore.config import Place, Settings
from dynostore.fields import time_text, utc_now
from dynostore.ids import new_id

PAGE_ROWS = 50
CONFIG = {"rows": 11, "columns": 9, "clamp": 15.0, "smoothing": True, "fuel": "E10"}
SYNCHRONOUS_NAMES = {1: "NORMAL", 2: "FULL"}

Verbs = dict[str, Callable[[], object]]


class Peer(Protocol):
    """One store of runs; what it cannot do or what is not compared is missing from ``verbs``."""

    name: str
    verbs: Verbs

    def pragma(self, name: str) -> object:
        """Give a pragma's value on the connection that is measured."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Dynostore:
    """Our own store, through its public verbs."""

    name = "dynostore"

    def __init__(self, directory: Path, synchronous: str, rows: int) -> None:
        place = Place(str(directory / "dynostore.db"), "benchmark", Settings(synchronous))
        self._store = Store.at(place)
        self._created: list[str] = []
        self._store.runs.put_many(Run(**values) for values in _existing(rows))
        self.verbs: Verbs = {"create": self.create, "update": self.update, "list": self.page}

    def create(self) -> None:
        run = self._store.runs.create(
            source="bench", input_filename="log.csv", config_snapshot=CONFIG
        )
        self._created.append(run.id)

    def update(self) -> None:
        self._store.runs.update(self._created.pop(), status="complete", progress_percent=100)

    def page(self) -> object:
        return self._store.runs.list(limit=PAGE_ROWS).items

    def pragma(self, name: str) -> object:
        return self._store.database.pragma(name)

    def close(self) -> None:
        self._store.close()


class RawSqlite:
    """The floor: prepared statements on the same tables, one transaction each."""

    name = "sqlite3"

    def __init__(self, directory: Path, synchronous: str, rows: int) -> None:
        path = directory / "sqlite3.db"
        Store.open(path).close()
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._created: list[str] = []
        self._db.execute("BEGIN IMMEDIATE")
        for values in _existing(rows):
            self._insert(values["id"], values["created_at"])
        self._db.execute("COMMIT")
        self.verbs: Verbs = {"create": self.create, "update": self.update, "list": self.page}

    def create(self) -> None:
        key = new_id()
        self._db.execute("BEGIN IMMEDIATE")
        self._insert(key, utc_now())
        self._db.execute("COMMIT")
        self._created.append(key)

    def _insert(self, key: str, created_at: dt.datetime) -> None:
        at = time_text(created_at)
        self._db.execute(
            "INSERT INTO runs (id, status, source, created_at, updated_at, input_filename, "
            "config_snapshot) VALUES (?, 'pending', 'bench', ?, ?, 'log.csv', ?)",
            (key, at, at, json.dumps(CONFIG)),
        )

    def update(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "UPDATE runs SET status = 'complete', progress_percent = 100, updated_at = ? "
            "WHERE id = ?",
            (time_text(utc_now()), self._created.pop()),
        )
        self._db.execute("COMMIT")

    def page(self) -> object:
        return self._db.execute(
            "SELECT * FROM runs ORDER BY created_at DESC, id DESC LIMIT ?", (PAGE_ROWS,)
        ).fetchall()

    def pragma(self, name: str) -> object:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        self._db.close()


class SqlAlchemyOrm:
    """SQLAlchemy's ORM as its tutorial uses it: a mapped class, one session per transaction."""

    name = "sqlalchemy"

    def __init__(self, directory: Path, synchronous: str, rows: int) -> None:
        import sqlalchemy as sa
        from sqlalchemy.orm import Session, registry

        _set_pragmas_at_connect(synchronous)
        self._sa, self._session = sa, Session
        self._run: Any = type("MappedRun", (), {})
        mapped = registry()
        mapped.map_imperatively(self._run, _run_table(mapped.metadata))
        self._engine = sa.create_engine(f"sqlite:///{directory / 'sqlalchemy.db'}")
        mapped.metadata.create_all(self._engine)
        self._created: list[str] = []
        with Session(self._engine) as session, session.begin():
            for values in _existing(rows):
                session.add(self._row(values["id"], values["created_at"]))
        self.verbs: Verbs = {"create": self.create, "update": self.update, "list": self.page}

    def _row(self, key: str, now: dt.datetime) -> Any:
        row = self._run()
        row.id, row.status, row.source = key, "pending", "bench"
        row.created_at = row.updated_at = now
        row.input_filename, row.config_snapshot = "log.csv", CONFIG
        return row

    def create(self) -> None:
        key = new_id()
        with self._session(self._engine) as session, session.begin():
            session.add(self._row(key, utc_now()))
        self._created.append(key)

    def update(self) -> None:
        with self._session(self._engine) as session, session.begin():
            row = session.get(self._run, self._created.pop())
            row.status, row.progress_percent, row.updated_at = "complete", 100, utc_now()

    def page(self) -> object:
        newest = self._run.created_at.desc(), self._run.id.desc()
        query = self._sa.select(self._run).order_by(*newest).limit(PAGE_ROWS)
        with self._session(self._engine) as session:
            return session.scalars(query).all()

    def pragma(self, name: str) -> object:
        return _engine_pragma(self._engine, name)

    def close(self) -> None:
        self._engine.dispose()


class MlflowStore:
    """MLflow's tracking store on SQLite, called directly: no server and no client between.

    It starts empty, which is to its advantage: filling it takes it minutes.
    """

    name = "mlflow"

    def __init__(self, directory: Path, synchronous: str, rows: int) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        _set_pragmas_at_connect(synchronous)
        self._store = SqlAlchemyStore(
            f"sqlite:///{directory / 'mlflow.db'}", (directory / "artifacts").as_uri()
        )
        self.verbs: Verbs = {"create": self.create}

    def create(self) -> None:
        self._store.create_run(
            experiment_id="0",
            user_id="bench",
            start_time=time.time_ns() // 1_000_000,
            tags=[],
            run_name="log.csv",
        )

    def pragma(self, name: str) -> object:
        return _engine_pragma(self._store.engine, name)

    def close(self) -> None:
        self._store.engine.dispose()


PEERS: tuple[Callable[[Path, str, int], Peer], ...] = (
    Dynostore,
    RawSqlite,
    SqlAlchemyOrm,
    MlflowStore,
)


def run(arguments: list[str]) -> dict[str, Any]:
    """Measure each verb of each peer in interleaved rounds; rates are medians over the rounds."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        peers = [make(Path(directory), options.synchronous, options.rows) for make in PEERS]
        try:
            promises = {peer.name: _promise(peer) for peer in peers}
            if len(set(promises.values())) != 1:
                raise SystemExit(f"the peers do not promise the same: {promises}")
            rates = _measure(peers, options.rounds, options.count)
        finally:
            for peer in peers:
                peer.close()
    ours = {verb: rate for (name, verb), rate in rates.items() if name == "dynostore"}
    return {
        "promises": promises,
        "rounds": options.rounds,
        "calls_per_round": options.count,
        "rows_before": options.rows,
        "rates": [
            {"verb": verb, "peer": name, "per_s": rate, "dynostore_is_x_times": ours[verb] / rate}
            for (name, verb), rate in sorted(rates.items(), key=lambda item: item[0][1])
        ],
        **{
            f"ratio_{name}_{verb}": ours[verb] / rate
            for (name, verb), rate in rates.items()
            if name != "dynostore"
        },
        "target": "ratio_mlflow_create at least 10",
    }


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench local", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds over all peers (7)")
    parser.add_argument("--count", type=int, default=200, help="calls of a verb a round (200)")
    parser.add_argument("--rows", type=int, default=10_000, help="rows there before (10,000)")
    parser.add_argument("--synchronous", choices=("NORMAL", "FULL"), default="NORMAL")
    parser.add_argument("--directory", help="where the files are made (the system's)")
    return parser.parse_args(arguments)


def _promise(peer: Peer) -> str:
    synchronous = SYNCHRONOUS_NAMES.get(int(str(peer.pragma("synchronous"))), "another")
    return f"synchronous {synchronous}, journal {peer.pragma('journal_mode')}"


def _measure(peers: list[Peer], rounds: int, count: int) -> dict[tuple[str, str], float]:
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        # Every round begins with another peer, so that nobody always follows the same one.
        shift = number % len(peers)
        for peer in peers[shift:] + peers[:shift]:
            for verb, call in peer.verbs.items():
                begin = time.perf_counter()
                for _ in range(count):
                    call()
                rate = count / (time.perf_counter() - begin)
                if number:  # the first round warms up
                    rates.setdefault((peer.name, verb), []).append(rate)
    return {key: statistics.median(values) for key, values in rates.items()}


def _existing(rows: int) -> Iterator[dict[str, Any]]:
    first = utc_now() - dt.timedelta(seconds=rows)
    for number in range(rows):
        at = first + dt.timedelta(seconds=number)
        yield {
            "id": new_id(),
            "status": "pending",
            "source": "bench",
            "created_at": at,
            "updated_at": at,
            "input_filename": "log.csv",
            "config_snapshot": CONFIG,
        }


def _set_pragmas_at_connect(synchronous: str) -> None:
    """Set the pragmas on every SQLAlchemy connection; MLflow makes its engine itself."""
    from sqlalchemy import Engine, event

    def set_pragmas(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    event.listen(Engine, "connect", set_pragmas)


def _engine_pragma(engine: Any, name: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def _run_table(metadata: Any) -> Any:
    import sqlalchemy as sa

    time_type = sa.DateTime(timezone=True)
    return sa.Table(
        "runs",
        metadata,
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("status", sa.String(16), nullable=False, index=True),
        sa.Column("source", sa.String(64), nullable=False, index=True),
        sa.Column("created_at", time_type, nullable=False, index=True),
        sa.Column("updated_at", time_type, nullable=False),
        sa.Column("jetstream_id", sa.String(255), index=True),
        sa.Column("current_stage", sa.Text),
        sa.Column("progress_percent", sa.BigInteger),
        sa.Column("results_summary", sa.JSON),
        sa.Column("error_info", sa.JSON),
        sa.Column("input_filename", sa.Text),
        sa.Column("config_snapshot", sa.JSON),
        sa.Column("metadata", sa.JSON),
        sa.Index("by_status", "status", "created_at"),
        sa.Index("by_source", "source", "created_at"),
    )
