"""Syncs a file in a child process that dies at a chosen statement; a program, not a test.

Reads orders as JSON lines: path, url, at, and perhaps rows, direction, counting (``local`` or
``server``, both by default) and telling (see :class:`Countdown`). A parent that has imported
everything forks a child for each. The answer says whether it died, and how many statements there
were if not.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import sys
import traceback
from typing import Any

import psycopg2.extensions
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from dynostore import Store
from dynostore.sync import run
from dynostore.sync.exchange import Limits
from dynostore.sync.remote.session import Session

DIED = 99
_MIDDLE = 3
_READS = ("SELECT", "PRAGMA", "BEGIN")


class Countdown:
    """Counts the statements of both sides, whichever thread runs them, and dies at one.

    :param telling: count those only that tell something new. Who dies leaves what either side has
        committed, so that within a transaction it is the same everywhere: what is counted there is
        its first statement, one in the middle and its last, by which it ends. It is found out
        while they run, not from an earlier run: threads take turns in another order each time.
    """

    def __init__(self, at: int, *, telling: bool) -> None:
        self._at = at
        self._numbers = itertools.count(1)
        self._telling = telling
        self._since_commit = 0
        self.last = 0

    def step(self, *, commits: bool = False, committed: bool = False) -> None:
        """Count one, which commits when it runs, or has just done so; or neither."""
        if committed:
            self._since_commit = 0
        if commits or not self._telling or self._since_commit in (0, _MIDDLE):
            self.last = next(self._numbers)
            if self.last == self._at:
                os._exit(DIED)
        self._since_commit = 0 if commits else self._since_commit + 1


def push(order: dict[str, Any], answer: int) -> None:
    """Run one sync; the number of its statements goes to the file descriptor ``answer``."""
    countdown = Countdown(order["at"], telling=order.get("telling", False))
    counted = order.get("counting", "local server")
    store = Store.open(order["path"])

    if "local" in counted:
        connect = sqlite3.connect

        def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)

            def step(sql: str) -> None:
                alone = not connection.in_transaction and not sql.startswith(_READS)
                countdown.step(commits=alone or sql.startswith("COMMIT"))

            connection.set_trace_callback(step)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]

    class Cursor(psycopg2.extensions.cursor):
        def execute(self, sql: Any, values: Any = None) -> None:
            countdown.step(commits=self._is_idle() or "COMMIT" in sql)
            super().execute(sql, values)
            countdown.step(committed=self._is_idle())

        def copy_expert(self, *args: Any, **kwargs: Any) -> None:
            countdown.step()
            super().copy_expert(*args, **kwargs)
            countdown.step()

        def _is_idle(self) -> bool:
            return bool(self.connection.info.transaction_status == TRANSACTION_STATUS_IDLE)

    if "server" in counted:
        open_session = Session.connect

        def counting(self: Session) -> None:
            open_session(self)
            self.connection.cursor_factory = Cursor

        Session.connect = counting  # type: ignore[method-assign]

    limits = Limits(rows=order.get("rows", 25_000))
    run.sync(store, order["url"], direction=order.get("direction", "push"), limits=limits)
    store.close()
    os.write(answer, str(countdown.last).encode())


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                push(order, writing)
            except BaseException:
                os.write(writing, b"!" + traceback.format_exc().encode())
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reply: dict[str, Any] = {"died": code == DIED}
        if code == 0:
            reply["statements"] = int(said)
        elif code != DIED:
            reply["error"] = said or f"exit code {code}"
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
