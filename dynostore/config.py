"""Where the store lives and with which settings: arguments, environment and ``dynostore.yaml``.

The order in which places are asked is part of the interface; ``dynostore info`` names the winner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dynostore.errors import ConfigError

CONFIG_NAME = "dynostore.yaml"
DEFAULT_URL = "sqlite:///./dynostore.db"
_SYNCHRONOUS = ("NORMAL", "FULL")
_MAX_SETTING = 1_000_000
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a database is opened. Times in seconds.

    :ivar synchronous: SQLite's pragma: ``NORMAL`` may lose the last transactions when the power
        fails, never the file; ``FULL`` loses none.
    :ivar busy_timeout_s: how long a writer waits for another one before :class:`StoreLocked`.
    :ivar pool_max: most Postgres connections of one store.
    :ivar pool_min: Postgres connections opened ahead by :meth:`Store.warm`.
    :ivar pool_stale_s: age at which an idle Postgres connection is replaced.
    :ivar connect_timeout_s: how long connecting to Postgres may take.
    :ivar keep_states: states that saving one leaves in its session; None keeps all.
    """

    synchronous: str = "NORMAL"
    busy_timeout_s: float = 30.0
    pool_max: int = 20
    pool_min: int = 5
    pool_stale_s: float = 300.0
    connect_timeout_s: int = 10
    keep_states: int | None = None


