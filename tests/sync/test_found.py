"""What random histories found, each as a story of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.once


def few_batches() -> Callable[[str, int], None]:
    """Give a sync's progress, which fails where there is no end of it."""
    batches: list[str] = []

    def count(table: str, _: int) -> None:
        batches.append(table)
        assert len(batches) < 20, "it goes round and round"

    return count


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
    count = few_batches()
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


def test_a_push_ends_where_one_child_keeps_a_parent_and_puts_off_the_deletion_of_another(
    make_node: Any, check: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"])
    one.fill(["b"], files=0)
    one.sync()
    two.sync(direction="both")
    # What was set aside refers to b here and to a on the server, so that a cannot go yet.
    two.sql("UPDATE run_files SET run_id = 'b', metadata = '{'")
    two.store.runs.delete("a")
    two.sync()
    assert two.remote.sql("SELECT run_id FROM run_files") == [("a",)]
    two.remote.sql("DELETE FROM runs WHERE id = 'b'")
    count = few_batches()
    two.sync(direction="both", progress=count)
    assert two.sync(progress=count).exit_code == 0
    two.sql("UPDATE run_files SET metadata = '{}'")
    for node in (two, one):
        node.sync(direction="both")
        check.equal(node)
        check.settled(node)
    assert one.sql("SELECT r.id, f.run_id FROM runs r JOIN run_files f") == [("b", "b")]
