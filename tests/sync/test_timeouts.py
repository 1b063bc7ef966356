"""Connections over which nothing moves any more, though nobody closes them: given up in time."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dynostore import config, errors
from dynostore.sync.remote import stall
from dynostore.sync.remote.session import Session
from dynostore.sync.remote.stall import StallGuard

pytestmark = pytest.mark.once

LIMIT_S = 0.8


def _place(url: str, **settings: Any) -> config.Place:
    return config.Place(url, "argument", config.Settings(stall_timeout_s=LIMIT_S, **settings))


MOMENTS = {
    "as it begins": b"SET timezone",
    "at the fence": b"FOR UPDATE",
    "before the rows": b"CREATE TEMP TABLE",
    "in the rows": b"COPY dynostore_push",
    "at the commit": b"DO $push",
    "when it pulls": b"TO STDOUT",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_connection_that_goes_dumb_is_given_up_and_the_sync_done_over_another(
    moment: str, node: Any, make_node: Any, proxy: Any, check: Any, impatient: None, judged: None
) -> None:
    other = make_node("other")
    other.fill([f"theirs{n}" for n in range(3)])
    other.sync()
    node.fill([f"n{n}" for n in range(5)], files=2)
    proxy.harm, proxy.marker = "hang", MOMENTS[moment]
    assert node.sync(url=_place(proxy.url), direction="both", rows=3).exit_code == 0
    assert proxy.seen >= 1
    check.all(node)


def test_a_server_that_never_answers_is_75_and_nothing_is_lost(
    node: Any, proxy: Any, check: Any, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.sync.run._ATTEMPTS", 2)
    node.fill([f"n{n}" for n in range(5)], files=2)
    proxy.harm, proxy.every = "hang", True
    with pytest.raises(errors.RemoteUnavailable, match=r"nothing was heard .* 0\.8 s") as caught:
        node.sync(url=_place(proxy.url))
    assert caught.value.exit_code == 75
    assert proxy.seen == 2
    proxy.harm = None
    assert node.sync(url=_place(proxy.url)).exit_code == 0
    check.all(node)


def test_a_server_that_does_not_even_greet_is_75(
    node: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.driver_errors._ASK_TIMEOUT_S", 0.2)
    node.fill(["a"])
    proxy.harm, proxy.every, proxy.marker = "hang", True, b"database\0"
    with pytest.raises(errors.RemoteUnavailable):
        node.sync(url=_place(proxy.url, connect_timeout_s=2))


def test_a_slow_link_is_let_be(node: Any, proxy: Any, check: Any) -> None:
    """Pieces of COPY go out further apart than the limit: only the socket tells that they move."""
    node.store.runs.create(run_id="a", metadata={"text": "x" * 600_000})
    proxy.bytes_per_s = 200_000
    assert node.sync(url=_place(proxy.url)).exit_code == 0
    proxy.bytes_per_s = None
    check.equal(node)


def test_what_this_side_takes_is_not_the_server_s_time(remote: Any) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            threading.Event().wait(LIMIT_S * 1.5)
            return super().read(size)

    taken: list[bytes] = []

    def take(rows: bytes) -> None:
        threading.Event().wait(LIMIT_S * 1.5)
        taken.append(rows)

    session = Session(_place(remote.url))
    session.connect()
    try:
        session.execute("CREATE TEMP TABLE slow (n integer)")
        session.copy_in("COPY slow FROM STDIN", Slow(b"1\n2\n"))
        assert session.one("SELECT count(*) FROM slow") == (2,)
        session.copy_out("COPY slow TO STDOUT", take)
        assert taken == [b"1\n2\n"]
        assert session.one("SELECT 1") == (1,)
    finally:
        session.close()


def test_work_that_may_take_longer_is_given_longer(remote: Any) -> None:
    session = Session(_place(remote.url))
    session.connect()
    try:
        with session.guard.patient(100):
            session.execute(f"SELECT pg_sleep({LIMIT_S * 1.5})")
        with pytest.raises(Exception, match="nothing was heard"):
            session.execute("SELECT pg_sleep(60)")
    finally:
        session.close()


def test_a_limit_of_0_is_none(remote: Any) -> None:
    threads = threading.active_count()
    session = Session(config.Place(remote.url, "argument", config.Settings(stall_timeout_s=0)))
    session.connect()
    try:
        assert session.one("SELECT 1") == (1,)
        assert threading.active_count() == threads
    finally:
        session.close()


def test_the_profile_sets_the_limit(tmp_path: Any) -> None:
    path = tmp_path / "dynostore.yaml"
    path.write_text("profiles: {default: {remote: 'postgresql://h/d', stall_timeout_s: 7.5}}")
    assert config.locate_remote(config=path).settings.stall_timeout_s == 7.5


def test_nothing_of_a_guard_is_left_behind(remote: Any) -> None:
    threads = threading.active_count()
    for _ in range(3):
        session = Session(_place(remote.url))
        session.connect()
        session.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_moves_on_a_socket_is_counted(kind: str, make_pair: Callable[[str], Any]) -> None:
    here, there = make_pair(kind)
    before = stall._counters(here)
    if not before:
        pytest.skip("this system does not tell")
    here.sendall(b"x" * 1000)
    sent = stall._counters(here)
    if kind == "tcp":
        there.sendall(b"y")
        here.recv(1)
        received = stall._counters(here)
        assert len({before, sent, received}) >= 2
        assert received[1] == before[1] + 1
    else:
        assert sent != before


@pytest.fixture
def make_pair(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Give a way to connect two sockets."""

    def make(kind: str) -> Any:
        if kind == "unix":
            pair = socket.socketpair(socket.AF_UNIX)
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                here = socket.create_connection(listener.getsockname())
                pair = (here, listener.accept()[0])
        for one in pair:
            request.addfinalizer(one.close)
        return pair

    return make


def test_a_guard_without_a_connection_does_no_harm() -> None:
    guard = StallGuard(LIMIT_S)
    with guard.waiting():
        pass
    guard.close()
    assert not guard.gave_up
