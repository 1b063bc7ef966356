"""The verbs of agent sessions and the states that they were saved in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypedDict, Unpack

import peewee

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.fields import CheckedJson, WholeNumberField, utc_now
from dynostore.ids import derived_id, new_id
from dynostore.models.base import Record, checked
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.prepared import Prepared, slot
from dynostore.repositories.base import (
    Page,
    Refused,
    Repository,
    check_window,
    cursor_after,
    filtered,
    parse_cursor,
    refuse_others,
)


class SessionFacts(TypedDict, total=False):
    """What can be said of a session while its state is saved; None clears the column."""

    user_id: str | None
    mission: str | None
    status: str


class SessionChanges(SessionFacts, total=False):
    """What can be said of a session; None clears the column."""

    metadata: Any


class SessionFilters(TypedDict, total=False):
    """Which sessions are wanted; all where nothing is said.

    ``since`` is created at or after, ``until`` created before; both aware.
    """

    user_id: str | None
    status: str | None
    since: dt.datetime | None
    until: dt.datetime | None


class Sessions(Protocol):
    """The contract of every store of agent sessions: a manager of their states.

    A session's status is free text up to 50 characters. Its versions count 1, 2, 3 without a gap
    while nothing is pruned, whatever number of programs saves at once. Every verb that changes
    something does so in one transaction, and refuses a value that breaks a rule with
    :class:`~dynostore.errors.InvalidValue`, naming the column. Unknown ids raise
    :class:`~dynostore.errors.SessionNotFound`, except in the two verbs that say otherwise.
    """

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> AgentSession:
        """Record a new session and give it back: ``pending`` where nothing is said.

        :param session_id: the caller's own id, up to 255 characters; a UUIDv7 by default.
        :param created_at: aware; now by default. ``updated_at`` starts equal to it.
        :raises AlreadyExists: the id is taken.
        """
        ...

    def get(self, session_id: str) -> AgentSession:
        """Give the session of exactly this id."""
        ...

    def resolve(self, prefix: str) -> str:
        """Give the full id that begins with ``prefix``.

        :raises AmbiguousId: several ids begin so.
        """
        ...

    def update(self, session_id: str, **changes: Unpack[SessionChanges]) -> AgentSession:
        """Change what is passed and nothing else; None clears a column. Moves ``updated_at``."""
        ...

    def list_sessions(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[SessionFilters],
    ) -> Page[AgentSession]:
        """Give a page of sessions, newest ``created_at`` first, then by descending id.

        :param limit: most items on the page, at least 1.
        :param after: the ``next`` of the page before.
        :param offset: items to leave out; with ``after``, counted from there.
        """
        ...

    def stream(self, **filters: Unpack[SessionFilters]) -> Iterator[AgentSession]:
        """Give all sessions in the order of :meth:`list_sessions`, in flat memory."""
        ...

    def count(self, **filters: Unpack[SessionFilters]) -> int:
        """Count the sessions that :meth:`list_sessions` would give."""
        ...

    def save_state(
        self,
        session_id: str,
        state: Any,
        expected_version: int | None = None,
        *,
        metadata: Any = None,
        **facts: Unpack[SessionFacts],
    ) -> int:
        """Save the whole state as the session's next version, and give that version.

        A session that is not there is created. Moves its ``updated_at``. Where the profile has
        ``keep_states``, older states beyond that number are removed.

        :param state: any JSON but null.
        :param expected_version: the version that the state was derived from; 0: there is none yet.
        :param metadata: of this state.
        :param facts: what to say of the session, in the same transaction.
        :raises StaleWrite: the session is at another version; nothing was written.
        """
        ...

    def load_state(self, session_id: str, version: int | None = None) -> SessionState | None:
        """Give the newest state by version, or that of one version.

        :return: None where nothing was ever saved, also for an unknown session.
        :raises StateNotFound: ``version`` is given, and is not there.
        """
        ...

    def versions(self, session_id: str) -> list[int]:
        """Give the versions that are there, ascending."""
        ...

    def states(
        self, session_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[SessionState]:
        """Give a page of the session's states, newest version first, then by descending id."""
        ...

    def delete_state(self, session_id: str) -> None:
        """Remove everything of the session: itself, its states, todo lists and history."""
        ...

    def prune_states(self, keep_last: int, *, session_id: str | None = None) -> int:
        """Remove all but the newest states of each session; give how many that were.

        :param keep_last: states to keep in each session, at least 1.
        :param session_id: prune this session alone.
        """
        ...

    def put_many(self, records: Iterable[Record]) -> list[Refused]:
        """Write whole :class:`AgentSession` and :class:`SessionState` records.

        :return: those that break a rule, a state with an id that is not derived from its session
            and version among them; all others are stored.
        """
        ...


