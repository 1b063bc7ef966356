"""Ctrl-C in the middle of long work: exit code 130, a sound store, and the next call ends it."""

from __future__ import annotations

import gc
import io
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg2
import pytest

from dynostore import Store
from dynostore.cli import main
from dynostore.samples import legacy_runs

Act = Callable[[], object]

# Of a command's work: shares of the calls of its functions, at which somebody presses the keys.
SOME = (0.3, 0.8)
ASLEEP_S = 40
SLEEP = f"""
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_sleep({ASLEEP_S}); RETURN new; END $$;
CREATE TRIGGER sleep BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION sleep()
"""
MANY = tuple(number / 16 for number in range(1, 16))


def count_calls(part: str, act: Act, stop_at: int | None = None) -> int:
    """Call a function and count the calls of dynostore's in some of its modules.

    :param part: what the modules' paths have in them.
    :param stop_at: the number of the call that SIGINT meets.
    """
    count = 0

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        if event == "call" and part in frame.f_code.co_filename.replace("\\", "/"):
            count += 1
            if count == stop_at:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(look)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def run(*words: str) -> tuple[int, str]:
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        return main(words), said.getvalue()


@pytest.fixture
def interrupted(kill_child: Callable[..., bool]) -> Callable[[str, int, tuple[str, ...]], None]:
    """Give a function that interrupts a command in a process of its own, at one of its calls."""

    def interrupt(part: str, number: int, words: tuple[str, ...]) -> None:
        def act() -> None:
            outcome: list[tuple[int, str]] = []
            # What the collector closes is no work of the command's, and nobody hears SIGINT there.
            gc.collect()
            gc.disable()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            count_calls(part, lambda: outcome.append(run(*words)), number)
            assert outcome == [(130, "\ninterrupted\n")], outcome

        kill_child(number, lambda *_: None, act)

    return interrupt


@pytest.mark.parametrize(
    "shares", [SOME, pytest.param(MANY, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_an_interrupted_import_leaves_whole_records_and_is_ended_by_the_next(
    interrupted: Callable[..., None], workplace: Path, shares: tuple[float, ...]
) -> None:
    words = ("import", str(legacy_runs()))
    Store.open("count.db").close()
    run("--db", "whole.db", *words)  # Modules are imported: that counts as calls.
    total = count_calls("/dynostore/import", lambda: run("--db", "count.db", *words))
    with closing(Store.open("whole.db")) as store:
        whole = [run.values() for run in store.runs.list()]
    for share in shares:
        path = f"{share}.db"
        Store.open(path).close()
        interrupted("/dynostore/import", int(total * share), ("--db", path, *words))
        with closing(Store.open(path)) as store:
            assert store.check() == []
            assert {run.id for run in store.runs.list()} <= {run["id"] for run in whole}
        assert run("--db", path, *words)[0] == 3  # one of the samples is damaged
        with closing(Store.open(path)) as store:
            assert [run.values() for run in store.runs.list()] == whole


@pytest.mark.parametrize(
    ("direction", "shares"),
    [
        ("push", SOME),
        pytest.param("push", MANY, marks=pytest.mark.slow),
        pytest.param("pull", MANY, marks=pytest.mark.slow),
    ],
    ids=["push-some", "push-many", "pull-many"],
)
def test_an_interrupted_sync_is_ended_by_the_next(
    interrupted: Callable[..., None],
    workplace: Path,
    postgres_url: str,
    shares: tuple[float, ...],
    direction: str,
) -> None:
    def words(path: str, which: str = direction) -> tuple[str, ...]:
        return ("--db", path, "sync", "--to", postgres_url, "--direction", which)

    def filled(path: str, prefix: str) -> str:
        with closing(Store.open(path)) as store, store.transaction():
            for number in range(30):
                store.runs.create(run_id=f"{prefix}{number}", metadata={"n": number})
        return path

    for path in ("first.db", "second.db"):
        assert run(*words(filled(path, path), "both"))[0] == 0
    filled("count.db", "count")
    total = count_calls("/dynostore/sync", lambda: run(*words("count.db")))
    for share in shares:
        path = filled(f"{share}.db", f"{share}-")
        interrupted("/dynostore/sync", int(total * share), words(path))
        with closing(Store.open(path)) as store:
            assert store.check() == []
        assert run(*words(path, "both"))[0] == 0
        assert run("--db", path, "sync", "verify", "--deep", "--to", postgres_url)[0] == 0
        with closing(Store.open(path)) as store:
            count: Any = store.runs.count()
            assert count >= 60


def test_a_sync_that_waits_for_its_server_ends_at_once(
    workplace: Path, postgres_url: str, postgres: Any
) -> None:
    words = ("--db", "waits.db", "sync", "--to", postgres_url)
    with closing(Store.open("waits.db")) as store:
        store.runs.create(run_id="r1")
    assert run(*words)[0] == 0
    with closing(Store.open("waits.db")) as store:
        store.runs.create(run_id="r2")

    def press_keys_when_it_waits() -> None:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not postgres.execute(asleep)[0][0]:
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    with closing(psycopg2.connect(postgres_url)) as server, server.cursor() as cursor:
        cursor.execute(SLEEP)
        server.commit()
        keys = threading.Thread(target=press_keys_when_it_waits)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        keys.start()
        began_s = time.monotonic()
        try:
            assert run(*words) == (130, "\ninterrupted\n")
        finally:
            signal.signal(signal.SIGINT, before)
        assert time.monotonic() - began_s < ASLEEP_S / 2
        keys.join()
        cursor.execute("DROP TRIGGER sleep ON runs")
        server.commit()
    assert run(*words)[0] == 0
