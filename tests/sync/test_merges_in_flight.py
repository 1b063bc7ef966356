"""Rows that are changed again here while a merge of them travels; and no lock that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from dynostore.sync.local.changes import LocalFile
from dynostore.sync.local.journal import Journal
from dynostore.sync.push import push
from dynostore.sync.remote.server import Server

Meanwhile = Callable[[Callable[[], None]], None]


@pytest.fixture
def pair(make_node: Any) -> tuple[Any, Any]:
    """Give two files that hold the run ``a`` with a file of its own, both in sync."""
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], source="first", progress_percent=10)
    one.sync()
    two.write_rows_of(one)
    two.sync()
    return one, two


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Give a way to act between the server's commit of the next batch and what follows it here."""
    acknowledge = push.acknowledge  # type: ignore[attr-defined]  # what it calls, replaced there

    def plan(act: Callable[[], None]) -> None:
        acts = [act]

        def then(*arguments: Any) -> Any:
            if acts:
                acts.pop()()
            return acknowledge(*arguments)

        monkeypatch.setattr(push, "acknowledge", then)

    return plan


def _merge(one: Any, two: Any) -> None:
    """Leave a change in ``two`` that the server will merge with one of ``one``'s."""
    one.store.runs.update("a", progress_percent=60)
    one.sync()
    two.store.runs.update("a", progress_percent=40)


def _conflicts(report: Any) -> int:
    return sum(table.conflicts for table in report.tables)


def test_a_row_changed_again_while_its_merge_travels_makes_no_conflict_with_itself(
    pair: Any, remote: Any, check: Any, meanwhile: Meanwhile
) -> None:
    one, two = pair
    _merge(one, two)
    meanwhile(lambda: two.store.runs.update("a", source="newer"))
    assert two.sync().exit_code == 0
    assert two.sync().exit_code == 0
    assert remote.sql("SELECT source, progress_percent FROM runs") == [("newer", 60)]
    assert two.store.runs.get("a").progress_percent == 60
    check.all(two)


def test_a_merge_that_the_server_s_values_won_is_brought_into_a_newer_row_as_well(
    pair: Any, remote: Any, check: Any, meanwhile: Meanwhile
) -> None:
    one, two = pair
    two.store.runs.update("a", progress_percent=40)
    one.store.runs.update("a", progress_percent=60)  # and the later updated_at
    one.sync()
    before = remote.stamps()["runs", "a"]
    meanwhile(
        lambda: two.sql("UPDATE runs SET source = 'newer', progress_percent = NULL WHERE id = 'a'")
    )
    two.sync()
    assert remote.stamps()["runs", "a"] == before
    assert two.sync().exit_code == 0
    assert remote.sql("SELECT source, progress_percent FROM runs") == [("newer", 60)]
    check.all(two)


def test_a_newer_row_does_not_build_on_what_a_third_node_wrote_after_the_merge(
    pair: Any, remote: Any, check: Any, meanwhile: Meanwhile
) -> None:
    one, two = pair
    _merge(one, two)

    def act() -> None:
        two.store.runs.update("a", source="newer")
        remote.sql("UPDATE runs SET source = 'a third' WHERE id = 'a'")

    meanwhile(act)
    two.sync()
    assert _conflicts(two.sync()) == 1
    assert remote.sql("SELECT source FROM runs") == [("a third",)]
    [conflict] = two.conflicts()
    assert conflict["image"]["source"] == "newer"
    check.equal(two)


def test_a_deletion_while_a_merge_travels_loses_to_the_update_that_it_has_not_seen(
    pair: Any, remote: Any, check: Any, meanwhile: Meanwhile
) -> None:
    one, two = pair
    _merge(one, two)

    def delete() -> None:
        two.sql("DELETE FROM run_files")
        two.sql("DELETE FROM runs")

    meanwhile(delete)
    two.sync()
    assert _conflicts(two.sync()) == 1
    assert remote.sql("SELECT progress_percent FROM runs") == [(60,)]
    check.equal(two)


