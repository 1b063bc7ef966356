"""The versions of a session that :mod:`dynostore.compat` keeps beside its state file.

Each holds the state as it was saved, and the newest a hash of the state file that was written with
it: another state file was written by the older tool since, and is a version of its own.
"""

from __future__ import annotations

import os
from typing import Any

from dynostore.legacy.base import Unreadable
from dynostore.legacy.beside import OURS
from dynostore.legacy.source_json import parse_object
from dynostore.legacy.taskforce_draft import Draft
from dynostore.models.sessions import SessionState


def add_kept(
    draft: Draft, document: dict[str, Any], digest: str, directory: str | os.PathLike[str]
) -> int | None:
    """Make the kept versions children of a session, whose only one is the state file's by now.

    :param document: the state file's content.
    :param digest: its SHA-256 in hex.
    :param directory: of the kept versions; it may be missing.
    :return: the version that is in the state file alone; None where there is none.
    :raises Unreadable: a kept version is broken.
    """
    kept = _read(directory)
    newest = max(kept, default=0)
    (_, found), loose = draft.children[0], None
    # The older tool writes no file before it has a state.
    is_saved = document.get("state_data") != {}
    if is_saved and (not newest or kept[newest].pop("beside") != digest):
        loose = found["version"] if found["version"] > newest else newest + 1
        kept[loose] = {**found, "version": loose}
    draft.clear_children()
    for version in sorted(kept):
        kept[version].pop("beside", None)
        draft.add_child(SessionState, str(version), kept[version])
    return loose


def _read(directory: str | os.PathLike[str]) -> dict[int, dict[str, Any]]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        try:
            with open(os.path.join(directory, name), "rb") as file:
                kept = parse_object(file.read())[0]
            version = int(name.removesuffix(".json"))
            found[version] = {
                "version": version,
                "state": kept["state"],
                "saved_at": SessionState.saved_at.python_value(kept["saved_at"]),
                "metadata": kept["metadata"],
                "beside": kept["beside"],
            }
        except (OSError, KeyError, ValueError) as exc:
            raise Unreadable(f"its version in {OURS}: {name}: {exc}") from None
    return found
