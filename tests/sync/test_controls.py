"""Controls: with one rule switched off, what it is for must go wrong, and be seen to.

Those without an archive, a snapshot, the clock's lock, and with echoes known by their node are the
four that the protocol's design names; ``test_model`` has one for every rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from dynostore.errors import RemoteUnavailable
from dynostore.sync import fence, run
from dynostore.sync.local import changes
from dynostore.sync.pull.arrivals import Arrivals
from dynostore.sync.remote import statements
from dynostore.sync.remote.statements import finish
from dynostore.sync.verify.run import verify

pytestmark = pytest.mark.once


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that are in sync and hold the run ``a`` with a file of its own."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="first")
    one.sync()
    two.write_rows_of(one)
    two.sync()
    return one, two


def test_without_the_archive_a_loser_is_lost(
    pair: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    monkeypatch.setattr(statements, "archive", lambda *_, **__: "NULL;")
    one.store.runs.update("a", source="one")
    two.store.runs.update("a", source="two")
    one.sync()
    two.sync()
    assert remote.archive("a") == []
    assert [c["image"] for c in two.conflicts()] == [None]


def test_without_the_guard_a_deletion_takes_children_that_nobody_saw(
    pair: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    two.store.runs.add_file("a", "unseen.csv")
    two.sync()
    one.store.runs.delete("a")
    monkeypatch.setattr(statements, "has_children", lambda *_: "false")
    assert one.sync().exit_code == 0
    assert remote.count("run_files") == 0
    buried = remote.sql("SELECT count(*) FROM dynostore_sync.tombstone WHERE tbl = 'run_files'")
    assert buried == [(1,)], "the other one has left no trace"


def test_without_bases_a_file_quarrels_with_itself(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    monkeypatch.setattr(changes.LocalFile, "set_bases", lambda *_: None)
    one.store.runs.update("a", source="again")
    one.sync()
    one.store.runs.update("a", source="and again")
    assert one.sync().exit_code == 3


def test_without_applying_what_came_from_the_server_is_sent_back(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    writing = changes.LocalFile.writing

    @contextlib.contextmanager
    def captured(self: Any, **_: Any) -> Iterator[Any]:
        with writing(self) as writer:
            yield writer

    one.store.runs.update("a", source="one")
    two.store.runs.update("a", source="two")
    one.sync()
    monkeypatch.setattr(changes.LocalFile, "writing", captured)
    two.sync()
    assert two.logged() != []


def test_without_the_epoch_a_late_batch_makes_a_file_quarrel_with_itself(
    node: Any, proxy: Any, judged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_epoch(*arguments: Any, **values: Any) -> str:
        sql = finish(*arguments, **values)
        condition = f"AND epoch = {values['epoch']}"
        assert condition in sql
        return sql.replace(condition, "")

    node.fill(["a"], files=0)
    node.sync()
    node.store.runs.update("a", source="late")
    monkeypatch.setattr(run, "_ATTEMPTS", 1)
    monkeypatch.setattr(statements, "finish", without_epoch)
    proxy.harm = "late"
    with pytest.raises(RemoteUnavailable):
        node.sync(url=proxy.url)
    monkeypatch.undo()
    node.store.runs.update("a", source="after the death")
    fence = run.pass_fence  # type: ignore[attr-defined]

    def then_it_arrives(*arguments: Any) -> None:
        fence(*arguments)
        proxy.release.set()
        assert proxy.arrived.wait(30)

    monkeypatch.setattr(run, "pass_fence", then_it_arrives)
    assert node.sync().exit_code == 3


def test_without_a_snapshot_what_is_sent_is_not_what_was_logged(
    node: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = changes.LocalFile.snapshot

    @contextlib.contextmanager
    def later(self: Any) -> Iterator[Any]:
        with snapshot(self) as (reader, marker):
            reader.execute("COMMIT")
            yield reader, marker

    def paths(*, control: bool) -> set[Any]:
        with monkeypatch.context() as patch:
            if control:
                patch.setattr(changes.LocalFile, "snapshot", later)
            node.sql("UPDATE runs SET current_stage = 'changed'")
            node.sql("UPDATE run_files SET storage_path = 'as logged'")
            node.sync(
                rows=1, progress=lambda *_: node.sql("UPDATE run_files SET storage_path = 'later'")
            )
        return {path for (path,) in remote.sql("SELECT DISTINCT storage_path FROM run_files")}

    node.fill([f"n{i}" for i in range(9)])
    assert paths(control=False) == {"as logged"}
    node.sync()
    assert "later" in paths(control=True)


def _write_while_another_commits(remote: Any, node: Any) -> None:
    """Let two people write, the later one first to commit, and a pull look between the two."""
    import psycopg2

    insert = (
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        " VALUES ('{}', 'pending', 'psql', now(), now())"
    )
    with remote.session() as slow:
        with slow.cursor() as cursor:
            cursor.execute("BEGIN; " + insert.format("slow"))
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the number is taken now
        with contextlib.suppress(psycopg2.errors.LockNotAvailable):
            remote.sql("SET lock_timeout = '100ms'; " + insert.format("quick"))
        node.sync(direction="pull")
        with slow.cursor() as cursor:
            cursor.execute("COMMIT")
    node.sync(direction="pull")


def test_without_the_clocks_lock_a_cursor_passes_a_row_by(node: Any, remote: Any) -> None:
    node.sync()
    _write_while_another_commits(remote, node)
    assert node.sql("SELECT id FROM runs") == [("slow",)], "the quick one had to wait"
    remote.sql("DELETE FROM runs")
    node.sync(direction="pull")
    [(take,)] = remote.sql("SELECT pg_get_functiondef('dynostore_sync.take()'::regprocedure)")
    lines = [line for line in take.splitlines() if "pg_advisory_xact_lock" not in line]
    assert len(lines) == len(take.splitlines()) - 1
    remote.sql("\n".join(lines))
    try:
        _write_while_another_commits(remote, node)
    finally:
        remote.sql(take)
    assert node.sql("SELECT id FROM runs") == [("quick",)]
    assert node.sync(direction="both").up_to_date, "nothing ever brings the other one"
    assert [d.key for d in verify(node.store, remote.url, delay_s=0).differences] == ["slow"]


@pytest.mark.parametrize(("by_node", "held"), [(False, ["a", "b"]), (True, ["a"])])
def test_with_echoes_known_by_their_node_files_of_one_name_miss_each_others_rows(
    by_node: bool, held: list[str], node: Any, remote: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    select = Arrivals.select

    def stay(local: Any, server: Any, mine: Any) -> None:
        """Go on under the name that the copy shares with its original, as if nobody noticed."""
        token = server.one("SELECT token FROM dynostore_sync.node WHERE id = %s", (mine.node_id,))
        with local.writing():
            local.journal.remember(token[0], 0)

    monkeypatch.setattr(fence, "become_another", stay)
    node.fill(["a"])
    node.sync(direction="both")
    copy = node.copied(tmp_path / "copy.db")
    node.fill(["b"])
    node.sync(direction="both")
    [(number,)] = remote.sql("SELECT no FROM dynostore_sync.node")
    if by_node:
        others = f"t.sync_node <> {number} AND "
        monkeypatch.setattr(Arrivals, "select", lambda self, where: select(self, others + where))
    copy.sync(direction="pull")
    copy.sync(direction="both")
    assert [key for (key,) in copy.sql("SELECT id FROM runs ORDER BY id")] == held
    assert copy.identity()[0] == node.identity()[0]
    copy.close()
