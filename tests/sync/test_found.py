"""What random histories found, each as a story of its own."""

from __future__ import annotations

from typing import Any


def test_a_push_ends_while_a_child_that_was_set_aside_keeps_its_deleted_parent(
    make_node: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"])
    one.sync()
    two.sync(direction="both")
    two.sql("UPDATE run_files SET metadata = '{'")
    two.sync()
    one.store.runs.delete("a")
    one.sync()
    batches: list[str] = []

    def count(table: str, _: int) -> None:
        batches.append(table)
        assert len(batches) < 20, "it goes round and round"

    two.sync(direction="both", progress=count)
    assert two.sync(progress=count).exit_code == 0
    assert (two.count("runs"), len(two.rejects())) == (1, 1)
    archived = two.remote.archive("a")
    assert two.sync().exit_code == 0
    assert two.remote.archive("a") == archived, "kept once is enough"
    two.sql("UPDATE run_files SET metadata = '{}'")
    for node in (two, one):
        node.sync(direction="both")
        check.equal(node)
        check.settled(node)
    assert one.count("run_files") == 1
