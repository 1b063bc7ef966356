"""What the doctor says: one finding for each thing that it looked at, and all of them together."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from typing import Any, Literal

import peewee

from dynostore import errors
from dynostore.driver_errors import translate

Severity = Literal["ok", "note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "error")
"""From the best to the worst. A note costs room or time, a warning may cost data some day or keeps
others waiting, an error means that something does not work now."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :ivar check: what it is, a name that never changes.
    :ivar mend: a command or a step that mends it; None where there is nothing to mend.
    """

    check: str
    severity: Severity
    message: str
    mend: str | None = None


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they were made."""

    findings: list[Finding]

    @property
    def worst(self) -> Severity:
        """The worst severity of all."""
        return max((f.severity for f in self.findings), key=SEVERITIES.index, default="ok")

    def exit_code(self, *, strict: bool = False) -> int:
        """1 where there is an error, or, if strict, a warning; else 0.

        Not where there is a warning only: some are of the machine, and stay for years.
        """
        return int(self.worst in (("warning", "error") if strict else ("error",)))


@contextlib.contextmanager
def telling(check: str, findings: list[Finding]) -> Iterator[None]:
    """Make what a check fails with one of its findings: the others can still be made.

    :raises StoreNotFound: where there is nothing, nothing else can be found.
    """
    try:
        yield
    except errors.StoreNotFound:
        raise
    except errors.DynostoreError as exc:
        findings.append(of_error(check, exc))
    except (peewee.PeeweeException, sqlite3.Error) as exc:
        findings.append(of_error(check, translate(exc, check)))
    except OSError as exc:
        findings.append(Finding(check, "error", f"{exc.filename}: {exc.strerror}"))


def of_error(check: str, error: errors.DynostoreError) -> Finding:
    """Give what an error means to who looks after the store."""
    severity: Severity = "error"
    if isinstance(error, errors.RemoteUnavailable | errors.StoreLocked):
        severity = "warning"  # may be otherwise in a minute
    return Finding(check, severity, error.message, error.hint)


def shown_bytes(count: float) -> str:
    """Give a size as people say it."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def sql_of(statement: Any) -> str:
    """Give a statement of Peewee's as text."""
    sql, parameters = statement.query()
    assert not parameters  # noqa: S101 - a statement of the schema has none
    return str(sql)
