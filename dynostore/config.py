"""Where the store lives and with which settings: arguments, environment and ``dynostore.yaml``.

The order in which places are asked is part of the interface; ``dynostore info`` names the winner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynostore.errors import ConfigError, quoted, shortened
from dynostore.urls import compose_postgres, is_postgres, mask, postgres_parameters, sqlite_path

__all__ = [
    "CONFIG_NAME",
    "DEFAULT_URL",
    "Place",
    "Settings",
    "find_remote",
    "is_postgres",
    "locate",
    "locate_remote",
    "mask",
    "postgres_parameters",
    "profile_names",
    "sqlite_path",
    "user_config_dir",
]

CONFIG_NAME = "dynostore.yaml"
DEFAULT_URL = "sqlite:///./dynostore.db"
_SYNCHRONOUS = ("NORMAL", "FULL")
_MAX_SETTING = 1_000_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a database is opened. Times in seconds.

    :ivar synchronous: SQLite's pragma: ``NORMAL`` may lose the last transactions when the power
        fails, never the file; ``FULL`` loses none.
    :ivar busy_timeout_s: how long a writer waits for another one before :class:`StoreLocked`.
    :ivar pool_max: most Postgres connections of one store.
    :ivar pool_min: Postgres connections that a program which stays opens ahead.
    :ivar pool_stale_s: age at which an idle Postgres connection is replaced.
    :ivar connect_timeout_s: how long connecting to Postgres may take.
    :ivar stall_timeout_s: how long a sync waits for its server while nothing moves; 0: for ever.
    :ivar keep_states: states that saving one leaves in its session; None keeps all.
    :ivar models: the module that holds the user's own models, for the command; a program gives them
        to ``Store.open``.
    :ivar migrations: the directory of their steps; in the profile, from where its file lies.
    """

    synchronous: str = "NORMAL"
    busy_timeout_s: float = 30.0
    pool_max: int = 20
    pool_min: int = 5
    pool_stale_s: float = 300.0
    connect_timeout_s: int = 10
    stall_timeout_s: float = 120.0
    keep_states: int | None = None
    models: str | None = None
    migrations: str | None = None


