"""Servers that stop, refuse, wait or have changed: a typed error or a recovery, nothing lost."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore import errors, migration_steps, migrator
from dynostore.fields import utc_now
from dynostore.sync import sync_status
from dynostore.sync.fork import fork
from dynostore.sync.purge import purge
from dynostore.sync.remote.nodes import list_nodes
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once


def _ids(remote: Any) -> list[str]:
    return [key for (key,) in remote.sql("SELECT id FROM runs ORDER BY id")]


def _wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@contextmanager
def _in_background(act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run something beside the block; give a list that will hold its result or its error."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(act())
        except Exception as exc:  # looked at by the test
            outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(60)
    assert outcome


def _somebody_waits(remote: Any) -> bool:
    return bool(
        remote.sql(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
    )


# -- a server that stops -------------------------------------------------------------------------


def test_a_server_that_crashes_and_comes_back_in_the_middle_of_a_push(
    own_server: Any, own_remote: Any, make_node: Any, check: Any
) -> None:
    node = make_node(to=own_remote)
    node.fill([f"n{i}" for i in range(8)], files=2)
    crashed: list[bool] = []

    def crash(*_: Any) -> None:
        if not crashed:
            crashed.append(True)
            own_server.stop("immediate")
            own_server.start()

    assert node.sync(rows=3, progress=crash).exit_code == 0
    check.all(node)


def test_a_server_that_stops_in_the_middle_of_a_push_and_stays_away(
    own_server: Any, own_remote: Any, make_node: Any, check: Any, impatient: None
) -> None:
    node = make_node(to=own_remote)
    node.fill([f"n{i}" for i in range(8)], files=2)
    before = node.sql("SELECT * FROM runs ORDER BY id")
    stopped: list[bool] = []

    def stop(*_: Any) -> None:
        if not stopped:
            stopped.append(True)
            own_server.stop("immediate")

    with pytest.raises(errors.RemoteUnavailable) as caught:
        node.sync(rows=3, progress=stop)
    assert caught.value.exit_code == 75
    status = sync_status(node.store)
    assert status.last_error
    assert status.waiting
    with pytest.raises(errors.RemoteUnavailable):
        node.sync()
    own_server.start()
    assert node.sync(rows=3).exit_code == 0
    assert node.sql("SELECT * FROM runs ORDER BY id") == before
    check.all(node)
    assert sync_status(node.store).exit_code == 0


def test_sessions_that_are_terminated_in_mid_batch(
    node: Any, remote: Any, check: Any, impatient: None
) -> None:
    node.fill([f"n{i}" for i in range(12)], files=2)
    killed: list[int] = []

    def kill(*_: Any) -> None:
        if len(killed) < 4:
            killed.append(
                len(
                    remote.sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                        " current_database() AND pid <> pg_backend_pid()"
                    )
                )
            )

    assert node.sync(rows=3, progress=kill).exit_code == 0
    assert sum(killed) >= 2
    check.all(node)


# -- a server that refuses -----------------------------------------------------------------------


def test_a_refused_connection_is_75_and_nothing_is_lost(
    node: Any, remote: Any, tmp_path: Path, check: Any
) -> None:
    node.fill(["a"])
    for url in (
        "postgresql://kim:geheim@127.0.0.1:1/x",
        f"postgresql://kim:geheim@/x?host={tmp_path}",
    ):
        with pytest.raises(errors.RemoteUnavailable) as caught:
            node.sync(url=url)
        assert caught.value.exit_code == 75
        _assert_no_password(caught.value, node)
    assert node.sync().exit_code == 0
    check.all(node)


def _assert_no_password(exc: errors.DynostoreError, node: Any) -> None:
    said = f"{exc} {exc.hint} {exc.data} {exc.__cause__} {sync_status(node.store)}"
    assert "geheim" not in said


@pytest.fixture
def role(postgres: Any, remote: Any) -> Iterator[str]:
    """Give a role with a password and no rights."""
    postgres.execute("CREATE ROLE lab LOGIN PASSWORD 'geheim' IN ROLE password_required")
    yield "lab"
    remote.sql("DROP OWNED BY lab")
    postgres.execute("DROP ROLE lab")


def _as_role(postgres: Any, remote: Any, password: str = "geheim") -> str:
    name = urlsplit(remote.url).path.strip("/")
    return str(postgres.url_of(name, user="lab", password=password))


GRANTS = """
GRANT USAGE ON SCHEMA public, dynostore_sync TO lab;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, dynostore_sync TO lab;
GRANT USAGE, UPDATE, SELECT ON ALL SEQUENCES IN SCHEMA dynostore_sync TO lab;
GRANT EXECUTE ON FUNCTION dynostore_sync.take() TO lab;
"""


def test_a_wrong_password_is_refused_without_showing_it(
    node: Any, remote: Any, postgres: Any, role: str
) -> None:
    node.fill(["a"])
    with pytest.raises(errors.AccessDenied) as caught:
        node.sync(url=_as_role(postgres, remote, "falsch-geheim"))
    assert caught.value.exit_code == 1
    assert caught.value.hint
    _assert_no_password(caught.value, node)
    assert ("runs", "a", "p") in node.logged()


def test_the_documented_grants_are_enough(
    node: Any, make_node: Any, remote: Any, postgres: Any, role: str, check: Any
) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "sync.md").read_text(encoding="utf-8")
    for line in GRANTS.strip().splitlines():
        assert line in documented
    remote.sql(GRANTS)
    url = _as_role(postgres, remote)
    node.fill(["a", "b"], files=2)
    node.sync(url=url)
    node.store.runs.update("a", source="changed")
    node.store.runs.delete("b")
    assert node.sync(url=url).exit_code == 0
    check.all(node)
    other = make_node("other")
    other.fill(["a"], files=0)
    assert other.sync(url=url, direction="both").exit_code == 3
    check.equal(other)
    remote.sql("UPDATE runs SET source = 'psql'")
    for one in (node, other):
        one.sync(url=url, direction="both", full=True)
        assert verify(one.store, url, deep=True).exit_code == 0
        assert one.store.runs.get("a").source == "psql"
    fork(other.store, url)
    purge(url, utc_now())
    assert len(list_nodes(url)) == 3
    other.fill(["c"])
    for one in (other, node):
        one.sync(url=url, direction="both")
        check.equal(one)


def test_a_right_that_is_missing_on_one_table_stops_with_a_hint(
    node: Any, remote: Any, postgres: Any, role: str, check: Any
) -> None:
    remote.sql(GRANTS + "REVOKE INSERT ON run_files FROM lab")
    node.fill(["a", "b"])
    with pytest.raises(errors.AccessDenied) as caught:
        node.sync(url=_as_role(postgres, remote))
    assert caught.value.exit_code == 1
    assert "run_files" in caught.value.message
    assert caught.value.hint
    _assert_no_password(caught.value, node)
    assert _ids(remote) == ["a", "b"]
    remote.sql("GRANT INSERT ON run_files TO lab")
    assert node.sync(url=_as_role(postgres, remote)).exit_code == 0
    check.all(node)


# -- a server that is not what it was ------------------------------------------------------------


def test_a_server_with_a_newer_schema_is_refused_and_left_alone(
    make_node: Any, empty_remote: Any
) -> None:
    node = make_node(to=empty_remote)
    node.fill(["a"])
    node.sync()
    node.fill(["b"])
    empty_remote.sql(
        "INSERT INTO dynostore_migration (name, applied)"
        " SELECT '9999_later', applied FROM dynostore_migration LIMIT 1"
    )
    before = empty_remote.state()
    with pytest.raises(errors.SchemaTooNew) as caught:
        node.sync()
    assert caught.value.exit_code == 6
    assert empty_remote.state() == before
    assert ("runs", "b", "p") in node.logged()


def test_a_server_with_a_newer_protocol_is_refused_and_left_alone(
    make_node: Any, empty_remote: Any
) -> None:
    node = make_node(to=empty_remote)
    node.fill(["a"])
    node.sync()
    node.fill(["b"])
    empty_remote.sql("UPDATE dynostore_sync.server SET protocol = 99")
    before = empty_remote.state()
    with pytest.raises(errors.SchemaTooNew) as caught:
        node.sync()
    assert caught.value.exit_code == 6
    assert empty_remote.state() == before


def test_a_server_with_an_older_schema_is_refused_and_left_alone(
    make_node: Any, empty_remote: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = make_node(to=empty_remote)
    node.fill(["a"])
    node.sync()
    node.close()
    steps = tmp_path / "steps"
    shutil.copytree(migrator.directory(), steps, ignore=shutil.ignore_patterns("__pycache__"))
    (steps / "0999_more.py").write_text(
        '"""More."""\n\ndef up(migrator, db):\n    db.execute_sql("CREATE TABLE more (id BIGINT)")'
        '\n\ndef down(migrator, db):\n    db.execute_sql("DROP TABLE more")\n'
    )
    for module in (migrator, migration_steps):
        monkeypatch.setattr(module, "directory", lambda: steps)
    newer = make_node(path=node.path, to=empty_remote)
    newer.fill(["b"])
    before = empty_remote.state()
    with pytest.raises(errors.SchemaBehind) as caught:
        newer.sync()
    assert caught.value.exit_code == 6
    assert "dynostore sync --upgrade-server" in str(caught.value.hint)
    assert empty_remote.state() == before
    assert ("runs", "b", "p") in newer.logged()
    assert newer.sync(upgrade_server=True).exit_code == 0
    assert empty_remote.count("more") == 0
    assert newer.sync(upgrade_server=True).up_to_date


def test_a_server_with_a_table_of_our_name_is_not_ours(make_node: Any, empty_remote: Any) -> None:
    empty_remote.sql("CREATE TABLE runs (name text); INSERT INTO runs VALUES ('theirs')")
    node = make_node(to=empty_remote)
    node.fill(["a"])
    with pytest.raises(errors.NotOurs) as caught:
        node.sync()
    assert caught.value.exit_code == 6
    assert empty_remote.tables() == ["public.runs"]
    assert empty_remote.sql("SELECT * FROM runs") == [("theirs",)]


def test_a_server_whose_triggers_are_gone_gets_them_again(
    make_node: Any, empty_remote: Any, check: Any
) -> None:
    node = make_node(to=empty_remote)
    node.fill(["a"])
    node.sync()
    before = empty_remote.stamps()
    empty_remote.sql("DROP TRIGGER zz_sync_stamp ON runs; DROP TRIGGER zz_sync_touch ON run_files")
    assert node.sync().up_to_date
    assert empty_remote.stamps() == before
    empty_remote.sql("UPDATE runs SET source = 'plain'")
    empty_remote.sql("UPDATE run_files SET size_bytes = 5")
    assert all(rev != empty_remote.stamps()[key][0] for key, (rev, _) in before.items()), (
        "captured again"
    )


def test_a_file_opened_for_reading_only_is_not_synced(node: Any, remote: Any) -> None:
    from dynostore import Store
    from dynostore.sync import sync

    node.fill(["a"])
    before = node.state()
    with Store.open(node.path, read_only=True) as store, pytest.raises(errors.StoreUnwritable):
        sync(store, remote.url)
    assert node.state() == before


# -- locks ---------------------------------------------------------------------------------------


def test_a_transaction_left_open_on_other_rows_stops_nobody(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a", "b"])
    node.sync()
    node.store.runs.update("a", source="changed")
    node.fill(["c"])
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; UPDATE runs SET source = 'theirs' WHERE id = 'b'")
        report = node.sync()
        assert report.exit_code == 0
        assert report.seconds < 5
        cursor.execute("COMMIT")
    assert remote.sql("SELECT id, source FROM runs ORDER BY id") == [
        ("a", "changed"), ("b", "theirs"), ("c", "manual"),
    ]  # fmt: skip


def test_a_row_that_somebody_has_locked_is_waited_for(node: Any, remote: Any, check: Any) -> None:
    node.fill(["a", "b"])
    node.sync()
    node.sql("UPDATE runs SET source = 'changed'")
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; SELECT 1 FROM runs WHERE id = 'a' FOR UPDATE")
        with _in_background(node.sync) as outcome:
            _wait(lambda: _somebody_waits(remote))
            # Nobody else's commit waits behind the sync, which must not hold the clock here.
            started = time.monotonic()
            remote.sql(
                "INSERT INTO runs (id, status, source, created_at, updated_at)"
                " VALUES ('theirs', 'pending', 'sql', now(), now())"
            )
            assert time.monotonic() - started < 2
            cursor.execute("COMMIT")
    assert outcome[0].exit_code == 0
    check.holds(node)


def test_a_parent_that_somebody_has_locked_delays_the_clock_only_a_moment(
    node: Any, remote: Any, check: Any, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.sync.run._ATTEMPTS", 100)
    node.fill(["a"], files=1)
    node.sync()
    node.store.runs.add_file("a", "new.csv")
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; SELECT 1 FROM runs WHERE id = 'a' FOR UPDATE")
        with _in_background(node.sync) as outcome:
            _wait(lambda: _somebody_waits(remote))
            longest = 0.0
            for number in range(10):
                started = time.monotonic()
                remote.sql(
                    "INSERT INTO runs (id, status, source, created_at, updated_at)"
                    " VALUES (%s, 'pending', 'sql', now(), now())",
                    (f"theirs-{number}",),
                )
                longest = max(longest, time.monotonic() - started)
            assert not outcome
            assert longest < 2
            cursor.execute("COMMIT")
    assert outcome[0].exit_code == 0
    check.holds(node)


def test_a_new_key_that_somebody_is_inserting_is_waited_for(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a"], files=0, source="mine")
    node.fill(["b"], files=0)
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute(
            "BEGIN; INSERT INTO runs (id, status, source, created_at, updated_at)"
            " VALUES ('a', 'pending', 'theirs', now(), now())"
        )
        with _in_background(node.sync) as outcome:
            _wait(lambda: _somebody_waits(remote))
            cursor.execute("COMMIT")
    assert outcome[0].exit_code == 3
    assert remote.sql("SELECT id, source FROM runs ORDER BY id") == [
        ("a", "theirs"), ("b", "manual"),
    ]  # fmt: skip
    check.equal(node)
    assert [c["image"]["source"] for c in node.conflicts()] == ["mine"]


def test_a_deadlock_with_a_plain_sql_user_is_got_over(
    node: Any, remote: Any, check: Any, impatient: None
) -> None:
    node.fill(["a", "b"], files=0)
    node.sync()
    node.sql("UPDATE runs SET source = 'mine'")
    import psycopg2

    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; SET LOCAL deadlock_timeout = '10s'")
        cursor.execute("SELECT 1 FROM runs WHERE id = 'b' FOR UPDATE")
        with _in_background(node.sync) as outcome:
            _wait(lambda: _somebody_waits(remote))
            try:
                cursor.execute("UPDATE runs SET status = 'complete' WHERE id = 'a'; COMMIT")
            except psycopg2.errors.DeadlockDetected:
                cursor.execute("ROLLBACK")
    assert outcome[0].exit_code in (0, 3)
    check.equal(node)


def test_a_statement_timeout_is_75_and_the_next_sync_completes(
    node: Any, remote: Any, check: Any, impatient: None
) -> None:
    node.fill(["a", "b"])
    node.sync()
    node.sql("UPDATE runs SET source = 'changed'")
    limited = remote.url + "&options=-c%20statement_timeout%3D100"
    with remote.session() as somebody, somebody.cursor() as cursor:
        cursor.execute("BEGIN; SELECT 1 FROM runs WHERE id = 'a' FOR UPDATE")
        with pytest.raises(errors.RemoteUnavailable) as caught:
            node.sync(url=limited)
        assert caught.value.exit_code == 75
        cursor.execute("COMMIT")
    assert node.sync(url=limited).exit_code == 0
    check.all(node)


def test_the_sync_s_own_rules_of_the_session_do_not_depend_on_the_server_s(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a"], metadata={"x": 1.5})
    odd = (
        "-c DateStyle=German -c TimeZone=Asia/Tokyo -c extra_float_digits=-5 -c bytea_output=escape"
    )
    from urllib.parse import quote

    url = f"{remote.url}&options={quote(odd)}"
    node.sync(url=url)
    node.store.runs.update("a", source="changed")
    node.sync(url=url)
    check.all(node)


def test_a_file_that_somebody_holds_locked_is_5(
    node: Any, tmp_path: Path, remote: Any, check: Any
) -> None:
    import sqlite3
    from contextlib import closing

    from dynostore import Store, config
    from dynostore.sync import sync

    node.fill(["a"])
    place = config.Place(str(node.path), "test", config.Settings(busy_timeout_s=0.1))
    with (
        Store.at(place) as store,
        closing(sqlite3.connect(node.path, isolation_level=None)) as somebody,
    ):
        somebody.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.StoreLocked) as caught:
            sync(store, remote.url)
        assert caught.value.exit_code == 5
        somebody.execute("COMMIT")
        assert sync(store, remote.url).exit_code == 0
    check.all(node)
