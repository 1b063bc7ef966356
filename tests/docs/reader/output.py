"""What a command prints beside what a page says that it prints."""

from __future__ import annotations

import re


def is_as_told(seen: str, told: str) -> bool:
    """Compare an output with a page's; see :mod:`tests.docs.reader` for what counts."""
    parts = (re.escape(part) for part in _steady(told).split("..."))
    return re.fullmatch(".*".join(parts), _steady(seen), re.S) is not None


def _steady(text: str) -> str:
    """Leave out what differs from one time to the next, and the width of columns."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text)
    moment = r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:\d\d|Z)?)?"
    text = re.sub(moment, "TIME", text)
    text = re.sub(r"\b\d+(\.\d+)? (ms|s)\b", "DURATION", text)
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    # What a sync says of its speed.
    return re.sub(r"[\d.]+ \d+$", "SPEED", text, flags=re.M) if " rows/s\n" in text else text
