"""The forms in which older tools wrote times, each read as the instant that was meant."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z")


def parse_utc(value: Any) -> tuple[dt.datetime, bool]:
    """Read an ISO time, or a stamp such as ``2025-12-05T15-32-59Z``, of a writer that meant UTC.

    :return: the instant, and whether an offset was written.
    :raises ValueError: no text, no time, or outside the years 1 to 9999 in UTC.
    """
    if not isinstance(value, str):
        raise ValueError(f"a time is expected, not {type(value).__name__}")
    try:
        moment = dt.datetime.fromisoformat(value.strip())
    except ValueError:
        stamp = find_stamp(value) if _STAMP.fullmatch(value.strip()) else None
        if stamp is not None:
            return stamp, True
        raise ValueError(f"{value[:80]!r} is not a time") from None
    if moment.tzinfo is dt.UTC:  # nearly always
        return moment, True
    if moment.tzinfo is None:
        return moment.replace(tzinfo=dt.UTC), False
    try:
        return moment.astimezone(dt.UTC), True
    except OverflowError:
        raise ValueError(f"{value!r} is outside the years 1 to 9999 in UTC") from None


def find_stamp(text: str) -> dt.datetime | None:
    """Give the time inside an id such as ``run_2025-12-05T15-32-59Z-501326``; None without one."""
    match = _STAMP.search(text)
    if match is None:
        return None
    day, hour, minute, second = match.groups()
    try:
        return dt.datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}+00:00")
    except ValueError:
        return None


def from_file_time(seconds: float) -> dt.datetime | None:
    """Give a file system's time as an instant; None where it is outside what a time can be."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None
