"""Postgres behind a store: credentials, rights, the pool, restarts, and the forms of a session."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import config, errors
from dynostore.store import Store


def name_of(url: str) -> str:
    return urlsplit(url).path[1:]


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


def test_what_a_lost_connection_leaves_of_a_transaction_is_said(
    postgres: Any, postgres_url: str
) -> None:
    def cut_off(store: Store, own: BaseException | None = None, passed_over: bool = False) -> None:
        with store.transaction():
            store.runs.create(run_id="lost")
            (pid,) = store.database.execute_sql("SELECT pg_backend_pid()").fetchone()
            postgres.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
            if own is not None:
                raise own
            if passed_over:
                with pytest.raises(errors.RemoteUnavailable):
                    store.runs.create(run_id="lost too")

    with Store.open(postgres_url, warm=False) as store:
        with pytest.raises(errors.RemoteUnavailable, match="whether it was written is not"):
            cut_off(store)
        with pytest.raises(errors.RemoteUnavailable, match="nothing of it was written"):
            cut_off(store, passed_over=True)
        with pytest.raises(ZeroDivisionError):
            cut_off(store, own=ZeroDivisionError())
        assert store.runs.count() == 0


def test_a_transaction_that_an_error_has_undone_does_not_end_as_if_it_were_kept(
    postgres_url: str,
) -> None:
    def go_on_after_an_error(store: Store) -> None:
        with store.transaction():
            store.runs.create(run_id="r")
            with pytest.raises(errors.ConstraintFailed), store.database.reading():
                store.database.execute_sql("SELECT 1 / 0")

    with Store.open(postgres_url, warm=False) as store:
        with pytest.raises(errors.DynostoreError, match="nothing of the transaction"):
            go_on_after_an_error(store)
        assert store.runs.count() == 0
        with store.transaction():
            store.runs.create(run_id="s")
        assert store.runs.count() == 1


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
