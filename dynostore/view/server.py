"""Serves the view on this machine alone, until a signal ends it."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from dynostore import errors
from dynostore.compat import is_compat
from dynostore.config import Place, is_postgres
from dynostore.database import MemoryDatabase, SqliteFile
from dynostore.store import Store

HOST, USUAL_PORT = "127.0.0.1", 8001
_EXTRA = ("datasette", "datasette_dashboards", "uvicorn")
_LAST_REQUESTS_S = 2


def require_view(place: Place) -> None:
    """Refuse what cannot be viewed, before anything is opened.

    :raises MissingExtra: a package of the extra is not installed.
    :raises ConfigError: the store is no SQLite file.
    """
    for module in _EXTRA:
        if importlib.util.find_spec(module) is None:
            raise errors.MissingExtra(
                f"the view needs {module}, which is not installed",
                hint="pip install 'dynostore[view]'",
            )
    if is_postgres(place.url):
        hint = f"dynostore --db copy.db sync --direction pull --to {place.shown}"
    elif is_compat(place.url):
        hint = f"dynostore --db copy.db import {place.shown.removeprefix('dir:')}"
    else:
        return
    raise errors.ConfigError(
        f"{place.shown}: the view shows SQLite files alone; bring the records into one",
        hint=f"{hint} && dynostore --db copy.db view",
    )


def serve(
    store: Store, port: int | None, *, tell: Callable[[str], None], verbose: bool = False
) -> None:
    """Serve a store's file on 127.0.0.1 until SIGTERM, or SIGINT, which is a KeyboardInterrupt.

    From the main thread alone, which gets the signals.
    Only reads the file, while others may write; the last connection to it is the store's own, so
    that no log is left beside it.

    :param port: 0 takes one that is free; None takes :data:`USUAL_PORT` where that is free.
    :param tell: is called with the address once connections are accepted.
    :param verbose: log each request to stderr.
    :raises ConfigError: the port is taken, or may not be used.
    """
    import uvicorn

    from dynostore.view.application import StoreView

    if isinstance(store.database, MemoryDatabase) or not isinstance(store.database, SqliteFile):
        raise errors.ConfigError(f"{store.place.shown}: the view shows files alone")
    view = StoreView(store)
    with _listen(port) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                view.app(),
                log_level="info" if verbose else "warning",
                access_log=verbose,
                log_config=_log_config(),
                timeout_graceful_shutdown=_LAST_REQUESTS_S,
            )
        )
        before = signal.signal(signal.SIGTERM, _end)
        try:
            tell(f"http://{HOST}:{listening.getsockname()[1]}/")
            server.run(sockets=[listening])
        except _Ended:
            return
        finally:
            signal.signal(signal.SIGTERM, before)
            view.shut()


def _log_config() -> dict[str, Any]:
    """Give uvicorn's own settings, but for the requests: stdout is for data."""
    from uvicorn.config import LOGGING_CONFIG

    settings = copy.deepcopy(LOGGING_CONFIG)
    settings["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return settings


def _listen(port: int | None) -> socket.socket:
    if port is None:
        with contextlib.suppress(OSError):
            return socket.create_server((HOST, USUAL_PORT))
    try:
        return socket.create_server((HOST, port or 0))
    except OSError as exc:
        raise errors.ConfigError(
            f"{HOST}:{port}: {os.strerror(exc.errno or 0)}", hint="dynostore view --port 0"
        ) from exc


class _Ended(Exception):
    """SIGTERM came, which is how services are ended."""


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended
