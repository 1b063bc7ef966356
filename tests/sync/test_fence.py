"""Copied files, old backups, restored and foreign servers: each is noticed and set to rights."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from dynostore.errors import IdentityMismatch
from dynostore.sync import sync_status

pytestmark = pytest.mark.once


def _node_ids(remote: Any) -> set[str]:
    return {key for (key,) in remote.sql("SELECT id::text FROM dynostore_sync.node")}


# -- copied files --------------------------------------------------------------------------------


def test_a_copied_file_becomes_a_node_of_its_own(
    node: Any, remote: Any, tmp_path: Any, check: Any
) -> None:
    node.fill(["a", "b"])
    node.sync()
    copy = node.copied(tmp_path / "copy.db")
    node.fill(["of-the-original"])
    copy.fill(["of-the-copy"])
    node.store.runs.update("a", source="original")
    copy.store.runs.update("b", source="copy")
    for one in (node, copy, node, copy):
        assert one.sync().exit_code == 0
    assert node.identity()[0] != copy.identity()[0]
    assert _node_ids(remote) == {node.identity()[0], copy.identity()[0]}
    assert remote.sql("SELECT id, source FROM runs ORDER BY id") == [
        ("a", "original"), ("b", "copy"), ("of-the-copy", "manual"), ("of-the-original", "manual"),
    ]  # fmt: skip
    check.quiet(node)
    check.quiet(copy)
    copy.close()


def test_a_file_copied_with_unsent_changes_sends_them_from_both_without_a_conflict(
    node: Any, tmp_path: Any, check: Any
) -> None:
    node.fill(["a", "b"], files=2)
    node.sync()
    node.store.runs.update("a", source="changed")
    node.store.runs.delete("b")
    node.fill(["c"])
    copy = node.copied(tmp_path / "copy.db")
    for one in (node, copy, node):
        assert one.sync().exit_code == 0
        check.all(one)
    copy.store.runs.update("c", source="by the copy")
    assert copy.sync().exit_code == 0
    check.all(copy)
    copy.close()


@pytest.mark.slow
@pytest.mark.parametrize("first", ["original", "copy"])
def test_a_file_copied_in_the_middle_of_a_push(
    first: str, node: Any, remote: Any, tmp_path: Any, doomed: Any, check: Any
) -> None:
    node.fill(["old-1", "old-2"], files=2)
    node.sync()
    node.fill(["new-1", "new-2", "new-3"], files=2)
    node.store.runs.delete("old-1")
    spare = node.copied(tmp_path / "spare.db")
    total = doomed.push(spare.path, remote.url, rows=2)["statements"]
    spare.close()
    step = total // 10  # later pushes are a little shorter
    for number, at in enumerate(range(step, 7 * step, step)):
        name = f"round-{number}"
        node.fill([f"{name}-1", f"{name}-2", f"{name}-3"], files=2)
        node.store.runs.update("old-2", current_stage=name)
        assert doomed.push(node.path, remote.url, at=at, rows=2)["died"]
        copy = node.copied(tmp_path / f"{name}.db")
        order = (node, copy, node) if first == "original" else (copy, node, copy)
        for one in order:
            assert one.sync(rows=2).exit_code == 0
            check.holds(one)
            assert (one.conflicts(), one.rejects()) == ([], {})
        assert copy.identity()[0] != node.identity()[0]
        copy.close()
    check.equal(node)


def test_a_file_copied_before_its_first_sync(node: Any, tmp_path: Any, check: Any) -> None:
    node.fill(["a", "b"])
    copy = node.copied(tmp_path / "copy.db")
    for one in (node, copy):
        assert one.sync().exit_code == 0
        check.all(one)
    assert node.identity()[0] != copy.identity()[0]
    copy.close()


def test_a_file_copied_after_a_first_sync_that_never_reached_the_server(
    node: Any, tmp_path: Any, check: Any
) -> None:
    node.fill(["a"])
    with pytest.raises(Exception, match="127"):
        node.sync(url="postgresql://kim@127.0.0.1:1/x")
    copy = node.copied(tmp_path / "copy.db")
    for one in (node, copy, node):
        assert one.sync().exit_code == 0
        check.all(one)
    assert node.identity()[0] != copy.identity()[0]
    copy.close()


def test_an_old_backup_put_back_becomes_a_node_of_its_own(
    node: Any, remote: Any, tmp_path: Any, check: Any
) -> None:
    node.fill(["a", "b"])
    node.sync()
    node.store.runs.update("a", source="at backup")
    node.sync()
    node.store.backup(tmp_path / "backup.db")
    for number in range(3):
        node.store.runs.update("a", source=f"later {number}")
        node.fill([f"later-{number}"])
        node.sync()
    restored = type(node)(tmp_path / "backup.db", remote)
    restored.fill(["after the restore"])
    assert restored.sync().exit_code == 0
    assert restored.identity()[0] != node.identity()[0]
    assert restored.sync().up_to_date
    assert remote.sql("SELECT source FROM runs WHERE id = 'a'") == [("later 2",)]
    assert remote.count("runs") == 6
    check.quiet(restored)
    # A change on top of what the backup knew is one that nobody made who had seen the rest.
    restored.store.runs.update("a", source="from the backup")
    assert restored.sync().exit_code == 3
    assert restored.store.runs.get("a").source == "later 2"
    restored.close()


def test_an_old_backup_with_unsent_changes_offers_them_again(
    node: Any, remote: Any, tmp_path: Any, check: Any
) -> None:
    node.fill(["a"])
    node.sync()
    node.fill(["b", "c"], files=2)
    node.store.backup(tmp_path / "backup.db")
    node.sync()
    node.store.runs.update("b", source="later")
    node.sync()
    restored = type(node)(tmp_path / "backup.db", remote)
    report = restored.sync()
    assert remote.sql("SELECT source FROM runs WHERE id = 'b'") == [("later",)]
    assert sum(t.conflicts for t in report.tables) == 1
    assert restored.store.runs.get("b").source == "later"
    assert restored.sync().up_to_date
    check.equal(restored)
    restored.close()


# -- restored servers ----------------------------------------------------------------------------


class _Backups:
    """Copies of the server's database, to be restored under another name."""

    def __init__(self, postgres: Any, remote: Any) -> None:
        self._postgres = postgres
        self._remote = remote
        self.made: list[str] = []

    def take(self) -> Any:
        """Copy the whole database, as a dump does, and give the copy."""
        self.made.append(self._postgres.create(_database(self._remote)))
        return type(self._remote)(self._postgres.url_of(self.made[-1]))


def _database(remote: Any) -> str:
    return str(urlsplit(remote.url).path.strip("/"))


@pytest.fixture
def backups(postgres: Any, remote: Any) -> Iterator[_Backups]:
    kept = _Backups(postgres, remote)
    yield kept
    for name in kept.made:
        postgres.drop(name)


def _use(remote: Any, *nodes: Any) -> None:
    for node in nodes:
        node.remote = remote


def test_a_server_restored_from_a_backup_gets_back_what_the_nodes_have(
    make_node: Any, remote: Any, backups: _Backups, check: Any
) -> None:
    one, two, idle = make_node("one"), make_node("two"), make_node("idle")
    one.fill([f"one-{n}" for n in range(5)], files=2)
    two.fill([f"two-{n}" for n in range(5)], files=2)
    idle.fill(["idle"])
    for node in (one, two, idle):
        node.sync()
    backup = backups.take()
    for node, name in ((one, "one"), (two, "two")):
        for change in ("x", "y"):
            node.store.runs.update(f"{name}-0", source=f"after {change}")
            node.fill([f"{name}-new-{change}"], files=2)
            node.sync()
        node.store.runs.delete(f"{name}-1")
        node.sql(f"DELETE FROM run_files WHERE run_id = '{name}-2'")
        node.sync()
    wanted = {key: rev for key, (rev, _) in remote.stamps().items()}
    rows = remote.sql("SELECT id, source FROM runs ORDER BY id")

    _use(backup, one, two, idle)
    for node in (two, idle, one):
        assert node.sync().exit_code == 0
        assert node.sync().up_to_date
    assert {key: rev for key, (rev, _) in backup.stamps().items()} == wanted
    assert backup.sql("SELECT id, source FROM runs ORDER BY id") == rows
    for node in (one, two, idle):
        check.holds(node)
        assert (node.conflicts(), node.rejects()) == ([], {})
    assert backup.count("dynostore_sync.ancestor") == 1
    one.store.runs.update("one-0", source="life goes on")
    two.store.runs.update("two-0", source="life goes on")
    idle.store.runs.update("idle", source="life goes on")
    for node in (one, two, idle):
        assert node.sync().exit_code == 0
        check.holds(node)