_SETTING_TYPES: dict[str, tuple[type, ...]] = {
    "synchronous": (str,),
    "busy_timeout_s": (int, float),
    "pool_max": (int,),
    "pool_min": (int,),
    "pool_stale_s": (int, float),
    "connect_timeout_s": (int,),
    "keep_states": (int,),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A database's address and who named it.

    :ivar url: as given, with its password; print :attr:`shown` instead.
    :ivar source: the argument, variable or file that it came from.
    """

    url: str
    source: str
    settings: Settings = Settings()

    @property
    def shown(self) -> str:
        """The address without its password."""
        return mask(self.url)

    def __repr__(self) -> str:
        return f"<Place {self.shown} from {self.source}>"


def locate(
    url: str | os.PathLike[str] | None = None,
    *,
    profile: str | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """Find out where the store lives.

    The first that is there wins: ``url``; ``profile`` when named; ``DYNOSTORE_URL``;
    ``DATABASE_URL``; the default profile of ``dynostore.yaml`` (current directory, then the user's
    configuration directory); ``./dynostore.db``. Settings come from the profile in every case.

    :raises ConfigError: no such profile, or a configuration file that cannot be used.
    """
    profiles = _Profiles.read(config)
    chosen = profiles.get(profile)
    settings = _settings(chosen, profiles.path)
    if url is not None:
        return Place(os.fspath(url), "argument", settings)
    if profile is not None:
        if "url" not in chosen:
            raise ConfigError(f"{profiles.path}: profile {profile!r} has no url")
        return Place(chosen["url"], f"profile {profile} in {profiles.path}", settings)
    for variable in ("DYNOSTORE_URL", "DATABASE_URL"):
        if environ.get(variable):
            return Place(environ[variable], variable, settings)
    if "url" in chosen:
        return Place(chosen["url"], f"default profile in {profiles.path}", settings)
    return Place(DEFAULT_URL, "default", settings)


def locate_remote(
    url: str | None = None,
    *,
    profile: str | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """Find out where the shared server is.

    In this order: ``url``, ``DYNOSTORE_REMOTE``, ``POSTGRES_HOST`` with ``POSTGRES_PORT``,
    ``POSTGRES_DB``, ``POSTGRES_USER``, ``POSTGRES_PASSWORD`` and ``POSTGRES_SSL_MODE`` (``prefer``
    by default), the profile's ``remote``.

    :raises ConfigError: none of them is set.
    """
    profiles = _Profiles.read(config)
    chosen = profiles.get(profile)
    settings = _settings(chosen, profiles.path)
    if url is not None:
        return Place(url, "argument", settings)
    if environ.get("DYNOSTORE_REMOTE"):
        return Place(environ["DYNOSTORE_REMOTE"], "DYNOSTORE_REMOTE", settings)
    if environ.get("POSTGRES_HOST"):
        return Place(_compose(environ), "POSTGRES_HOST", settings)
    if "remote" in chosen:
        return Place(chosen["remote"], f"profile in {profiles.path}", settings)
    raise ConfigError(
        "no shared server is configured",
        hint="set DYNOSTORE_REMOTE, or: dynostore sync --to postgresql://user@host/database",
    )


def _compose(environ: Mapping[str, str]) -> str:
    """Build a URL from the POSTGRES_ variables, quoted so that any password survives."""
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


@dataclasses.dataclass(frozen=True)
class _Profiles:
    """The profiles of one configuration file; empty where there is none."""

    path: Path | None
    default: str
    profiles: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, config: str | os.PathLike[str] | None) -> _Profiles:
        path = Path(config) if config is not None else _find_config()
        if path is None:
            return cls(None, "default", {})
        document = _load(path)
        if not isinstance(document, dict):
            raise ConfigError(f"{path}: a mapping is expected at the top")
        unknown = set(document) - {"default", "profiles"}
        if unknown:
            raise ConfigError(f"{path}: unknown key {min(map(str, unknown))!r}")
        default = document.get("default", "default")
        profiles = document.get("profiles", {})
        if not isinstance(default, str):
            raise ConfigError(f"{path}: default: a name is expected")
        if not isinstance(profiles, dict):
            raise ConfigError(f"{path}: profiles: a mapping is expected")
        for name, body in profiles.items():
            _check_profile(path, str(name), body)
        if "default" in document and default not in profiles:
            raise ConfigError(f"{path}: default: there is no profile {default!r}")
        return cls(path, default, {str(n): dict(b) for n, b in profiles.items()})

    def get(self, name: str | None) -> dict[str, Any]:
        if name is None:
            return self.profiles.get(self.default, {})
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            where = self.path or CONFIG_NAME
            raise ConfigError(f"{where}: there is no profile {name!r}; known: {known}")
        return self.profiles[name]


def _load(path: Path) -> Any:
    import yaml  # imported late: most opens have no configuration file

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: not UTF-8, or 2020-99-99 for a date
        raise ConfigError(f"{path}: not YAML: {exc}") from exc
    return {} if document is None else document


def _check_profile(path: Path, name: str, body: Any) -> None:
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: profiles.{name}: a mapping is expected")
    for key, value in body.items():
        where = f"{path}: profiles.{name}.{key}"
        types = _SETTING_TYPES.get(key, (str,) if key in ("url", "remote") else None)
        if types is None:
            raise ConfigError(f"{where}: unknown key")
        if not isinstance(value, types) or isinstance(value, bool):
            raise ConfigError(f"{where}: {' or '.join(t.__name__ for t in types)} expected")
        if key == "synchronous" and value not in _SYNCHRONOUS:
            raise ConfigError(f"{where}: {value!r} is none of {', '.join(_SYNCHRONOUS)}")
        if isinstance(value, int | float) and not 0 <= value <= _MAX_SETTING:
            raise ConfigError(f"{where}: {value} is not between 0 and {_MAX_SETTING:,}")
        if key == "pool_max" and value == 0:
            raise ConfigError(f"{where}: at least 1 connection is needed")
        if key == "keep_states" and value == 0:
            raise ConfigError(f"{where}: at least 1 state is kept")


def _settings(profile: Mapping[str, Any], path: Path | None) -> Settings:
    settings = Settings(**{k: v for k, v in profile.items() if k in _SETTING_TYPES})
    if settings.pool_min > settings.pool_max:
        raise ConfigError(f"{path}: pool_min is greater than pool_max")
    return settings


def _find_config() -> Path | None:
    for directory in (Path.cwd, user_config_dir):
        # No directory: deleted under the process, or a user without a home.
        with contextlib.suppress(OSError, RuntimeError):
            path = directory() / CONFIG_NAME
            if path.is_file():
                return path
    return None


def user_config_dir() -> Path:
    """Give the directory of the user's own ``dynostore.yaml``, whether it exists or not."""
    if os.name == "nt":
        base = os.environ.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "dynostore"


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
    if url.startswith("file:"):
        raise ConfigError(f"{url}: give the path itself, without file:")
    return url


def mask(text: str) -> str:
    """Replace the passwords in URLs and ``password=`` pairs, wherever they stand in the text.

    Rather too much than too little: up to the last "@", since a password may have an unescaped "/"
    or "@", and past spaces where the text begins with the URL.
    """
    text = re.sub(r"(?s)^(\w[\w+.-]*://[^:@]*):.*@", r"\1:***@", text)
    text = re.sub(r"(?is)^(\w[\w+.-]*://.*?[?&]\w*password=)[^&]*", r"\1***", text)
    text = re.sub(r"(\w[\w+.-]*://[^\s:@]*):[^\s'\"]*@", r"\1:***@", text)
    pair = r"(?i)((?:[?&;,({\s]|^)\w*password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&\s]+)"
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
