"""What an older tool's file has no place for, kept in a file of ours beside it.

The stores of :mod:`dynostore.compat` write such notes, and an import reads them with the file. The
note of a record lies below ``.dynostore``, where the older tool neither reads nor writes: it
outlives that the tool writes its own file anew. It holds each column whose value is not the one
that the older tool's file says, with a hash of what that file said then: once the tool says
something new there, that counts. Columns that the file never speaks of are simply kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from dynostore.canonical_json import json_text
from dynostore.fields import UtcTimeField, time_text
from dynostore.legacy.base import Unreadable
from dynostore.legacy.source_json import parse_object
from dynostore.models.base import Record

Values = dict[str, Any]

OURS = ".dynostore"
"""The directory for all that is not the older tool's."""

_MAINS = {
    "runs": "{stem}/run_state.json",
    "sessions": "states/{stem}.json",
    "todolists": "todolists/{stem}.json",
}
"""The files that notes are on, by the directory of the note."""


def main_of(name: str) -> str | None:
    """Give the file that a file of ours is a note on; None: on none.

    :param name: its path below ``.dynostore``, with ``/``; the result's is beside that directory.
    """
    kind, _, rest = name.partition("/")
    stem, _, version = rest.partition("/")
    if kind == "states" and version:
        return f"states/{stem}.json"
    if kind in _MAINS and not version and stem.endswith(".json"):
        return _MAINS[kind].format(stem=stem.removesuffix(".json"))
    return None


def notes_on(directory: str, kind: str, stem: str) -> list[str]:
    """Give the files of ours that are notes on an older tool's file, in order.

    :param directory: the one that has ``.dynostore`` in it.
    :param kind: ``runs``, ``sessions`` (with the states that are kept) or ``todolists``.
    :param stem: what the file is called, without its ending.
    """
    ours = os.path.join(directory, OURS)
    found = [os.path.join(ours, kind, f"{stem}.json")]
    if kind == "sessions":
        kept = os.path.join(ours, "states", stem)
        with contextlib.suppress(OSError):
            found += sorted(os.path.join(kept, name) for name in os.listdir(kept))
    return [path for path in found if os.path.isfile(path)]


def note_of(row: Values, said: Values, silent: frozenset[str]) -> Values:
    """Give what must be noted of a row, by column; nothing where the file says it all.

    :param said: the row as one would read it from the file alone.
    :param silent: the columns that the file never speaks of.
    """
    note = {}
    for column, value in row.items():
        if value != said.get(column):
            entry = {"is": _plain(value)}
            if column not in silent:
                entry["said"] = _hash(said.get(column))
            note[column] = entry
    return note


def with_note(model: type[Record], said: Values, note: Any) -> Values:
    """Give the row that a file and its note say together.

    :raises Unreadable: the note is not one of ours.
    """
    row = dict(said)
    if not isinstance(note, dict):
        raise Unreadable(f"the note on it in {OURS}: an object is expected")
    for column, entry in note.items():
        if column not in row or not isinstance(entry, dict) or "is" not in entry:
            raise Unreadable(f"the note on it in .dynostore: {column!r} is not understood")
        if "said" not in entry or entry["said"] == _hash(said[column]):
            row[column] = entry["is"]
            if isinstance(model._meta.columns[column], UtcTimeField):
                row[column] = model._meta.columns[column].python_value(entry["is"])
    return row


def read_note(path: str | os.PathLike[str]) -> Values:
    """Give the note in a file; an empty one where there is no file.

    :raises Unreadable: it is broken.
    """
    try:
        with open(path, "rb") as file:
            return parse_object(file.read())[0]
    except FileNotFoundError:
        return {}
    except (OSError, Unreadable) as exc:
        raise Unreadable(f"the note on it in .dynostore: {exc}") from None


def note_change(root: Path, path: Path, note: Values) -> dict[str, bytes | None]:
    """Give what must be written to a note's file, by its path below the root; nothing often.

    :param note: what is to be noted; where that is nothing there shall be no file.
    """
    text = json.dumps(note, indent=2, sort_keys=True).encode() if note else None
    try:
        before: bytes | None = path.read_bytes()
    except FileNotFoundError:
        before = None
    return {} if text == before else {path.relative_to(root).as_posix(): text}


def _plain(value: Any) -> Any:
    return time_text(value) if hasattr(value, "isoformat") else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json_text(_plain(value)).encode()).hexdigest()[:16]
