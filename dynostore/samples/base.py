"""What the sample records share: ids that are the same wherever they are made, and ages."""

from __future__ import annotations

import datetime as dt

from dynostore.ids import derived_id


def sample_id(table: str, name: str) -> str:
    """Give the UUID of the sample that has this name in the table."""
    return derived_id(table, "samples", name)


def before(
    now: dt.datetime, *, days: float = 0, hours: float = 0, minutes: float = 0
) -> dt.datetime:
    """Give the time that lies so far back."""
    return now - dt.timedelta(days=days, hours=hours, minutes=minutes)
