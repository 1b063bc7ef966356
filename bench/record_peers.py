"""The session stores of agent frameworks, beside which ``bench records`` measures.

Each has methods overridden where that is the only way to give its connections the same
``synchronous``; nothing else of them is changed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.record_data import CONTEXT_MESSAGES, STATE, TEXT, Talks
from bench.record_stores import Peer


class OpenaiAgents(Peer):
    """openai-agents' SQLiteSession, with as many messages in its table."""

    name = "openai-agents"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        from agents.memory.sqlite_session import SQLiteSession

        super().__init__()

        class Session(SQLiteSession):  # type: ignore[misc]  # untyped where it is not installed
            @staticmethod
            def _configure_connection(conn: sqlite3.Connection) -> None:
                SQLiteSession._configure_connection(conn)
                conn.execute(f"PRAGMA synchronous = {synchronous}")

        path = directory / "openai.db"
        self._session = Session("bench", path)
        _fill_openai(path, talks)
        sessions = [Session(f"talk-{n}", path) for n in range(min(talks.number, 100))]
        self._all = [self._session, *sessions]
        self._read = itertools.cycle(sessions)
        self.verbs = {
            "context": self.context,
            "all messages": self.all_messages,
            "append": self.append,
        }

    async def context(self) -> object:
        return await next(self._read).get_items(limit=CONTEXT_MESSAGES)

    async def all_messages(self) -> object:
        return await next(self._read).get_items()

    async def append(self) -> None:
        await self._session.add_items([{"role": "user", "content": TEXT}])

    def pragma(self, name: str) -> Any:
        connection = self._session._get_connection()  # as its threads get theirs
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        super().close()
        for session in self._all:
            session.close()


def _fill_openai(path: Path, talks: Talks) -> None:
    data = json.dumps({"role": "user", "content": TEXT})
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        names = [(f"talk-{number}",) for number in range(talks.number)]
        db.executemany("INSERT INTO agent_sessions (session_id) VALUES (?)", names)
        db.executemany(
            "INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)",
            ((name, data) for _ in range(talks.messages) for (name,) in names),
        )


class GoogleAdk(Peer):
    """google-adk's SqliteSessionService; it starts empty, which is to its advantage."""

    name = "google-adk"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        from google.adk.sessions.sqlite_session_service import SqliteSessionService

        super().__init__()

        class Service(SqliteSessionService):  # type: ignore[misc]  # untyped where not installed
            @contextlib.asynccontextmanager
            async def _get_db_connection(self) -> AsyncIterator[Any]:
                async with super()._get_db_connection() as db:
                    await db.execute(f"PRAGMA synchronous = {synchronous}")
                    yield db

        path = directory / "adk.db"
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")  # the file remembers it
        self._begin(Service(str(path)))

    def _begin(self, service: Any) -> None:
        self._service = service
        begun = service.create_session(app_name="bench", user_id="kim", session_id="bench")
        self._session = self.runner.run(begun)
        self.verbs = {"append": self.append}

    async def append(self) -> None:
        from google.adk.events import Event
        from google.genai import types

        content = types.Content(role="user", parts=[types.Part(text=TEXT)])
        await self._service.append_event(self._session, Event(author="user", content=content))

    def pragma(self, name: str) -> Any:
        return self.runner.run(self._pragma(name))

    async def _pragma(self, name: str) -> Any:
        async with self._service._get_db_connection() as db:
            return (await (await db.execute(f"PRAGMA {name}")).fetchone())[0]


class GoogleAdkDatabase(GoogleAdk):
    """google-adk's DatabaseSessionService, on SQLAlchemy and aiosqlite; it starts empty."""

    name = "google-adk-database"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        from google.adk.sessions import DatabaseSessionService
        from sqlalchemy import event
        from sqlalchemy.ext.asyncio import create_async_engine

        Peer.__init__(self)
        engine = create_async_engine(f"sqlite+aiosqlite:///{directory / 'adk_database.db'}")

        def set_pragmas(connection: Any, record: Any) -> None:
            for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}"):
                connection.execute(f"PRAGMA {pragma}")

        event.listen(engine.sync_engine, "connect", set_pragmas)
        self._engine = engine
        self._begin(DatabaseSessionService(db_engine=engine))

    async def _pragma(self, name: str) -> Any:
        async with self._engine.connect() as connection:
            return (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()

    def close(self) -> None:
        self.runner.run(self._engine.dispose())
        super().close()


class Langgraph(Peer):
    """LangGraph's SqliteSaver: a checkpoint for each state."""

    name = "langgraph"

    def __init__(self, directory: Path, synchronous: str, talks: Talks) -> None:
        from langgraph.checkpoint.base import empty_checkpoint
        from langgraph.checkpoint.sqlite import SqliteSaver

        super().__init__()
        self._db = sqlite3.connect(directory / "langgraph.db", check_same_thread=False)
        self._saver = SqliteSaver(self._db)
        self._saver.setup()
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._new_checkpoint = empty_checkpoint
        self._thread = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}
        self._last: Any = self._thread
        self.verbs = {"save state": self.save, "load state": self.load}

    def save(self) -> None:
        checkpoint = {**self._new_checkpoint(), "channel_values": STATE}
        self._last = self._saver.put(self._last, checkpoint, {"source": "loop", "step": 1}, {})

    def load(self) -> object:
        return self._saver.get_tuple(self._thread)

    def pragma(self, name: str) -> Any:
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def close(self) -> None:
        self._db.close()
        super().close()
