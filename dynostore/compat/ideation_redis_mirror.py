"""Ideation's keys in Redis as a database: the verbs of the repositories, on a mirror in memory.

The mirror is empty between verbs. A verb fills it with the sessions that it asks for, and what it
changed becomes commands in one MULTI. All keys that it has looked at are watched: where another
program changed one, nothing is written, and the verb is done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dynostore import errors
from dynostore.compat.ideation_redis_changes import NOUNS, Held, Row, changes, removal
from dynostore.config import Place
from dynostore.database import MemoryDatabase
from dynostore.inventory import Inventory
from dynostore.legacy.base import Unreadable
from dynostore.legacy.ideation_keys import OF_A_SESSION, TYPES, Owner, key_of, text_of
from dynostore.legacy.ideation_session import SessionDraft
from dynostore.legacy.ideation_source import SessionKeys
from dynostore.models import IdeationMessage, IdeationSession
from dynostore.models.base import Record, key_field
from dynostore.redis_server import connect, saying
from dynostore.repositories.base import Repository

_SESSIONS_AT_ONCE = 200
_TRACK = """
CREATE TRIGGER {table}_{event}_{row} AFTER {event} ON {table} BEGIN
    INSERT INTO changed VALUES ('{table}', {row}.{owner}); END
"""


class ChangedMeanwhile(errors.StaleWrite):
    """Another program changed what a transaction had looked at; nothing was written."""


class RedisMirror(MemoryDatabase):
    """The mirror of a Redis database; a :class:`~dynostore.compat.OldForm`.

    :raises DynostoreError: as :func:`dynostore.redis_server.connect` does; so do all verbs.
    """

    title = "ideation's keys in Redis"

    def __init__(self, place: Place, *, read_only: bool) -> None:
        self.client = connect(place.url)
        self.url = place.url
        super().__init__(place.settings)
        self.shown = place.shown
        self.read_only = read_only
        self.families: dict[str, Any] = {}
        self._work: _Work | None = None
        self._rows = Repository(self)
        with super().reading(), super().bind_ctx([*NOUNS], bind_refs=False, bind_backrefs=False):
            self.create_tables([*NOUNS])
            self._run("CREATE TABLE changed (name TEXT, owner TEXT)")
            for model in NOUNS:
                for event, row in _EVENTS:
                    table = str(model._meta.table_name)
                    self._run(_TRACK.format(table=table, event=event, row=row, owner=_owner(model)))

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        execute: Any = self.execute_sql  # Peewee's stubs do not type it
        return execute(sql, parameters)

    def shut(self) -> None:
        """Hang up, from any thread and as often as you like."""
        super().shut()
        self.client.close()

    def forget_inherited(self) -> None:
        """Let a forked child begin outside of the transaction that another thread had open."""
        super().forget_inherited()
        self._work = None

    @property
    def is_at_work(self) -> bool:
        """Tell whether this thread is inside a verb or a transaction."""
        with super().reading():
            return self._work is not None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the mirror, for the sessions that will be asked for."""
        with super().reading():
            if self._work is None:
                with self._working(watching=False):
                    yield
            else:
                yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the mirror in a transaction, at whose end Redis is written.

        :raises ChangedMeanwhile: another program changed what the transaction had looked at.
        """
        if self.read_only:
            raise errors.StoreUnwritable(
                f"{self.shown}: was opened for reading only", hint="open it without read_only"
            )
        with super().reading():
            if self._work is None:
                with self._working(watching=True) as work, self.atomic():
                    yield
                    work.commit()
                return
            if not self._work.is_watching:
                raise errors.NotHeld(f"{self.shown}: Redis is written by verbs alone")
            held = {name: {*known.rows} for name, known in self._work.held.items()}
            try:
                with self.atomic():
                    yield
            except BaseException:
                # What was read inside went with the savepoint.
                self._work.keep(held)
                raise

    @contextlib.contextmanager
    def _working(self, *, watching: bool) -> Iterator[_Work]:
        self._work = _Work(self, watching)
        try:
            yield self._work
        finally:
            self._work.end()
            self._work = None

    def bind_ctx(self, *args: Any, **kwargs: Any) -> Any:
        """Bind models, for whom everything is read."""
        if self._work is not None:
            self._work.load_matching("", OF_A_SESSION)
        return super().bind_ctx(*args, **kwargs)

    # What the verbs ask for.

    def load(self, session_id: str, nouns: Sequence[str]) -> None:
        """Read one session, and what hangs on it of these nouns."""
        if self._work is not None:
            self._work.load([session_id], nouns)

    def load_matching(self, prefix: str) -> None:
        """Read all sessions whose ids begin so, without what hangs on them."""
        if self._work is not None:
            self._work.load_matching(prefix, ())

    def put(self, model: type[Record], rows: Iterable[Row]) -> None:
        """Put rows into the mirror as they were read."""
        fields = model._meta.sorted_fields
        self._rows._write_rows(
            model,
            [[field.db_value(row[field.column_name]) for field in fields] for row in rows],
            replace=True,
        )

    def rows_of(self, model: type[Record], session_id: str) -> list[Row]:
        """Give the session's rows in the mirror."""
        owner = model._meta.columns[_owner(model)]
        return [row.values() for row in model.select().where(owner == session_id).execute(self)]

    def check(self) -> list[str]:
        """Name what cannot be read, and what hangs on no session."""
        from dynostore.legacy import Finding, ReadOptions
        from dynostore.legacy.ideation import IdeationReader

        problems = []
        for found in IdeationReader().read(self.url, ReadOptions()):
            if not isinstance(found, Finding):
                problems += [f"{found.path}: {w}" for w in found.warnings if "by half" in w]
            elif found.outcome == "invalid" or "are not there" in found.reason:
                problems.append(f"{found.path}: {found.reason}")
        return problems

    def inventory(self) -> Inventory:
        """Count what there is; the size is the memory of the whole server."""
        with self.reading(), self.bind_ctx([]):
            rows = {str(model._meta.table_name): int(model.select().count(self)) for model in NOUNS}
        with saying(self.url):
            facts = self.client.info()
        engine = f"{self.title} {facts['redis_version']}"
        return Inventory(engine, int(facts["used_memory"]), rows, schema_version=0, pending=[])


