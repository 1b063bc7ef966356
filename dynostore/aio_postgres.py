"""A Postgres database for asynchronous programs: asyncpg made to give what psycopg2 gives."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import ssl
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from dynostore import config, errors
from dynostore.aio_database import (
    CLOSE_GRACE_S,
    AsyncCommon,
    pwasyncio,
    to_the_end,
    undivided,
)
from dynostore.database import POSTGRES_TYPES, session_settings
from dynostore.driver_errors import LOGIN_HINT, is_disconnect, lost, translate, undone
from dynostore.fields import UtcTimeField

# What libpq does by itself and asyncpg would send to the server as a setting.
_LIBPQ_ONLY = {
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
}
_WITHOUT_ROWS = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET)\b"
    r"(?!.*\bRETURNING\b)",
    re.IGNORECASE | re.DOTALL,
)
_BOUNDARY = re.compile(r"\s*(?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_COMMIT = re.compile(r"\s*COMMIT\b", re.IGNORECASE)
_WAITS_FOR_NOBODY = re.compile(
    r"\s*(?:SELECT|WITH)\b(?!.*\b(?:INSERT|UPDATE|DELETE|MERGE|SHARE)\b)", re.IGNORECASE | re.DOTALL
)
_LOOKS, _LOOK_EVERY_S = 20, 0.01


class _ServerConnection(pwasyncio.AsyncPostgresqlConnection):  # type: ignore[misc]  # untyped base
    """A connection that gives rows and counts as psycopg2 does."""

    def __init__(self, connection: Any, shown: str) -> None:
        super().__init__(connection)
        self.shown = shown

    async def _execute(self, sql: str, params: Any = None) -> Any:
        if self.stale():  # to begin anything, another one would have been taken
            raise lost(self.shown)
        inside = self.conn.is_in_transaction()
        work = self._execute_once(sql, params or ())
        try:
            # A statement that the server is asked to give up fails, and takes the transaction with
            # it: a savepoint brings back the writing verbs, and nothing the reading ones.
            if _BOUNDARY.match(sql) or (inside and _WAITS_FOR_NOBODY.match(sql)):
                return await undivided(work)
            return await work
        except asyncio.CancelledError:
            if not inside:  # if it began a transaction, nobody will know
                await to_the_end(self._roll_back())
            raise
        except Exception as exc:
            asyncpg = pwasyncio.asyncpg
            # Where it has read that the server says goodbye, nothing is sent.
            unsent = isinstance(exc, (asyncpg.InterfaceError, asyncpg.InternalClientError))
            if inside and (unsent or _may_be_the_end(exc)) and await self._is_lost():
                committing = not unsent and _COMMIT.match(sql) is not None
                raise lost(self.shown, committing=committing) from exc
            if isinstance(exc, OSError) and not isinstance(exc, errors.DynostoreError):
                raise errors.RemoteUnavailable(str(exc), hint="try again later") from exc
            raise

    async def _is_lost(self) -> bool:
        """Tell whether the connection is gone, of which asyncpg hears a moment after the error."""
        for _ in range(_LOOKS):
            if self.stale():
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def _execute_once(self, sql: str, params: Any) -> Any:
        if params:
            sql = self._translate_placeholders(sql)
        if _WITHOUT_ROWS.match(sql):
            done = await self.conn.execute(sql, *params)
            if done == "ROLLBACK" and sql.lstrip().upper().startswith("COMMIT"):
                raise undone(self.shown)
            last = done.rpartition(" ")[2]
            return pwasyncio.CursorAdapter(rowcount=int(last) if last.isdigit() else -1)
        # Not prepared by hand, as pwasyncio does, which costs two more trips to the server.
        records = await self.conn.fetch(sql, *params)
        return pwasyncio.CursorAdapter(
            [tuple(record) for record in records],
            rowcount=len(records),
            description=[(name,) for name in records[0].keys()] if records else [],  # noqa: SIM118
        )

    async def _roll_back(self) -> None:
        # A connection that is lost is in no transaction either.
        with contextlib.suppress(
            OSError, pwasyncio.asyncpg.PostgresError, pwasyncio.asyncpg.InterfaceError
        ):
            if self.conn.is_in_transaction():
                await self.conn.execute("ROLLBACK")


def _may_be_the_end(exc: Exception) -> bool:
    return isinstance(exc, OSError) or is_disconnect(exc)


async def _speak_text(connection: Any) -> None:
    """Make one asyncpg connection take and give the forms that :mod:`dynostore.fields` has."""
    for name, decode in (
        ("timestamptz", UtcTimeField().python_value),
        ("jsonb", str),
        ("uuid", uuid.UUID),
    ):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=str, decoder=decode, format="text"
        )


async def _keep_session(connection: Any) -> None:
    """Give a connection back to the pool as it is: a verb leaves nothing to be reset."""


class AsyncPostgresServer(AsyncCommon, pwasyncio.AsyncPostgresqlDatabase):  # type: ignore[misc]  # untyped base
    """A Postgres database for the tasks of one event loop, behind a pool of connections."""

    dialect = "postgres"
    field_types = POSTGRES_TYPES
    # Its own ones are asyncpg's transaction objects, which do not survive a cancelled BEGIN.
    atomic = pwasyncio.AsyncDatabaseMixin.atomic
    transaction = pwasyncio.AsyncDatabaseMixin.transaction
    savepoint = pwasyncio.AsyncDatabaseMixin.savepoint

    def __init__(self, url: str, settings: config.Settings, *, read_only: bool = False) -> None:
        self.url = url
        self.shown = config.mask(url)
        self.settings = settings
        self.read_only = read_only
        parameters = {"application_name": "dynostore", **config.postgres_parameters(url)}
        connect_timeout_s = float(parameters.pop("connect_timeout", settings.connect_timeout_s))
        self._connect_timeout_s = connect_timeout_s or math.inf  # as libpq has it
        self._dsn = "postgresql://?" + urlencode(
            {name: value for name, value in parameters.items() if name not in _LIBPQ_ONLY}
        )
        super().__init__(parameters["dbname"], pool_size=settings.pool_max)

    def rollback(self) -> None:
        """Roll back, unless the server did it by itself when the connection was lost."""
        try:
            super().rollback()
        except errors.RemoteUnavailable:
            if not self._state.conn.stale():
                raise

    async def _create_pool_async(self) -> Any:
        with self._connecting():
            return await pwasyncio.asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=self._pool_size,
                max_inactive_connection_lifetime=self.settings.pool_stale_s,
                timeout=None if math.isinf(self._connect_timeout_s) else self._connect_timeout_s,
                # Not SET, which the pool's reset would undo.
                server_settings=session_settings(read_only=self.read_only),
                init=_speak_text,
                reset=_keep_session,
            )

    @contextlib.contextmanager
    def _connecting(self) -> Iterator[None]:
        asyncpg = pwasyncio.asyncpg
        try:
            yield
        except errors.DynostoreError:  # some are OSErrors too
            raise
        except ssl.SSLCertVerificationError as exc:  # an OSError
            raise errors.AccessDenied(f"{self.shown}: {exc}", hint=LOGIN_HINT) from exc
        except OSError as exc:
            raise errors.RemoteUnavailable(
                f"{self.shown}: {str(exc) or 'no answer in time'}", hint="try again later"
            ) from exc
        except (asyncpg.ClientConfigurationError, asyncpg.UndefinedObjectError) as exc:
            raise errors.ConfigError(f"{self.shown}: {exc}") from exc
        except asyncpg.PostgresError as exc:
            raise translate(exc, self.shown) from exc

    async def _pool_acquire(self, pool: Any) -> _ServerConnection:
        with self._connecting():
            try:
                async with asyncio.timeout(self.settings.busy_timeout_s + self._connect_timeout_s):
                    return _ServerConnection(await pool.acquire(), self.shown)
            except TimeoutError as exc:
                if pool.get_idle_size() == 0 and pool.get_size() == pool.get_max_size():
                    raise self._none_free(self._pool_size) from exc
                raise

    async def _pool_release(self, connection: _ServerConnection) -> None:
        if not connection.stale():
            await connection._roll_back()
        await self._pool.release(connection.conn)

    async def _pool_close(self) -> None:
        with contextlib.suppress(TimeoutError):  # then it has cut them off
            async with asyncio.timeout(CLOSE_GRACE_S):
                await self._pool.close()