# -- no lock waits for the network ---------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what the acknowledging thread asks of the server; fail where it holds the file's lock.

    The thread that sends does so beside it, and holds no lock of the file.
    """
    files: list[LocalFile] = []
    asked: list[str] = []
    made, execute = LocalFile.__init__, Server.execute

    def remember(self: LocalFile, *arguments: Any) -> None:
        made(self, *arguments)
        files.append(self)

    def watch(self: Server, sql: str, *arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            assert not files[-1].writer.in_transaction, sql
            asked.append(sql)
        return execute(self, sql, *arguments)

    monkeypatch.setattr(LocalFile, "__init__", remember)
    monkeypatch.setattr(Server, "execute", watch)
    return asked


def test_parents_are_fetched_while_nobody_waits_for_the_file(
    pair: Any, remote: Any, check: Any, watched: list[str]
) -> None:
    one, two = pair
    one.fill(["b", "c"], files=0)
    one.store.runs.add_file("a", "second.csv")
    one.sync()
    two.sync(direction="pull")
    two.sql("DELETE FROM runs WHERE id IN ('b', 'c')", foreign_keys=False)
    two.sql("DELETE FROM sync_log WHERE tbl IS NOT NULL")  # as if it had never heard of them
    for number, parent in enumerate("bc"):
        [(key,)] = two.sql("SELECT id FROM run_files LIMIT 1 OFFSET ?", (number,))
        remote.sql("UPDATE run_files SET run_id = %s WHERE id = %s", (parent, key))
    two.sql("UPDATE run_files SET size_bytes = 7")
    watched.clear()
    assert _conflicts(two.sync()) == 2
    assert len([sql for sql in watched if 'FROM "runs" t' in sql]) == 1
    check.equal(two)
    check.settled(two)


def test_children_are_counted_while_nobody_waits_for_the_file(
    pair: Any, remote: Any, watched: list[str]
) -> None:
    one, two = pair
    one.store.runs.add_file("a", "unseen.csv")
    one.sync()
    two.store.runs.delete("a")
    watched.clear()
    assert _conflicts(two.sync()) == 1
    assert [sql for sql in watched if '"run_id" = %s' in sql]
    assert remote.count("runs") == 1


def test_a_child_beyond_the_first_page_holds_its_parent_as_well(
    pair: Any, remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, two = pair
    two.fill(["b"], files=0)
    for number in range(6):
        two.store.runs.add_file("a", f"{number}.csv")
    two.sync()
    monkeypatch.setattr("dynostore.sync.push.verdicts._CHILDREN_PER_QUERY", 2)
    two.sql("UPDATE run_files SET run_id = 'b', size_bytes = 'poison'")
    two.sql("DELETE FROM runs WHERE id = 'a'")
    report = two.sync()
    assert [(t.name, t.conflicts, t.rejected) for t in report.tables] == [
        ("runs", 0, 0), ("run_files", 0, 7),
    ]  # fmt: skip
    assert ("runs", "a", "d") in two.logged()
    remote.sql(
        "INSERT INTO run_files (id, run_id, filename, created_at)"
        " VALUES ('ffffffff-0000-7000-8000-000000000000', 'a', 'unseen.csv', now())"
    )
    assert _conflicts(two.sync()) == 1


# -- what must outlast a power failure -----------------------------------------------------------


def test_a_batch_is_announced_on_the_disk_and_nothing_else_waits_for_it(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, int]] = []
    full = 2

    def note(name: str) -> None:
        method = getattr(Journal, name)

        def noted(self: Journal, *arguments: Any) -> Any:
            [(level,)] = self._writer.execute("PRAGMA synchronous").fetchall()
            flushed.append((name, level))
            return method(self, *arguments)

        monkeypatch.setattr(Journal, name, noted)

    for name in ("add_pending", "remember", "drop_pending"):
        note(name)
    one, _ = pair
    one.store.runs.update("a", source="changed")
    one.sync()
    assert flushed == [("add_pending", full), ("remember", 1), ("drop_pending", 1)]