_EVENTS = (("INSERT", "NEW"), ("UPDATE", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD"))


def _owner(model: type[Record]) -> str:
    return "id" if model is IdeationSession else "session_id"


class _Work:
    """What one verb or transaction has read.

    :ivar held: the sessions by id, those that are not there too.
    """

    def __init__(self, mirror: RedisMirror, is_watching: bool) -> None:
        self._mirror = mirror
        self.is_watching = is_watching
        self.held: dict[str, Held] = {}
        self._pipeline = mirror.client.pipeline(transaction=True)

    def end(self) -> None:
        """Forget everything."""
        with saying(self._mirror.url):
            self._pipeline.reset()
        self._mirror._run("DELETE FROM ideation_sessions")
        self._mirror._run("DELETE FROM changed")

    def keep(self, held: dict[str, set[str]]) -> None:
        """Forget what was read beside this: nouns by session."""
        for name in [*self.held]:
            known = self.held[name]
            if name not in held:
                del self.held[name]
            else:
                for noun in [*known.rows]:
                    if noun not in held[name]:
                        del known.rows[noun]
                        known.values.pop(noun, None)

    def load_matching(self, prefix: str, nouns: Sequence[str]) -> None:
        """Read all sessions whose ids begin so; those that were read stay as they are."""
        start = len(key_of("session", b""))
        pattern = key_of("session", _literally(prefix.encode()) + b"*")
        with saying(self._mirror.url):
            keys = {*self._mirror.client.scan_iter(match=pattern, count=2_000)}
        names = []
        for key in sorted(keys):
            try:
                names.append(key[start:].decode())
            except UnicodeDecodeError:
                raise self._damage(text_of(key), "its name is not UTF-8") from None
        for at in range(0, len(names), _SESSIONS_AT_ONCE):
            self.load(names[at : at + _SESSIONS_AT_ONCE], nouns)

    def load(self, names: Sequence[str], nouns: Sequence[str]) -> None:
        """Read sessions and what hangs on them of these nouns, where they were not read yet."""
        wanted = [pair for name in names for pair in self._unread(name, nouns)]
        if not wanted:
            return
        fresh: dict[str, tuple[Held, list[str]]] = {}
        for (held, noun), answer in zip(wanted, self._answers(wanted), strict=True):
            if isinstance(answer, Exception):
                if "WRONGTYPE" in str(answer):
                    raise self._damage(text_of(held.key(noun)), f"is no {TYPES[noun]}")
                with saying(self._mirror.url):
                    raise answer
            held.rows[noun] = []
            if answer or answer == b"":
                held.values[noun] = answer
            fresh.setdefault(held.name, (held, []))[1].append(noun)
        for held, read in fresh.values():
            if "session" in held.values:
                self._mirror_rows(held, read)

    def _unread(self, name: str, nouns: Sequence[str]) -> Iterator[tuple[Held, str]]:
        held = self.held.setdefault(name, Held(name))
        is_new = held.rows.get("session") == []
        for noun in dict.fromkeys(("session", *nouns)):
            if noun not in held.rows and is_new:
                held.rows[noun] = []  # it is made in this transaction: nothing can hang on it
            elif noun not in held.rows:
                yield held, noun

    def _answers(self, wanted: Sequence[tuple[Held, str]]) -> list[Any]:
        """Watch keys, and then read them all at one moment."""
        with saying(self._mirror.url):
            if self.is_watching:
                self._pipeline.watch(*(held.key(noun) for held, noun in wanted))
            reading = self._mirror.client.pipeline(transaction=True)
            for held, noun in wanted:
                _ask(reading, TYPES[noun], held.key(noun))
            return list(reading.execute(raise_on_error=False))

    def _mirror_rows(self, held: Held, nouns: Sequence[str]) -> None:
        """Put what was read of a session into the mirror."""
        values = {noun: held.values[noun] for noun in nouns if noun in held.values}
        keys = SessionKeys(
            Owner(held.name.encode(), {}), values | {"session": held.values["session"]}
        )
        try:
            draft = SessionDraft(keys, None, as_it_is=True)
        except Unreadable as exc:
            raise self._damage(text_of(held.key("session")), str(exc)) from None
        record = draft.record()
        for finding in draft.take_findings():
            raise self._damage(finding.path, finding.reason)
        rows = [(IdeationSession, record.values), *record.children]
        for model, noun in NOUNS.items():
            if noun in nouns:
                held.rows[noun] = [row for table, row in rows if table is model]
                self._mirror.put(model, held.rows[noun])
                self._mirror._run(
                    "DELETE FROM changed WHERE name = ? AND owner = ?",
                    (str(model._meta.table_name), held.name),
                )

    def _damage(self, path: str, reason: str) -> errors.IntegrityFailure:
        return errors.IntegrityFailure(
            f"{self._mirror.shown}: {path}: {reason}", hint="mend the key, or rename it", path=path
        )

    def commit(self) -> None:
        """Write what the mirror has and Redis has not, all of it or nothing.

        :raises ChangedMeanwhile: a key that was read is not what it was.
        """
        import redis

        commands = [*self._commands()]
        if not commands:
            return
        with saying(self._mirror.url):
            self._pipeline.multi()
            for command in commands:
                self._pipeline.execute_command(*command)
            try:
                self._pipeline.execute()
            except redis.exceptions.WatchError:
                raise ChangedMeanwhile(
                    f"{self._mirror.shown}: was changed by another program meanwhile; nothing was "
                    "written",
                    hint="try again",
                ) from None

    def _commands(self) -> Iterator[tuple[Any, ...]]:
        found = self._mirror._run("SELECT DISTINCT owner, name FROM changed ORDER BY 1").fetchall()
        tables: dict[str, set[str]] = {}
        for owner, name in found:
            tables.setdefault(owner, set()).add(name)
        for owner, names in tables.items():
            held = self.held.get(owner) or Held(owner)
            if not self._mirror.rows_of(IdeationSession, owner):
                if held.values:
                    yield from removal(held)
                continue
            for model, noun in NOUNS.items():
                if model._meta.table_name in names:
                    rows = self._mirror.rows_of(model, owner)
                    yield from changes(held, model, _in_order(model, rows, held.rows.get(noun, [])))


def _in_order(model: type[Record], rows: list[Row], before: list[Row]) -> list[Row]:
    """Give rows as they are to lie: messages that were there first, all else by their times."""
    identity = key_field(model).column_name
    places = (
        {row[identity]: at for at, row in enumerate(before)} if model is IdeationMessage else {}
    )

    def order(row: Row) -> tuple[int, Any, Any]:
        time = row.get("timestamp") or row.get("created_at") or row.get("updated_at")
        return places.get(row[identity], len(places)), time, row.get("key", row[identity])

    ordered = sorted(rows, key=order)
    return ordered[::-1] if NOUNS[model] == "prd" else ordered


def _ask(pipeline: Any, kind: str, key: bytes) -> None:
    if kind == "string":
        pipeline.get(key)
    elif kind == "list":
        pipeline.lrange(key, 0, -1)
    else:
        pipeline.hgetall(key)


def _literally(text: bytes) -> bytes:
    """Give a text as a pattern that fits itself alone."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]^\\-" else bytes([c]) for c in text)
