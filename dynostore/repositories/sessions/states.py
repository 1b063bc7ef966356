"""The verbs of the states that sessions were saved in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, Unpack

import peewee

from dynostore import errors
from dynostore.database import StoreDatabase
from dynostore.errors import quoted
from dynostore.fields import CheckedJson, WholeNumberField, utc_now
from dynostore.ids import derived_id
from dynostore.models.base import checked
from dynostore.models.sessions import AgentSession, SessionState
from dynostore.prepared import Prepared, slot
from dynostore.repositories.base import (
    Page,
    Repository,
    check_window,
    cursor_after,
    parse_cursor,
    refuse_others,
)


class SessionFacts(TypedDict, total=False):
    """What can be said of a session while its state is saved; None clears the column."""

    user_id: str | None
    mission: str | None
    status: str


class SessionStates(Protocol):
    """The part of the contract :class:`dynostore.repositories.Sessions` that is about states.

    A session's versions count 1, 2, 3 without a gap while nothing is pruned, whatever number of
    programs saves at once.
    """

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

    def prune_states(self, keep_last: int, *, session_id: str | None = None) -> int:
        """Remove all but the newest states of each session; give how many that were.

        :param keep_last: states to keep in each session, at least 1.
        :param session_id: prune this session alone.
        """
        ...


class SessionStateRepository(Repository):
    """States in a database; the contract is :class:`SessionStates`."""

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
        session = new_session(session_id, None, facts)
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
                f"session {quoted(session_id)} has no state of version {version}",
                hint=f"dynostore sessions states {session_id}",
                session_id=session_id,
                version=version,
            )
        return found[0] if found else None

    def versions(self, session_id: str) -> list[int]:
        session = self._existing(AgentSession, session_id, errors.SessionNotFound)
        query = SessionState.select(SessionState.version)
        query = query.where(SessionState.session == session.session_id)
        with self._db.reading():
            rows = query.order_by(SessionState.version, SessionState.id).tuples().execute(self._db)
            return [row[0] for row in rows]

    def states(
        self, session_id: str, *, limit: int = 50, after: str | None = None, offset: int = 0
    ) -> Page[SessionState]:
        check_window(limit, offset)
        session = self._existing(AgentSession, session_id, errors.SessionNotFound)
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

    def prune_states(self, keep_last: int, *, session_id: str | None = None) -> int:
        _check_count("keep_last", keep_last)
        with self._db.writing():
            states = SessionState.select()
            if session_id is not None:
                session = self._existing(AgentSession, session_id, errors.SessionNotFound)
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


def new_session(
    session_id: str, created_at: dt.datetime | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the checked row of a session that may not be there yet."""
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
        raise errors.InvalidValue(
            "after", f"{quoted(cursor)} is not a cursor of this list"
        ) from None


def _stale(session_id: str, expected: int | None, actual: int) -> errors.StaleWrite:
    return errors.StaleWrite(
        f"session {session_id!r} is at version {actual}, not {expected}",
        hint=f"dynostore sessions state {session_id}",
        session_id=session_id,
        expected=expected,
        actual=actual,
    )
