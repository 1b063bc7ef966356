"""What the sync's tests share: nodes, their server, a comparison to the last value, and a proxy."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import psycopg2
import pytest

from dynostore import Store
from dynostore.models import REPLICATED
from dynostore.models.base import key_field
from dynostore.sync import sync
from dynostore.sync.exchange import Limits

KEYS = {model._meta.table_name: key_field(model).column_name for model in REPLICATED}
TABLES = tuple(KEYS)
SYNC_TABLES = tuple(
    f"dynostore_sync.{name}"
    for name in ("server", "ancestor", "node", "node_history", "tombstone", "archive", "tick")
)
SYNC_SEQUENCES = tuple(
    f"dynostore_sync.{name}" for name in ("seq", "node_no_seq", "archive_id_seq")
)
SYNC_COLUMNS = ("sync_rev", "sync_seq", "sync_node")
_EMPTIED = (
    *(name for name in SYNC_TABLES if name != "dynostore_sync.server"),
    "dynostore_sync.touched",
    *TABLES,
)


class Remote:
    """A database on the real server, asked by plain SQL and as a store."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: list[Any] = []

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """Give a plain SQL user's connection in autocommit mode."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            yield connection

    @contextlib.contextmanager
    def _kept_session(self) -> Iterator[Any]:
        """Give a session as good as new: to open one costs more than most statements."""
        connection = self._take_idle()
        if connection is None:
            connection = psycopg2.connect(self.url)
            connection.autocommit = True
        try:
            yield connection
            with connection.cursor() as cursor:
                cursor.execute("DISCARD ALL")
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _take_idle(self) -> Any:
        """Give a session that is still there; threads may ask at once."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except psycopg2.Error:
                connection.close()
            else:
                return connection

    def sql(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run statements as a plain SQL user; give the rows of the last one."""
        with self._kept_session() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return list(cursor.fetchall()) if cursor.description else []

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])

    def stamps(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Give revision and number of every row and tombstone, by table and key."""
        with self._kept_session() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT tbl, key, rev, seq FROM dynostore_sync.tombstone")
            found = {(t, k): (rev, seq) for t, k, rev, seq in cursor.fetchall()}
            for table, name in KEYS.items():
                cursor.execute(f"SELECT {name}::text, sync_rev, sync_seq FROM {table}")
                for key, rev, seq in cursor.fetchall():
                    assert (table, key) not in found, "a key is in its table and a tombstone"
                    found[table, key] = (rev, seq)
        return found

    def state(self) -> list[Any]:
        """Give what a sync that has nothing to do must leave alone, versions of rows included."""
        tables = [
            "dynostore_sync.tick",
            "dynostore_sync.node_history",
            "dynostore_sync.tombstone",
            "dynostore_sync.archive",
            "dynostore_sync.node",
            *TABLES,
        ]
        with self._kept_session() as connection, connection.cursor() as cursor:
            result = []
            for table in tables:
                cursor.execute(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY 1")
                result.append((table, cursor.fetchall()))
            return result

    def archive(self, key: str) -> list[tuple[str, Any]]:
        """Give (why, image) of a key's archived versions, oldest first."""
        rows = self.sql(
            "SELECT why, image FROM dynostore_sync.archive WHERE key = %s ORDER BY id", (key,)
        )
        return [(why, image and json.loads(image)) for why, image in rows]

    def back_up(self, *tables: str) -> dict[str, Any]:
        """Give what a dump holds of the sync's own tables, of some others, and of the sequences."""
        with self.session() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            backup: dict[str, Any] = {}
            for table in (*SYNC_TABLES, *tables):
                stream = io.BytesIO()
                cursor.copy_expert(f"COPY {table} TO STDOUT", stream)
                backup[table] = stream.getvalue()
            for sequence in SYNC_SEQUENCES:
                cursor.execute(f"SELECT last_value, is_called FROM {sequence}")
                backup[sequence] = cursor.fetchone()
            return backup

    def put_back(self, backup: dict[str, Any]) -> None:
        """Make the server what it was, as a restore from a dump does; every node finds out alone.

        In place of a database made anew, which takes ten times as long.
        """
        tables = [name for name in backup if name not in SYNC_SEQUENCES]
        with self.session() as connection, connection.cursor() as cursor:
            # A test that left a transaction open fails here instead of waiting for ever.
            cursor.execute("SET lock_timeout = '5s'; BEGIN; SET LOCAL dynostore_sync.apply = 'on'")
            cursor.execute(f"TRUNCATE {', '.join(tables)}")
            for table in tables:
                cursor.copy_expert(f"COPY {table} FROM STDIN", io.BytesIO(backup[table]))
            for sequence in SYNC_SEQUENCES:
                cursor.execute(f"SELECT setval('{sequence}', %s, %s)", backup[sequence])
            cursor.execute("COMMIT")

    def tables(self) -> list[str]:
        """Give all tables that anybody has made."""
        rows = self.sql(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        return [name for (name,) in rows]


class Node:
    """One local file, with the store that writes it and the sync that sends it."""

    def __init__(self, path: Path, remote: Remote) -> None:
        self.path = path
        self.remote = remote
        self.store = Store.open(path)

    def close(self) -> None:
        self.store.close()

    def sync(self, *, rows: int | None = None, url: str | None = None, **options: Any) -> Any:
        """Sync with the node's server, or another one; ``rows`` makes small batches."""
        if rows is not None:
            options["limits"] = Limits(rows=rows)
        return sync(self.store, url or self.remote.url, **options)

    def sql(self, statement: str, values: Any = (), *, foreign_keys: bool = True) -> list[Any]:
        """Run one statement as any program would that opens the file; nothing checks it."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection:
            connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
            return connection.execute(statement, values).fetchall()

    def write_rows_of(self, other: Node, *, where: str = "true") -> None:
        """Write another file's rows as this one's own, word for word."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("ATTACH ? AS other", (str(other.path),))
            for table in TABLES:
                connection.execute(
                    f"INSERT INTO main.{table} SELECT * FROM other.{table} WHERE {where}"
                )

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])

    def logged(self) -> list[tuple[str, str, str]]:
        """Give (table, key, op) of what waits to be sent."""
        return self.sql("SELECT tbl, key, op FROM sync_log WHERE tbl IS NOT NULL ORDER BY seq")

    def rejects(self) -> dict[str, tuple[Any, ...]]:
        """Give (table, column, value, SQLSTATE, message) of what was set aside, by key."""
        rows = self.sql("SELECT key, tbl, column_name, value, sqlstate, message FROM sync_reject")
        return {row[0]: tuple(row[1:]) for row in rows}

    def conflicts(self) -> list[dict[str, Any]]:
        """Give the conflicts that are listed, oldest first."""
        rows = self.sql("SELECT tbl, key, image, revision, why FROM sync_conflict ORDER BY id")
        names = ("tbl", "key", "image", "revision", "why")
        listed = [dict(zip(names, row, strict=True)) for row in rows]
        for conflict in listed:
            conflict["image"] = conflict["image"] and json.loads(conflict["image"])
        return listed

    def identity(self) -> tuple[Any, ...]:
        """Give (node id, server id, incarnation, token, applying)."""
        names = "node_id, server_id, incarnation, token, applying"
        return tuple(self.sql(f"SELECT {names} FROM sync_meta")[0])

    def state(self) -> list[Any]:
        """Give what a sync that has nothing to do must leave alone."""
        names = [
            name
            for (name,) in self.sql(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
            )
        ]
        return [(name, self.sql(f"SELECT * FROM {name} ORDER BY 1")) for name in names]

    def copied(self, path: Path) -> Node:
        """Copy the file as a person would who takes it to another machine, and open the copy."""
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.path, path)
        return Node(path, self.remote)

    def fill(self, ids: Iterable[str], files: int = 1, **values: Any) -> None:
        """Record runs with some files each."""
        for key in ids:
            self.store.runs.create(run_id=key, **values)
            for number in range(files):
                self.store.runs.add_file(key, f"output/{number}.csv", size_bytes=number)


def records(store: Store, tables: Iterable[str] = TABLES) -> dict[tuple[str, str], dict[str, Any]]:
    """Give every replicated record of a store by table and key, as Python values."""
    found = {}
    models = {model._meta.table_name: model for model in REPLICATED}
    with store.database.reading():
        for table in tables:
            for record in models[table].select().execute(store.database):
                values = record.values()
                found[table, str(values[KEYS[table]])] = values
    return found


def _raw(table: str, columns: list[tuple[str, str]], rows: list[Any]) -> dict[str, Any]:
    """Give rows by key; JSON parsed, since jsonb keeps neither the order nor the spaces."""
    result = {}
    for row in rows:
        values = {
            name: json.loads(value) if kind == "JSON" and value is not None else value
            for (name, kind), value in zip(columns, row, strict=True)
        }
        key = values[KEYS[table]]
        assert key not in result, f"{table}: {key} is there twice"
        result[key] = values
    return result


def _counts(sql: Callable[[str], list[Any]]) -> dict[str, int]:
    """Count the rows of the tables that have any; one question, since each is a connection."""
    counts = (f"SELECT '{table}', count(*) FROM {table}" for table in TABLES)
    return {table: count for table, count in sql(" UNION ALL ".join(counts)) if count}


def raw_rows(node: Node, table: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a table's rows by key as plain SQL shows them in the file, and on the server."""
    model = {m._meta.table_name: m for m in REPLICATED}[table]
    columns = [(name, field.field_type) for name, field in model._meta.columns.items()]
    names = ", ".join(name for name, _ in columns)
    shown = {
        "JSON": "{}::text",
        "UUID": "{}::text",
        "UTCTIME": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00'",
    }
    expressions = ", ".join(shown.get(kind, "{}").format(name) for name, kind in columns)
    here = node.sql(f"SELECT {names} FROM {table}")
    there = node.remote.sql(f"SELECT {expressions} FROM {table}")
    return _raw(table, columns, here), _raw(table, columns, there)


def assert_equal(node: Node) -> None:
    """Compare the file with the server: every row, every value, by plain SQL and by the store."""
    filled = _counts(node.sql)
    assert _counts(node.remote.sql) == filled
    for table in filled:
        here, there = raw_rows(node, table)
        assert set(there) == set(here)
        for key, values in here.items():
            assert there[key] == values
    with Store.open(node.remote.url, warm=False) as server:
        assert records(server, filled) == records(node.store, filled)


def assert_holds(node: Node) -> None:
    """The server has at least every row of the file, with its values."""
    for table in _counts(node.sql):
        here, there = raw_rows(node, table)
        assert {key: there.get(key) for key in here} == here


def assert_settled(node: Node) -> None:
    """Nothing waits, nothing is left over, and the file knows what the server holds."""
    assert node.logged() == []
    assert len(node.sql("SELECT seq FROM sync_log")) <= 1
    assert node.sql("SELECT * FROM sync_pending") == []
    assert node.identity()[4] == 0
    stamps = node.remote.stamps()
    bases = {(t, k): (rev, seq) for t, k, rev, seq in node.sql("SELECT * FROM sync_base")}
    assert {key: bases.get(key) for key in stamps} == stamps
    token = node.remote.sql(
        "SELECT token FROM dynostore_sync.node WHERE id = %s", (node.identity()[0],)
    )
    assert token == [(node.identity()[3],)]


def assert_quiet(node: Node) -> None:
    """Nobody was told of a conflict or of a row that was set aside."""
    assert node.conflicts() == []
    assert node.rejects() == {}
    assert [why for (why,) in node.remote.sql("SELECT why FROM dynostore_sync.archive")] == [
        "deleted"
    ] * node.remote.count("dynostore_sync.archive")


@pytest.fixture
def empty_remote(postgres_url: str) -> Remote:
    """Give a database without any table, for tests of the set-up, or that change the schema."""
    return Remote(postgres_url)


@pytest.fixture(scope="session")
def make_remote() -> type[Remote]:
    """Give what makes a remote of a URL, for tests that see to a database of their own."""
    return Remote


@pytest.fixture(scope="session")
def shared_remote(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """Give a database that a first sync has set up."""
    name = postgres.create()
    remote = Remote(postgres.url_of(name))
    with Store.open(tmp_path_factory.mktemp("set-up") / "node.db") as store:
        sync(store, remote.url)
    yield remote
    postgres.drop(name)


@pytest.fixture(scope="module")
def own_server(start_postgres: Any) -> Any:
    """Give a server of these tests' own, which they may stop."""
    return start_postgres()


@pytest.fixture
def own_remote(own_server: Any, shared_remote: Any) -> Iterator[Any]:
    """Give an empty database of that server."""
    name = own_server.create()
    yield type(shared_remote)(own_server.url_of(name))
    own_server.drop(name)


@pytest.fixture
def remote(shared_remote: Remote, emptying: Callable[[Iterable[str]], str]) -> Remote:
    """Give a server that is set up and holds nothing; a database of its own would cost a second.

    A server from before is refused by no file, since it knows none.
    """
    # A test that left a transaction open fails here instead of waiting for ever.
    shared_remote.sql(
        "SET lock_timeout = '5s'; BEGIN; SET LOCAL dynostore_sync.apply = 'on';"
        f" UPDATE dynostore_sync.server SET horizon = 0; {emptying(_EMPTIED)}; COMMIT"
    )
    return shared_remote


@pytest.fixture
def make_node(remote: Remote, tmp_path: Path, migrated_file: Path) -> Iterator[Callable[..., Node]]:
    """Give a function that makes a file by name, or opens it."""
    nodes: list[Node] = []

    def make(name: str = "node", *, path: Path | None = None, to: Remote | None = None) -> Node:
        path = path or tmp_path / f"{name}.db"
        if not path.exists():
            shutil.copy(migrated_file, path)
        nodes.append(Node(path, to or remote))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """Give an empty file."""
    return make_node()


@pytest.fixture
def check() -> Any:
    """Give the assertions, which a test module cannot import: ``equal holds settled quiet all``."""

    class Check:
        equal = staticmethod(assert_equal)
        holds = staticmethod(assert_holds)
        settled = staticmethod(assert_settled)
        quiet = staticmethod(assert_quiet)
        raw_rows = staticmethod(raw_rows)
        records = staticmethod(records)

        @staticmethod
        def all(node: Node) -> None:
            assert_equal(node)
            assert_settled(node)
            assert_quiet(node)

    return Check


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between a sync's attempts."""
    monkeypatch.setattr("dynostore.sync.run._FIRST_PAUSE_S", 0.005)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let batches of a few rows go the way that all larger ones go."""
    monkeypatch.setattr("dynostore.sync.remote.few.MAX_ROWS", 0)


class Doomed:
    """Runs syncs in processes of their own that die where they are told to."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("push_and_die.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    def push(self, node_path: Path, url: str, *, at: int = 0, **options: Any) -> dict[str, Any]:
        """Sync, and die before or after the ``at``-th statement of either side; 0: live.

        With ``telling=True`` only those count at which to die may make a difference.

        :return: ``died``, and ``statements`` where it lived.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"path": str(node_path), "url": url, "at": at, **options}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def doomed(runtime_directory: None) -> Iterator[Doomed]:
    """Give the process that runs syncs which die."""
    process = Doomed()
    yield process
    process.close()


def _message(client: socket.socket, size: int) -> bytes:
    """Receive what the client sends; statements whole, since libpq sends long ones in pieces."""
    data = client.recv(size)
    while data[:1] == b"Q" and len(data) < 1 + int.from_bytes(data[1:5], "big"):
        more = client.recv(size)
        if not more:
            break
        data += more
    return data


class Proxy:
    """Stands between a sync and its server, and does harm to one message of the client's.

    Between Unix sockets, as the server of the tests listens on one.

    :ivar harm: what happens to the ``at``-th message that holds ``marker``, from 1:
        ``lose`` (it never arrives), ``half`` (half of it does), ``mute`` (it arrives, and nothing
        comes back any more), ``late`` (the client is cut off at once, and it arrives when
        ``release`` is set), ``slow`` (it waits a moment), ``hang`` (it arrives, nothing comes back
        any more, and the connection stays open); None: nothing.
    :ivar bytes_per_s: how fast the client's bytes go through; None: as they come.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        # pytest's own directories are too deep for the name of a socket.
        self._directory = tempfile.mkdtemp(prefix="dynostore-proxy-")
        self.url = urlunsplit(parts._replace(query=urlencode({"host": self._directory})))
        self.harm: str | None = None
        self.marker = b"DO $push"
        self.at = 1
        self.every = False
        self.bytes_per_s: int | None = None
        self.seen = 0
        self.release = threading.Event()
        self.arrived = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clients: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._directory + "/.s.PGSQL.5432")
        self._listener.listen()
        self._spawn(self._accept)

    def _spawn(self, act: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                server.close()
                continue
            self._spawn(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        mute = threading.Event()
        self._clients.add(client)
        back = self._spawn(self._copy_back, server, client, mute)
        try:
            while data := _message(client, 4096 if self.bytes_per_s else 1 << 20):
                if self.bytes_per_s:
                    threading.Event().wait(len(data) / self.bytes_per_s)
                if self.marker in data and self.harm and self._is_hit():
                    self._do_harm(self.harm, data, client, server, mute)
                    if self.harm != "slow":
                        break
                else:
                    server.sendall(data)
        except OSError:
            pass
        finally:
            for side in (client, server):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            back.join()
            self._clients.discard(client)
            client.close()
            server.close()

    def _is_hit(self) -> bool:
        self.seen += 1
        return self.every or self.seen == self.at

    def _do_harm(
        self, harm: str, data: bytes, client: Any, server: Any, mute: threading.Event
    ) -> None:
        if harm == "half":
            server.sendall(data[: len(data) // 2])
        elif harm == "mute":
            self.arrived.clear()
            mute.set()
            server.sendall(data)
            assert self.arrived.wait(30)
        elif harm == "late":
            # Cleared before its client can know of anything: who releases it waits for this reply.
            self.arrived.clear()
            mute.set()
            client.shutdown(socket.SHUT_RDWR)
            assert self.release.wait(30)
            server.sendall(data)
            assert self.arrived.wait(30)
        elif harm == "hang":
            mute.set()
            server.sendall(data)
            while client.recv(1 << 20):
                pass
        elif harm == "slow":
            self.release.wait(0.3)
            server.sendall(data)

    def _copy_back(self, server: Any, client: Any, mute: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if mute.is_set():
                    self.arrived.set()
                else:
                    client.sendall(data)
        self.arrived.set()

    def close(self) -> None:
        self.release.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in tuple(self._clients):  # a store that is still open keeps its connection
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        shutil.rmtree(self._directory)


@pytest.fixture
def proxy(remote: Remote) -> Iterator[Proxy]:
    """Give a way to the server that can be broken."""
    if "host" not in parse_qs(urlsplit(remote.url).query):
        pytest.skip("the server does not listen on a Unix socket")
    made = Proxy(remote.url)
    yield made
    made.close()


@pytest.fixture
def dice() -> random.Random:
    """Give the test's random numbers, the same in every run."""
    return random.Random(20250101)


@pytest.fixture(scope="session")
def model() -> Any:
    """Give the package ``tests/sync/model``, which a test module cannot import, as a whole."""
    package = Path(__file__).with_name("model")
    spec = importlib.util.spec_from_file_location(
        "tests.sync.model", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    importlib.import_module("tests.sync.model.histories")
    return module
