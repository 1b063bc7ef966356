"""Driver errors become dynostore's here: by code, for messages come in many languages."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import peewee

from dynostore import errors

_PROTOCOL_3_0 = 3 << 16
_LOGGED_IN = bytes(4)
_GOODBYE = b"X" + struct.pack("!i", 4)
_ASK_TIMEOUT_S = 3
_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")  # noqa: S108 - libpq's own defaults
_DRIVERS = ("psycopg2", "asyncpg")
LOGIN_HINT = (
    "check user, password, database, sslmode and sslrootcert; PGPASSFILE and ~/.pgpass are read"
)
TOO_MANY_CONNECTIONS = "53300"
_NO_ROOM = ("too many connections for ", "remaining connection slots are reserved")
"""How a server that speaks English says the above once it has seen the password."""
_GRANT_HINT = "ask the server's administrator for the right; docs/sync.md lists what a node needs"

# By SQLSTATE, then by its class.
_MEANINGS: dict[str, tuple[type[errors.DynostoreError], str | None]] = {
    "23505": (errors.AlreadyExists, None),
    "22": (errors.ConstraintFailed, None),
    "23": (errors.ConstraintFailed, None),
    "54": (errors.ConstraintFailed, None),  # limits, such as JSON that is nested too deeply
    "25006": (errors.StoreUnwritable, None),
    "28": (errors.AccessDenied, LOGIN_HINT),
    "3D": (errors.AccessDenied, "check the database's name"),
    "42501": (errors.AccessDenied, _GRANT_HINT),
    "40001": (errors.StoreLocked, "try again"),
    "40P01": (errors.StoreLocked, "try again"),
    "55P03": (errors.StoreLocked, "try again"),
    "08": (errors.RemoteUnavailable, "try again later"),
    "53": (errors.RemoteUnavailable, "try again later"),
    "57": (errors.RemoteUnavailable, "try again later"),
}


@contextlib.contextmanager
def translated(shown: str) -> Iterator[None]:
    """Raise dynostore's errors for what the drivers raise inside.

    :param shown: the database's address without password, for the message.
    """
    try:
        yield
    except (peewee.PeeweeException, sqlite3.Error) as exc:
        raise translate(exc, shown) from exc
    except Exception as exc:
        if is_from_postgres(exc):
            raise translate(exc, shown) from exc
        raise


def is_from_postgres(exc: BaseException) -> bool:
    """Tell whether a Postgres driver raised it; without importing one, which may not be there."""
    return type(exc).__module__.partition(".")[0] in _DRIVERS


def original(exc: BaseException) -> BaseException:
    """Give the driver's own exception, which Peewee wraps, on connecting twice."""
    while isinstance(inner := getattr(exc, "orig", None), BaseException):
        exc = inner
    return exc


def is_undecodable(exc: BaseException) -> bool:
    """Tell whether SQLite gave text that is not UTF-8.

    That is the only OperationalError of Python's own, and so the only one without a code.
    """
    if isinstance(exc, errors.DynostoreError) and exc.__cause__ is not None:
        exc = exc.__cause__
    inner = original(exc)
    return type(inner) is sqlite3.OperationalError and not getattr(inner, "sqlite_errorname", None)


def sqlstate(exc: BaseException) -> str | None:
    """Give Postgres' five-character code, or None where there is none."""
    inner = original(exc)
    code = getattr(inner, "pgcode", None) or getattr(inner, "sqlstate", None)
    return str(code) if code else None


def is_disconnect(exc: BaseException) -> bool:
    """Tell whether the connection to Postgres is gone, so that a new one may do better."""
    inner = original(exc)
    code = sqlstate(exc)
    if code is not None:
        return code[:2] == "08" or code in ("57P01", "57P02", "57P03", "57P05")
    # A lost connection has no code: libpq reports it as one of these, the last one during COPY;
    # asyncpg as the second.
    return is_from_postgres(inner) and type(inner).__name__ in (
        "OperationalError",
        "InterfaceError",
        "DatabaseError",
    )


def translate(exc: BaseException, shown: str) -> errors.DynostoreError:
    """Give the dynostore error for a driver's error."""
    inner = original(exc)
    if isinstance(inner, sqlite3.Error):
        return _from_sqlite(inner, shown)
    if isinstance(inner, errors.DynostoreError):
        return inner
    code = sqlstate(exc)
    text = " ".join(str(inner).split())
    if code is None:
        if is_disconnect(exc):
            return errors.RemoteUnavailable(f"{shown}: {text}", hint="try again later")
        return errors.DynostoreError(f"{shown}: {text}")
    kind, hint = _MEANINGS.get(code) or _MEANINGS.get(code[:2]) or (errors.DynostoreError, None)
    return kind(f"{shown}: {text}", hint=hint, sqlstate=code)


def undone(shown: str) -> errors.DynostoreError:
    """Give the error for a transaction that Postgres undoes while it is told to commit it.

    That is its answer to COMMIT after any failed statement, and no error of its own.
    """
    return errors.DynostoreError(
        f"{shown}: nothing of the transaction was written, since a statement in it had failed",
        hint="let the first error end the transaction",
    )