_SETTING_TYPES: dict[str, tuple[type, ...]] = {
    "synchronous": (str,),
    "busy_timeout_s": (int, float),
    "pool_max": (int,),
    "pool_min": (int,),
    "pool_stale_s": (int, float),
    "connect_timeout_s": (int,),
    "stall_timeout_s": (int, float),
    "keep_states": (int,),
    "models": (str,),
    "migrations": (str,),
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

    @classmethod
    def of(cls, given: str | Place) -> Place:
        """Give what a program named, as an address or as a place that was located."""
        return cls(given, "argument") if isinstance(given, str) else given

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
    settings = _settings(chosen)
    if url is not None:
        return Place(os.fspath(url), "argument", settings)
    if profile is not None:
        if "url" not in chosen:
            raise ConfigError(
                f"{profiles.path}: profile {profile!r} has no url",
                hint=f"add its url to {profiles.path}, or name the place itself: --db FILE",
            )
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

    :raises ConfigError: none of them is set, or one that is cannot be used.
    """
    found = find_remote(url, profile=profile, config=config, environ=environ)
    if found is None:
        raise ConfigError(
            "no shared server is configured",
            hint="set DYNOSTORE_REMOTE, or: dynostore sync --to postgresql://user@host/database",
        )
    return found


def find_remote(
    url: str | None = None,
    *,
    profile: str | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place | None:
    """Find out where the shared server is, as :func:`locate_remote` does; None: nowhere.

    :raises ConfigError: what says where it is cannot be used.
    """
    profiles = _Profiles.read(config)
    chosen = profiles.get(profile)
    settings = _settings(chosen)
    if url is not None:
        return Place(url, "argument", settings)
    if environ.get("DYNOSTORE_REMOTE"):
        return Place(environ["DYNOSTORE_REMOTE"], "DYNOSTORE_REMOTE", settings)
    if environ.get("POSTGRES_HOST"):
        return Place(compose_postgres(environ), "POSTGRES_HOST", settings)
    if "remote" in chosen:
        return Place(chosen["remote"], f"profile in {profiles.path}", settings)
    return None


def profile_names(config: str | os.PathLike[str] | None = None) -> list[str]:
    """Give the names of the profiles that :func:`locate` would look at, as they stand there.

    :raises ConfigError: a configuration file that cannot be used.
    """
    return list(_Profiles.read(config).profiles)


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
        try:
            return cls._of(path, _load(path))
        except ConfigError as exc:
            exc.hint = exc.hint or f"mend {path}; docs/configuration.md says what it may hold"
            raise

    @classmethod
    def _of(cls, path: Path, document: Any) -> _Profiles:
        if not isinstance(document, dict):
            raise ConfigError(f"{path}: a mapping is expected at the top")
        unknown = set(document) - {"default", "profiles"}
        if unknown:
            raise ConfigError(f"{path}: unknown key {quoted(min(map(str, unknown)))}")
        default = document.get("default", "default")
        profiles = document.get("profiles", {})
        if not isinstance(default, str):
            raise ConfigError(f"{path}: default: a name is expected")
        if not isinstance(profiles, dict):
            raise ConfigError(f"{path}: profiles: a mapping is expected")
        for name, body in profiles.items():
            _check_profile(path, str(name), body)
        if "default" in document and default not in profiles:
            raise ConfigError(f"{path}: default: there is no profile {quoted(default)}")
        return cls(path, default, {str(n): _placed(path, b) for n, b in profiles.items()})

    def get(self, name: str | None) -> dict[str, Any]:
        if name is None:
            return self.profiles.get(self.default, {})
        if name not in self.profiles:
            if self.path is None:
                raise ConfigError(
                    f"there is no profile {quoted(name)}, and no {CONFIG_NAME} here or in "
                    f"{user_config_dir()}",
                    hint="--config FILE names another",
                )
            known = ", ".join(sorted(self.profiles)) or "none"
            raise ConfigError(
                f"{self.path}: there is no profile {quoted(name)}; known: {known}",
                hint=f"name one of these, or add it to {self.path}",
            )
        return self.profiles[name]


def _load(path: Path) -> Any:
    import yaml  # imported late: most opens have no configuration file

    try:
        text = path.read_text(encoding="utf-8")
        repeated = _repeated_key(yaml.compose(text, Loader=yaml.SafeLoader))
        document = yaml.safe_load(text)
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}", hint="--config FILE names another") from exc
    except (yaml.YAMLError, ValueError) as exc:  # ValueError: not UTF-8, or 2020-99-99 for a date
        raise ConfigError(f"{path}: not YAML: {_in_one_line(exc)}") from exc
    if repeated:
        raise ConfigError(f"{path}: {repeated}: is there twice")
    return {} if document is None else document


def _in_one_line(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    if mark is None:
        return " ".join(str(exc).split())
    return f"{getattr(exc, 'problem', '')} (line {mark.line + 1}, column {mark.column + 1})"


def _repeated_key(node: Any, levels: int = 3) -> str | None:
    """Give a key that a mapping has twice, with those above it: YAML would take the last one."""
    if getattr(node, "id", None) != "mapping" or not levels:
        return None
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        below = _repeated_key(value, levels - 1)
        if name in seen or below:
            return f"{name}.{below}" if below else name
        seen.add(name)
    return None


def _check_profile(path: Path, name: str, body: Any) -> None:
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: profiles.{name}: a mapping is expected")
    for key, value in body.items():
        where = f"{path}: profiles.{name}.{shortened(str(key))}"
        types = _SETTING_TYPES.get(key, (str,) if key in ("url", "remote") else None)
        if types is None:
            raise ConfigError(f"{where}: unknown key")
        if not isinstance(value, types) or isinstance(value, bool):
            raise ConfigError(f"{where}: {' or '.join(t.__name__ for t in types)} expected")
        if key == "synchronous" and value not in _SYNCHRONOUS:
            raise ConfigError(f"{where}: {quoted(value)} is none of {', '.join(_SYNCHRONOUS)}")
        least = int(key in ("pool_max", "keep_states"))
        if isinstance(value, int | float) and not least <= value <= _MAX_SETTING:
            raise ConfigError(
                f"{where}: {quoted(value)} is not between {least} and {_MAX_SETTING:,}"
            )
    most = body.get("pool_max", Settings.pool_max)
    if body.get("pool_min", 0) > most:
        raise ConfigError(f"{path}: profiles.{name}.pool_min: is greater than pool_max, {most}")


def _placed(path: Path, profile: Mapping[str, Any]) -> dict[str, Any]:
    """Give a profile whose directory is found from where its file lies."""
    placed = dict(profile)
    if "migrations" in placed:
        placed["migrations"] = str(path.absolute().parent / placed["migrations"])
    return placed


def _settings(profile: Mapping[str, Any]) -> Settings:
    given = {name: value for name, value in profile.items() if name in _SETTING_TYPES}
    # Who wants few connections need not know of those that are opened ahead.
    least = min(Settings.pool_min, given.get("pool_max", Settings.pool_max))
    return Settings(**{"pool_min": least, **given})


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
