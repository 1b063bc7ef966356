"""What ``bench records`` measures stores by, our own store, and the floor: sqlite3 by hand.

Each works on a file of its own with the write-ahead log and the same ``synchronous``, which
:meth:`Peer.promise` reads back from the connection that is measured. What a store cannot do, or is
not compared in, is missing from its ``verbs``. One that is not installed raises ImportError where
it is made.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.record_data import CONTEXT_MESSAGES, STATE, TEXT, Talks, make_talks
from dynostore import Store
from dynostore.config import Place, Settings
from dynostore.fields import time_text, utc_now
from dynostore.ids import derived_id, new_id

_SYNCHRONOUS_NAMES = {1: "NORMAL", 2: "FULL"}


@dataclasses.dataclass(frozen=True)
class Round:
    """One verb, called some times; seconds.

    :ivar times: of each call.
    :ivar cpu: of all calls and all threads: some stores work in another one.
    """

    times: list[float]
    cpu: float


class Peer:
    """One store and its verbs.

    :ivar verbs: what is measured, by name; each call is one transaction or one query.
    :ivar runner: where coroutine functions run.
    """

    name = ""

    def __init__(self) -> None:
        self.verbs: dict[str, Callable[[], Any]] = {}
        self.runner = asyncio.Runner()

    def promise(self) -> str:
        """Say how the measured connection writes."""
        number, journal = self.pragma("synchronous"), self.pragma("journal_mode")
        return f"synchronous {_SYNCHRONOUS_NAMES.get(int(number), 'another')}, journal {journal}"

    def pragma(self, name: str) -> Any:
        """Give a pragma's value on the connection that is measured."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        self.runner.close()

    def measure(self, verb: str, count: int) -> Round:
        """Call a verb so often."""
        call = self.verbs[verb]
        cpu = time.process_time()
        if inspect.iscoroutinefunction(call):
            times = self.runner.run(_awaited(call, count))
        else:
            times = []
            for _ in range(count):
                begin = time.perf_counter()
                call()
                times.append(time.perf_counter() - begin)
        return Round(times, time.process_time() - cpu)


async def _awaited(call: Callable[[], Any], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        await call()
        times.append(time.perf_counter() - begin)
    return times


class Dynostore(Peer):
    """Our own store in a file, through its public verbs."""

    name = "dynostore"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        super().__init__()
        path = directory / "dynostore.db"
        make_talks(path, talks)
        self._store = Store.at(Place(str(path), "benchmark", Settings(synchronous)))
        verbs = self._store.conversations
        ids = [talk.id for talk in verbs.list_conversations(limit=100)]
        # Another conversation at each call: that of the call before is still in memory.
        read, write = itertools.cycle(ids), verbs.create_conversation().id
        self.verbs = {
            "context": lambda: verbs.get_context_messages(next(read), CONTEXT_MESSAGES),
            "all messages": lambda: verbs.get_all_messages(next(read)),
            "list 100": lambda: verbs.list_conversations(limit=100),
            "append": lambda: verbs.add_message(write, "user", TEXT),
            **_state_verbs(self._store),
        }

    def pragma(self, name: str) -> Any:
        return self._store.database.pragma(name)

    def close(self) -> None:
        self._store.close()
        super().close()


class DynostorePostgres(Peer):
    """Our own store in a Postgres server on this machine; its states alone."""

    name = "dynostore-postgres"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._store = Store.open(url)
        self.verbs = _state_verbs(self._store)

    def promise(self) -> str:
        with self._store.database.reading():
            row = self._store.database.execute_sql("SHOW synchronous_commit").fetchone()
        return f"synchronous_commit {row[0]}"

    def close(self) -> None:
        self._store.close()
        super().close()


def _state_verbs(store: Store) -> dict[str, Callable[[], Any]]:
    return {
        "save state": lambda: store.sessions.save_state("bench", STATE),
        "load state": lambda: store.sessions.load_state("bench"),
    }


class RawSqlite(Peer):
    """The floor: prepared statements on the same tables, nothing checked, rows as tuples."""

    name = "sqlite3"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        super().__init__()
        path = directory / "sqlite3.db"
        make_talks(path, talks)
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("foreign_keys = ON", f"synchronous = {synchronous}", "cache_size = -16384"):
            self._db.execute(f"PRAGMA {pragma}")
        self._newest = "SELECT id FROM conversations ORDER BY updated_at DESC, id DESC LIMIT 100"
        ids = [row[0] for row in self._db.execute(self._newest)]
        self._read, self._write = itertools.cycle(ids), ids[-1]
        self.verbs = {
            "context": self.context,
            "all messages": self.all_messages,
            "list 100": self.list_with_counts,
            "append": self.append,
            "save state": self.save,
            "load state": self.load,
        }

    def context(self) -> object:
        return self._db.execute(
            "SELECT * FROM messages WHERE conversation_id = ? "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (next(self._read), CONTEXT_MESSAGES),
        ).fetchall()

    def all_messages(self) -> object:
        return self._db.execute(
            "SELECT * FROM messages WHERE conversation_id = ? ORDER BY created_at, id",
            (next(self._read),),
        ).fetchall()

    def list_with_counts(self) -> object:
        return self._db.execute(
            "SELECT c.*, (SELECT count(*) FROM messages m WHERE m.conversation_id = c.id) "
            f"FROM conversations c WHERE c.id IN ({self._newest})"
        ).fetchall()

    def append(self) -> None:
        at = time_text(utc_now())
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "INSERT INTO messages VALUES (?, ?, 'user', ?, ?, NULL)",
            (new_id(), self._write, TEXT, at),
        )
        self._db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", (at, self._write))
        self._db.execute("COMMIT")

    def save(self) -> None:
        at, text = time_text(utc_now()), orjson.dumps(STATE).decode()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "INSERT INTO sessions (session_id, status, created_at, updated_at) "
            "VALUES ('bench', 'pending', ?, ?) "
            "ON CONFLICT (session_id) DO UPDATE SET updated_at = excluded.updated_at",
            (at, at),
        )
        found = self._db.execute("SELECT max(version) FROM states WHERE session_id = 'bench'")
        version = (found.fetchone()[0] or 0) + 1
        self._db.execute(
            "INSERT INTO states VALUES (?, 'bench', ?, ?, ?, NULL)",
            (derived_id("states", "bench", str(version)), version, text, at),
        )
        self._db.execute("COMMIT")

    def load(self) -> object:
        found = self._db.execute(
            "SELECT * FROM states WHERE session_id = 'bench' ORDER BY version DESC LIMIT 1"
        )
        return json.loads(found.fetchone()[3])

    def pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        self._db.close()
        super().close()
