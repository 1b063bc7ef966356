"""Connecting to a Redis server, so that its failures are said in this package's words.

The driver, ``redis``, is an extra and is imported late. Nothing is tried twice: a write of which
the answer was lost may have been done.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dynostore import errors
from dynostore.urls import mask

_CONNECT_TIMEOUT_S = 10
_ANSWER_TIMEOUT_S = 60
_OURS = frozenset({"decode_responses", "protocol", "encoding", "encoding_errors"})
"""What a URL may not set, because the rest of this package relies on it."""

# The driver puts the command before an error of a pipeline, with the values that people wrote.
_OF_A_PIPELINE = re.compile(r"(?s)^Command # \d+ \(.*\) of pipeline caused error: ")
_DENIED = ("NOAUTH", "WRONGPASS", "NOPERM")
_CLUSTER = ("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "TRYAGAIN")
_UNAVAILABLE = ("LOADING", "BUSY", "MASTERDOWN")
_UNWRITABLE = ("READONLY", "OOM", "MISCONF", "NOREPLICAS")


def is_redis(url: str) -> bool:
    """Tell whether the URL names a Redis server."""
    return bool(re.match(r"rediss?://", url, re.IGNORECASE))


def connect(url: str) -> Any:
    """Connect to the server and make sure that it answers for all of its keys.

    :param url: ``redis://[[user]:password@]host[:port][/number]``; ``rediss://`` is TLS.
    :return: the driver's client, which gives bytes; close it.
    :raises ConfigError: a URL that cannot be used, or a node of a cluster, which has but some keys.
    :raises AccessDenied: the server wants a password, or another one.
    :raises RemoteUnavailable: the server does not answer.
    :raises MissingExtra: the driver is not installed.
    """
    with saying(url):
        client = _client(url)
        try:
            client.ping()
            _refuse_cluster(client, url)
        except BaseException:
            client.close()
            raise
        return client


def _client(url: str) -> Any:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as exc:
        raise errors.MissingExtra(
            f"{mask(url)}: the driver is not installed", hint="pip install 'dynostore[redis]'"
        ) from exc
    _check(url)
    scheme, _, rest = url.partition("://")
    return redis.Redis.from_url(
        f"{scheme.lower()}://{rest}",
        protocol=2,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _check(url: str) -> None:
    """Refuse what the driver would pass over without a word, such as a number that is none."""
    hint = "redis://user:password@host:6379/0, where a password has %2F for /, %40 for @, %3A for :"
    try:
        parts = urlsplit(url)
        _ = parts.port
        query = parse_qs(parts.query)
    except ValueError:
        # Not its message: with an unescaped "/" it has the password's beginning for the port.
        raise errors.ConfigError(f"{mask(url)}: host and port cannot be read", hint=hint) from None
    if not re.fullmatch(r"/?[0-9]*/?", parts.path) or parts.fragment:
        raise errors.ConfigError(f"{mask(url)}: a database is a number", hint=hint)
    if refused := sorted(_OURS & set(query)):
        raise errors.ConfigError(f"{mask(url)}: {refused[0]} cannot be set", hint=hint)


def _refuse_cluster(client: Any, url: str) -> None:
    import redis

    try:
        is_cluster = client.info("cluster").get("cluster_enabled")
    except redis.exceptions.ResponseError:  # a user who may not ask; a cluster's node says MOVED
        return
    if is_cluster:
        raise _cluster(url)


def _cluster(url: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{mask(url)}: is one node of a cluster, which holds but some of the keys",
        hint="copy the keys to a single server, or dump them to a file",
    )


@contextlib.contextmanager
def saying(url: str) -> Iterator[None]:
    """Turn the driver's errors into this package's, without the URL's password."""
    try:
        yield
    except errors.DynostoreError:
        raise
    except Exception as exc:
        error = _translated(exc, url)
        if error is None:
            raise
        raise error from exc


def _translated(exc: Exception, url: str) -> errors.DynostoreError | None:
    try:
        from redis import exceptions as said
    except ImportError:
        return None
    shown = mask(url)
    if isinstance(exc, TypeError):  # a parameter of the URL that the driver does not have
        return errors.ConfigError(f"{shown}: {exc}") if "unexpected keyword" in str(exc) else None
    if isinstance(exc, ValueError) and not isinstance(exc, said.RedisError):
        return errors.ConfigError(f"{shown}: {exc}") if "connection URL" in str(exc) else None
    if not isinstance(exc, said.RedisError | OSError):
        return None
    text = _OF_A_PIPELINE.sub("", str(exc))
    if isinstance(exc, said.AuthenticationError | said.AuthorizationError) or (
        isinstance(exc, said.NoPermissionError) or text.startswith(_DENIED)
    ):
        return errors.AccessDenied(f"{shown}: {text}", hint="redis://user:password@host:6379/0")
    if isinstance(exc, said.AskError | said.ClusterCrossSlotError) or text.startswith(_CLUSTER):
        return _cluster(url)
    if isinstance(exc, said.ReadOnlyError | said.OutOfMemoryError) or text.startswith(_UNWRITABLE):
        return errors.StoreUnwritable(f"{shown}: {text}")
    out_of_reach = said.ConnectionError | said.TimeoutError | said.ClusterDownError | OSError
    if isinstance(exc, out_of_reach) or text.startswith(_UNAVAILABLE):
        return errors.RemoteUnavailable(f"{shown}: {text}", hint="is the server running?")
    if "DB index" in text:
        return errors.ConfigError(f"{shown}: {text}")
    return errors.DynostoreError(f"{shown}: {text}")
