"""A server that has no connection left: not there for now, which is no fault of the credentials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from dynostore import errors
from dynostore.store import Store
from dynostore.sync import sync

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def small_server(start_postgres: Any) -> Any:
    """Give a server with three connections for those who are no superusers."""
    server = start_postgres()
    server.execute("ALTER SYSTEM SET max_connections = 6")
    server.execute("ALTER SYSTEM SET superuser_reserved_connections = 3")
    server.execute("CREATE ROLE plain LOGIN")
    server.stop()
    server.start()
    return server


@pytest.fixture
def small_url(small_server: Any) -> Iterator[str]:
    """Give a database of such a person's own."""
    name = small_server.create()
    small_server.execute(f"ALTER DATABASE {name} OWNER TO plain")
    yield str(small_server.url_of(name, user="plain"))
    small_server.drop(name)


@contextlib.contextmanager
def _all_taken(url: str, *, reserved_by: str = "") -> Iterator[None]:
    """Take connections until the server gives no more."""
    with contextlib.ExitStack() as stack:
        for one in [url, reserved_by] if reserved_by else [url]:
            with contextlib.suppress(psycopg2.OperationalError):
                while True:
                    stack.callback(psycopg2.connect(one).close)
        yield


def _assert_no_room(caught: Any) -> None:
    assert caught.value.data["sqlstate"] == "53300"
    assert caught.value.exit_code == 75


def test_a_sync_that_gets_no_connection_may_try_again(
    node: Any, small_url: str, check: Any
) -> None:
    node.fill(["a"])
    with _all_taken(small_url), pytest.raises(errors.RemoteUnavailable) as caught:
        node.sync(url=small_url)
    _assert_no_room(caught)
    assert node.sync(url=small_url).exit_code == 0
    assert node.sync(url=small_url).up_to_date


def test_so_does_one_that_finds_even_the_reserved_ones_taken(
    node: Any, small_server: Any, small_url: str
) -> None:
    node.fill(["a"])
    taken = _all_taken(small_url, reserved_by=small_server.admin_url)
    with taken, pytest.raises(errors.RemoteUnavailable) as caught:
        node.sync(url=small_url)
    _assert_no_room(caught)


def test_a_store_that_gets_no_connection_may_try_again(small_url: str) -> None:
    with _all_taken(small_url), pytest.raises(errors.RemoteUnavailable) as caught:
        Store.open(small_url, warm=False)
    _assert_no_room(caught)
    Store.open(small_url, warm=False).close()


@pytest.mark.parametrize("limited", ["ROLE plain", "DATABASE {}"])
def test_a_limit_of_the_role_or_the_database_is_the_same(
    limited: str, node: Any, small_server: Any, small_url: str
) -> None:
    name = small_url.partition("?")[0].rpartition("/")[2]
    node.fill(["a"])
    small_server.execute(f"ALTER {limited.format(name)} CONNECTION LIMIT 0")
    with pytest.raises(errors.RemoteUnavailable) as caught:
        node.sync(url=small_url)
    _assert_no_room(caught)
    small_server.execute(f"ALTER {limited.format(name)} CONNECTION LIMIT -1")
    assert node.sync(url=small_url).exit_code == 0


@pytest.mark.parametrize("with_password", [False, True])
def test_many_stores_of_one_process_sync_over_few_connections(
    with_password: bool, small_server: Any, small_url: str, tmp_path: Path
) -> None:
    """What each keeps for its next sync is given up for another's."""
    url = small_url
    if with_password:
        small_server.execute(
            "CREATE ROLE careful LOGIN PASSWORD 'secret' IN ROLE plain, password_required"
        )
        small_server.execute("ALTER ROLE careful SET role = plain")
        url = url.replace("plain@", "careful:secret@")
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store.open(tmp_path / f"{n}.db")) for n in range(5)]
        for number, store in enumerate(stores):
            store.runs.create(run_id=f"r{number}")
            assert sync(store, url, direction="both").exit_code == 0
        assert stores[-1].runs.count() == 5


def test_so_is_one_that_is_said_behind_the_password(
    node: Any, small_server: Any, small_url: str
) -> None:
    name = small_url.partition("?")[0].rpartition("/")[2]
    small_server.execute("CREATE ROLE guarded LOGIN PASSWORD 'geheim' IN ROLE password_required")
    small_server.execute(f"GRANT ALL ON DATABASE {name} TO guarded")
    small_server.execute("ALTER ROLE guarded CONNECTION LIMIT 0")
    url = small_server.url_of(name, user="guarded", password="geheim")
    node.fill(["a"])
    try:
        with pytest.raises(errors.RemoteUnavailable) as caught:
            node.sync(url=url)
        _assert_no_room(caught)
        with pytest.raises(errors.AccessDenied):
            node.sync(url=url.replace("geheim", "falsch"))
    finally:
        small_server.execute("DROP OWNED BY guarded", name)
        small_server.execute(f"REVOKE ALL ON DATABASE {name} FROM guarded")
        small_server.execute("DROP ROLE guarded")


def test_a_database_that_is_not_there_is_no_reason_to_try_again(
    node: Any, small_server: Any
) -> None:
    node.fill(["a"])
    with pytest.raises(errors.AccessDenied) as caught:
        node.sync(url=small_server.url_of("nowhere", user="plain"))
    assert caught.value.data["sqlstate"] == "3D000"
