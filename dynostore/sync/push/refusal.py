"""What the server says of a row that it refuses: which one, which column, and why."""

from __future__ import annotations

import re
from typing import Any

from dynostore.driver_errors import sqlstate
from dynostore.sync.local.set_aside import Reject
from dynostore.sync.push.batches import Batch
from dynostore.sync.wire import shown, stored_values

# "line" and "column" are in the server's language; what JSON complains of stands before it.
_COPY_CONTEXT = re.compile(r"^COPY dynostore_push, \D+(\d+)(?:, \w+ (\w+))?", re.MULTILINE)


def line_of(exc: Any) -> int | None:
    """Give the line, from 1, that COPY was reading; the words are in the server's language."""
    match = _COPY_CONTEXT.search(exc.diag.context or "")
    return int(match.group(1)) if match else None


def refusal(piece: Batch, index: int, exc: Any) -> Reject:
    """Give the row of a batch that the server refused, with the column and the value if it says."""
    diag: Any = exc.diag
    named = _COPY_CONTEXT.search(diag.context or "")
    column = diag.column_name or (named.group(2) if named else None)
    names = [c.name for c in piece.table.columns]
    value = None
    if column in names:
        line = piece.part(index, index + 1).lines[0]
        value = shown(stored_values(line)[names.index(column)])
    return Reject(
        piece.keys[index],
        column if column in names else None,
        value,
        sqlstate(exc) or "22000",
        diag.message_primary or str(exc),
    )
