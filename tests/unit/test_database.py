from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import config, database, errors
from dynostore.store import Store

NOBODY = 65534


def name_of(url: str) -> str:
    return urlsplit(url).path[1:]


def pragma(store: Store, name: str) -> Any:
    with store.database.reading():
        return store.database.execute_sql(f"PRAGMA {name}").fetchone()[0]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def without_rights(directory: Path) -> Iterator[None]:
    """Be a user who may look into the directory and change nothing there."""
    directory.chmod(0o555)
    try:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        directory.chmod(0o755)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Give a directory that every user may enter; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="dynostore-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# the file


def test_the_file_and_its_log_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    before = os.umask(0)
    try:
        with Store.open(path) as store:
            store.runs.create()
            for name in ("s.db", "s.db-wal", "s.db-shm"):
                assert mode_of(tmp_path / name) == 0o600, name
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600


@pytest.mark.parametrize(("name", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_every_connection_has_the_pragmas(tmp_path: Path, name: str, number: int) -> None:
    place = config.Place(
        str(tmp_path / "s.db"), "test", config.Settings(synchronous=name, busy_timeout_s=4.5)
    )
    expected = {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": number,
        "journal_size_limit": 64 * 1024 * 1024,
        "busy_timeout": 4500,
        "application_id": database.APPLICATION_ID,
        "recursive_triggers": 0,
    }
    found: list[dict[str, Any]] = []
    with Store.at(place) as store:
        found.append({key: pragma(store, key) for key in expected})
        thread = threading.Thread(
            target=lambda: found.append({key: pragma(store, key) for key in expected})
        )
        thread.start()
        thread.join()
    assert found == [expected, expected]


def test_the_log_is_gone_after_the_last_close(tmp_path: Path) -> None:
    Store.open(tmp_path / "s.db").close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db", "s.db.lock"]


def test_a_missing_directory_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnwritable, match="does not exist") as caught:
        Store.open(tmp_path / "a" / "s.db")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'a'}"


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreUnwritable, match="is a directory"):
        Store.open(tmp_path)


def test_a_name_that_the_system_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / ("n" * 300), tmp_path / "file" / "s.db"):
        with pytest.raises(errors.StoreUnwritable):
            Store.open(path)
    with pytest.raises(errors.ConfigError):
        Store.open(f"{tmp_path}/nul\0")