def test_a_real_dump_restored_with_psql_is_recognised(
    node: Any, remote: Any, postgres: Any, check: Any
) -> None:
    node.fill(["a", "b"], files=2, metadata={"ä": "\t"})
    node.sync()
    dump = subprocess.run(
        [postgres.program("pg_dump"), remote.url], capture_output=True, check=True, text=True
    ).stdout
    node.store.runs.update("a", source="after the dump")
    node.fill(["c"])
    node.store.runs.delete("b")
    node.sync()
    wanted = {key: rev for key, (rev, _) in remote.stamps().items()}
    name = postgres.create()
    try:
        restored = type(remote)(postgres.url_of(name))
        subprocess.run(
            [postgres.program("psql"), "-q", "-v", "ON_ERROR_STOP=1", restored.url],
            input=dump, check=True, text=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        node.remote = restored
        assert node.sync().exit_code == 0
        assert {key: rev for key, (rev, _) in restored.stamps().items()} == wanted
        check.equal(node)
        assert (node.conflicts(), node.rejects()) == ([], {})
        assert node.sync().up_to_date
    finally:
        postgres.drop(name)


def test_unsent_changes_on_top_of_what_the_restored_server_lost_arrive(
    node: Any, remote: Any, backups: _Backups, check: Any
) -> None:
    node.fill(["kept", "updated", "deleted"], files=2)
    node.sync()
    backup = backups.take()
    node.store.runs.update("updated", source="sent")
    node.store.runs.update("deleted", source="sent")
    node.fill(["new", "new and gone"], files=2)
    node.sync()
    node.store.runs.update("updated", source="not sent yet")
    node.store.runs.update("new", source="not sent yet")
    node.store.runs.delete("deleted")
    node.store.runs.delete("new and gone")
    node.store.runs.add_file("kept", "not sent yet")
    _use(backup, node)
    assert node.sync().exit_code == 0
    check.equal(node)
    assert (node.conflicts(), node.rejects()) == ([], {})
    check.settled(node)


def test_work_done_on_the_restored_server_is_not_overwritten(
    make_node: Any, backups: _Backups, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a", "b", "c"], files=0, source="first")
    one.sync()
    two.write_rows_of(one)
    two.sync()
    backup = backups.take()
    one.sql("UPDATE runs SET source = 'lost' WHERE id IN ('a', 'b')")
    one.sync()
    _use(backup, one, two)
    two.sql("UPDATE runs SET source = 'since' WHERE id IN ('a', 'c')")
    assert two.sync().exit_code == 0
    one.sync()
    assert dict(backup.sql("SELECT id, source FROM runs")) == {
        "a": "lost", "b": "lost", "c": "since",
    } or dict(backup.sql("SELECT id, source FROM runs")) == {
        "a": "since", "b": "lost", "c": "since",
    }  # fmt: skip
    images = [image and image["source"] for _, image in backup.archive("a")]
    held = backup.sql("SELECT source FROM runs WHERE id = 'a'")[0][0]
    assert {held, *images} >= {"since", "lost"}
    assert one.sync().up_to_date


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 100])
def test_a_push_that_dies_on_a_restored_server_is_finished(
    rows: int, node: Any, remote: Any, backups: _Backups, doomed: Any, check: Any, tmp_path: Any
) -> None:
    node.fill(["a", "b", "c"], files=2)
    node.sync()
    originals = [backups.take() for _ in range(8)]
    node.store.runs.update("a", source="after")
    node.store.runs.delete("b")
    node.fill(["d", "e"], files=2)
    node.sync()
    wanted = {key: rev for key, (rev, _) in remote.stamps().items()}
    node.fill(["unsent"], files=1)
    spare = node.copied(tmp_path / "spare.db")
    total = doomed.push(spare.path, originals.pop().url, rows=rows)["statements"]
    spare.close()
    for number, backup in enumerate(originals):
        copy = node.copied(tmp_path / f"copy-{number}.db")
        copy.remote = backup
        at = 1 + total * (number + 1) // (len(originals) + 1)
        assert doomed.push(copy.path, backup.url, rows=rows, at=at)["died"]
        assert copy.sync(rows=rows).exit_code == 0
        check.equal(copy)
        assert (copy.conflicts(), copy.rejects()) == ([], {})
        stamps = {key: rev for key, (rev, _) in backup.stamps().items()}
        assert {key: stamps.get(key) for key in wanted} == wanted
        copy.close()


