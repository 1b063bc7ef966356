"""Messages that are lost, cut or late on their way: above all the reply to COMMIT."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dynostore.errors import RemoteUnavailable

pytestmark = pytest.mark.once


def _prepare(node: Any) -> None:
    node.fill(["a", "b", "c"], files=2)
    node.sync()
    node.fill(["d", "e"], files=2)
    node.store.runs.update("a", source="changed")
    node.store.runs.delete("b")


@pytest.mark.parametrize("harm", ["lose", "half", "mute", "slow"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_sync_gets_through_a_message_that_goes_wrong(
    harm: str, at: int, node: Any, proxy: Any, impatient: None, check: Any
) -> None:
    _prepare(node)
    proxy.harm, proxy.at = harm, at
    assert node.sync(url=proxy.url, rows=2).exit_code == 0
    assert proxy.seen >= at
    check.all(node)
    assert node.sync(url=proxy.url).up_to_date


def test_what_a_lost_reply_had_confirmed_is_in_the_report(
    node: Any, proxy: Any, impatient: None
) -> None:
    node.fill(["a", "b"], files=0)
    proxy.harm = "mute"
    report = node.sync(url=proxy.url)
    assert [(t.name, t.sent) for t in report.tables] == [("runs", 2)]


def test_a_conflict_that_a_lost_reply_had_told_of_is_counted(
    make_node: Any, proxy: Any, impatient: None
) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"], files=0, source="one")
    two.fill(["a"], files=0, source="two")
    one.sync()
    proxy.harm = "mute"
    assert two.sync(url=proxy.url).exit_code == 3
    assert [c["key"] for c in two.conflicts()] == ["a"]


@pytest.mark.parametrize("harm", ["lose", "half", "mute"])
@pytest.mark.parametrize("marker", [b"DO $push", b"COPY dynostore_push", b"FOR UPDATE"])
def test_a_way_that_stays_broken_is_an_error_and_the_next_sync_completes(
    harm: str, marker: bytes, node: Any, proxy: Any, impatient: None, judged: None, check: Any
) -> None:
    _prepare(node)
    proxy.harm, proxy.marker, proxy.every = harm, marker, True
    failures = 0
    while failures < 20:  # with a lost reply each attempt gets one batch further
        try:
            node.sync(url=proxy.url, rows=2)
        except RemoteUnavailable:
            failures += 1
            if failures == 2:
                break
        else:
            assert (harm, marker) == ("mute", b"DO $push")
            break
    proxy.harm = None
    assert node.sync(url=proxy.url, rows=2).exit_code == 0
    check.all(node)


@pytest.mark.parametrize("moment", ["before the next sync", "during it", "after it"])
def test_a_commit_that_arrives_after_its_client_has_died(
    moment: str, node: Any, remote: Any, proxy: Any, check: Any, monkeypatch: Any
) -> None:
    _prepare(node)
    node.sync()
    node.store.runs.update("a", source="late")
    node.fill(["late"], files=0)
    monkeypatch.setattr("dynostore.sync.run._ATTEMPTS", 1)
    proxy.harm = "late"
    with pytest.raises(RemoteUnavailable) as caught:
        node.sync(url=proxy.url)
    assert caught.value.exit_code == 75
    monkeypatch.undo()

    def arrive(*_: Any) -> None:
        proxy.release.set()
        proxy.arrived.wait(30)

    if moment == "before the next sync":
        arrive()
    node.store.runs.update("a", current_stage="changed after the death")
    if moment == "during it":
        _after_fence(monkeypatch, arrive)
    assert node.sync().exit_code == 0
    if moment == "after it":
        arrive()
    for _ in range(2):
        assert node.sync().exit_code == 0
    check.equal(node)
    assert (node.conflicts(), node.rejects()) == ([], {})
    check.settled(node)


def _after_fence(monkeypatch: Any, act: Any) -> None:
    from dynostore.sync import run

    fence = run.pass_fence  # type: ignore[attr-defined]

    def then(*arguments: Any) -> Any:
        result = fence(*arguments)
        act()
        return result

    monkeypatch.setattr(run, "pass_fence", then)


def test_a_slow_sync_keeps_nobody_waiting(
    node: Any, make_node: Any, proxy: Any, judged: None, check: Any
) -> None:
    node.fill([f"n{i}" for i in range(20)], files=2)
    other = make_node("other")
    other.fill(["other"])
    proxy.harm, proxy.every = "slow", True
    quick: list[float] = []
    proxy.marker = b"COPY dynostore_push"

    def second(*_: Any) -> None:
        if not quick:
            quick.append(other.sync().seconds)

    worker = threading.Thread(target=second)

    def start(*_: Any) -> None:
        if worker.ident is None:
            worker.start()

    node.sync(url=proxy.url, rows=5, progress=start)
    worker.join(30)
    assert quick
    assert quick[0] < 2
    check.holds(node)
    check.holds(other)
