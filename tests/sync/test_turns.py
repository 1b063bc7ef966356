from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dynostore.sync.local.turns import Turns

PATIENCE_S = 10


def _has_a_turn(turns: Turns, had: threading.Event) -> None:
    with turns.turn():
        had.set()


def test_a_sync_alone_waits_for_nobody() -> None:
    turns, had = Turns(), threading.Event()
    with turns.counted(), turns.turn(), ThreadPoolExecutor(1) as other:
        other.submit(_has_a_turn, turns, had).result(PATIENCE_S)


def test_one_of_several_has_its_turn_at_a_time() -> None:
    turns, had = Turns(), threading.Event()
    with turns.counted(), turns.counted(), ThreadPoolExecutor(1) as other:
        with turns.turn():
            waiting = other.submit(_has_a_turn, turns, had)
            assert not had.wait(0.1)
        waiting.result(PATIENCE_S)
    with turns.counted(), turns.turn(), ThreadPoolExecutor(1) as other:  # the others are over
        other.submit(_has_a_turn, turns, had).result(PATIENCE_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_was_forked_in_the_middle_of_a_turn_gets_one() -> None:
    turns, had = Turns(), threading.Event()
    with turns.counted(), turns.counted(), turns.turn():
        child = os.fork()
        if not child:
            with turns.counted(), turns.counted():
                _has_a_turn(turns, had)
            os._exit(0)
    deadline = threading.Timer(PATIENCE_S, os.kill, (child, signal.SIGKILL))
    deadline.start()
    status = os.waitpid(child, 0)[1]
    deadline.cancel()
    assert status == 0
