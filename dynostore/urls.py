"""What a URL says: which kind of database, where, with which parameters; and what to hide of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dynostore.errors import ConfigError

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def is_postgres(url: str) -> bool:
    """Tell whether the URL names a Postgres server; ``postgresql+psycopg2://`` does too."""
    scheme, found, _ = url.partition("://")
    return bool(found) and scheme.lower().partition("+")[0] in ("postgres", "postgresql")


def sqlite_path(url: str) -> str | None:
    """Give the file of a SQLite URL or plain path; None is a database in memory.

    ``sqlite:///x.db`` is relative, ``sqlite:////x.db`` absolute, as everywhere.

    :raises ConfigError: a URL of another kind.
    """
    if not url or "\0" in url:
        raise ConfigError(f"{url!r} is no address of a store")
    if url in (":memory:", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://:memory:"):
        return None
    scheme, found, rest = url.partition("://")
    if found:
        if scheme.lower() in ("redis", "rediss"):
            raise ConfigError(
                f"{mask(url)}: is a server with an older tool's keys, and no database",
                hint=f"dynostore --db {mask(url)} info",
            )
        if scheme.lower() not in ("sqlite", "sqlite+pysqlite", "sqlite3"):
            raise ConfigError(
                f"{mask(url)}: dynostore knows sqlite:/// and postgresql:// URLs, and plain paths"
            )
        if not rest.startswith("/"):
            raise ConfigError(
                f"{url}: a SQLite URL has three slashes before a relative path, four before an "
                "absolute one"
            )
        if "?" in rest:
            raise ConfigError(f"{url}: SQLite URLs take no parameters here")
        # Windows: sqlite:///C:/data/x.db
        return rest[1:] if len(rest) > 1 else None
    if url.startswith("dir:"):
        raise ConfigError(
            f"{url}: is a directory of files in an older tool's form, and no database",
            hint=f"dynostore --db {url} info",
        )
    if url.startswith("file:"):
        raise ConfigError(f"{url}: give the path itself, without file:")
    return url


def mask(text: str) -> str:
    """Replace the passwords in URLs and ``password=`` pairs, wherever they stand in the text.

    Rather too much than too little: up to the last "@", since a password may have an unescaped "/"
    or "@", and past spaces where the text begins with the URL. What follows a password that is
    masked already is left, so that a message may be masked as a whole whose URLs were.
    """
    masked = r"\*\*\*(?::\s|$)"
    text = re.sub(r"(?s)^(\w[\w+.-]*://[^:@]*):.*@", r"\1:***@", text)
    text = re.sub(rf"(?is)^(\w[\w+.-]*://.*?[?&]\w*password=)(?!{masked})[^&]*", r"\1***", text)
    text = re.sub(r"(\w[\w+.-]*://[^\s:@]*):[^\s'\"]*@", r"\1:***@", text)
    pair = rf"(?i)((?:[?&;,({{\s]|^)\w*password\s*=\s*)(?!{masked})('(?:[^'\\]|\\.)*'|[^&\s]+)"
    return re.sub(pair, r"\1***", text)


def postgres_parameters(url: str) -> dict[str, Any]:
    """Give a Postgres URL's libpq parameters, percent signs resolved; ``dbname`` is among them.

    :raises ConfigError: a URL that cannot be read.
    """
    try:
        parts = urlsplit("postgresql://" + url.partition("://")[2])
        port = parts.port
    except ValueError:
        # Not its message: with an unescaped "/" it has the password's beginning for the port.
        raise ConfigError(
            f"{mask(url)}: host and port cannot be read",
            hint="in a password write %2F for /, %3A for :, %40 for @ and %23 for #",
        ) from None
    parameters: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": parts.hostname,
        "port": port,
        "dbname": unquote(parts.path[1:]),
    }
    # Not playhouse.db_url, which turns values that look like numbers into numbers, "0123" too.
    for pair in filter(None, parts.query.split("&")):
        key, _, value = pair.partition("=")
        parameters[unquote(key)] = unquote(value)
    if not parameters["dbname"]:
        raise ConfigError(
            f"{mask(url)}: no database name", hint="postgresql://user@host:5432/database"
        )
    return {key: value for key, value in parameters.items() if value not in (None, "")}


def compose_postgres(environ: Mapping[str, str]) -> str:
    """Build a URL from the ``POSTGRES_`` variables, quoted so that any password survives.

    :raises ConfigError: names the variable that cannot be used.
    """
    mode = environ.get("POSTGRES_SSL_MODE") or "prefer"
    if mode not in _SSL_MODES:
        raise ConfigError(f"POSTGRES_SSL_MODE: {mode!r} is none of {', '.join(_SSL_MODES)}")
    port = environ.get("POSTGRES_PORT") or "5432"
    if not re.fullmatch("[0-9]+", port):
        raise ConfigError(f"POSTGRES_PORT: {port!r} is not a number")
    user = quote(environ.get("POSTGRES_USER") or "postgres", safe="")
    password = environ.get("POSTGRES_PASSWORD")
    login = f"{user}:{quote(password, safe='')}" if password else user
    name = quote(environ.get("POSTGRES_DB") or "dynostore", safe="")
    host = environ["POSTGRES_HOST"]
    if host.startswith("/"):
        query = f"host={quote(host, safe='/')}&port={port}&sslmode={mode}"
        return f"postgresql://{login}@/{name}?{query}"
    if ":" in host:  # IPv6
        host = f"[{host}]"
    return f"postgresql://{login}@{host}:{port}/{name}?sslmode={mode}"