class SessionRepository(Repository):
    """Sessions in a database; the contract is :class:`Sessions`."""

    MODELS = (AgentSession, SessionState)
    NOT_FOUND = errors.SessionNotFound

    def __init__(self, database: StoreDatabase) -> None:
        super().__init__(database)
        new = ("session_id", "status", "created_at", "updated_at")
        given, stored = peewee.EXCLUDED.updated_at, AgentSession.updated_at
        # A clock that was set back must not move updated_at back.
        later = peewee.Case(None, [(given > stored, given)], stored)
        touch = AgentSession.insert({name: slot(getattr(AgentSession, name)) for name in new})
        touch = touch.on_conflict(conflict_target=[AgentSession.session_id], update={stored: later})
        self._touch = Prepared(database, touch.as_rowcount())
        newest = SessionState.select(peewee.fn.MAX(SessionState.version))
        mine = SessionState.session == slot(SessionState.session)
        self._newest = Prepared(database, newest.where(mine))
        add = {name: slot(field) for name, field in SessionState._meta.fields.items()}
        self._add = Prepared(database, SessionState.insert(add).as_rowcount())
        states = SessionState.select().where(mine)
        newest_first = states.order_by(SessionState.version.desc(), SessionState.id.desc()).limit(1)
        self._load = Prepared(database, newest_first)
        that = newest_first.where(SessionState.version == slot(SessionState.version))
        self._load_version = Prepared(database, that)

    def create(
        self,
        *,
        session_id: str | None = None,
        created_at: dt.datetime | None = None,
        **values: Unpack[SessionChanges],
    ) -> AgentSession:
        refuse_others(values, SessionChanges)
        row = _new_session(new_id() if session_id is None else session_id, created_at, values)
        try:
            with self._db.writing():
                AgentSession.insert(row).execute(self._db)
        except errors.AlreadyExists as exc:
            raise errors.AlreadyExists(f"there is a session {row['session_id']!r} already") from exc
        return AgentSession(**row)

    def get(self, session_id: str) -> AgentSession:
        return self._existing(AgentSession, session_id, errors.SessionNotFound)

    def resolve(self, prefix: str) -> str:
        return self._full_id(AgentSession, prefix)

    def update(self, session_id: str, **changes: Unpack[SessionChanges]) -> AgentSession:
        refuse_others(changes, SessionChanges)
        row = checked(AgentSession, changes)
        with self._db.writing():
            session = self._existing(AgentSession, session_id, errors.SessionNotFound, lock=True)
            # A clock that was set back must not move updated_at back.
            row["updated_at"] = max(utc_now(), session.updated_at)
            mine = AgentSession.session_id == session.session_id
            AgentSession.update(row).where(mine).execute(self._db)
        for name, value in row.items():
            setattr(session, name, value)
        return session

    def list_sessions(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        offset: int = 0,
        **filters: Unpack[SessionFilters],
    ) -> Page[AgentSession]:
        query = filtered(AgentSession.select(), AgentSession.created_at, **filters)
        return self._page(query, AgentSession.created_at, limit=limit, after=after, offset=offset)

    def stream(self, **filters: Unpack[SessionFilters]) -> Iterator[AgentSession]:
        # Page by page: an open cursor would keep SQLite's WAL from being recycled for as long as
        # the reader takes.
        after: str | None = None
        while True:
            page = self.list_sessions(limit=1000, after=after, **filters)
            yield from page
            if page.next is None:
                return
            after = page.next

    def count(self, **filters: Unpack[SessionFilters]) -> int:
        query = filtered(AgentSession.select(), AgentSession.created_at, **filters)
        with self._db.reading():
            return int(query.count(self._db))

    def save_state(
        self,
        session_id: str,
        state: Any,
        expected_version: int | None = None,
        *,
        metadata: Any = None,
        **facts: Unpack[SessionFacts],
    ) -> int:
        refuse_others(facts, SessionFacts)
        if expected_version is not None:
            _check_count("expected_version", expected_version, least=0)
        session = _new_session(session_id, None, facts)
        row = checked(SessionState, {"saved_at": session["created_at"], "metadata": metadata})
        row |= {"session": session_id, "state": _checked_state(state)}
        with self._db.writing():
            # Whoever comes first creates the session or holds its row: nobody else saves it then.
            self._touch.run(**session)
            # In a statement of its own: on Postgres it sees what was committed while the one
            # before waited for another saver.
            newest = self._newest.run(session=session_id).fetchone()[0] or 0
            if expected_version not in (None, newest):
                raise _stale(session_id, expected_version, newest)
            version = newest + 1
            key = derived_id("states", session_id, str(version))
            self._add.run(id=key, version=version, **row)
            if facts:
                mine = AgentSession.session_id == session_id
                changes = {name: session[name] for name in facts}
                AgentSession.update(changes).where(mine).execute(self._db)
            if self._db.settings.keep_states is not None:
                self._remove_older(session_id, self._db.settings.keep_states)
        return int(version)

    def _remove_older(self, session_id: str, keep_last: int) -> None:
        mine = SessionState.session == session_id
        older = SessionState.alias()
        first_surplus = (
            older.select(older.version)
            .where(older.session == session_id)
            .order_by(older.version.desc())
            .offset(keep_last)
            .limit(1)
        )
        SessionState.delete().where(mine, SessionState.version <= first_surplus).execute(self._db)

    def load_state(self, session_id: str, version: int | None = None) -> SessionState | None:
        try:
            known = AgentSession.session_id.check(session_id)
        except ValueError:  # no session can have this id
            return None
        if version is not None:
            _check_count("version", version)
        with self._db.reading():
            if version is None:
                found = self._load.records(session=known)
            else:
                found = self._load_version.records(session=known, version=version)
        if not found and version is not None:
            raise errors.StateNotFound(
                f"session {session_id!r} has no state of version {version}",
                hint=f"dynostore sessions states {session_id}",
                session_id=session_id,
                version=version,
            )
        return found[0] if found else None

    def versions(self, session_id: str) -> list[int]:
        session = self.get(session_id)
        query = SessionState.select(SessionState.version)
        query = query.where(SessionState.session == session.session_id)
        with self._db.reading():
            rows = query.order_by(SessionState.version, SessionState.id).tuples().execute(self._db)
            return [row[0] for row in rows]

    def states(
        self, session_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[SessionState]:
        check_window(limit, offset)
        session = self.get(session_id)
        query = SessionState.select().where(SessionState.session == session.session_id)
        if after is not None:
            query = query.where(SessionState.version < _cursor_version(after))
        query = query.order_by(SessionState.version.desc(), SessionState.id.desc())
        with self._db.reading():
            found = [*query.offset(offset).limit(limit + 1).execute(self._db)]
        if len(found) <= limit:
            return Page(found, None)
        last = found[limit - 1]
        return Page(found[:limit], cursor_after(last.saved_at, str(last.version)))

    def delete_state(self, session_id: str) -> None:
        with self._db.writing():
            session = self.get(session_id)
            mine = AgentSession.session_id == session.session_id
            AgentSession.delete().where(mine).execute(self._db)

    def prune_states(self, keep_last: int, *, session_id: str | None = None) -> int:
        _check_count("keep_last", keep_last)
        with self._db.writing():
            states = SessionState.select()
            if session_id is not None:
                session = self.get(session_id)
                states = states.where(SessionState.session == session.session_id)
            self._lock_crowded(states, keep_last)
            place = peewee.fn.ROW_NUMBER().over(
                partition_by=[SessionState.session], order_by=[SessionState.version.desc()]
            )
            placed = states.select(SessionState.id, place.alias("place"))
            surplus = peewee.Select([placed], [placed.c.id]).where(placed.c.place > keep_last)
            query = SessionState.delete().where(SessionState.id.in_(surplus))
            return int(query.execute(self._db))

    def _lock_crowded(self, states: Any, keep_last: int) -> None:
        """Take the sessions before their states, as a saver does, so that the two cannot meet."""
        if not self._db.for_update:
            return
        counted = states.select(SessionState.session).group_by(SessionState.session)
        crowded = counted.having(peewee.fn.COUNT(SessionState.id) > keep_last)
        query = AgentSession.select(AgentSession.session_id)
        query = query.where(AgentSession.session_id.in_(crowded))
        query.order_by(AgentSession.session_id).for_update().tuples().execute(self._db)


def _new_session(
    session_id: str, created_at: dt.datetime | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    created = utc_now() if created_at is None else created_at
    return checked(
        AgentSession,
        {
            "session_id": session_id,
            "status": "pending",
            "created_at": created,
            "updated_at": created,
            **values,
        },
    )


def _checked_state(state: Any) -> CheckedJson:
    if state is None:
        raise errors.InvalidValue("state", "must not be empty")
    try:
        return SessionState.state.checked_text(state)
    except ValueError as exc:
        raise errors.InvalidValue("state", str(exc)) from None


def _check_count(name: str, value: int, *, least: int = 1) -> None:
    try:
        WholeNumberField(low=least).check(value)
    except ValueError as exc:
        raise errors.InvalidValue(name, str(exc)) from None


def _cursor_version(cursor: str) -> int:
    version = parse_cursor(cursor)[1]
    try:
        return WholeNumberField(low=1).check(int(version))
    except ValueError:
        raise errors.InvalidValue("after", f"{cursor!r} is not a cursor of this list") from None


def _stale(session_id: str, expected: int | None, actual: int) -> errors.StaleWrite:
    return errors.StaleWrite(
        f"session {session_id!r} is at version {actual}, not {expected}",
        hint=f"dynostore sessions state {session_id}",
        session_id=session_id,
        expected=expected,
        actual=actual,
    )
