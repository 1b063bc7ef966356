"""Stores in an older tool's form: whether their place can be used and their records read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from dynostore import compat, redis_server
from dynostore.config import Place
from dynostore.doctor.findings import Finding, telling
from dynostore.doctor.machine import look_at_directory

_SHOWN = 20


def look_at_old_form(place: Place) -> list[Finding]:
    """Look at a directory or a Redis of an older tool; reads all of its records.

    :raises StoreNotFound: there is no such place.
    """
    findings: list[Finding] = []
    if redis_server.is_redis(place.url):
        with telling("server", findings):
            findings += _server(place)
    else:
        path = Path(place.url.partition(":")[2])
        if path.is_dir():
            findings += look_at_directory(path)
    if any(finding.check == "server" and finding.severity == "error" for finding in findings):
        return findings
    with telling("records", findings), closing(_Shut(compat.open_compat(place, create=False))) as f:
        problems = f.form.check()
        for problem in problems[:_SHOWN]:
            mend = "put a sound copy of it in its place; all others can be read"
            findings.append(Finding("records", "error", problem, mend))
        if len(problems) > _SHOWN:
            message = f"and {len(problems) - _SHOWN:,} more"
            mend = f"dynostore --db {shlex.quote(place.shown)} db check"
            findings.append(Finding("records", "error", message, mend))
        if not problems:
            findings.append(Finding("records", "ok", f"{f.form.title}: every record can be read"))
    return findings


class _Shut:
    """What contextlib can close."""

    def __init__(self, form: compat.OldForm) -> None:
        self.form = form
        self.close = form.shut


def _server(place: Place) -> Iterator[Finding]:
    client: Any = redis_server.connect(place.url)
    with closing(client), redis_server.saying(place.url):
        facts = client.info()
        yield Finding("server", "ok", f"Redis {facts['redis_version']}")
        if facts.get("rdb_last_bgsave_status", "ok") != "ok":
            message = "its last snapshot failed: a restart would lose what came since"
            yield Finding("server", "warning", message, "redis-cli bgsave, and read its log")
        if facts.get("aof_enabled") and facts.get("aof_last_write_status", "ok") != "ok":
            message = "its log cannot be written: it refuses changes"
            yield Finding("server", "error", message, "make room on the server's disk")
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if facts.get("maxmemory") and policy != "noeviction":
            message = f"it throws keys away when its memory is full ({policy})"
            mend = "redis-cli config set maxmemory-policy noeviction"
            yield Finding("server", "warning", message, mend)
        seconds, _ = client.time()
        if abs(seconds - time.time()) > 60:
            message = f"the server's clock is {abs(seconds - time.time()):,.0f} s off"
            yield Finding("clock", "warning", message, "timedatectl set-ntp true")