@pytest.mark.parametrize("content", [b"xx", b"just some text\n" * 1000, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    with pytest.raises(errors.StoreCorrupt, match="not a database") as caught:
        Store.open(path)
    assert caught.value.exit_code == 7
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.db"]


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        for _ in range(200):
            store.runs.create(metadata={"text": "x" * 500})
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    with Store.open(path) as store:
        try:
            problems = store.check()
        except errors.StoreCorrupt as exc:
            problems = [str(exc)]
    assert problems


def test_a_missing_file_is_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    without: list[dict[str, Any]] = [{"create": False}, {"read_only": True}, {"migrate": False}]
    for options in without:
        with pytest.raises(errors.StoreNotFound) as caught:
            Store.open(path, **options)
        assert caught.value.exit_code == 4
        assert caught.value.hint == f"dynostore --db {path} init"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_rights_is_an_error_of_ours(open_directory: Path) -> None:
    with without_rights(open_directory), pytest.raises(errors.StoreUnwritable):
        Store.open(open_directory / "s.db")


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.runs.create(run_id="kept")
        with store.database.reading():
            pages = pragma(store, "page_count")
            store.database.execute_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(errors.StoreUnwritable, match="disk is full"):
            store.runs.create(metadata={"text": "x" * 100_000})
        with store.database.reading():
            assert not store.database.in_transaction()

        def go_on_regardless() -> None:
            with store.transaction():
                store.runs.create(run_id="undone")
                with pytest.raises(errors.StoreUnwritable, match="disk is full"):
                    store.runs.create(metadata={"text": "x" * 100_000})
                store.runs.create(run_id="outside of any transaction")

        with pytest.raises(errors.StoreUnwritable, match="undone by an earlier error"):
            go_on_regardless()
        store.database.execute_sql("PRAGMA max_page_count = 1000000")
        assert [run.id for run in store.runs.list()] == ["kept"]
        store.runs.create()
        assert store.check() == []


# addresses


@pytest.mark.parametrize("name", ["plain.db", "a b#c%41?d.db", "ü-走.db", "-x.db", 'it\'s "q".db'])
def test_any_file_name_is_a_store_for_writing_and_reading(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for address in (str(path), path):
        with Store.open(address) as store:
            store.runs.create()
    with Store.open(path, read_only=True) as store:
        assert store.runs.count() == 2
    assert path.is_file()


def test_relative_addresses_stay_where_they_were_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    for number, address in enumerate(["s.db", "sqlite:///s.db", f"sqlite:///{tmp_path}/s.db"]):
        monkeypatch.chdir(tmp_path)
        with Store.open(address) as store:
            monkeypatch.chdir(tmp_path / "elsewhere")
            store.runs.create()
            thread = threading.Thread(target=store.runs.create)
            thread.start()
            thread.join()
            assert store.runs.count() == 2 * number + 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_memory_is_one_database_for_all_threads() -> None:
    with Store.open(":memory:") as store, Store.open("sqlite://") as other:
        threads = [
            threading.Thread(target=lambda: [store.runs.create() for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.runs.count() == 400
        assert other.runs.count() == 0
        assert store.check() == []


# reading only


def test_a_read_only_store_refuses_every_write(store_url: str) -> None:
    with Store.open(store_url, warm=False) as store:
        run = store.runs.create(run_id="r")
    with Store.open(store_url, read_only=True, warm=False) as store:
        writes: list[Callable[[], object]] = [
            store.runs.create,
            lambda: store.runs.update("r", source="x"),
            lambda: store.runs.delete("r"),
            lambda: store.runs.add_file("r", "a"),
            lambda: store.runs.put_many([run]),
        ]
        for write in writes:
            with pytest.raises(errors.StoreUnwritable, match="opened for reading only"):
                write()
        with pytest.raises(errors.StoreUnwritable), store.database.reading():
            store.database.execute_sql("DELETE FROM runs")
        assert list(store.runs.list()) == [run]


def test_a_store_on_a_read_only_directory_can_be_read(open_directory: Path) -> None:
    path = open_directory / "s.db"
    with Store.open(path) as store:
        store.runs.create(run_id="r")
    path.chmod(0o644)
    with without_rights(open_directory), Store.open(path, read_only=True) as store:
        assert store.runs.get("r").id == "r"
        assert store.check() == []
    assert sorted(p.name for p in open_directory.iterdir()) == ["s.db", "s.db.lock"]


def test_a_reader_sees_what_a_writer_does(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        writer.runs.create()
        assert reader.runs.count() == 1


# logging


def test_the_log_has_the_statements_and_never_a_value(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        run = store.runs.create(source="qqq-source", metadata={"key": "qqq-metadata"})
        store.runs.update(run.id, current_stage="qqq-stage")
        list(store.runs.list(source="qqq-source"))
    statements = [r.getMessage() for r in caplog.records if r.name == "dynostore.sql"]
    assert any(text.startswith("INSERT INTO") for text in statements)
    assert any(text.startswith("UPDATE") for text in statements)
    assert "qqq" not in caplog.text
    assert run.id not in caplog.text


def test_nothing_is_logged_above_debug(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        store.runs.create()
    assert caplog.records == []


# Postgres


def said(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """Give all that a user could see of an error, its causes included."""
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    import socket

    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for url in (
            f"postgresql://u:qqq@127.0.0.1:{port}/db",
            f"postgresql://u:qqq@/db?host={tmp_path}",
            "postgresql://u:qqq@host.invalid/db",
            f"postgresql://u@/db?host={tmp_path}&password=qqq",
        ):
            with pytest.raises(errors.RemoteUnavailable) as caught:
                Store.open(url)
            assert caught.value.exit_code == 75
            assert "qqq" not in said(caught)


def test_a_server_that_hangs_up_is_unavailable(tmp_path: Path) -> None:
    import socket

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(errors.RemoteUnavailable):
            Store.open(f"postgresql://u@127.0.0.1:{port}/db")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def hanging_up_once(socket_path: str) -> Iterator[int]:
    """Listen on a port: hang up on the first client, connect all others to the server."""
    import socket

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            listener.accept()[0].close()
            while True:
                client = listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(socket_path)
                sockets.extend([client, server])
                for pair in ((client, server), (server, client)):
                    threads.append(threading.Thread(target=pump, args=pair))
                    threads[-1].start()

    sockets: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threads = [threading.Thread(target=serve)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            for used in sockets:
                with suppress(OSError):
                    used.shutdown(socket.SHUT_RDWR)
            for thread in threads[1:]:
                thread.join()
            for used in sockets:
                used.close()


def test_a_server_that_has_just_come_up_is_not_taken_for_one_that_refuses(
    postgres: Any, postgres_url: str
) -> None:
    if postgres.directory is None:
        pytest.skip("the socket of DYNOSTORE_TEST_POSTGRES is not known")
    with hanging_up_once(f"{postgres.directory}/.s.PGSQL.5432") as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/{name_of(postgres_url)}?sslmode=disable"
        with Store.open(url, warm=False) as store:
            store.runs.create()


@pytest.fixture
def login(postgres: Any) -> Iterator[tuple[str, str]]:
    """Give a role that must say its password."""
    if postgres.directory is None:
        pytest.skip("the rules of DYNOSTORE_TEST_POSTGRES are not ours to change")
    password = "q/q@q:q q%41?#é'&=+"
    quoted = password.replace("'", "''")
    postgres.execute(f"CREATE ROLE guest LOGIN SUPERUSER PASSWORD '{quoted}'")
    postgres.execute("GRANT password_required TO guest")
    yield "guest", password
    postgres.execute("DROP ROLE guest")


def test_a_password_of_any_characters_opens_the_store(
    postgres: Any, login: tuple[str, str], postgres_url: str
) -> None:
    user, password = login
    name = name_of(postgres_url)
    url = postgres.url_of(name, user=user, password=password)
    for scheme in ("postgresql", "postgres", "postgresql+psycopg2"):
        address = url.replace("postgresql", scheme)
        with Store.open(address, warm=False) as store:
            store.runs.create()
            shown = repr(store) + repr(store.place) + repr(store.database) + store.place.shown
            assert "q%40" not in shown
            assert password not in shown


def test_refused_credentials_are_not_an_absent_server(
    postgres: Any, login: tuple[str, str], postgres_url: str
) -> None:
    name = name_of(postgres_url)
    cases = [
        postgres.url_of(name, user=login[0], password="qqq"),
        postgres.url_of(name, user=login[0]),
        postgres.url_of(name, user="nobody-there", password="qqq"),
        postgres.url_of("no_such_database", password="qqq", user="postgres"),
    ]
    for url in cases:
        with pytest.raises(errors.AccessDenied) as caught:
            Store.open(url, warm=False)
        assert caught.value.exit_code == 1
        assert caught.value.hint
        assert "qqq" not in said(caught)


def test_a_parameter_that_nobody_knows_is_a_mistake_in_the_address(postgres_url: str) -> None:
    with pytest.raises(errors.ConfigError, match="nonsense"):
        Store.open(postgres_url + "&nonsense=1", warm=False)


def test_a_missing_right_is_denied_and_not_a_failed_migration(
    postgres: Any, login: tuple[str, str], postgres_url: str
) -> None:
    name = name_of(postgres_url)
    postgres.execute("ALTER ROLE guest NOSUPERUSER")
    with pytest.raises(errors.AccessDenied, match="permission denied"):
        Store.open(postgres.url_of(name, user=login[0], password=login[1]), warm=False)


def connections(postgres: Any, url: str) -> int:
    name = name_of(url)
    rows = postgres.execute(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND application_name = 'dynostore'"
    )
    return int(rows[0][0])


def test_a_program_that_stays_has_connections_ready_and_a_command_none(
    postgres: Any, postgres_url: str
) -> None:
    with Store.open(postgres_url) as store:
        assert connections(postgres, postgres_url) == 5
        store.runs.create()
        assert connections(postgres, postgres_url) == 5
    with Store.open(postgres_url, warm=False) as store:
        store.runs.create()
        assert connections(postgres, postgres_url) == 1


def test_more_threads_than_connections_wait_and_then_say_so(postgres_url: str) -> None:
    settings = config.Settings(pool_max=2, pool_min=0, busy_timeout_s=0.2)
    held, done = threading.Barrier(3), threading.Event()
    with Store.at(config.Place(postgres_url, "test", settings)) as store:

        def hold() -> None:
            with store.transaction():
                store.runs.create()
                held.wait()
                done.wait()

        threads = [threading.Thread(target=hold) for _ in range(2)]
        for thread in threads:
            thread.start()
        held.wait()
        with pytest.raises(errors.StoreLocked, match="all 2 connections") as caught:
            store.runs.count()
        assert "pool_max" in str(caught.value.hint)
        done.set()
        for thread in threads:
            thread.join()
        assert store.runs.count() == 2


def test_forty_threads_share_a_pool_of_three(postgres_url: str) -> None:
    settings = config.Settings(pool_max=3, pool_min=1)
    with Store.at(config.Place(postgres_url, "test", settings)) as store:
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(5):
                    run = store.runs.create()
                    store.runs.update(run.id, status="complete")
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=work) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert store.runs.count(status="complete") == 200


def test_an_old_connection_is_replaced(postgres: Any, postgres_url: str) -> None:
    settings = config.Settings(pool_stale_s=0.05, pool_min=0)
    with Store.at(config.Place(postgres_url, "test", settings)) as store:

        def session() -> int:
            with store.database.reading():
                return int(store.database.execute_sql("SELECT pg_backend_pid()").fetchone()[0])

        first = session()
        threading.Event().wait(0.1)
        assert session() != first
        assert connections(postgres, postgres_url) <= 1


def test_a_restarted_server_costs_at_most_the_verb_that_was_running(
    start_postgres: Callable[[], Any],
) -> None:
    server = start_postgres()
    with Store.open(server.url_of("postgres")) as store:
        store.runs.create(run_id="before")
        server.stop()
        with pytest.raises(errors.RemoteUnavailable):
            store.runs.count()
        server.start()
        assert store.runs.count() == 1  # with five dead connections in the pool

        def restart_inside() -> None:
            with store.transaction():
                store.runs.create(run_id="lost")
                server.stop()
                server.start()
                store.runs.create(run_id="lost too")

        with pytest.raises(errors.RemoteUnavailable):
            restart_inside()
        assert [run.id for run in store.runs.list()] == ["before"]
        store.runs.create(run_id="after")


def test_sessions_speak_our_forms_whatever_the_server_defaults_to(
    postgres: Any, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German, DMY'"):
        postgres.execute(f"ALTER DATABASE {name} SET {setting}")
    with Store.open(postgres_url, warm=False) as store:
        run = store.runs.create(metadata="1")
        for _ in range(2):  # a new connection, then one from the pool
            assert store.runs.get(run.id) == run
            with store.database.reading():
                for setting, value in (("timezone", "UTC"), ("datestyle", "ISO, YMD")):
                    found = store.database.execute_sql(f"SHOW {setting}").fetchone()
                    assert found == (value,)


def test_tables_live_in_the_first_schema_of_the_search_path(
    postgres: Any, postgres_url: str
) -> None:
    name = name_of(postgres_url)
    postgres.execute("CREATE SCHEMA team", name)
    postgres.execute("CREATE TABLE public.runs (id int)", name)  # somebody else's
    url = postgres_url + "&options=-csearch_path%3Dteam,public"
    for count in (1, 2):
        with Store.open(url, warm=False) as store:
            store.runs.create()
            assert store.runs.count() == count
            assert store.check() == []
    assert postgres.execute("SELECT count(*) FROM team.runs", name) == [(2,)]
    assert postgres.execute("SELECT count(*) FROM public.runs", name) == [(0,)]


def test_without_psycopg2_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(errors.MissingExtra) as caught:
        Store.open("postgresql://u@h/d")
    assert caught.value.hint == "pip install 'dynostore[postgres]'"


# driver errors


def test_a_lock_that_is_held_for_too_long_is_said(tmp_path: Path) -> None:
    place = config.Place(str(tmp_path / "s.db"), "test", config.Settings(busy_timeout_s=0.1))
    with Store.at(place) as store, closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.StoreLocked) as caught:
            store.runs.create()
        assert caught.value.exit_code == 5
        other.execute("ROLLBACK")
        store.runs.create()


def test_plain_sql_through_the_store_has_errors_of_ours(store: Store) -> None:
    store.runs.create(run_id="r")
    statements = {
        "INSERT INTO runs SELECT * FROM runs": errors.AlreadyExists,
        "UPDATE runs SET status = NULL": errors.ConstraintFailed,
        "INSERT INTO run_files (id, run_id, filename, created_at) VALUES "
        "('00000000-0000-0000-0000-000000000000', 'none', 'f', '2026-01-01T00:00:00Z')": (
            errors.ConstraintFailed
        ),
        "SELECT * FROM nothing": errors.DynostoreError,
    }
    for statement, kind in statements.items():
        with pytest.raises(errors.DynostoreError) as caught, store.transaction():
            store.database.execute_sql(statement)
        assert type(caught.value) is kind, statement
        assert caught.value.__cause__ is not None