def lost(shown: str, *, committing: bool = False) -> errors.RemoteUnavailable:
    """Give the error for a connection that was lost inside a transaction.

    :param committing: the server had been asked to commit it, and gave no answer.
    """
    if committing:
        return errors.RemoteUnavailable(
            f"{shown}: the connection was lost while a transaction was committed; whether it was "
            "written is not known",
            hint="look whether it was written before you try again",
        )
    return errors.RemoteUnavailable(
        f"{shown}: the connection was lost inside a transaction; nothing of it was written",
        hint="try again",
    )


def _from_sqlite(exc: sqlite3.Error, shown: str) -> errors.DynostoreError:
    name = getattr(exc, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return errors.StoreLocked(
            f"{shown}: another process is writing and did not finish in time", hint="try again"
        )
    if name in ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"):
        return errors.AlreadyExists(f"{shown}: {exc}")
    if name.startswith("SQLITE_CONSTRAINT"):
        return errors.ConstraintFailed(f"{shown}: {exc}")
    if name == "SQLITE_FULL":
        return errors.StoreUnwritable(
            f"{shown}: the disk is full; nothing was written", hint="make room, and try again"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return errors.StoreUnwritable(
            f"{shown}: {exc}", hint="dynostore doctor says why, and what mends it"
        )
    if name == "SQLITE_NOTADB":
        return errors.StoreCorrupt(
            f"{shown}: {exc}",
            hint="is it the right file? if it was a store: dynostore db restore BACKUP",
        )
    if name.startswith("SQLITE_CORRUPT"):
        return errors.StoreCorrupt(
            f"{shown}: {exc}",
            hint="dynostore db restore BACKUP; what else is wrong: dynostore doctor",
        )
    if is_undecodable(exc):
        return errors.IntegrityFailure(
            f"{shown}: {exc}",
            hint="plain SQL put it there: dynostore query shows it, and plain SQL mends it",
        )
    return errors.DynostoreError(f"{shown}: {exc}")


def connection_failure(
    exc: BaseException, parameters: Mapping[str, Any], shown: str
) -> errors.DynostoreError:
    """Tell a server that is not there from one that refuses these credentials.

    libpq gives no SQLSTATE for a failed connection and its text is in the server's language, so
    the server is asked itself: a start-up message, to which it answers with a code, with a request
    to authenticate or, where it trusts everybody, as it goes on to make a session. That it has no
    connection left for this user it says only then; to who has to give a password in words alone.
    (PostgreSQL documentation, "Message Formats".)
    """
    text = " ".join(str(original(exc)).split())
    answer = _ask(parameters)
    if answer == "" and any(words in text for words in _NO_ROOM):
        answer = TOO_MANY_CONNECTIONS
    if answer is None or answer[:2] in ("08", "53", "57"):
        return errors.RemoteUnavailable(f"{shown}: {text}", hint="try again later", sqlstate=answer)
    return errors.AccessDenied(
        f"{shown}: {text}",
        hint=LOGIN_HINT,
        sqlstate=answer,
    )


def _ask(parameters: Mapping[str, Any]) -> str | None:
    """Send a start-up message; give the error's code, "" if there is none, None if dead."""
    host = parameters.get("host") or os.environ.get("PGHOST")
    port = str(parameters.get("port") or os.environ.get("PGPORT") or 5432)
    user = str(parameters.get("user") or os.environ.get("PGUSER") or "postgres")
    body = struct.pack("!i", _PROTOCOL_3_0)
    for word in ("user", user, "database", str(parameters["dbname"])):
        body += word.encode() + b"\0"
    body += b"\0"
    try:
        with _dial(host, int(port)) as sock:
            sock.sendall(struct.pack("!i", len(body) + 4) + body)
            return _code_of_answer(sock)
    except (OSError, ValueError, struct.error):  # ValueError: a list of ports
        return None


def _code_of_answer(sock: socket.socket) -> str:
    """Read to an error, a request to log in, or a session that is ready."""
    while True:
        head = _read(sock, 5)
        kind, length = head[:1], struct.unpack("!i", head[1:])[0]
        payload = _read(sock, min(length - 4, 65536))
        if kind == b"E":
            fields = [part for part in payload.split(b"\0") if part[:1] == b"C"]
            return fields[0][1:].decode("ascii", "replace") if fields else ""
        if kind == b"R" and payload != _LOGGED_IN:
            return ""
        if kind == b"Z":
            sock.sendall(_GOODBYE)
            return ""


def _dial(host: str | None, port: int) -> socket.socket:
    if host is None:
        for directory in _SOCKET_DIRECTORIES:
            with contextlib.suppress(OSError):
                return _dial(directory, port)
        host = "localhost"
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=_ASK_TIMEOUT_S)
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system's Python has no sockets in directories")  # Windows
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_ASK_TIMEOUT_S)
    try:
        sock.connect(f"{host}/.s.PGSQL.{port}")
    except BaseException:
        sock.close()
        raise
    return sock


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise OSError("closed")
        data += part
    return data