def test_keys_of_any_spelling_are_compared_in_one_order(
    node: Any, remote: Any, backups: _Backups, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynostore.sync.reconcile._FETCH_ROWS", 2)
    keys = ["a", "B", "é", "z", "Z", "\uffff", "𝄞", "a b", "a\tb", "_", "-", "ä", "\x01", "ﬀ"]
    node.fill(keys[::2], files=1)
    node.sync()
    backup = backups.take()
    node.fill(keys[1::2], files=1)
    node.store.runs.update("é", source="after")
    node.store.runs.delete("Z")
    node.sync()
    wanted = {key: rev for key, (rev, _) in remote.stamps().items()}
    _use(backup, node)
    report = node.sync()
    assert {key: rev for key, (rev, _) in backup.stamps().items()} == wanted
    assert sum(t.sent for t in report.tables) == 2 * 7 + 1 + 2, "nothing else was sent"
    check.equal(node)
    check.settled(node)


def test_a_row_with_an_empty_key_is_compared_like_any_other(
    node: Any, remote: Any, backups: _Backups, check: Any
) -> None:
    node.fill(["a"])
    node.sync()
    backup = backups.take()
    node.sql(
        "INSERT INTO runs (id, status, source, created_at, updated_at)"
        " SELECT '', status, source, created_at, updated_at FROM runs"
    )
    node.sync()
    _use(backup, node)
    node.sync()
    assert backup.sql("SELECT id FROM runs ORDER BY id") == [("",), ("a",)]
    check.settled(node)


def test_a_server_restored_twice(node: Any, remote: Any, backups: _Backups, check: Any) -> None:
    node.fill(["a"])
    node.sync()
    older = backups.take()
    node.fill(["b"])
    node.sync()
    newer = backups.take()
    node.fill(["c"])
    node.sync()
    for number, backup in enumerate((newer, older)):
        _use(backup, node)
        node.fill([f"after-{number}"])
        assert node.sync().exit_code == 0
        check.equal(node)
        assert (node.conflicts(), node.rejects()) == ([], {})


def test_a_row_deleted_before_the_backup_stays_deleted(
    make_node: Any, backups: _Backups, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a", "b"])
    one.sync()
    two.write_rows_of(one)
    two.sync()
    one.store.runs.delete("a")
    one.sync()
    backup = backups.take()
    two.fill(["c"])
    two.sync()
    _use(backup, one, two)
    two.sync()
    assert backup.sql("SELECT id FROM runs ORDER BY id") == [("b",), ("c",)]
    assert two.conflicts() == []


# -- another server ------------------------------------------------------------------------------


def test_another_server_is_refused_and_nothing_is_written_there(
    node: Any, empty_remote: Any, make_node: Any
) -> None:
    node.fill(["a"])
    node.sync()
    other = make_node("other", to=empty_remote)
    other.fill(["x"])
    other.sync()
    node.fill(["b"])
    before = (empty_remote.state(), node.logged())
    with pytest.raises(IdentityMismatch) as caught:
        node.sync(url=empty_remote.url)
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert (empty_remote.state(), node.logged()) == before
    assert sync_status(node.store).last_error == caught.value.message
    assert node.sync().exit_code == 0
    assert sync_status(node.store).last_error is None


def test_an_empty_database_instead_of_the_known_server_is_refused_and_stays_empty(
    node: Any, empty_remote: Any
) -> None:
    node.fill(["a"])
    node.sync()
    for _ in range(2):
        with pytest.raises(IdentityMismatch):
            node.sync(url=empty_remote.url)
        assert empty_remote.tables() == []


def test_a_server_that_has_forgotten_the_node_gets_everything_again(
    node: Any, remote: Any, check: Any
) -> None:
    node.fill(["a", "b"], files=2)
    node.sync()
    remote.sql("DELETE FROM dynostore_sync.node")
    node.store.runs.update("a", source="changed")
    assert node.sync().exit_code == 0
    check.equal(node)
    assert (node.conflicts(), node.rejects()) == ([], {})


def test_a_server_that_has_forgotten_every_batch_is_refused(node: Any, remote: Any) -> None:
    node.fill(["a"])
    node.sync()
    remote.sql("DELETE FROM dynostore_sync.node_history; UPDATE dynostore_sync.node SET token = 5")
    node.fill(["b"])
    with pytest.raises(IdentityMismatch):
        node.sync()
    assert remote.count("runs") == 1
    assert ("runs", "b", "p") in node.logged()
