"""Watching: what changes on one side is on the other a moment later, until a signal ends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import psycopg2
import pytest

from dynostore import errors
from dynostore.sync.watch import Round, watch

PATIENCE_S = 30


class Watch:
    """A watch in a thread, with the rounds that it told of."""

    def __init__(self, node: Any, **options: Any) -> None:
        self.rounds: list[Round] = []
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(node, options))
        self._thread.start()

    def _run(self, node: Any, options: dict[str, Any]) -> None:
        url = options.pop("url", node.remote.url)
        try:
            watch(node.store, url, stop=self.stop, tell=self.rounds.append, **options)
        except BaseException as exc:
            self.error = exc

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert self._thread.is_alive(), self.error
            assert time.monotonic() < deadline, self.rounds
            time.sleep(0.02)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Watch]]:
    """Give a function that starts a watch of a node; all are stopped at the end."""
    watches: list[Watch] = []

    def begin(node: Any, **options: Any) -> Watch:
        watches.append(Watch(node, **{"interval_s": 3600.0, **options}))
        return watches[-1]

    yield begin
    for one in watches:
        one.end()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are numbered otherwise there")
def test_a_program_with_many_open_files_watches_in_peace(
    node: Any, remote: Any, start: Any, make_node: Any
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this user may not have so many files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        watching = start(node, direction="both")
        watching.until(lambda: watching.rounds)
        time.sleep(1)
        assert len(watching.rounds) < 4  # else it was twenty
        other = make_node("other")
        other.fill(["a"])
        other.sync()
        watching.until(lambda: node.count("runs") == 1)
        watching.end()


def test_a_local_change_is_sent_a_moment_later(node: Any, remote: Any, start: Any) -> None:
    watching = start(node)
    watching.until(lambda: watching.rounds)
    node.fill(["a"])
    watching.until(lambda: remote.count("run_files") == 1)
    node.sql("UPDATE runs SET source = 'by the shell' WHERE id = 'a'")
    watching.until(lambda: remote.sql("SELECT source FROM runs") == [("by the shell",)])


def test_what_others_write_on_the_server_arrives_a_moment_later(
    make_node: Any, remote: Any, start: Any
) -> None:
    one, two = make_node("one"), make_node("two")
    watching = start(two, direction="both")
    watching.until(lambda: watching.rounds)
    one.fill(["a"])
    one.sync()
    watching.until(lambda: two.count("runs") == 1)
    remote.sql("UPDATE runs SET source = 'psql' WHERE id = 'a'")
    watching.until(lambda: two.store.runs.get("a").source == "psql")


def test_a_watch_rests_when_nothing_changes(make_node: Any, start: Any) -> None:
    one, two = make_node("one"), make_node("two")
    one.fill(["a"])
    watches = [start(node, direction="both") for node in (one, two)]
    watches[1].until(lambda: two.count("runs") == 1)

    def at_rest() -> bool:
        before = [len(watching.rounds) for watching in watches]
        time.sleep(1.5)  # several looks at the file, and at what the server says
        return before == [len(watching.rounds) for watching in watches]

    watches[0].until(at_rest)
    assert max(len(watching.rounds) for watching in watches) <= 6


def test_without_news_it_syncs_every_so_often(node: Any, remote: Any, start: Any) -> None:
    watching = start(node, direction="pull", interval_s=0.3)
    watching.until(lambda: watching.rounds)
    remote.sql(
        "BEGIN; SET LOCAL dynostore_sync.apply = 'on'; UPDATE dynostore_sync.tick SET seq = seq;"
        " COMMIT"
    )
    watching.until(lambda: len(watching.rounds) >= 3)


@pytest.mark.skipif(os.name == "nt", reason="a server on a Unix socket")
def test_a_server_that_goes_away_is_waited_for(
    node: Any, remote: Any, start: Any, impatient: None
) -> None:
    parts = urlsplit(remote.url)
    there = parse_qs(parts.query)["host"][0]
    with tempfile.TemporaryDirectory(prefix="dynostore-") as directory:  # a short path
        name = ".s.PGSQL.5432"
        os.symlink(f"{there}/{name}", f"{directory}/{name}")
        url = urlunsplit(parts._replace(query=urlencode({"host": directory})))
        watching = start(node, url=url, direction="both")
        watching.until(lambda: watching.rounds)
        os.unlink(f"{directory}/{name}")
        remote.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        watching.until(lambda: watching.rounds[-1].error is not None)
        failed = watching.rounds[-1]
        assert isinstance(failed.error, errors.RemoteUnavailable)
        assert failed.again_in_s is not None
        assert 0 < failed.again_in_s <= 60
        node.fill(["while it was away"])
        os.symlink(f"{there}/{name}", f"{directory}/{name}")
        watching.until(lambda: remote.count("runs") == 1)
        watching.end()


def test_what_no_second_attempt_gets_past_ends_it(node: Any, start: Any) -> None:
    watching = start(node, url="mysql://host/database")
    watching._thread.join(PATIENCE_S)
    assert isinstance(watching.error, errors.ConfigError)


def _command(node: Any, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dynostore", "--db", str(node.path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DYNOSTORE_REMOTE": node.remote.url, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_behind_its_batch(
    node: Any, number: int, code: int, check: Any
) -> None:
    with _command(node, "--json", "sync", "--watch") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["report"]["up_to_date"] is True
        for part in range(20):
            node.fill([f"n{part}-{n}" for n in range(20)], files=1)
            if part == 2:
                process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (code, "")
    for line in out.splitlines():
        assert json.loads(line)["error"] is None
    assert node.identity()[4] == 0
    node.sync()
    check.all(node)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("options", [["--json"], []])
def test_a_sync_that_a_signal_stops_has_its_line(
    node: Any, remote: Any, options: list[str]
) -> None:
    node.fill(["a", "b"])
    with closing(psycopg2.connect(remote.url)) as other, other.cursor() as holding:
        holding.execute("LOCK TABLE run_files IN SHARE MODE")
        with _command(node, *options, "sync", "--watch") as process:
            deadline = time.monotonic() + PATIENCE_S
            while not remote.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert time.monotonic() < deadline
            process.terminate()
            other.rollback()
            out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    (line,) = out.splitlines()
    if options:
        told = json.loads(line)
        assert (told["stopped"], told["error"], told["report"]["up_to_date"]) == (True, None, False)
        # The first batch is acknowledged while the second one goes, which need not be.
        assert sum(table["sent"] for table in told["report"]["tables"]) in (2, 4)
    else:
        done = r"  sent [24] in \d.* s \(runs.*\); stopped, the next sync does the rest$"
        assert re.search(done, line), line


def test_the_command_writes_a_line_for_each_sync(node: Any) -> None:
    process = _command(node, "sync", "--watch", "--interval", "0.2")
    try:
        assert process.stdout is not None
        node.fill(["a"])
        lines = [process.stdout.readline() for _ in range(3)]
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE_S)
    assert all("up to date" in line or "sent" in line for line in lines)


def test_many_files_may_be_the_first_on_an_empty_server(
    empty_remote: Any, make_node: Any, check: Any
) -> None:
    nodes = [make_node(f"n{number}", to=empty_remote) for number in range(4)]
    for number, node in enumerate(nodes):
        node.fill([f"r{number}"])
    failed: list[BaseException] = []
    together = threading.Barrier(len(nodes))

    def first_sync(node: Any) -> None:
        together.wait()
        try:
            node.sync(direction="both")
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=first_sync, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for node in nodes:
        node.sync(direction="both")
    for node in nodes:
        check.all(node)
