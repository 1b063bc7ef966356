"""Servers and ways to them that fail in the middle of the rows, or answer with passing errors."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest

from dynostore import config, errors
from dynostore.sync.remote.session import Session
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once

Harm = Callable[[], object]


class _Interrupted(io.RawIOBase):
    """Gives a little of a stream, does harm, and gives the rest."""

    def __init__(self, stream: BinaryIO, harm: Harm) -> None:
        self._stream = stream
        self._harm: Harm | None = harm
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        if not self._begun:
            self._begun = True
            return self._stream.read(1000)
        if self._harm is not None:
            self._harm()
            self._harm = None
        return self._stream.read(size)


def _harm_in_the_rows(monkeypatch: pytest.MonkeyPatch, harm: Harm) -> None:
    """Do harm once in a COPY of each direction, when some of its rows have passed."""
    copy_in, copy_out = Session.copy_in, Session.copy_out
    done: set[str] = set()

    def once(direction: str) -> None:
        if direction not in done:
            done.add(direction)
            harm()

    def interrupted_in(self: Session, sql: str, stream: BinaryIO, *size: int) -> None:
        copy_in(self, sql, _Interrupted(stream, lambda: once("in")), *size)  # type: ignore[arg-type]

    def interrupted_out(self: Session, sql: str, take: Callable[[bytes], None], *_: int) -> None:
        def take_and_harm(rows: bytes) -> None:
            take(rows)
            once("out")

        copy_out(self, sql, take_and_harm, 5000)

    monkeypatch.setattr(Session, "copy_in", interrupted_in)
    monkeypatch.setattr(Session, "copy_out", interrupted_out)


def _terminate(remote: Any) -> list[str]:
    """End all other sessions of the database; give what each was at."""
    rows = remote.sql(
        "SELECT query, pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return [query for query, _ in rows]


def _fill(one: Any, two: Any) -> None:
    """Give each file rows of its own, more than the sockets between it and the server hold."""
    for node, name in ((one, "one"), (two, "two")):
        node.fill([f"{name}-{n}" for n in range(60)], metadata={"text": name * 5000})


@pytest.mark.parametrize("how", ["the server crashes", "the session is terminated"])
def test_what_ends_in_the_middle_of_the_rows_is_done_again_both_ways(
    how: str,
    own_server: Any,
    own_remote: Any,
    make_node: Any,
    check: Any,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = make_node("one", to=own_remote), make_node("two", to=own_remote)
    _fill(one, two)
    one.sync()
    ended: list[str] = []

    def harm() -> None:
        [(query,)] = own_remote.sql(
            "SELECT string_agg(query, '; ') FROM pg_stat_activity WHERE state <> 'idle'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        ended.append(query)
        if how == "the server crashes":
            own_server.stop("immediate")
            own_server.start()
        else:
            _terminate(own_remote)

    _harm_in_the_rows(monkeypatch, harm)
    assert two.sync(direction="both", rows=25).exit_code == 0
    assert ["FROM STDIN" in ended[0], "TO STDOUT" in ended[1]] == [True, True]
    one.sync(direction="both")
    for node in (one, two):
        check.all(node)


PULL_MESSAGES = {
    "the view": b"REPEATABLE READ",
    "the new token": b"$turn$",
    "the rows": b"TO STDOUT",
    "the tombstones": b"FETCH",
}


@pytest.mark.parametrize("harm", ["lose", "half", "mute"])
@pytest.mark.parametrize("message", PULL_MESSAGES)
def test_a_pull_gets_through_a_message_that_goes_wrong(
    message: str, harm: str, make_node: Any, proxy: Any, impatient: None, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a", "b", "c"], files=2)
    for node in (one, two):
        node.sync(direction="both")
    one.fill(["d", "e"])
    one.store.runs.delete("b")
    one.sync()
    proxy.harm, proxy.marker = harm, PULL_MESSAGES[message]
    assert two.sync(direction="pull", url=proxy.url, rows=2).exit_code == 0
    assert proxy.seen >= 1
    check.all(two)
    assert two.sync(direction="both").up_to_date


def test_a_black_hole_behind_the_token_of_a_pull_is_given_up_too(
    make_node: Any, proxy: Any, impatient: None, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"])
    one.sync()
    proxy.harm, proxy.marker = "hang", b"$turn$"
    place = config.Place(proxy.url, "argument", config.Settings(stall_timeout_s=0.8))
    assert two.sync(direction="pull", url=place).exit_code == 0
    assert proxy.seen >= 1
    check.all(two)


@pytest.mark.slow
def test_behind_a_line_of_200_kilobytes_a_second_nobody_else_waits(
    node: Any, make_node: Any, proxy: Any, check: Any
) -> None:
    node.fill(["a"])
    node.fill([f"n{n}" for n in range(40)], metadata={"text": "x" * 25_000})
    other = make_node("other")
    other.fill(["theirs"])
    other.sync()
    seconds: list[float] = []
    done = threading.Event()

    def keep_syncing() -> None:
        while not done.is_set():
            other.store.runs.update("theirs", current_stage=str(len(seconds)))
            seconds.append(other.sync().seconds)

    proxy.bytes_per_s = 200_000
    worker = threading.Thread(target=keep_syncing)
    worker.start()
    try:
        report = node.sync(url=proxy.url, rows=10)
    finally:
        done.set()
        worker.join(30)
    assert report.seconds > 4, "the line was not slow"
    assert len(seconds) > 3
    assert max(seconds) < 2
    check.holds(node)
    check.holds(other)


# -- errors that pass ----------------------------------------------------------------------------

PASSING = {
    "a serialisation failure": "40001",
    "a deadlock": "40P01",
    "no memory": "53200",
    "a full disk": "53100",
    "a lock that was not to be had": "55P03",
    "a cancelled statement": "57014",
}


@pytest.mark.parametrize("name", PASSING)
def test_an_error_that_passes_is_tried_again_and_no_row_is_blamed(
    name: str, make_node: Any, remote: Any, check: Any, impatient: None
) -> None:
    """The server raises each itself, at the rows of the first two attempts."""
    node, code = make_node(), PASSING[name]
    remote.sql(
        "CREATE SEQUENCE attempts; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN IF nextval('attempts') <= 2 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}';"
        " END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER fail AFTER INSERT ON runs FOR EACH STATEMENT EXECUTE FUNCTION fail()"
    )
    try:
        node.fill(["a", "b", "c"])
        assert node.sync().exit_code == 0
        assert remote.sql("SELECT last_value >= 3 FROM attempts") == [(True,)]
    finally:
        remote.sql("DROP FUNCTION fail() CASCADE; DROP SEQUENCE attempts")
    check.all(node)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_server_whose_transactions_are_stricter_by_default_judges_the_same(
    level: str, make_node: Any, empty_remote: Any, check: Any
) -> None:
    """What is committed while a batch waits for a row is seen by the judgement behind the wait."""
    node = make_node(to=empty_remote)
    node.fill(["a", "b"])
    node.sync()
    name = urlsplit(empty_remote.url).path.strip("/")
    empty_remote.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    node.sql("UPDATE runs SET source = 'here'")
    node.fill(["new"], files=0)
    outcome: list[int] = []
    with empty_remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; SELECT 1 FROM runs WHERE id = 'a' FOR UPDATE")
        worker = threading.Thread(target=lambda: outcome.append(node.sync().exit_code))
        worker.start()
        _until_somebody_waits(empty_remote)
        empty_remote.sql(
            "INSERT INTO runs (id, status, source, created_at, updated_at)"
            " VALUES ('new', 'pending', 'theirs', now(), now())"
        )
        empty_remote.sql("DELETE FROM runs WHERE id = 'new'")
        cursor.execute("COMMIT")
        worker.join(60)
    assert outcome == [3], "the key that was deleted there comes back, and that is listed"
    assert [c["key"] for c in node.conflicts()] == ["new"]
    check.equal(node)
    check.settled(node)


def _until_somebody_waits(remote: Any) -> None:
    for _ in range(2000):
        if remote.sql(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        ):
            return
        threading.Event().wait(0.01)
    pytest.fail("nobody ever waited")


# -- credentials and TLS -------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_password_that_is_changed_in_the_middle_stops_the_sync_which_then_goes_on(
    direction: str,
    make_node: Any,
    remote: Any,
    postgres: Any,
    check: Any,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = make_node("one"), make_node("two")
    _fill(one, two)
    one.sync()
    node = two
    postgres.execute("CREATE ROLE renewed LOGIN SUPERUSER PASSWORD 'old' IN ROLE password_required")
    database = urlsplit(remote.url).path.strip("/")

    def url(password: str) -> str:
        return str(postgres.url_of(database, user="renewed", password=password))

    def change() -> None:
        remote.sql("ALTER ROLE renewed PASSWORD 'new'")
        _terminate(remote)

    try:
        node.sync(url=url("old"), tables=["tasks"])
        _harm_in_the_rows(monkeypatch, change)
        with pytest.raises(errors.AccessDenied) as caught:
            node.sync(url=url("old"), direction=direction, rows=10)
        assert caught.value.exit_code == 1
        assert "PGPASSFILE" in str(caught.value.hint)
        assert node.sync(url=url("new"), direction="both", rows=10).exit_code == 0
    finally:
        _terminate(remote)
        postgres.execute("DROP ROLE renewed")
    check.all(node)


def test_over_tls_a_session_that_is_terminated_is_done_again_both_ways(
    tls_postgres: Any,
    shared_remote: Any,
    make_node: Any,
    check: Any,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = tls_postgres.create()
    remote = type(shared_remote)(tls_postgres.url_of(name))
    one, two = make_node("one", to=remote), make_node("two", to=remote)
    _fill(one, two)
    one.sync()
    _harm_in_the_rows(monkeypatch, lambda: _terminate(remote))
    assert two.sync(direction="both", rows=25).exit_code == 0
    check.all(two)
    plain = remote.url.replace("sslmode=verify-full", "sslmode=disable")
    with pytest.raises(errors.AccessDenied, match="no encryption"):
        two.sync(url=plain)
    tls_postgres.drop(name)


# -- a server that has grown ---------------------------------------------------------------------

PARTITIONED = """
BEGIN;
ALTER TABLE run_files RENAME TO old;
CREATE TABLE run_files (LIKE old INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE run_files_0 PARTITION OF run_files FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE run_files_1 PARTITION OF run_files FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE run_files ADD FOREIGN KEY (run_id) REFERENCES runs (id) ON DELETE CASCADE;
INSERT INTO run_files SELECT * FROM old;
DROP TABLE old;
COMMIT
"""


def test_a_table_that_is_partitioned_by_its_key_syncs_as_before(
    make_node: Any, empty_remote: Any, check: Any
) -> None:
    """The triggers come back with the next sync, by themselves."""
    one, two = make_node("one", to=empty_remote), make_node("two", to=empty_remote)
    one.fill(["a", "b", "c"], files=5)
    for node in (one, two):
        node.sync(direction="both")
    before = empty_remote.stamps()
    empty_remote.sql(PARTITIONED)
    assert one.sync(direction="both").up_to_date
    assert empty_remote.stamps() == before
    one.store.runs.add_file("a", "more.csv")
    two.store.runs.delete("b")
    two.fill(["d"], files=5)
    empty_remote.sql("UPDATE run_files SET size_bytes = 7 WHERE run_id = 'c'")
    empty_remote.sql("DELETE FROM run_files WHERE run_id = 'c' AND filename = 'output/1.csv'")
    for node in (one, two, one):
        assert node.sync(direction="both").exit_code == 0
    for node in (one, two):
        check.equal(node)
        check.settled(node)
        assert verify(node.store, empty_remote.url, deep=True).exit_code == 0
    assert empty_remote.sql("SELECT count(*) > 1 FROM run_files_1") == [(True,)]
    assert {conflict["key"] for conflict in (*one.conflicts(), *two.conflicts())} == set()
